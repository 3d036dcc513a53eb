"""The values on their way through a file's graph: which layers they have passed, and where each of them stands."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Protocol, Sequence, Tuple

import numpy as np

from ..graph import Graph, Node, attribute, shown


@dataclass(frozen=True)
class Linear:
    """A convolution or fully connected layer with what is folded into it.

    ``weight`` and ``bias`` have ``array()`` (bias: or None). The weight used is ``weight``, transposed where
    ``transposed``, with its inputs in the order of ``inputs`` and multiplied by ``gain``. Each output is then
    multiplied by ``scale`` and has ``shift`` added; of the outputs those of ``outputs`` are taken.
    """

    kind: str
    name: str
    weight: Any
    bias: Any
    options: Dict[str, Any]
    transposed: bool = False
    factors: Tuple[float, float] = (1.0, 1.0)  # of weight and bias, a Gemm's alpha and beta
    inputs: Optional[np.ndarray] = None
    gain: Optional[np.ndarray] = None
    scale: Optional[np.ndarray] = None
    shift: Optional[np.ndarray] = None
    outputs: Optional[np.ndarray] = None

    def affine(self, scale: np.ndarray, shift: np.ndarray) -> Linear:
        """The layer with its outputs multiplied by ``scale`` and ``shift`` added, ``[outputs]`` each."""
        before = self.scale if self.scale is not None else np.float32(1)
        added = self.shift if self.shift is not None else np.float32(0)
        return dataclasses.replace(self, scale=before * scale, shift=added * scale + shift)

    def arrays(self) -> Dict[str, np.ndarray]:
        """The arrays ``weight`` and ``bias``, views of the file where nothing is folded in."""
        weight = self.weight.array()
        if self.transposed:
            weight = weight.T
        if self.factors[0] != 1.0:
            weight = weight * np.float32(self.factors[0])
        if self.inputs is not None:  # input j of the file's layer is what stands at place inputs[j]
            order = np.empty(len(self.inputs), np.intp)
            order[self.inputs] = np.arange(len(self.inputs))
            weight = np.ascontiguousarray(np.take(weight, order, axis=1))
        if self.gain is not None:
            weight = weight * self.gain.reshape(1, -1, *[1] * (weight.ndim - 2))
        bias = None if self.bias is None else self.bias.array().reshape(-1)
        if bias is not None and self.factors[1] != 1.0:
            bias = bias * np.float32(self.factors[1])
        if self.scale is not None:
            weight = weight * self.scale.reshape(-1, *[1] * (weight.ndim - 1)).astype(np.float32)
            bias = (self.shift if bias is None else bias * self.scale + self.shift).astype(np.float32)
        if self.outputs is not None:
            weight = np.ascontiguousarray(weight[self.outputs])
            bias = None if bias is None else bias[self.outputs]
        return {"weight": weight} if bias is None else {"weight": weight, "bias": bias}


@dataclass(frozen=True)
class Flow:
    """Values on the way: what has been done so far, and where they are.

    ``layers``: :class:`Linear` and :class:`Step` from the picture on. ``sides``: the shape of the last one's result
    without the batch. ``moved``: int32, shaped like the values, the number of the place that each has in that result,
    counted over the batch; None where each is in its place. ``mover``: the node that has moved them last. ``gain``: a
    factor of the values that is not applied yet, for each place of ``sides`` (broadcast), or None. ``columns``: options
    of an LRN that has run on a part of the channels. ``whole``: whether the values are whole numbers still.
    """

    layers: Tuple[Any, ...]
    batch: int
    sides: Tuple[int, ...]
    moved: Optional[np.ndarray] = None
    mover: str = ""
    gain: Optional[np.ndarray] = None
    columns: Optional[Tuple[Any, ...]] = None
    whole: bool = False

    def after(self, layer: Any, sides: Tuple[int, ...]) -> Flow:
        """The values after one more layer, each in its place."""
        if len(self.layers) >= LARGEST_DEPTH:
            raise RefusedError(f"more than {LARGEST_DEPTH} layers stand before it")
        return Flow((*self.layers, layer), self.batch, sides, gain=self.gain)

    def through(self, layer: Any) -> Flow:
        """The values after a layer that does not care where they are."""
        result = self.after(layer, self.sides)
        return result if self.in_place() else dataclasses.replace(result, moved=self.moved, mover=self.mover)

    @property
    def size(self) -> int:
        """Of one picture's values in the last layer's result."""
        return math.prod(self.sides)

    @property
    def shape(self) -> Tuple[int, ...]:
        """Of the values, with the batch."""
        return (self.batch, *self.sides) if self.moved is None else self.moved.shape

    @property
    def places(self) -> np.ndarray:
        """The number of each value's place."""
        if self.moved is not None:
            return self.moved
        count = math.prod(self.shape)
        if count > LARGEST_MOVED:
            raise RefusedError(f"it moves {count} values, more than a network of the family has")
        return np.arange(count, dtype=np.int32).reshape(self.shape)

    def in_place(self) -> bool:
        """Whether every value is where the last layer put it."""
        if self.moved is None:
            return True
        return self.moved.shape[1:] == self.sides and bool((self.moved.reshape(-1) == np.arange(self.moved.size)).all())

    @property
    def last_linear(self) -> bool:
        """Whether nothing has happened since a layer with weights."""
        return bool(self.layers) and isinstance(self.layers[-1], Linear)


