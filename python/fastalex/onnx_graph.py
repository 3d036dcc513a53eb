"""An ONNX graph of a variant, by which other engines run the same network.

The package ``onnx`` is imported inside the functions: fastalex itself needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List

import numpy as np

from .errors import UserError
from .layers import Layer
from .variants import Variant

if TYPE_CHECKING:
    import onnx


def graph_of(row: Variant, arrays: Dict[str, np.ndarray], batch: int = 1) -> onnx.ModelProto:
    """``row`` with ``arrays`` as an ONNX model of opset 13.

    Its input is ``x`` [batch, C, H, W]; its only output has the name of the last layer and is [batch, num_classes].

    :raises UserError: where ``onnx`` is not installed, or for a layer that ONNX does not have.
    """
    onnx = _onnx()
    from onnx import TensorProto, helper, numpy_helper

    for layer in row.layers():
        if layer.op not in _ADD:
            raise UserError("%s has the layer '%s' (%s), which ONNX does not have" % (row.name, layer.name, layer.op))
    nodes: List[Any] = []
    value = "x"
    for layer in row.layers():
        value = _ADD[layer.op](nodes, layer, value)
    shape = [batch, row.channels, row.input_size, row.input_size]
    graph = helper.make_graph(
        nodes,
        row.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [batch, row.num_classes])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise UserError("this needs the package onnx: install it with 'pip install onnx'") from None
    return onnx


def _node(nodes: List[Any], op: str, inputs: List[str], output: str, **attributes: Any) -> str:
    from onnx import helper

    nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
    return output


def _conv(nodes: List[Any], layer: Layer, value: str) -> str:
    options = layer.options
    pads = [options["pad"]] * 2
    for axis in (1, 2):  # a window that overhangs reads zeros
        reach = (layer.out_shape[axis] - 1) * options["stride"] + options["kernel"]
        pads.append(max(0, reach - options["pad"] - layer.in_shape[axis]))
    inputs = [value, layer.param + ".weight", layer.param + ".bias"]
    strides, kernel = [options["stride"]] * 2, [options["kernel"]] * 2
    return _node(
        nodes, "Conv", inputs, layer.name, group=options["groups"], kernel_shape=kernel, strides=strides, pads=pads
    )


def _lrn(nodes: List[Any], layer: Layer, value: str) -> str:
    options = layer.options
    constants = {
        "size": options["size"],
        "alpha": options["alpha"] * options["size"],  # ONNX divides by the size
        "beta": options["beta"],
        "bias": options["k"],
    }
    if options["groups"] == 1:
        return _node(nodes, "LRN", [value], layer.name, **constants)
    from onnx import helper

    parts = ["%s.%d" % (layer.name, group) for group in range(options["groups"])]
    nodes.append(helper.make_node("Split", [value], [part + ".in" for part in parts], axis=1))
    for part in parts:
        _node(nodes, "LRN", [part + ".in"], part, **constants)
    return _node(nodes, "Concat", parts, layer.name, axis=1)


def _maxpool(nodes: List[Any], layer: Layer, value: str) -> str:
    options = layer.options
    ceil = int(options["rounding"] == "ceil")
    sides = {"kernel_shape": [options["kernel"]] * 2, "strides": [options["stride"]] * 2}
    return _node(nodes, "MaxPool", [value], layer.name, ceil_mode=ceil, **sides)


def _avgpool(nodes: List[Any], layer: Layer, value: str) -> str:
    if layer.in_shape != layer.out_shape:  # at the native size it is the identity
        raise UserError("ONNX has no adaptive pool; use the variant's own input size")
    return value


def _fc(nodes: List[Any], layer: Layer, value: str) -> str:
    if len(layer.in_shape) == 3:
        value = _node(nodes, "Flatten", [value], layer.name + ".flat", axis=1)
    return _node(nodes, "Gemm", [value, layer.param + ".weight", layer.param + ".bias"], layer.name, transB=1)


_ADD = {
    "conv": _conv,
    "relu": lambda nodes, layer, value: _node(nodes, "Relu", [value], layer.name),
    "tanh": lambda nodes, layer, value: _node(nodes, "Tanh", [value], layer.name),
    "lrn": _lrn,
    "maxpool": _maxpool,
    "adaptive_avgpool": _avgpool,
    "dropout": lambda nodes, layer, value: value,
    "fc": _fc,
}
