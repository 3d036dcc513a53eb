"""The walk through a file's graph, from the picture to the result."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import numpy as np

from .. import interpreter
from ..errors import FormatError
from ..graph import Graph, Node, shown
from ..steps import Step
from .averages import Averages, begun, continued
from .elementwise import activation, arithmetic, cast, dropout, leaky_relu, negative, softmax
from .flow import (
    LARGEST_CONSTANT,
    Flow,
    Linear,
    RefusedError,
    SpatialNormPart,
    Unknown,
    alike,
    described,
    shown_name,
)
from .linear import conv, gemm, matmul
from .normalization import batch_normalization, lrn, spatial_norm
from .pooling import average_pool, global_average, max_pool, reduce_mean
from .room import MOVES, require_room
from .stored import REARRANGING, Computed, Rearranged, count

#: Sides to try for a picture of unknown size: those of the family first, then other usual ones.
SIZES = (224, 227, 131, 256, 128, 192, 160, 96, 64, 299, 112)
LARGEST_BATCH = 16  # pictures; a file's fixed batch is used up to this size
BATCH = 2  # pictures, for a file with a larger batch or one that is not fixed
LARGEST_TOTAL = 1 << 28  # values that all nodes together may read and write to move them
LARGEST_SIDE = 1 << 20  # of a parameter
SMALL_RESULT = 1 << 20  # values that a node may move, however few there were before


HANDLERS: Dict[str, Callable[[Any, Node, Flow, List[Any]], Union[Flow, SpatialNormPart]]] = {
    "Add": arithmetic("Add"),
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Conv": conv,
    "Div": arithmetic("Div"),
    "Dropout": dropout,
    "Gemm": gemm,
    "GlobalAveragePool": global_average,
    "LRN": lrn,
    "LeakyRelu": leaky_relu,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Mul": arithmetic("Mul"),
    "Neg": negative,
    "ReduceMean": reduce_mean,
    "Relu": activation("relu"),
    "Sigmoid": activation("sigmoid"),
    "Softmax": softmax,
    "Sub": arithmetic("Sub"),
    "Tanh": activation("tanh"),
}


@dataclass
class Result:
    """The network of a graph: its arrays by name, and its layers in order."""

    arrays: Dict[str, np.ndarray] = field(default_factory=dict)
    steps: List[Step] = field(default_factory=list)


def follow(graph: Graph, by_place: bool = True) -> Result:
    """Return the layers of ``graph`` and their arrays.

    :param by_place: name layers by their position, ``conv1``, ... ``fc8``, instead of by their names in the file.
    :raises FormatError: naming the first node that no network of the family has.
    """
    if not any(node.op in ("Conv", "Gemm", "MatMul") for node in graph.nodes):
        raise FormatError("it has no layers with weights")
    sides = graph.shape if len(graph.shape) == 4 else (0, 3, 0, 0)
    if min(sides[2:]) > 0:
        return _followed(graph, sides, sides, by_place)
    problem: Optional[FormatError] = None
    for size in SIZES:
        try:
            return _followed(graph, sides, (sides[0], sides[1], size, size), by_place)
        except FormatError as error:  # the size is wrong, or no size fits
            problem = problem or error
    assert problem is not None
    raise problem


def _followed(graph: Graph, stated: Tuple[int, ...], sides: Tuple[int, ...], by_place: bool) -> Result:
    """Return the result of a walk for pictures of ``sides``; ``stated`` are the sides in the file, 0 if unknown.

    :raises FormatError: naming the first node that no network of the family has.
    """
    try:
        return _result(stated, Walk(graph, sides).walk(), by_place)
    except RefusedError as problem:
        raise FormatError(str(problem)) from None


class Walk:
    """A walk through the graph for pictures of known size."""

    def __init__(self, graph: Graph, sides: Tuple[int, ...]) -> None:
        self.graph = graph
        batch = sides[0] if 0 < sides[0] <= LARGEST_BATCH else BATCH
        picture = Flow((), batch, (max(sides[1], 1), *sides[2:]), whole=not graph.floats)
        if graph.channels_last:
            moved = picture.positions.transpose(0, 2, 3, 1)
            picture = dataclasses.replace(picture, moved=moved, mover="the order of the input's axes")
        self.values: Dict[str, Any] = {graph.input: picture}
        self.owners: Dict[int, str] = {}  # id of a parameter -> name of the node that uses it
        self.room = LARGEST_TOTAL

    def walk(self) -> Flow:
        """Follow the graph and return its result.

        :raises FormatError: if the result is not a network of the family.
        """
        needed = interpreter.needed_nodes(self.graph)
        last = interpreter.last_uses(self.graph, needed)
        for position in needed:
            node = self.graph.nodes[position]
            for name, value in zip(node.outputs, self.outputs(node)):
                self.values[name] = value
            for name in node.inputs:
                if last[name] == position and name != self.graph.output:
                    self.values.pop(name, None)
        result = self.value(self.graph.output)
        if isinstance(result, Unknown):
            raise FormatError(result.why)
        if isinstance(result, Averages):
            raise FormatError(result.why)
        if isinstance(result, SpatialNormPart):
            raise FormatError(f"{result.begun_by}: it multiplies the values with themselves")
        if not isinstance(result, Flow):
            raise FormatError("its result does not depend on its input")
        return result

    def value(self, name: str) -> Any:
        """Return a value: a Flow, a SpatialNormPart, an Unknown, a numpy array, or a constant of the file."""
        if name in self.values:
            return self.values[name]
        return self.graph.constants.get(name) or Unknown(
            f"the parameter {name!r:.100} is computed or missing, not stored"
        )

    def outputs(self, node: Node) -> List[Any]:
        """Compute the outputs of ``node``, which are :class:`Unknown` if it is not supported."""
        inputs = [None if not name else self.value(name) for name in node.inputs]
        unknown = [value for value in inputs if isinstance(value, Unknown)]
        flows = [value for value in inputs if isinstance(value, Flow)]
        if unknown:
            return [unknown[0]] * len(node.outputs)
        try:
            if any(isinstance(value, SpatialNormPart) for value in inputs):
                return [spatial_norm(node, inputs)]
            if any(isinstance(value, Averages) for value in inputs):
                return self.averaged(node, inputs)
            if not flows:
                return self.computed(node, inputs)
            if node.op == "Shape":
                return interpreter.evaluate(node, [np.broadcast_to(np.int64(0), flows[0].shape)], self.graph.opset)
            if flows[0].whole and node.op not in MOVES and node.op != "Cast":
                raise RefusedError("it computes with whole numbers, which a network of the family does not")
            if node.op in MOVES:
                return self.moved(node, inputs, flows)
            return self.handled(node, inputs, flows[0])
        except RefusedError as problem:
            reason = Unknown(f"{described(node)}: {problem}")
        except interpreter.UnknownOpError as problem:
            reason = Unknown(f"{described(node)}: it is {problem:.60}, which no network of the family has")
        except FormatError as problem:
            reason = Unknown(str(problem))
        except interpreter.PROBLEMS as problem:
            message = shown(" ".join(str(problem).split()), 100)
            reason = Unknown(f"{described(node)} cannot be computed: {message}")
        return [reason] * len(node.outputs)

    def handled(self, node: Node, inputs: List[Any], flow: Flow) -> List[Any]:
        """Return the outputs of a node that becomes a layer, is folded into one, or may begin an average pool."""
        handler = HANDLERS.get(node.op)
        why = f"{described(node)} has no place in a network of the family"
        if handler is not None:
            try:
                return [handler(self, node, flow, inputs)]
            except RefusedError as problem:
                why = f"{described(node)}: {problem}"
        return begun(self, node, inputs, why) or [Unknown(why)] * len(node.outputs)

    def averaged(self, node: Node, inputs: List[Any]) -> List[Any]:
        """Return the outputs of a node that may continue an average pool."""
        try:
            return list(continued(self, node, inputs))
        except (RefusedError, FormatError, interpreter.UnknownOpError, *interpreter.PROBLEMS):
            part = next(value for value in inputs if isinstance(value, Averages))
            return [Unknown(part.why)] * len(node.outputs)

    def computed(self, node: Node, inputs: List[Any]) -> List[Any]:
        """Compute a node that does not depend on the picture.

        Shapes and small constants go through the interpreter, weights are passed on with the axes they are used with.
        """
        if node.op == "Constant" and hasattr(node.attributes.get("value"), "array"):
            return [node.attributes["value"]]
        if node.op in ("Identity", "Dropout") and not isinstance(inputs[0], np.ndarray):
            return [inputs[0]] * len(node.outputs)
        stored = [value for value in inputs if not isinstance(value, np.ndarray) and value is not None]
        large = [constant for constant in stored if count(constant) > LARGEST_CONSTANT]
        rearranges = node.op in REARRANGING and len(large) == 1 and large[0] is inputs[0]
        if large and not rearranges:
            raise RefusedError("it computes weights, which must be stored")
        values = [value.array() if hasattr(value, "array") else value for value in inputs[rearranges:]]
        if rearranges:
            return [Rearranged(large[0], node, values, self.graph.opset)]
        require_room(node, values, LARGEST_CONSTANT)
        return interpreter.evaluate(node, values, self.graph.opset)

    def moved(self, node: Node, inputs: List[Any], flows: List[Flow]) -> List[Any]:
        """Apply a node that moves values to their indices."""
        first = flows[0]
        if node.op == "Identity":
            return [first]
        if any(flow.layers != first.layers or flow.gain is not first.gain for flow in flows):
            raise RefusedError("it joins values of different layers")
        if any(flow.columns != first.columns for flow in flows):
            raise RefusedError("it joins parts of different normalization")
        self.charge(sum(math.prod(flow.shape) for flow in flows))
        values = [
            value.positions if isinstance(value, Flow) else value.array() if hasattr(value, "array") else value
            for value in inputs
        ]
        if node.op != "Concat" and any(isinstance(value, Flow) for value in inputs[1:]):
            raise RefusedError("what it does depends on the picture")
        if node.op == "Concat" and len(flows) != len(inputs):
            raise RefusedError("it joins values with constants")
        require_room(node, values, max(2 * first.batch * first.size, SMALL_RESULT))
        moved = interpreter.evaluate(node, values, self.graph.opset)
        self.charge(sum(positions.size for positions in moved))
        mover = described(node)[len("its ") :]
        results = [dataclasses.replace(first, moved=positions, mover=mover) for positions in moved]
        if first.columns is not None and node.op == "Concat":
            return [self.whole_norm(results[0], flows)]
        return results

    def whole_norm(self, joined: Flow, parts: List[Flow]) -> Flow:
        """Join the columns of a network to which LRN was applied one by one.

        :raises RefusedError: if columns are missing, or differ in size.
        """
        sizes = {part.shape[1] for part in parts}
        plain = dataclasses.replace(joined, columns=None)
        if len(sizes) != 1 or not plain.in_place():
            raise RefusedError("the parts of its normalization are not columns")
        options = dict(joined.columns or (), crosses_columns=False)
        return plain.after(Step("lrn", "norm", options), plain.sides)

    def charge(self, count: int) -> None:
        """Count ``count`` values that a node reads or writes.

        :raises RefusedError: if all nodes together have too many.
        """
        self.room -= count
        if self.room < 0:
            raise RefusedError("the nodes before it move the values too often")

    def once(self, constant: Any, node: Node) -> Any:
        """Return a parameter of ``node``, which no other layer may use.

        Each conversion is a copy, and a small file could otherwise request thousands of copies.

        :raises RefusedError: if it is not a stored constant, or another layer uses it.
        """
        if isinstance(constant, np.ndarray):
            return Computed(constant)
        if not hasattr(constant, "array"):
            raise RefusedError("one of its parameters is computed or missing, not stored")
        if max(constant.sides, default=0) > LARGEST_SIDE:
            raise FormatError(f"{getattr(constant, 'name', '')!r:.100} has a side of more than {LARGEST_SIDE}")
        if min(constant.sides, default=0) < 0:
            raise FormatError(f"{getattr(constant, 'name', '')!r:.100} has a side that is not a whole number from 0 up")
        base = getattr(constant, "base", constant)
        owner = self.owners.setdefault(id(base), shown_name(node))
        if owner != shown_name(node):
            raise RefusedError(f"it and '{owner}' share the parameter {getattr(base, 'name', '')!r:.60}")
        return constant


def _result(sides: Tuple[int, ...], flow: Flow, by_place: bool) -> Result:
    layers = list(_ended(flow))
    square = sides[2] == sides[3] > 0
    result = Result(steps=[Step("input", "input", {"size": sides[2] if square else None})])
    number = 0
    for layer in layers:
        if isinstance(layer, Step):
            result.steps.append(layer)
            continue
        number += 1
        name = f"{layer.kind}{number}" if by_place else layer.name
        result.steps.append(Step(layer.kind, name, layer.options))
        for leaf, array in layer.arrays().items():
            full = f"{name}.{leaf}"
            if result.arrays.setdefault(full, array) is not array:
                raise FormatError(f"it has the array {full!r:.100} twice")
    if not result.arrays:
        raise FormatError("it has no layers with weights")
    return result


def _is_vector(flow: Flow) -> bool:
    """Whether there is a value for each class: ``[N, classes]``, or a map of 1 x 1 of a network of convolutions."""
    if len(flow.shape) == 2:
        return True
    return (
        len(flow.shape) == 4
        and flow.sides[1:] == (1, 1)
        and flow.in_classifier
        and sorted(flow.shape[1:])[:2] == [1, 1]
    )


def _ended(flow: Flow) -> Tuple[Any, ...]:
    """Return the layers, with an order of the classes folded into the last layer with weights."""
    layers = list(flow.layers)
    if flow.gain is not None or flow.columns is not None or not _is_vector(flow):
        raise FormatError("its result is not one value for each class")
    if flow.moved is None:
        return tuple(layers)
    if flow.shape[0] != flow.batch:
        raise FormatError(f"its result has {flow.shape[0]} rows for {flow.batch} pictures")
    flow = dataclasses.replace(flow, moved=flow.positions.reshape(flow.batch, -1))
    order = flow.positions[0]
    if not alike(flow, order):
        raise FormatError("its result mixes the images of a batch")
    if flow.shape[1] == flow.size and (order == np.arange(flow.size)).all():
        return tuple(layers)
    last = layers[-1] if layers and isinstance(layers[-1], Step) else None
    if last is not None and last.kind == "softmax" and len(np.unique(order)) != flow.size:
        raise FormatError("it leaves out classes after its softmax")
    position = len(layers) - (2 if last is not None and last.kind in ("act", "softmax") else 1)
    if position < 0 or not isinstance(layers[position], Linear):
        raise FormatError("its result is moved in a way that no network of the family has")
    layers[position] = dataclasses.replace(layers[position], outputs=order.astype(np.intp))
    return tuple(layers)