@dataclass(frozen=True)
class SpatialNormPart:
    """A normalization within a channel on its way, as ``fastalex export`` writes it: the values, squared, averaged,
    times alpha, plus k, to the power of beta; the values divided by that."""

    flow: Flow
    stage: str
    options: Dict[str, Any]
    begun_by: str  # the node, as :func:`described` says it


@dataclass(frozen=True)
class Unknown:
    """A value that cannot be told; ``why`` is the half sentence that an error says."""

    why: str


class Walk(Protocol):
    """What the handler of a node asks the walk for."""

    graph: Graph

    def once(self, constant: Any, node: Node) -> Any:
        """A parameter that one layer alone may have."""


class RefusedError(Exception):
    """Why a node cannot be taken, the half sentence that an error says."""


class Computed:
    """A small constant that nodes have computed."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.sides = values, list(values.shape)

    def array(self) -> np.ndarray:
        return self.values


class Transposed:
    """A stored matrix that a node transposes."""

    def __init__(self, base: Any) -> None:
        self.base, self.sides = base, list(reversed(base.sides))

    def array(self) -> np.ndarray:
        return self.base.array().T


LARGEST_CONSTANT = 1 << 16  # values of a constant that is computed or folded; weights are larger and stay as they are
LARGEST_DEPTH = 200  # layers on the way
LARGEST_MOVED = 1 << 24  # values whose places are told apart, 64 MiB


def small_array(constant: Any) -> np.ndarray:
    if isinstance(constant, np.ndarray):
        return constant
    if not hasattr(constant, "array") or math.prod(constant.sides) > LARGEST_CONSTANT:
        raise RefusedError("what it computes with is no small constant")
    return constant.array()


def shown_name(node: Node) -> str:
    return shown(node.name or (node.outputs[0] if node.outputs else ""))


def described(node: Node) -> str:
    return f"its layer '{shown_name(node)}' ({shown(str(attribute(node, 'type', node.op)))})"


def placed(flow: Flow) -> Flow:
    if flow.columns is not None:
        raise RefusedError("it reads a part of the channels")
    if not flow.in_place():
        raise RefusedError(f"the values before it are moved by {flow.mover} in a way that no network of the family has")
    return flow


def without_gain(flow: Flow) -> Flow:
    if flow.gain is not None:
        raise RefusedError("it stands behind a factor, which does not go through it")
    return flow


def is_positive(gain: Optional[np.ndarray]) -> bool:
    return gain is None or bool((gain > 0).all())


def alike(flow: Flow, order: np.ndarray) -> bool:
    """Whether each picture of the batch has its own values in the same ``order``, ``[values]``."""
    return all(np.array_equal(row, order + number * flow.size) for number, row in enumerate(flow.places))


def rounding_of(counts: Sequence[int], rooms: Sequence[int], stride: int, problem: str) -> Optional[str]:
    """How the ``counts`` of windows, one every ``stride`` of ``rooms``, are rounded; None where they come out even.

    :raises RefusedError: saying ``problem``, for counts that are not all rounded one way.
    """
    kinds = set()
    for count, room in zip(counts, rooms):
        low, high = room // stride + 1, -(-room // stride) + 1
        kinds.add("any" if low == high == count else "floor" if count == low else "ceil" if count == high else "other")
    kinds.discard("any")
    if len(kinds) > 1 or "other" in kinds:
        raise RefusedError(problem)
    return kinds.pop() if kinds else None


def require_explicit_pads(node: Node, pads: List[int]) -> None:
    """Refuse pads that depend on the size of the picture, or that contradict each other."""
    kind = attribute(node, "auto_pad", "NOTSET")
    if kind not in ("NOTSET", "VALID") or (kind == "VALID" and any(pads)):
        raise RefusedError(f"auto_pad={kind:.20}; export it with pads")
