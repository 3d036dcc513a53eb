"""The state of the data at a point of the graph: the layers so far, and the position of each value."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Protocol, Sequence, Tuple

import numpy as np

from ..graph import Graph, Node, attribute, shown, wholes
from ..steps import Step


@dataclass(frozen=True)
class Linear:
    """A convolution or fully connected layer, with the operations that are folded into it.

    ``weight`` and ``bias`` are constants of the graph; a layer whose ``bias`` is None has a bias of zero. The layer
    uses ``weight``, transposed if ``transposed``, with its inputs in the order ``inputs`` and multiplied by ``gain``.
    Its outputs are multiplied by ``scale``, ``shift`` is added, and those in ``outputs`` are selected.
    """

    kind: str
    name: str
    weight: Any
    bias: Any
    options: Dict[str, Any]
    transposed: bool = False
    factors: Tuple[float, float] = (1.0, 1.0)  # of weight and bias: alpha and beta of a Gemm
    inputs: Optional[np.ndarray] = None
    gain: Optional[np.ndarray] = None
    scale: Optional[np.ndarray] = None
    shift: Optional[np.ndarray] = None
    outputs: Optional[np.ndarray] = None

    def affine(self, scale: np.ndarray, shift: np.ndarray) -> Linear:
        """Return the layer with its outputs multiplied by ``scale``, and ``shift`` added, ``[outputs]`` each."""
        before = self.scale if self.scale is not None else np.float32(1)
        added = self.shift if self.shift is not None else np.float32(0)
        return dataclasses.replace(self, scale=before * scale, shift=added * scale + shift)

    def arrays(self) -> Dict[str, np.ndarray]:
        """Compute ``weight`` and ``bias``, which are views of the file if nothing is folded in.

        Every layer has a bias, unless its weight is empty and no network can be made of it.
        """
        weight = self.weight.array()
        if self.transposed:
            weight = weight.T
        if self.factors[0] != 1.0:
            weight = weight * np.float32(self.factors[0])
        if self.inputs is not None:  # input j of the file's layer is the value at position inputs[j]
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
            assert self.shift is not None  # affine sets both
            bias = (self.shift if bias is None else bias * self.scale + self.shift).astype(np.float32)
        if self.outputs is not None:
            weight = np.ascontiguousarray(weight[self.outputs])
            bias = None if bias is None else bias[self.outputs]
        if bias is None and weight.size:  # the size of the file bounds the number of outputs
            bias = np.zeros(len(weight), np.float32)
        return {"weight": weight} if bias is None else {"weight": weight, "bias": bias}


@dataclass(frozen=True)
class Flow:
    """The values at a point of the graph: the layers that produced them, and their positions.

    * ``layers``: :class:`Linear` and :class:`Step`, from the picture on.
    * ``sides``: shape of the last layer's result, without the batch.
    * ``moved``: int32, in the shape of the values; for each value its index in the last layer's result, counted over
      the batch. None if no value has moved.
    * ``mover``: the node that has moved the values last.
    * ``gain``: a factor of the values that is not applied yet, broadcast over ``sides``, or None.
    * ``columns``: options of an LRN that was applied to a part of the channels.
    * ``whole``: whether the values are still whole numbers.
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
        """Return the values after one more layer, with results of the shape ``sides`` in place.

        :raises RefusedError: if there are too many layers, or the last one is an average pool that is not the last map.
        """
        if len(self.layers) >= LARGEST_DEPTH:
            raise RefusedError(f"it comes after more than {LARGEST_DEPTH} layers")
        last = self.layers[-1] if self.layers else None
        if isinstance(last, Step) and last.kind == "avgpool" and getattr(layer, "kind", "") != "fc":
            raise RefusedError(
                f"it follows the average pool '{last.name}', which a network of the family has only before its fully "
                "connected layers"
            )
        return Flow((*self.layers, layer), self.batch, sides, gain=self.gain)

    def through(self, layer: Any) -> Flow:
        """Return the values after a layer that does not depend on their positions."""
        result = self.after(layer, self.sides)
        return result if self.in_place() else dataclasses.replace(result, moved=self.moved, mover=self.mover)

    @property
    def size(self) -> int:
        """Number of values in the last layer's result for one picture."""
        return math.prod(self.sides)

    @property
    def shape(self) -> Tuple[int, ...]:
        """Shape of the values, with the batch."""
        return (self.batch, *self.sides) if self.moved is None else self.moved.shape

    @property
    def positions(self) -> np.ndarray:
        """Index of each value in the last layer's result, see ``moved``."""
        if self.moved is not None:
            return self.moved
        count = math.prod(self.shape)
        if count > LARGEST_MOVED:
            raise RefusedError(f"it moves {count} values, more than a network of the family has")
        return np.arange(count, dtype=np.int32).reshape(self.shape)

    def channels_last(self) -> bool:
        """Whether the values are a map ``[N, height, width, channels]``, otherwise in place."""
        if self.moved is None or len(self.sides) != 3 or self.moved.ndim != 4:
            return False
        turned = self.moved.transpose(0, 3, 1, 2)
        return dataclasses.replace(self, moved=turned).in_place()

    def in_place(self) -> bool:
        """Whether every value is where the last layer has put it."""
        if self.moved is None:
            return True
        return self.moved.shape[1:] == self.sides and bool((self.moved.reshape(-1) == np.arange(self.moved.size)).all())

    @property
    def in_classifier(self) -> bool:
        """Whether a fully connected layer came before."""
        return any(isinstance(layer, Linear) and layer.kind == "fc" for layer in self.layers)

    @property
    def last_linear(self) -> bool:
        """Whether the last layer has weights."""
        return bool(self.layers) and isinstance(self.layers[-1], Linear)


