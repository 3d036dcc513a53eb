"""Reader of ``.caffemodel``: a NetParameter message, in the three generations of its layers.

Numbers of fields and of enum values are those of github.com/BVLC/caffe, ``src/caffe/proto/caffe.proto``. The input of
conv1 stays in Caffe's order, blue, green, red, which is what the ``caffe`` preprocessing profile feeds.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..errors import FormatError
from . import mapped
from . import protobuf_wire as wire
from .steps import Step

_NET_LAYERS_V1, _NET_LAYERS_V2 = 2, 100
_NET_INPUT_DIM, _NET_INPUT_SHAPE = 4, 8


class _Fields(NamedTuple):
    """Numbers of the fields of a layer message."""

    name: int
    type: int
    blobs: int
    convolution: int
    lrn: int
    pooling: int
    input: int


_V1 = _Fields(name=4, type=5, blobs=6, convolution=10, lrn=18, pooling=19, input=0)
_V2 = _Fields(name=1, type=2, blobs=7, convolution=106, lrn=118, pooling=121, input=143)
_V0_NAME, _V0_TYPE, _V0_BLOBS, _V0_IN_V1 = 1, 2, 50, 1

# Where the options of a layer stand: in a message of their own (V1, V2), or in the layer itself (V0).
_CONVOLUTION = {3: "pad", 4: "kernel", 5: "groups", 6: "stride"}
_POOLING = {1: "method", 2: "kernel", 3: "stride", 4: "pad"}
_LRN = {1: "size", 2: "alpha", 3: "beta", 4: "region", 5: "k"}
_V0_OPTIONS = {
    "conv": {7: "pad", 8: "kernel", 9: "groups", 10: "stride"},
    "pool": {11: "method", 7: "pad", 8: "kernel", 10: "stride"},
    "lrn": {13: "size", 14: "alpha", 15: "beta", 22: "k"},
    "padding": {7: "pad"},
}
_LRN_FLOATS = ("alpha", "beta", "k")
_DEFAULTS: Dict[str, Dict[str, Any]] = {
    "conv": {"pad": 0, "groups": 1, "stride": 1},
    "pool": {"method": 0, "pad": 0, "stride": 1},
    "lrn": {"size": 5, "alpha": 1.0, "beta": 0.75, "k": 1.0, "region": 0},
}
_V1_TYPES = {4: "conv", 14: "fc", 15: "lrn", 17: "pool", 18: "relu", 23: "tanh"}
_V1_IGNORED = (1, 5, 6, 8, 9, 12, 20, 21, 22, 24, 29, 32, 36)  # data, dropout, softmax, loss, accuracy, split
_TYPES = {
    "convolution": "conv",
    "conv": "conv",
    "innerproduct": "fc",
    "lrn": "lrn",
    "pooling": "pool",
    "pool": "pool",
    "relu": "relu",
    "tanh": "tanh",
    "padding": "padding",
    "input": "input",
}
_IGNORED = {
    "accuracy",
    "annotateddata",
    "data",
    "dropout",
    "dummydata",
    "flatten",
    "hdf5data",
    "imagedata",
    "images",
    "memorydata",
    "python",
    "silence",
    "softmax",
    "softmax_loss",
    "softmaxwithloss",
    "split",
    "windowdata",
}


def read(stream: BinaryIO, size: int) -> Tuple[Dict[str, np.ndarray], Dict[str, str], List[Step]]:
    """The arrays, no metadata, and the layers in the order of the file.

    Arrays are named after their layers: ``conv1.weight``, ``conv1.bias``. Packed ``float`` data, which Caffe writes,
    stays a view of the mapped file. Fully connected weights are ``[out, in]`` also where the file has
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
        raise FormatError("it has no layers, so it is no caffemodel")
    layers = [_Layer(data, budget, _V2) for data in modern] or [
        _v1_layer(data, budget) for data in generations[_NET_LAYERS_V1]
    ]
    steps = [_input(sides)] if sides else []
    return _arrays(layers), {}, steps + _steps(layers)


class _Layer:
    """One layer: name, kind, options, and its blobs as arrays."""

    def __init__(self, data: memoryview, budget: wire.Budget, fields: _Fields) -> None:
        self.name, self.kind, self.options = "", "", {}
        self.blobs: List[np.ndarray] = []
        blobs: List[memoryview] = []
        tables = {fields.convolution: _CONVOLUTION, fields.lrn: _LRN, fields.pooling: _POOLING}
        for number, wire_type, value in wire.fields(data, budget):
            if number == fields.name:
                self.name = wire.text(value)
            elif number == fields.type:
                self.kind = _kind_v1(value) if wire_type == wire.VARINT else _kind(wire.text(value))
            elif number == fields.blobs:
                blobs.append(wire.message(value))
            elif number in tables:
                _read_options(self.options, tables[number], wire.message(value), budget)
            elif number == fields.input and number:
                self.options["sides"] = _input_sides(wire.message(value), budget)
        self._finish(blobs, budget)

    def _finish(self, blobs: List[memoryview], budget: wire.Budget) -> None:
        self.options = dict(_DEFAULTS.get(self.kind, {}), **self.options)
        if self.kind in ("conv", "fc"):
            self.blobs = [_blob(self.name, data, budget) for data in blobs]


