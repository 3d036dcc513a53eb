"""Reader of ``.caffemodel``: a NetParameter message, with layers of any of Caffe's three generations.

The numbers of fields and of enum values are those of github.com/BVLC/caffe, ``src/caffe/proto/caffe.proto``. The
input channels of conv1 stay in Caffe's order, blue, green, red, which the ``caffe`` preprocessing profile supplies.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from .. import datapath
from ..errors import FormatError
from ..graph import Graph, Node
from ..steps import Step
from . import mapped
from . import protobuf_wire as wire

_NET_LAYERS_V1, _NET_LAYERS_V2 = 2, 100
_NET_INPUT_DIM, _NET_INPUT_SHAPE = 4, 8


class _Fields(NamedTuple):
    """Numbers of the fields of a layer message."""

    name: int
    type: int
    bottom: int
    top: int
    blobs: int
    convolution: int
    lrn: int
    pooling: int
    relu: int
    inner_product: int
    power: int
    batch_norm: int
    input: int


_V1 = _Fields(
    name=4,
    type=5,
    bottom=2,
    top=3,
    blobs=6,
    convolution=10,
    lrn=18,
    pooling=19,
    relu=30,
    inner_product=17,
    power=21,
    batch_norm=0,
    input=0,
)
_V2 = _Fields(
    name=1,
    type=2,
    bottom=3,
    top=4,
    blobs=7,
    convolution=106,
    lrn=118,
    pooling=121,
    relu=123,
    inner_product=117,
    power=122,
    batch_norm=139,
    input=143,
)
_V0_NAME, _V0_TYPE, _V0_BLOBS, _V0_IN_V1 = 1, 2, 50, 1

# Options of layers by field number, in a message of their own (V1, V2) or in the layer itself (V0).
_CONVOLUTION = {3: "pad", 4: "kernel", 5: "groups", 6: "stride", 18: "dilation"}
_CONVOLUTION.update({9: "pad_h", 10: "pad_w", 11: "kernel_h", 12: "kernel_w", 13: "stride_h", 14: "stride_w"})
_POOLING = {1: "method", 2: "kernel", 3: "stride", 4: "pad", 12: "global", 13: "floor"}
_POOLING.update({5: "kernel_h", 6: "kernel_w", 7: "stride_h", 8: "stride_w", 9: "pad_h", 10: "pad_w"})
_INNER_PRODUCT = {6: "transposed"}
_RELU = {1: "slope"}
_POWER = {1: "power", 2: "scale", 3: "shift"}
_BATCH_NORM = {3: "eps"}
_LRN = {1: "size", 2: "alpha", 3: "beta", 4: "region", 5: "k"}
_V0_OPTIONS = {
    "conv": {7: "pad", 8: "kernel", 9: "groups", 10: "stride"},
    "pool": {11: "method", 7: "pad", 8: "kernel", 10: "stride"},
    "lrn": {13: "size", 14: "alpha", 15: "beta", 22: "k"},
    "padding": {7: "pad"},
}
_FLOATS = ("alpha", "beta", "k", "slope", "power", "scale", "shift", "eps")
_DEFAULTS: Dict[str, Dict[str, Any]] = {
    "conv": {"pad": 0, "groups": 1, "stride": 1, "dilation": 1},
    "pool": {"method": 0, "pad": 0, "stride": 1, "global": 0, "floor": 0},
    "lrn": {"size": 5, "alpha": 1.0, "beta": 0.75, "k": 1.0, "region": 0},
    "relu": {"slope": 0.0},
    "power": {"power": 1.0, "scale": 1.0, "shift": 0.0},
    "batchnorm": {"eps": 1e-5},
}
_V1_TYPES = {4: "conv", 14: "fc", 15: "lrn", 17: "pool", 18: "relu", 19: "sigmoid", 20: "softmax", 23: "tanh"}
_V1_TYPES.update({26: "power"})
_V1_TYPES.update({6: "same", 8: "same", 22: "same"})  # dropout, flatten, split, which do not change the values
_V1_TYPES.update({1: "end", 21: "end", 36: "end"})  # accuracy, loss, silence, which are not part of the network
_V1_TYPES.update({5: "data", 9: "data", 12: "data", 24: "data", 29: "data", 32: "data"})
_V1_NAMES = {2: "BNLL", 3: "Concat", 25: "Eltwise", 33: "Slice", 35: "AbsVal"}
_TYPES = {
    "convolution": "conv",
    "conv": "conv",
    "innerproduct": "fc",
    "lrn": "lrn",
    "pooling": "pool",
    "pool": "pool",
    "relu": "relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "padding": "padding",
    "input": "input",
    "softmax": "softmax",
    "power": "power",
    "batchnorm": "batchnorm",
    "scale": "scale",
}
_TYPES.update(dict.fromkeys(("dropout", "flatten", "split"), "same"))
_TYPES.update(dict.fromkeys(("accuracy", "python", "silence", "softmax_loss", "softmaxwithloss"), "end"))
_TYPES.update(dict.fromkeys(("annotateddata", "data", "dummydata", "hdf5data", "imagedata", "images"), "data"))
_TYPES.update(dict.fromkeys(("memorydata", "windowdata"), "data"))


def read(stream: BinaryIO, size: int) -> Tuple[Dict[str, np.ndarray], Dict[str, str], List[Step], Graph]:
    """Return the arrays, empty metadata, the layers, and the graph.

    Arrays are named after their layers: ``conv1.weight``, ``conv1.bias``. Packed ``float`` data, which Caffe writes,
    stays a view of the mapped file. Fully connected weights are ``[out, in]`` even if the file has
    ``[1, 1, out, in]``.

    :raises FormatError: if anything is wrong.
    """
    budget = wire.Budget()
    generations: Dict[int, List[memoryview]] = {_NET_LAYERS_V1: [], _NET_LAYERS_V2: []}
    sides: List[int] = []
    for number, kind, value in wire.fields(mapped.view_of(stream, size), budget):
        if number in generations:
            generations[number].append(wire.message(value))
        elif number == _NET_INPUT_DIM:
            sides += wire.integers(kind, value, budget)
        elif number == _NET_INPUT_SHAPE:
            sides += _dimensions(wire.message(value), budget)
    modern = generations[_NET_LAYERS_V2]
    if not modern and not generations[_NET_LAYERS_V1]:
        raise FormatError("it has no layers, so it is not a caffemodel")
    layers = [_Layer(data, budget, _V2) for data in modern] or [
        _v1_layer(data, budget) for data in generations[_NET_LAYERS_V1]
    ]
    graph = _graph(layers, sides)
    network = datapath.follow(graph, by_place=False)
    return network.arrays, {}, network.steps, graph


class _Layer:
    """A layer: its name, kind, options, and its blobs as arrays."""

    def __init__(self, data: memoryview, budget: wire.Budget, fields: _Fields) -> None:
        self._clear()
        blobs: List[memoryview] = []
        tables = {fields.convolution: _CONVOLUTION, fields.lrn: _LRN, fields.pooling: _POOLING, fields.relu: _RELU}
        tables.update({fields.inner_product: _INNER_PRODUCT, fields.power: _POWER, fields.batch_norm: _BATCH_NORM})
        for number, wire_type, value in wire.fields(data, budget):
            if number == fields.name:
                self.name = wire.text(value)
            elif number == fields.type:
                self.kind = _kind_v1(value) if wire_type == wire.VARINT else _kind(wire.text(value))
            elif number == fields.bottom:
                self.bottoms.append(wire.text(value))
            elif number == fields.top:
                self.tops.append(wire.text(value))
            elif number == fields.blobs:
                blobs.append(wire.message(value))
            elif number in tables:
                _read_options(self.options, tables[number], wire.message(value), budget)
            elif number == fields.input and number:
                self.options["sides"] = _input_sides(wire.message(value), budget)
        self._finish(blobs, budget)

    def _clear(self) -> None:
        self.name, self.kind = "", ""
        self.options: Dict[str, Any] = {}
        self.bottoms: List[str] = []
        self.tops: List[str] = []
        self.blobs: List[np.ndarray] = []

    def _finish(self, blobs: List[memoryview], budget: wire.Budget) -> None:
        self.options = dict(_DEFAULTS.get(self.kind, {}), **self.options)
        if self.kind in ("conv", "fc", "batchnorm", "scale"):
            self.blobs = [read_blob(self.name, data, budget) for data in blobs]


class _OldLayer(_Layer):
    """A layer of generation V0, whose options are fields of the layer itself."""

    def __init__(self, data: memoryview, budget: wire.Budget, blobs: List[memoryview]) -> None:
        self._clear()
        own = list(wire.fields(data, budget))
        for number, _, value in own:
            if number == _V0_NAME:
                self.name = wire.text(value)
            elif number == _V0_TYPE:
                self.kind = _kind(wire.text(value))
        table = _V0_OPTIONS.get(self.kind, {})
        for number, wire_type, value in own:
            if number in table:
                _set_option(self.options, table[number], wire_type, value, budget)
        self._finish([wire.message(value) for number, _, value in own if number == _V0_BLOBS] or blobs, budget)


def _v1_layer(data: memoryview, budget: wire.Budget) -> _Layer:
    """Read a layer of field 2: V1, or V0 inside V1."""
    old: Optional[memoryview] = None
    blobs: List[memoryview] = []
    for number, _, value in wire.fields(data, budget):
        if number == _V0_IN_V1:
            old = wire.message(value)
        elif number == _V1.blobs:
            blobs.append(wire.message(value))
    return _Layer(data, budget, _V1) if old is None else _OldLayer(old, budget, blobs)


def _kind(word: str) -> str:
    """Return the kind of a layer of type ``word``, or the word itself for an unknown type."""
    return _TYPES.get(word.lower(), word)


def _kind_v1(value: int) -> str:
    return _V1_TYPES.get(value, _V1_NAMES.get(value, f"type {value}"))


def _read_options(options: Dict[str, Any], table: Dict[int, str], data: memoryview, budget: wire.Budget) -> None:
    for number, wire_type, value in wire.fields(data, budget):
        if number in table:
            _set_option(options, table[number], wire_type, value, budget)


def _set_option(options: Dict[str, Any], key: str, wire_type: int, value: Any, budget: wire.Budget) -> None:
    if key in _FLOATS:
        options[key] = wire.single(value)
    else:
        for number in wire.integers(wire_type, value, budget):
            if options.setdefault(key, number) != number:  # a number for each side, which differ
                options["uneven"] = True


def _input_sides(data: memoryview, budget: wire.Budget) -> List[int]:
    sides: List[int] = []
    for number, _, value in wire.fields(data, budget):
        if number == 1:
            sides += _dimensions(wire.message(value), budget)
    return sides


def _dimensions(data: memoryview, budget: wire.Budget) -> List[int]:
    """Read a BlobShape."""
    sides: List[int] = []
    for number, wire_type, value in wire.fields(data, budget):
        if number == 1:
            sides += wire.integers(wire_type, value, budget)
    return sides


def read_blob(name: str, data: memoryview, budget: wire.Budget) -> np.ndarray:
    """Read a BlobProto."""
    parts: Dict[str, List[np.ndarray]] = {"<f4": [], "<f8": []}
    old, shape = [0, 0, 0, 0], None
    for number, wire_type, value in wire.fields(data, budget):
        if number == 5:
            parts["<f4"].append(wire.numbers(value, "<f4"))
        elif number == 8:
            parts["<f8"].append(wire.numbers(value, "<f8"))
        elif number == 7:
            shape = _dimensions(wire.message(value), budget)
        elif 1 <= number <= 4 and wire_type == wire.VARINT:
            old[number - 1] = wire.signed(value)
    dtype = "<f8" if parts["<f8"] else "<f4"
    return mapped.shaped(name, wire.joined(parts[dtype], dtype), old if shape is None else shape)


# The graph ------------------------------------------------------------------------------------------------------------


class _Blob(NamedTuple):
    """A constant of the graph: a blob of a layer."""

    name: str
    values: np.ndarray

    @property
    def sides(self) -> List[int]:
        return list(self.values.shape)

    def array(self) -> np.ndarray:
        return self.values


def _graph(layers: List[_Layer], sides: List[int]) -> Graph:
    """Translate the layers to ONNX's ops. A layer that does not name its input reads the one before it."""
    builder = _Builder()
    for layer in layers:
        builder.add(layer, sides)
    if not builder.nodes:
        raise FormatError("it has no layers with weights")
    return Graph(builder.nodes, builder.constants, _PICTURE, tuple(sides), builder.output())


