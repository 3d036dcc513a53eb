"""Reader of ``.onnx``: the parameters of a chain of Conv, Gemm and MatMul nodes, named by their place in it.

Numbers of fields and of types are those of github.com/onnx/onnx, ``onnx/onnx.proto``. Quantised models (QLinearConv,
DequantizeLinear, ...) are refused: their rounded weights are worth less than the fp32 file they were made from, and
``fc_weights="int8"`` quantises that one here.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..errors import FormatError
from . import mapped
from . import protobuf_wire as wire
from .steps import Step

_FLOAT, _FLOAT16, _DOUBLE, _BFLOAT16 = 1, 10, 11, 16  # TensorProto.DataType
_RAW = {_FLOAT: "<f4", _FLOAT16: "<f2", _DOUBLE: "<f8", _BFLOAT16: "<u2"}
_ACTIVATIONS = {"Relu": "relu", "Tanh": "tanh"}
# Nodes that change nothing but the shape of what a chain computes, or compute that shape.
_SHAPES = {
    "Cast",
    "Concat",
    "Dropout",
    "Flatten",
    "Gather",
    "Identity",
    "LogSoftmax",
    "Reshape",
    "Shape",
    "Slice",
    "Softmax",
    "Unsqueeze",
}
_QUANTISED = ("quant", "qlinear", "qgemm", "convinteger", "matmulinteger")


class _Node(NamedTuple):
    op: str
    inputs: List[str]
    outputs: List[str]
    attributes: Dict[str, Any]


def read(stream: BinaryIO, size: int) -> Tuple[Dict[str, np.ndarray], Dict[str, str], List[Step]]:
    """The arrays, fastalex's own metadata, and the layers in the order of the graph.

    The arrays are ``conv1.weight``, ``conv1.bias``, ... and go on with ``fc6``, whatever the file calls them. What is
    stored as the network needs it stays a view of the mapped file.

    :raises FormatError: if anything is wrong.
    """
    budget = wire.Budget()
    graph: Optional[memoryview] = None
    metadata: Dict[str, str] = {}
    for number, _, value in wire.fields(mapped.view_of(stream, size), budget):
        if number == 7:
            graph = wire.message(value)
        elif number == 14:
            metadata.update(_property(wire.message(value), budget))
    if graph is None:
        raise FormatError("it has no graph, so it is no ONNX model")
    nodes: List[_Node] = []
    tensors: Dict[str, _Tensor] = {}
    inputs: List[Tuple[str, List[int]]] = []
    for number, _, value in wire.fields(graph, budget):
        if number == 1:
            nodes.append(_node(wire.message(value), budget))
        elif number == 5:
            tensor = _Tensor(wire.message(value), budget)
            tensors[tensor.name] = tensor
        elif number == 11:
            inputs.append(_value_info(wire.message(value), budget))
    arrays, steps = _Chain(tensors).walk(nodes, [sides for name, sides in inputs if name not in tensors])
    return arrays, metadata, steps


def _property(data: memoryview, budget: wire.Budget) -> Dict[str, str]:
    """A StringStringEntryProto if fastalex wrote it (``fastalex export``), else nothing."""
    found = {number: wire.message(value) for number, _, value in wire.fields(data, budget) if number in (1, 2)}
    key = wire.text(found.get(1, memoryview(b"")))
    return {key: bytes(found[2]).decode("utf-8", "replace")} if key.startswith("fastalex.") and 2 in found else {}


class _Tensor:
    """A TensorProto; the array is made when it is asked for."""

    def __init__(self, data: memoryview, budget: wire.Budget) -> None:
        self.name, self.type, self.external, self.used = "", 0, False, False
        self.sides: List[int] = []
        self.raw: Optional[memoryview] = None
        floats: List[np.ndarray] = []
        doubles: List[np.ndarray] = []
        for number, wire_type, value in wire.fields(data, budget):
            if number == 1:
                self.sides += wire.integers(wire_type, value, budget)
            elif number == 2:
                self.type = wire.signed(value)
            elif number == 4:
                floats.append(wire.numbers(value, "<f4"))
            elif number == 10:
                doubles.append(wire.numbers(value, "<f8"))
            elif number == 8:
                self.name = wire.text(value)
            elif number == 9:
                self.raw = wire.message(value)
            elif number == 13 or (number == 14 and value == 1):
                self.external = True
        self.parts = {_FLOAT: (floats, "<f4"), _DOUBLE: (doubles, "<f8")}

    def array(self) -> np.ndarray:
        if self.external:
            raise FormatError(
                "%.100r is in another file; save the model as one file (onnx.save with save_as_external_data=False)"
                % self.name
            )
        if self.type not in _RAW:
            raise FormatError("%.100r has the type %d where floats belong" % (self.name, self.type))
        if self.raw is not None:
            flat = wire.numbers(self.raw, _RAW[self.type])
        elif self.type in self.parts:
            flat = wire.joined(*self.parts[self.type])
        else:
            raise FormatError("%.100r does not hold its half precision numbers as raw data" % self.name)
        flat = mapped.shaped(self.name, flat, self.sides)
        return mapped.widened(flat) if self.type == _BFLOAT16 else flat


class _Chain:
    """Collects arrays and steps along the nodes."""

    def __init__(self, tensors: Dict[str, _Tensor]) -> None:
        self.tensors = tensors
        self.arrays: Dict[str, np.ndarray] = {}
        self.steps: List[Step] = []
        self.layers = 0
        self.waiting: Optional[Tuple[str, str]] = None  # output of a MatMul -> its name: an Add may bring the bias
        self.split = False

    def walk(self, nodes: List[_Node], inputs: List[List[int]]) -> Tuple[Dict[str, np.ndarray], List[Step]]:
        for sides in inputs[:1]:
            square = len(sides) == 4 and sides[2] == sides[3] and sides[2] > 0
            self.steps.append(Step("input", "input", {"size": sides[2] if square else None}))
        for node in nodes:
            self.add(node)
        if not self.arrays:
            raise FormatError("it has no layers with weights")
        return self.arrays, self.steps

    def add(self, node: _Node) -> None:
        if any(word in node.op.lower() for word in _QUANTISED):
            raise FormatError(
                "it is quantised (%.60r); use the fp32 model it was made from, with fc_weights='int8'" % node.op
            )
        handler = getattr(self, "_" + node.op.lower(), None) if node.op in _HANDLED else None
        if handler is not None:
            handler(node)
        elif node.op in _ACTIVATIONS:
            self.steps.append(Step("act", _first(node.outputs), {"function": _ACTIVATIONS[node.op]}))
        elif node.op not in _SHAPES:
            self.steps.append(Step("%.60s" % node.op, _first(node.outputs), {}))

    def _constant(self, node: _Node) -> None:
        tensor = node.attributes.get("value")
        if isinstance(tensor, _Tensor):
            self.tensors[_first(node.outputs)] = tensor

    def _identity(self, node: _Node) -> None:
        source = _first(node.inputs)
        if source in self.tensors:
            self.tensors[_first(node.outputs)] = self.tensors[source]

    def _split(self, node: _Node) -> None:
        self.split = True

    def _conv(self, node: _Node) -> None:
        name = self._layer("conv", node)
        for leaf, source in zip(("weight", "bias"), node.inputs[1:3]):
            self.arrays["%s.%s" % (name, leaf)] = self._tensor(source)
        strides, pads = _pair(node, "strides", 1), _ints(node, "pads") or [0, 0, 0, 0]
        options: Dict[str, Any] = {"groups": _int(node, "group", 1)}
        if len(set(strides)) == 1 and len(pads) == 4 and pads[0] == pads[1]:
            options.update(stride=strides[0], pad=pads[0])
        else:
            raise FormatError("its %s has strides %s and pads %s" % (name, strides[:8], pads[:8]))
        self.steps.append(Step("conv", name, options))

    def _gemm(self, node: _Node) -> None:
        name = self._layer("fc", node)
        if _int(node, "transA", 0):
            raise FormatError("its %s has transA=1" % name)
        weight = self._tensor(node.inputs[1] if len(node.inputs) > 1 else "")
        weight = weight if _int(node, "transB", 0) else weight.T
        self.arrays[name + ".weight"] = _scaled(weight, node.attributes.get("alpha", 1.0))
        if len(node.inputs) > 2:
            bias = self._tensor(node.inputs[2])
            self.arrays[name + ".bias"] = _scaled(bias, node.attributes.get("beta", 1.0)).reshape(-1)
        self.steps.append(Step("fc", name, {}))

    def _matmul(self, node: _Node) -> None:
        if any(len(self.tensors[name].sides) == 4 for name in node.inputs if name in self.tensors):
            self.steps.append(Step("MatMul", _first(node.outputs), {}))  # an adaptive pool, of fastalex's export
            return
        name = self._layer("fc", node)
        self.arrays[name + ".weight"] = self._tensor(node.inputs[1] if len(node.inputs) > 1 else "").T
        self.waiting = (_first(node.outputs), name)
        self.steps.append(Step("fc", name, {}))

    def _add(self, node: _Node) -> None:
        if self.waiting is None or len(node.inputs) != 2 or self.waiting[0] not in node.inputs:
            self.steps.append(Step("Add", _first(node.outputs), {}))
            return
        other = node.inputs[1 - node.inputs.index(self.waiting[0])]
        self.arrays[self.waiting[1] + ".bias"] = self._tensor(other).reshape(-1)
        self.waiting = None

    def _lrn(self, node: _Node) -> None:
        options = {"alpha": 1e-4, "beta": 0.75, "bias": 1.0, "size": 5}
        options.update({key: node.attributes[key] for key in options if key in node.attributes})
        options["k"] = options.pop("bias")
        options["crosses_columns"] = not self.split
        if not self.split or not self.steps or self.steps[-1].kind != "lrn":  # one LRN for each column is one step
            self.steps.append(Step("lrn", _first(node.outputs), options))

    def _concat(self, node: _Node) -> None:
        self.split = False

    def _maxpool(self, node: _Node) -> None:
        pads = _ints(node, "pads") or [0, 0, 0, 0]
        kernel, strides = _pair(node, "kernel_shape", 0), _pair(node, "strides", 1)
        if len(set(kernel)) != 1 or len(set(strides)) != 1 or len(pads) != 4 or pads[:2] != [0, 0]:
            self.steps.append(Step("MaxPool with padding", _first(node.outputs), {}))
            return
        # Converters from Caffe write its rounding up as padding at the end.
        rounding = "ceil" if _int(node, "ceil_mode", 0) or any(pads[2:]) else "floor"
        options = {"kernel": kernel[0], "stride": strides[0], "rounding": rounding}
        self.steps.append(Step("pool", _first(node.outputs), options))

    def _averagepool(self, node: _Node) -> None:
        if set(_ints(node, "kernel_shape")) != {1}:  # PyTorch exports the adaptive pool so at the native size
            self.steps.append(Step("AveragePool", _first(node.outputs), {}))

    def _layer(self, kind: str, node: _Node) -> str:
        self.layers += 1
        self.waiting = None
        return "%s%d" % (kind, self.layers)

    def _tensor(self, name: str) -> np.ndarray:
        if name not in self.tensors:
            raise FormatError("the parameter %.100r is computed or missing, not stored" % name)
        tensor = self.tensors[name]
        if tensor.used:  # each conversion is a copy: a file must not ask for thousands of one tensor
            raise FormatError("two layers share the parameter %.100r" % name)
        tensor.used = True
        return tensor.array()


_HANDLED = {"Add", "AveragePool", "Concat", "Constant", "Conv", "Gemm", "Identity", "LRN", "MatMul", "MaxPool", "Split"}


def _first(names: List[str]) -> str:
    return names[0] if names else ""


def _scaled(array: np.ndarray, factor: Any) -> np.ndarray:
    if not isinstance(factor, float):
        raise FormatError("a Gemm has a factor that is no number")
    return array if factor == 1.0 else array * np.float32(factor)


def _ints(node: _Node, key: str) -> List[int]:
    value = node.attributes.get(key, [])
    if not isinstance(value, list):
        raise FormatError("the attribute %s of a %.60r is no list" % (key, node.op))
    return value


def _pair(node: _Node, key: str, default: int) -> List[int]:
    return _ints(node, key) or [default]


def _int(node: _Node, key: str, default: int) -> int:
    value = node.attributes.get(key, default)
    if not isinstance(value, int):
        raise FormatError("the attribute %s of a %.60r is no whole number" % (key, node.op))
    return value


def _node(data: memoryview, budget: wire.Budget) -> _Node:
    node = _Node("", [], [], {})
    for number, _, value in wire.fields(data, budget):
        if number == 1:
            node.inputs.append(wire.text(value))
        elif number == 2:
            node.outputs.append(wire.text(value))
        elif number == 4:
            node = node._replace(op=wire.text(value))
        elif number == 5:
            name, content = _attribute(wire.message(value), budget)
            node.attributes[name] = content
    return node


def _attribute(data: memoryview, budget: wire.Budget) -> Tuple[str, Any]:
    name, content = "", None
    ints: List[int] = []
    for number, wire_type, value in wire.fields(data, budget):
        if number == 1:
            name = wire.text(value)
        elif number == 2:
            content = wire.single(value)
        elif number == 3:
            content = wire.signed(value)
        elif number == 5:
            content = _Tensor(wire.message(value), budget)
        elif number == 8:
            ints += wire.integers(wire_type, value, budget)
    return name, ints if ints else content


def _value_info(data: memoryview, budget: wire.Budget) -> Tuple[str, List[int]]:
    """Name and sides of a graph input; a side that is not fixed is 0."""
    name, sides = "", []
    for number, _, value in wire.fields(data, budget):
        if number == 1:
            name = wire.text(value)
        elif number == 2:
            shape = _inner(_inner(wire.message(value), 1, budget), 2, budget)
            for inner, _, dimension in wire.fields(shape, budget):
                if inner == 1:
                    side = [v for n, _, v in wire.fields(wire.message(dimension), budget) if n == 1]
                    sides.append(wire.signed(side[-1]) if side else 0)
    return name, sides


def _inner(data: memoryview, wanted: int, budget: wire.Budget) -> memoryview:
    found = memoryview(b"")
    for number, _, value in wire.fields(data, budget):
        if number == wanted:
            found = wire.message(value)
    return found