class _OldLayer(_Layer):
    """V0: the options stand among the fields of the layer."""

    def __init__(self, data: memoryview, budget: wire.Budget, blobs: List[memoryview]) -> None:
        self.name, self.kind, self.options, self.blobs = "", "", {}, []
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
    """A layer of field 2: V1, or V0 inside V1."""
    old: Optional[memoryview] = None
    blobs: List[memoryview] = []
    for number, _, value in wire.fields(data, budget):
        if number == _V0_IN_V1:
            old = wire.message(value)
        elif number == _V1.blobs:
            blobs.append(wire.message(value))
    return _Layer(data, budget, _V1) if old is None else _OldLayer(old, budget, blobs)


def _kind(word: str) -> str:
    """The kind of a layer of type ``word``; "" for one that changes nothing when a network is used."""
    key = word.lower()
    return "" if key in _IGNORED else _TYPES.get(key, word)


def _kind_v1(value: int) -> str:
    return "" if value in _V1_IGNORED else _V1_TYPES.get(value, "type %d" % value)


def _read_options(options: Dict[str, Any], table: Dict[int, str], data: memoryview, budget: wire.Budget) -> None:
    for number, wire_type, value in wire.fields(data, budget):
        if number in table:
            _set_option(options, table[number], wire_type, value, budget)


def _set_option(options: Dict[str, Any], key: str, wire_type: int, value: Any, budget: wire.Budget) -> None:
    if key in _LRN_FLOATS:
        options[key] = wire.single(value)
    else:
        values = wire.integers(wire_type, value, budget)
        if values:
            options[key] = values[-1]


def _input_sides(data: memoryview, budget: wire.Budget) -> List[int]:
    sides: List[int] = []
    for number, _, value in wire.fields(data, budget):
        if number == 1:
            sides += _dimensions(wire.message(value), budget)
    return sides


def _dimensions(data: memoryview, budget: wire.Budget) -> List[int]:
    """A BlobShape."""
    sides: List[int] = []
    for number, wire_type, value in wire.fields(data, budget):
        if number == 1:
            sides += wire.integers(wire_type, value, budget)
    return sides


def _blob(name: str, data: memoryview, budget: wire.Budget) -> np.ndarray:
    """A BlobProto."""
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


def _arrays(layers: List[_Layer]) -> Dict[str, np.ndarray]:
    arrays: Dict[str, np.ndarray] = {}
    for layer in layers:
        if len(layer.blobs) > 2:
            raise FormatError("its layer %.100r has %d blobs, not a weight and a bias" % (layer.name, len(layer.blobs)))
        for leaf, blob in zip(("weight", "bias"), layer.blobs):
            name = "%s.%s" % (layer.name, leaf)
            if name in arrays:
                raise FormatError("it has the array %.100r twice" % name)
            arrays[name] = _without_ones(name, blob, 1 if leaf == "bias" else 4 if layer.kind == "conv" else 2)
    return arrays


def _without_ones(name: str, blob: np.ndarray, dimensions: int) -> np.ndarray:
    """``blob`` with so many dimensions; the old shape has leading ones."""
    extra = blob.ndim - dimensions
    if extra < 0 or any(side != 1 for side in blob.shape[:extra]):
        raise FormatError("%.100r has shape %s, not %d dimensions" % (name, list(blob.shape), dimensions))
    return blob.reshape(blob.shape[extra:])


def _steps(layers: List[_Layer]) -> List[Step]:
    steps: List[Step] = []
    padding = 0
    for layer in layers:
        kind, options = layer.kind, dict(layer.options)
        if kind == "padding":  # V0 pads in a layer of its own
            padding = options.get("pad", 0)
            continue
        if kind == "input" and options.get("sides"):
            steps.append(_input(options["sides"]))
        elif kind in ("relu", "tanh"):
            steps.append(Step("act", layer.name, {"function": kind}))
        elif kind == "lrn":
            region = options.pop("region")
            options["crosses_columns"] = True
            steps.append(Step("spatial_norm" if region else "lrn", layer.name, options))
        elif kind == "pool":
            plain = options.pop("method") == 0 and options.pop("pad") == 0
            # Caffe rounds up: src/caffe/layers/pooling_layer.cpp.
            steps.append(Step("pool" if plain else "other pooling", layer.name, dict(options, rounding="ceil")))
        elif kind == "conv":
            options["pad"] += padding
            padding = 0
            steps.append(Step(kind, layer.name, options))
        elif kind not in ("", "input"):
            steps.append(Step(kind, layer.name, {}))
    return steps


def _input(sides: List[int]) -> Step:
    return Step("input", "input", {"size": sides[2] if len(sides) == 4 and sides[2] == sides[3] else None})