_PICTURE = "picture"


class _Builder:
    """The nodes and constants so far.

    ``blobs`` holds the current value of each name of Caffe's, which changes when a layer works in place.
    """

    def __init__(self) -> None:
        self.nodes: List[Node] = []
        self.constants: Dict[str, _Blob] = {}
        self.blobs: Dict[str, str] = {}
        self.last = _PICTURE
        self.padding = 0
        self.unread: Dict[str, None] = {}  # values that no layer has read yet, in the order of the layers

    def add(self, layer: _Layer, sides: List[int]) -> None:
        """Add the nodes of ``layer``; an input layer replaces ``sides``, those of the picture, in place."""
        if layer.kind in ("input", "data"):
            if layer.options.get("sides"):
                sides[:] = layer.options["sides"]
            self.blobs.update(dict.fromkeys(layer.tops[:1], _PICTURE))
            return
        if layer.kind == "end":
            return
        if layer.kind == "padding":  # V0 has a layer for the padding of the convolution after it
            self.padding = layer.options.get("pad", 0)
            return
        inputs = [self.blobs.get(name, _PICTURE) for name in layer.bottoms] or [self.last]
        for name in inputs:
            self.unread.pop(name, None)
        for op, attributes, blobs in self.nodes_of(layer):
            number = len(self.nodes)
            names = []
            for leaf, values in blobs.items():
                name = f"{number}.{leaf}"
                self.constants[name] = _Blob(f"{layer.name}.{leaf}", values)
                names.append(name)
            result = f"{number}"
            self.nodes.append(Node(op, layer.name, [*inputs, *names], [result], attributes))
            inputs = [result]
        self.last = inputs[0]
        self.unread[self.last] = None
        self.blobs.update(dict.fromkeys(layer.tops, self.last))

    def output(self) -> str:
        """Return the last value that no layer reads."""
        return list(self.unread)[-1]

    def nodes_of(self, layer: _Layer) -> List[Tuple[str, Dict[str, Any], Dict[str, np.ndarray]]]:
        """Return (op, attributes, constants) of each node of ``layer``."""
        handler = getattr(self, "_" + layer.kind, None) if layer.kind in _HANDLED else None
        options = dict(layer.options)
        nodes: List[Tuple[str, Dict[str, Any], Dict[str, np.ndarray]]] = [(layer.kind, {}, {})]
        return nodes if handler is None else handler(layer, options)

    def _conv(self, layer: _Layer, options: Dict[str, Any]) -> Any:
        even = _square(options)
        pad, self.padding = options["pad"] + self.padding, 0
        if not even:
            return [("Convolution whose pad, kernel_size or stride differ by side", {}, {})]
        if options["dilation"] != 1:
            return [("Convolution with dilation", {}, {})]
        attributes = {"group": options["groups"], "strides": [options["stride"]] * 2, "pads": [pad] * 4}
        return [("Conv", attributes, _named(layer, 4))]

    def _fc(self, layer: _Layer, options: Dict[str, Any]) -> Any:
        return [
            ("Flatten", {"axis": 1}, {}),
            ("Gemm", {"transB": int(not options.get("transposed", 0))}, _named(layer, 2)),
        ]

    def _lrn(self, layer: _Layer, options: Dict[str, Any]) -> Any:
        if options["region"]:
            return [("LRN within a channel", {}, {})]
        names = (("size", "size"), ("alpha", "alpha"), ("beta", "beta"), ("bias", "k"))
        return [("LRN", {name: options[key] for name, key in names}, {})]

    def _pool(self, layer: _Layer, options: Dict[str, Any]) -> Any:
        even, kinds = _square(options), {0: "Max", 1: "Average"}
        if options["method"] not in kinds or not even:
            return [("pooling of another kind", {}, {})]
        word = kinds[options["method"]]
        if options["global"]:
            return [(f"Global{word}Pool", {}, {})]
        if "kernel" not in options:
            raise FormatError(f"its layer {layer.name!r:.100} has no window")
        attributes: Dict[str, Any] = {"kernel_shape": [options["kernel"]] * 2, "strides": [options["stride"]] * 2}
        attributes["pads"] = [options["pad"]] * 4
        attributes["ceil_mode"] = int(not options["floor"])  # rounding up: src/caffe/layers/pooling_layer.cpp
        return [(f"{word}Pool", attributes, {})]

    def _relu(self, layer: _Layer, options: Dict[str, Any]) -> Any:
        slope = options["slope"]
        return [("Relu", {}, {}) if slope == 0 else ("LeakyRelu", {"alpha": slope}, {})]

    def _tanh(self, layer: _Layer, options: Dict[str, Any]) -> Any:
        return [("Tanh", {}, {})]

    def _sigmoid(self, layer: _Layer, options: Dict[str, Any]) -> Any:
        return [("Sigmoid", {}, {})]

    def _same(self, layer: _Layer, options: Dict[str, Any]) -> Any:
        return [("Identity", {}, {})]

    def _softmax(self, layer: _Layer, options: Dict[str, Any]) -> Any:
        return [("Softmax", {"axis": 1}, {})]

    def _power(self, layer: _Layer, options: Dict[str, Any]) -> Any:
        if options["power"] != 1.0:
            return [("Power", {}, {})]
        scale, shift = (np.array([options[key]], np.float32) for key in ("scale", "shift"))
        return [("Mul", {"type": "Power"}, {"scale": scale}), ("Add", {"type": "Power"}, {"shift": shift})]

    def _batchnorm(self, layer: _Layer, options: Dict[str, Any]) -> Any:
        if len(layer.blobs) != 3:
            raise FormatError(f"its layer {layer.name!r:.100} has {len(layer.blobs)} blobs, not three")
        mean, variance, total = (blob.reshape(-1).astype(np.float32) for blob in layer.blobs)
        factor = np.float32(0 if total[0] == 0 else 1 / total[0])  # src/caffe/layers/batch_norm_layer.cpp
        constants = {"scale": np.ones_like(mean), "shift": np.zeros_like(mean)}
        constants.update(mean=mean * factor, variance=variance * factor)
        return [("BatchNormalization", {"type": "BatchNorm", "epsilon": options["eps"]}, constants)]

    def _scale(self, layer: _Layer, options: Dict[str, Any]) -> Any:
        if len(layer.blobs) not in (1, 2):
            return [("Scale by another layer", {}, {})]
        scale = layer.blobs[0].reshape(-1).astype(np.float32)
        shift = layer.blobs[1].reshape(-1).astype(np.float32) if len(layer.blobs) == 2 else np.zeros_like(scale)
        constants = {"scale": scale, "shift": shift, "mean": np.zeros_like(scale), "variance": np.ones_like(scale)}
        return [("BatchNormalization", {"type": "Scale", "epsilon": 0.0}, constants)]


