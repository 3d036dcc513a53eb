"""The translation of a file's graph, followed from the picture to the result, to layers of the family.

Every node on the path of the data becomes a layer, is folded into the weights of one, or is refused by its name. Nodes
off the path (the computation of a shape, a branch that nothing reads) do not matter.

* Positions: nodes that move values (Reshape, Transpose, Concat, Gather, Slice, ...) are applied to the indices of the
  values. An order of the channels before the first convolution, of the features before a fully connected layer, or of
  the classes at the end is folded into the weights; any other order is refused.
* Scales: BatchNormalization, and sums and products with constants, are folded into the layer with weights before them.
  A factor after an activation is folded into the next layer with weights.
* Averages: nodes that together compute an adaptive average pool are recognized by what they compute.
* Parameters: nodes that only rearrange a stored parameter are applied to it on request.
"""

from .walk import Result, follow

__all__ = ["Result", "follow"]
