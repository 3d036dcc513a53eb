"""Constants of a graph that are not stored as they are used: computed ones, and parameters that nodes rearrange."""

from __future__ import annotations

import math
from typing import Any, List, Sequence, Tuple

import numpy as np

from .. import interpreter
from ..graph import Node
from .flow import RefusedError
from .room import require_room

#: Ops that keep the values of a parameter and give them other axes.
REARRANGING = frozenset(("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"))
_MOST_NODES = 8  # that rearrange one parameter


class Computed:
    """A small constant that nodes have computed."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.sides = values, list(values.shape)

    def array(self) -> np.ndarray:
        """Return the values."""
        return self.values


class Rearranged:
    """A stored parameter whose axes a node rearranges.

    The node is applied to the values on request. That gives a view of the file, or one copy where no view has the
    order of the values. Until then only the shape is computed, so that a claimed shape costs nothing.
    """

    def __init__(self, constant: Any, node: Node, others: Sequence[Any], opset: int) -> None:
        """Describe ``node`` with its first input ``constant`` and the arrays ``others``.

        :raises RefusedError: if the node cannot keep the number of values, or too many nodes came before it.
        """
        self.base = getattr(constant, "base", constant)
        self.name = getattr(self.base, "name", "")
        self.opset = opset
        earlier: Tuple[Any, ...] = getattr(constant, "nodes", ())
        if len(earlier) >= _MOST_NODES:
            raise RefusedError(f"a parameter is rearranged more than {_MOST_NODES} times")
        self.nodes = (*earlier, (node, tuple(others)))
        shape = np.broadcast_to(np.float32(0), constant.sides)  # one value in memory, whatever the sides
        require_room(node, [shape, *others], shape.size)
        (result,) = interpreter.evaluate(node, [shape, *others], opset)
        self.sides: List[int] = list(result.shape)

    def array(self) -> np.ndarray:
        """Return the values with their new axes."""
        values: np.ndarray = self.base.array()
        for node, others in self.nodes:
            (values,) = interpreter.evaluate(node, [values, *others], self.opset)
        return values


def reshaped(constant: Any, sides: Sequence[int], opset: int) -> Any:
    """Return a parameter with the shape ``sides``, which has as many values."""
    if isinstance(constant, Computed):
        return Computed(constant.values.reshape(sides))
    node = Node("Reshape", "", ["", ""], [""], {})
    return Rearranged(constant, node, [np.array(sides, np.int64)], max(opset, 5))


def count(constant: Any) -> int:
    """Return the number of values of a constant of the graph."""
    return math.prod(constant.sides)
