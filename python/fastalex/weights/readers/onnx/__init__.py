"""Reader of ``.onnx``: the graph, and the parameters of the Conv, Gemm and MatMul nodes that its result depends on.

Parameters may be in data files beside the model (:mod:`.external`). The numbers of fields and of types are those of
github.com/onnx/onnx, ``onnx/onnx.proto``. Quantized models (QLinearConv, DequantizeLinear, ...) are refused, because
the fp32 file that they were made from is more accurate, and ``fc_weights="int8"`` quantizes it here.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ... import datapath
from ...errors import FormatError
from ...graph import Graph, Node
from ...steps import Step
from .. import mapped
from .. import protobuf_wire as wire
from .external import DataFiles
from .fused import standard
from .tensors import BFLOAT16, DOUBLE, FLOAT, FLOAT16, Tensor

_FLOATS = (0, FLOAT, FLOAT16, DOUBLE, BFLOAT16)  # 0 for a type that is not stated
_CHANNELS = (1, 3)  # of a picture
_INTS = 7  # AttributeProto.AttributeType
_QUANTIZED = ("quant", "qlinear", "qgemm", "convinteger", "matmulinteger")


Files = Tuple[Tuple[str, os.stat_result], ...]


def read(
    stream: BinaryIO, size: int
) -> Tuple[Dict[str, np.ndarray], Dict[str, str], List[Step], Graph, Tuple[()], Files]:
    """Return the arrays, fastalex's own metadata, the layers, the graph, no notes, and the data files.

    The arrays are called ``conv1.weight``, ``conv1.bias``, ... and from the sixth layer on ``fc6.weight``, ...,
    whatever their names in the file. Arrays that need no conversion are views of the mapped file.

    :raises FormatError: if anything is wrong, or the first output depends on a node that no network of the family has.
    """
    budget = wire.Budget()
    content: Optional[memoryview] = None
    metadata: Dict[str, str] = {}
    opset = 1
    for number, _, value in wire.fields(mapped.view_of(stream, size), budget):
        if number == 7:
            content = wire.message(value)
        elif number == 8:
            opset = _opset(wire.message(value), budget) or opset
        elif number == 14:
            metadata.update(_property(wire.message(value), budget))
    if content is None:
        raise FormatError("it has no graph, so it is not an ONNX model")
    files = DataFiles(stream)
    graph = _graph(content, opset, files, budget)
    network = datapath.follow(graph)
    return network.arrays, metadata, network.steps, graph, (), files.files()


def _graph(data: memoryview, opset: int, files: DataFiles, budget: wire.Budget) -> Graph:
    """Read a GraphProto."""
    nodes: List[Node] = []
    tensors: Dict[str, Tensor] = {}
    inputs: List[Tuple[str, int, List[int]]] = []
    outputs: List[str] = []
    for number, _, value in wire.fields(data, budget):
        if number == 1:
            nodes.append(_node(wire.message(value), files, budget))
        elif number == 5:
            tensor = Tensor(wire.message(value), files, budget)
            tensors[tensor.name] = tensor
        elif number == 11:
            inputs.append(_value_info(wire.message(value), budget))
        elif number == 12:
            outputs.append(_value_info(wire.message(value), budget)[0])
    for node in nodes:
        if any(word in node.op.lower() for word in _QUANTIZED):
            raise FormatError(
                f"it is quantized ({node.op!r:.60}); use the fp32 model it was made from, with fc_weights='int8'"
            )
    pictures = [info for info in inputs if info[0] not in tensors]
    if len(pictures) != 1:
        raise FormatError(f"it has {len(pictures)} inputs, a network of the family has one")
    if not outputs:
        raise FormatError("it has no output")
    name, kind, sides = pictures[0]
    shape = tuple(max(side, 0) for side in sides)
    channels_last = _is_channels_last(shape, [node for node in nodes if name in node.inputs])
    if channels_last:
        shape = (shape[0], shape[3], *shape[1:3])
    any_size = len(shape) == 4 and min(shape[2:]) == 0
    return Graph(standard(nodes), tensors, name, shape, outputs[0], opset, any_size, kind in _FLOATS, channels_last)


def _is_channels_last(shape: Sequence[int], readers: Sequence[Node]) -> bool:
    """Whether the picture is given with the channels last, as TensorFlow and Keras have it.

    :param readers: the nodes that read it, which decide if its shape does not.
    """
    if len(shape) != 4 or shape[1] in _CHANNELS:
        return False
    if shape[3] or shape[1]:
        return shape[3] in _CHANNELS
    turned = [node for node in readers if node.op == "Transpose" and node.attributes.get("perm") == [0, 3, 1, 2]]
    return bool(readers) and len(turned) == len(readers)


def _opset(data: memoryview, budget: wire.Budget) -> int:
    """Return the version of an OperatorSetIdProto, or 0 for a domain other than ONNX's own."""
    domain, version = "", 0
    for number, _, value in wire.fields(data, budget):
        if number == 1:
            domain = wire.text(value)
        elif number == 2:
            version = wire.signed(value)
    return version if domain in ("", "ai.onnx") else 0


