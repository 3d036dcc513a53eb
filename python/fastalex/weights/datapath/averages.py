"""Adaptive average pools that exporters write as many nodes: gathered windows, masks, sums and quotients.

Which nodes those are depends on the sizes of the map, and on the release of the exporter. So the nodes are computed,
as they stand, for random maps. Each of them is linear, and two linear functions that agree on a map drawn from a normal
distribution are the same with probability 1; with errors above :data:`_TOLERANCE` they agree on all
:data:`_MAPS` maps for less than one drawing in 10^9.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from ...networks.onnx_export import adaptive_means
from .. import interpreter
from ..errors import FormatError
from ..graph import Node, attribute
from ..steps import Step
from .flow import Flow, RefusedError, Walk, shown_name, small_array
from .room import MOVES, require_room

_MAPS = 2  # random maps for each picture of the batch
_TOLERANCE = 1e-5  # of values that are about 1; exporters and the interpreter round to float32
_LARGEST = 1 << 20  # values of a map or of a result
_COST = 8  # of a value that is computed, where one that is moved counts as 1
_MOST_OVERLAP = 4  # windows of an adaptive pool that a value is in: two along each side

#: Linear ops -> the inputs that may depend on the picture, None for any of them; one that is not a sum has one such.
_LINEAR: Dict[str, Optional[Tuple[int, ...]]] = {
    "Add": None,
    "AveragePool": (0,),
    "Concat": None,
    "Div": (0,),
    "Mul": None,
    "Neg": (0,),
    "ReduceMean": (0,),
    "ReduceSum": (0,),
    "Sub": None,
    "Where": (1, 2),
}
_SUMS = frozenset(("Add", "Sub", "Where", "Concat"))


@dataclass(frozen=True)
class Averages:
    """Values that nodes have computed from a map, and that are not yet those of an adaptive average pool.

    * ``source``: the map, with its values in place.
    * ``maps``: the random maps, float64 in the shape of the map with its batch.
    * ``results``: for each of the random maps, the values, float64.
    * ``why``: the sentence that refuses the first of the nodes, for a file in which they come to something else.
    """

    source: Flow
    maps: Sequence[np.ndarray]
    results: Sequence[np.ndarray]
    why: str


def begun(walk: Walk, node: Node, inputs: Sequence[Any], why: str) -> Optional[List[Any]]:
    """Return the outputs of a node that may begin an average pool, or None if it cannot.

    :param why: the sentence that refuses the node otherwise.
    """
    flows = [value for value in inputs if isinstance(value, Flow)]
    first = flows[0]
    if walk.graph.any_size or node.op not in _LINEAR or first.in_classifier or first.whole or not first.layers:
        return None
    if any(flow.layers is not first.layers or flow.gain is not None or flow.columns is not None for flow in flows):
        return None
    if len(first.sides) != 3 or first.batch * first.size > _LARGEST:
        return None
    source = dataclasses.replace(first, moved=None, mover="")
    try:
        walk.charge(_COST * _MAPS * source.batch * source.size)
        return _computed(walk, node, inputs, Averages(source, _maps(source), (), why))
    except (RefusedError, FormatError, interpreter.UnknownOpError, *interpreter.PROBLEMS):
        return None


def continued(walk: Walk, node: Node, inputs: Sequence[Any]) -> List[Any]:
    """Return the outputs of a node that reads :class:`Averages`.

    :raises RefusedError: if it is not part of an average pool.
    """
    part = next(value for value in inputs if isinstance(value, Averages))
    for value in inputs:
        layers = value.source.layers if isinstance(value, Averages) else getattr(value, "layers", part.source.layers)
        if layers is not part.source.layers:
            raise RefusedError("it joins values of different layers")
    return _computed(walk, node, inputs, part)


def _computed(walk: Walk, node: Node, inputs: Sequence[Any], part: Averages) -> List[Any]:
    """Compute ``node`` for each of the random maps."""
    if node.op == "Shape":
        return interpreter.evaluate(node, [part.results[0]], walk.graph.opset)
    _require_linear(node, inputs)
    results = []
    for number, one in enumerate(part.maps):
        values = [_values(value, number, one) for value in inputs]
        require_room(node, values, _LARGEST)
        walk.charge(_COST * sum(value.size for value in values if value is not None))
        with np.errstate(all="ignore"):
            results.append(interpreter.evaluate(node, values, walk.graph.opset))
        walk.charge(_COST * sum(result.size for result in results[-1]))
    return [_recognized(node, dataclasses.replace(part, results=each)) for each in zip(*results)]


def _require_linear(node: Node, inputs: Sequence[Any]) -> None:
    """Check that the outputs of ``node`` are linear in those of its inputs that depend on the picture.

    :raises RefusedError: if they are not.
    """
    allowed = _LINEAR.get(node.op, (0,) if node.op in MOVES else ())
    dependent = [place for place, value in enumerate(inputs) if isinstance(value, (Flow, Averages))]
    if allowed is not None and not set(dependent) <= set(allowed):
        raise RefusedError("it is not part of an average pool")
    if len(dependent) > 1 and node.op not in _SUMS:
        raise RefusedError("it multiplies values that depend on the picture")
    if node.op == "AveragePool":
        _require_few_products(node, inputs[0])


def _require_few_products(node: Node, value: Any) -> None:
    """Check that the windows of an AveragePool are those of an adaptive pool in number and size.

    :raises RefusedError: if they are padded, or overlap more.
    """
    shape = value.shape if isinstance(value, Flow) else value.results[0].shape
    kernel, strides = attribute(node, "kernel_shape", ()), attribute(node, "strides", [1, 1])
    if any(attribute(node, "pads", [])) or attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise RefusedError("it is padded")
    counts = [(side - size) // stride + 1 for side, size, stride in zip(shape[2:], kernel, strides)]
    if min(*kernel, *strides, *counts) < 1 or math.prod((*counts, *kernel)) > _MOST_OVERLAP * math.prod(shape[2:]):
        raise RefusedError("its windows are not those of an adaptive average pool")


def _maps(source: Flow) -> List[np.ndarray]:
    """Return the random maps, float64 in the shape of ``source``."""
    generator = np.random.default_rng(0)
    return [generator.standard_normal(source.shape) for _ in range(_MAPS)]


def _values(value: Any, number: int, one: np.ndarray) -> Any:
    """Return the values of an input of a node for the random map ``one``, which is that of ``number``."""
    if isinstance(value, Flow):
        return one.reshape(-1)[value.positions]
    if isinstance(value, Averages):
        return value.results[number]
    return None if value is None else small_array(value)


def _recognized(node: Node, part: Averages) -> Union[Averages, Flow]:
    """Return the values after an adaptive average pool if ``part`` is one, else ``part``."""
    shape = part.results[0].shape
    batch, channels, height, width = part.source.shape
    if len(shape) != 4 or shape[:2] != (batch, channels) or shape[2] != shape[3] or shape[2] < 1:
        return part
    out = shape[2]
    rows, columns = adaptive_means(height, out)[0, 0], adaptive_means(width, out)[0, 0]
    for one, result in zip(part.maps, part.results):
        if not (np.abs(rows @ one @ columns.T - result) <= _TOLERANCE).all():
            return part
    return part.source.after(Step("avgpool", shown_name(node), {"out": out}), (channels, out, out))