_HANDLED = {"batchnorm", "conv", "fc", "lrn", "pool", "power", "relu", "same", "scale", "sigmoid", "softmax", "tanh"}


def _named(layer: _Layer, dimensions: int) -> Dict[str, np.ndarray]:
    """Return the weight, reduced to ``dimensions``, and the bias of a layer by name."""
    if len(layer.blobs) > 2:
        raise FormatError(f"its layer {layer.name!r:.100} has {len(layer.blobs)} blobs, not a weight and a bias")
    named = {}
    for leaf, blob in zip(("weight", "bias"), layer.blobs):
        named[leaf] = _without_ones(f"{layer.name}.{leaf}", blob, 1 if leaf == "bias" else dimensions)
    return named


def _without_ones(name: str, blob: np.ndarray, dimensions: int) -> np.ndarray:
    """Return ``blob`` with so many ``dimensions``, without the leading ones of Caffe's old shapes."""
    extra = blob.ndim - dimensions
    if extra < 0 or any(side != 1 for side in blob.shape[:extra]):
        raise FormatError(f"{name!r:.100} has shape {list(blob.shape)}, not {dimensions} dimensions")
    return blob.reshape(blob.shape[extra:])


def _square(options: Dict[str, Any]) -> bool:
    """Whether heights and widths are equal. Options of their own for a height and a width are joined, in place."""
    even = not options.pop("uneven", False)
    for key in ("pad", "kernel", "stride"):
        height, width = options.pop(key + "_h", None), options.pop(key + "_w", None)
        if height is not None or width is not None:
            even = even and height == width
            options[key] = height
    return even