@dataclass(frozen=True)
class SpatialNormPart:
    """An unfinished normalization within a channel, of the nodes that ``fastalex export`` writes.

    These square the values, average them, multiply by alpha, add k, and raise to the power of beta; the values are
    then divided by the result.
    """

    flow: Flow  # the values before the normalization
    stage: str  # the stage of normalization.SPATIAL_OPS that the nodes so far have reached
    options: Dict[str, Any]
    begun_by: str  # description of the first node


@dataclass(frozen=True)
class Unknown:
    """A value that cannot be computed; ``why`` is the reason, as the second half of a sentence."""

    why: str


class Walk(Protocol):
    """The part of the walk that the handlers of nodes use."""

    graph: Graph

    def once(self, constant: Any, node: Node) -> Any:
        """Return a parameter of ``node``, which no other layer may use."""

    def charge(self, count: int) -> None:
        """Count ``count`` values that a node reads or writes."""


class RefusedError(Exception):
    """A node is not supported; the message is the reason, as the second half of a sentence."""


LARGEST_CONSTANT = 1 << 16  # values of a constant that is computed or folded; weights have more and are not computed
LARGEST_DEPTH = 200  # layers
LARGEST_MOVED = 1 << 24  # values whose positions are tracked, 64 MiB


def small_array(constant: Any) -> np.ndarray:
    """Return the values of a constant with at most :data:`LARGEST_CONSTANT` of them.

    :raises RefusedError: for anything else.
    """
    if isinstance(constant, np.ndarray):
        return constant
    if not hasattr(constant, "array") or math.prod(constant.sides) > LARGEST_CONSTANT:
        raise RefusedError("its operand is not a small constant")
    values: np.ndarray = constant.array()
    return values


def shown_name(node: Node) -> str:
    """Return the name of ``node``, or else of its output, for a message."""
    return shown(node.name or (node.outputs[0] if node.outputs else ""))


def described(node: Node) -> str:
    """Return the name and the op of ``node`` as the subject of a sentence."""
    return f"its layer '{shown_name(node)}' ({shown(str(attribute(node, 'type', node.op)))})"


def all_channels(flow: Flow) -> Flow:
    """Return ``flow`` after checking that no normalization of a part of the channels is unfinished.

    :raises RefusedError: if there is one.
    """
    if flow.columns is not None:
        raise RefusedError("it reads a part of the channels")
    return flow


def unmoved(flow: Flow) -> Flow:
    """Return ``flow`` after checking that it has all channels, with no value moved.

    :raises RefusedError: if it has not.
    """
    if not all_channels(flow).in_place():
        raise RefusedError(f"the values before it are moved by {flow.mover} in a way that no network of the family has")
    return flow


def without_gain(flow: Flow) -> Flow:
    """Return ``flow`` after checking that no factor of its values is left to apply.

    :raises RefusedError: if there is one.
    """
    if flow.gain is not None:
        raise RefusedError("it follows a factor that cannot be moved past it")
    return flow


def is_positive(gain: Optional[np.ndarray]) -> bool:
    """Whether all factors are above zero; no factor counts as 1."""
    return gain is None or bool((gain > 0).all())


def alike(flow: Flow, order: np.ndarray) -> bool:
    """Whether each picture of the batch has its own values, all in the same ``order`` ``[values]``."""
    return all(np.array_equal(row, order + number * flow.size) for number, row in enumerate(flow.positions))


def rounding_of(counts: Sequence[int], rooms: Sequence[int], stride: int, problem: str) -> Optional[str]:
    """Return the rounding of the ``counts`` of windows, or None if both roundings give the same counts.

    :param rooms: for each side, the distance that the first window can move.
    :param stride: the distance between windows.
    :raises RefusedError: with the message ``problem``, if the counts are not all rounded in one way.
    """
    kinds = set()
    for count, room in zip(counts, rooms):
        low, high = room // stride + 1, -(-room // stride) + 1
        kinds.add("any" if low == high == count else "floor" if count == low else "ceil" if count == high else "other")
    kinds.discard("any")
    if len(kinds) > 1 or "other" in kinds:
        raise RefusedError(problem)
    return kinds.pop() if kinds else None


def pads_of(walk: Walk, node: Node, sides: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> List[int]:
    """Return the padding ``[top, left, bottom, right]`` of a window that moves over a map of ``sides``.

    :raises RefusedError: if it depends on the size of the picture and that is not fixed, or its attributes contradict
        each other.
    """
    pads = wholes(node, "pads", [0, 0, 0, 0])
    kind = attribute(node, "auto_pad", "NOTSET")
    if kind not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER") or (kind != "NOTSET" and any(pads)):
        raise RefusedError(f"auto_pad={kind:.20}; export it with pads")
    if not kind.startswith("SAME"):
        return pads
    if walk.graph.any_size and set(strides) != {1}:
        raise RefusedError(f"auto_pad={kind}, and the size of the picture is not fixed; export it with a fixed size")
    totals = []
    for side, size, stride in zip(sides, kernel, strides):
        totals.append(max((-(-side // stride) - 1) * stride + size - side, 0))
    halves = [total // 2 for total in totals]
    rests = [total - half for total, half in zip(totals, halves)]
    return halves + rests if kind == "SAME_UPPER" else rests + halves
