"""Splitting a layer table into equal parts of its channels and units, and the exchange between the parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List, NamedTuple, Optional, Sequence

from ...errors import UserError
from ...networks.layers import Layer


class Step(NamedTuple):
    """A layer of one part.

    :ivar gathers: its input is first concatenated from all parts.
    :ivar cuts: it reads only its own part of a whole input.
    :ivar sums: the results of all parts are added.
    :ivar partial: it computes a part of the units.
    """

    layer: Layer
    gathers: bool
    cuts: bool
    sums: bool
    partial: bool


class Shard(NamedTuple):
    """One of ``parts`` equal parts of a parameter, along ``dim``."""

    dim: int
    part: int
    parts: int


def split(table: Sequence[Layer], parts: int) -> List[Step]:
    """Split the layers of ``table`` into ``parts`` equal parts, which differ only in their parameters.

    A grouped convolution, LRN within a column and elementwise layers need only their own part; an ungrouped
    convolution, LRN across columns and a fully connected layer read all parts and compute a part of the outputs. The
    last layer multiplies a part of the inputs, and the products are added, because logits are smaller to send than
    activations.

    :raises UserError: if a layer cannot be split equally.
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
    """Return the shard of each parameter, by name, in part ``index``; None: the whole parameter (the last bias)."""
    result: Dict[str, Optional[Shard]] = {}
    for step in steps:
        if step.layer.param:
            result[step.layer.param + ".weight"] = Shard(1 if step.sums else 0, index, parts)
            result[step.layer.param + ".bias"] = None if step.sums else Shard(0, index, parts)
    return result