def _property(data: memoryview, budget: wire.Budget) -> Dict[str, str]:
    """Read a StringStringEntryProto of ``fastalex export``; return an empty dict for any other."""
    parts = {number: wire.message(value) for number, _, value in wire.fields(data, budget) if number in (1, 2)}
    key = wire.text(parts.get(1, memoryview(b"")))
    return {key: bytes(parts[2]).decode("utf-8", "replace")} if key.startswith("fastalex.") and 2 in parts else {}


def _node(data: memoryview, files: DataFiles, budget: wire.Budget) -> Node:
    inputs: List[str] = []
    outputs: List[str] = []
    attributes: Dict[str, Any] = {}
    texts = {3: "", 4: "", 7: ""}  # name, operator, domain
    for number, _, value in wire.fields(data, budget):
        if number == 1:
            inputs.append(wire.text(value))
        elif number == 2:
            outputs.append(wire.text(value))
        elif number in texts:
            texts[number] = wire.text(value)
        elif number == 5:
            name, content = _attribute(wire.message(value), files, budget)
            attributes[name] = content
    op = texts[4] if texts[7] in ("", "ai.onnx") else f"{texts[7]}.{texts[4]}"
    return Node(op, texts[3], inputs, outputs, attributes)


def _attribute(data: memoryview, files: DataFiles, budget: wire.Budget) -> Tuple[str, Any]:
    """Return the name and the value of an AttributeProto; the value is None for a kind that no op of the family has."""
    name, kind = "", 0
    content: Any = None
    ints: List[int] = []
    floats: List[np.ndarray] = []
    for number, wire_type, value in wire.fields(data, budget):
        if number == 1:
            name = wire.text(value)
        elif number == 2:
            content = wire.single(value)
        elif number == 3:
            content = wire.signed(value)
        elif number == 4:
            content = wire.text(value)
        elif number == 5:
            content = Tensor(wire.message(value), files, budget)
        elif number == 7:
            floats.append(wire.numbers(value, "<f4"))
        elif number == 8:
            ints += wire.integers(wire_type, value, budget)
        elif number == 20:
            kind = wire.signed(value)
    if kind == _INTS or ints:
        return name, ints
    return name, wire.joined(floats, "<f4").tolist() if floats else content


def _value_info(data: memoryview, budget: wire.Budget) -> Tuple[str, int, List[int]]:
    """Return the name, type and sides of a graph input, 0 for a type that is not stated or a side that is not fixed."""
    name, kind, sides = "", 0, []
    for number, _, value in wire.fields(data, budget):
        if number == 1:
            name = wire.text(value)
        elif number == 2:
            tensor = _inner(wire.message(value), 1, budget)
            kinds = [wire.signed(v) for number, _, v in wire.fields(tensor, budget) if number == 1]
            kind = kinds[-1] if kinds else 0
            shape = _inner(tensor, 2, budget)
            for inner, _, dimension in wire.fields(shape, budget):
                if inner == 1:
                    side = [v for n, _, v in wire.fields(wire.message(dimension), budget) if n == 1]
                    sides.append(wire.signed(side[-1]) if side else 0)
    return name, kind, sides


def _inner(data: memoryview, field: int, budget: wire.Budget) -> memoryview:
    """Return the message in the last field of number ``field``, empty if there is none."""
    content = memoryview(b"")
    for number, _, value in wire.fields(data, budget):
        if number == field:
            content = wire.message(value)
    return content
