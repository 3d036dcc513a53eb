"""The way of the data through a file's graph, from the picture to the result, as layers that the family has.

Every node on that way is understood and becomes a layer, is folded into the weights of one, or is refused by its name.
What is not on the way (a shape that is computed, a branch that nobody reads) does not matter.

* Places: nodes that move values (Reshape, Transpose, Concat, Gather, Slice, ...) are applied to the numbers of the
  values' places. An order of channels before the first convolution, of features before a fully connected layer, and of
  classes at the end goes into the weights; any other is refused.
* Scales: BatchNormalization, and sums and products with constants, after a layer with weights go into those. A factor
  after an activation is carried on to the next layer with weights.
"""

from .walk import Result, follow

__all__ = ["Result", "follow"]
