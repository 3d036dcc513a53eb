"""How a layer table is cut into equal parts of its channels and units, and what each layer needs of the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List, NamedTuple, Optional, Sequence

from ...errors import UserError
from ...networks.layers import Layer


class Step(NamedTuple):
    """A layer of one part. ``gathers``: its input is first put together from all parts. ``cuts``: it takes only its own
    part of a whole input. ``sums``: the results of all parts are added up. ``partial``: it gives a part of the units.
    """

    layer: Layer
    gathers: bool
    cuts: bool
    sums: bool
    partial: bool


class Shard(NamedTuple):
    """The equal part ``index`` of ``count`` of a parameter along ``dim``."""

    dim: int
    index: int
    count: int


def split(table: Sequence[Layer], parts: int) -> List[Step]:
    """The steps of each of ``parts`` parts (they differ in their parameters only).

    A grouped convolution, LRN within a column and what works value by value stay within a part; an ungrouped
    convolution, LRN across columns and a fully connected layer read all parts and compute their share of the outputs.
    The last layer multiplies its share of the inputs, and the products are added up: that sends the logits where the
    other way would send the activations.

    :raises UserError: if a layer does not divide.
    """
    steps: List[Step] = []
    whole = True  # the image
    last = [layer for layer in table if layer.op == "fc"][-1]
    for layer in table:
        gathers = cuts = sums = own = False
        options = dict(layer.options)
        if layer.op == "conv":
            own = options["groups"] == parts and parts > 1
            gathers, cuts = not own and not whole, own and whole
            _divides(layer, options["out"], parts)
            options.update(out=options["out"] // parts, groups=1)
            whole = False
        elif layer is last:
            cuts, sums, whole = whole, True, True
            _divides(layer, layer.in_shape[0], parts)
        elif layer.op == "fc":
            gathers, whole = not whole, False
            _divides(layer, options["out"], parts)
            options["out"] //= parts
        elif layer.op == "lrn" and not whole:
            gathers = whole = options["groups"] == 1 and parts > 1
            options["groups"] = 1
        channels, *sides = layer.in_shape
        shape = (channels // parts, *sides) if own or sums else layer.in_shape
        steps.append(Step(replace(layer, in_shape=shape, options=options), gathers, cuts, sums, not whole))
    return steps


def _divides(layer: Layer, count: int, parts: int) -> None:
    if count % parts:
        raise UserError(f"{layer.name} has {count} units, which {parts} processes cannot share equally")


def shards(steps: Sequence[Step], index: int, parts: int) -> Dict[str, Optional[Shard]]:
    """Parameter name -> the part of it that part ``index`` has; None: all of it (the last bias)."""
    found: Dict[str, Optional[Shard]] = {}
    for step in steps:
        if step.layer.param:
            found[step.layer.param + ".weight"] = Shard(1 if step.sums else 0, index, parts)
            found[step.layer.param + ".bias"] = None if step.sums else Shard(0, index, parts)
    return found
