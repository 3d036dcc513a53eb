"""Limits on the results of nodes before they are computed, so that a small file cannot request large arrays."""

from __future__ import annotations

import math
from typing import Any, List

import numpy as np

from ..graph import Node, attribute
from .flow import RefusedError

#: Ops that compute shapes and small constants, or move values.
OPS = frozenset(
    "Add AveragePool Cast Concat Constant ConstantOfShape Div Flatten Gather GatherND Identity Mul Neg Pow ReduceMean"
    " ReduceSum Reshape Shape Slice Split Squeeze Sub Transpose Unsqueeze Where".split()
)
#: Ops that only move values, so that they can be applied to the indices of the values.
MOVES = frozenset("Concat Flatten Gather GatherND Identity Reshape Slice Split Squeeze Transpose Unsqueeze".split())

MOST_AXES = 64  # the most dimensions that numpy allows


def require_room(node: Node, values: List[Any], largest: int) -> None:
    """Check, before a node is computed, that its results cannot have more than ``largest`` values.

    :param values: the inputs as numpy arrays; one that is left out is None.
    :raises RefusedError: if they can, or the op is not in :data:`OPS`.
    """
    if node.op not in OPS:
        raise RefusedError("it computes weights, which must be stored")
    lists = [node.attributes.get(key) for key in ("axes", "perm", "starts", "steps")]
    if node.op in ("Reshape", "Slice", "Squeeze", "Unsqueeze"):
        lists += [np.asarray(value).reshape(-1) for value in values[1:] if value is not None]
    if any(isinstance(axes, (list, np.ndarray)) and len(axes) > MOST_AXES for axes in lists):
        raise RefusedError("it names more axes than an array can have")
    if _count(node, [np.asarray(value) for value in values if value is not None]) > largest:
        raise RefusedError("its result would have too many values")


def _count(node: Node, arrays: List[np.ndarray]) -> int:
    """Return an upper bound of the number of values of each result."""
    if not arrays:
        return 0
    if node.op in ("Add", "Div", "Mul", "Pow", "Sub", "Where"):
        ranks = max(array.ndim for array in arrays)
        padded = [(1,) * (ranks - array.ndim) + array.shape for array in arrays]
        return math.prod(max(sides) for sides in zip(*padded))
    if node.op == "Concat":
        return sum(array.size for array in arrays)
    if node.op == "ConstantOfShape":
        return math.prod(int(side) for side in arrays[0].reshape(-1))
    if node.op == "Gather":
        axis = attribute(node, "axis", 0) % max(arrays[0].ndim, 1)
        side: int = max(arrays[0].shape[axis : axis + 1] or (1,))
        return arrays[0].size // side * arrays[1].size
    if node.op == "GatherND":
        depth = (arrays[1].shape or (1,))[-1]
        values: int = arrays[1].size // max(depth, 1) * math.prod(arrays[0].shape[depth:])
        return values
    return arrays[0].size
