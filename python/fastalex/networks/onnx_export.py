"""Export of a variant as an ONNX graph, so that other engines can run the same network.

The package ``onnx`` is imported inside the functions: fastalex itself does not need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional

import numpy as np

from ..errors import UserError
from .architecture import OUTPUTS, Variant
from .layers import Layer

if TYPE_CHECKING:
    import onnx

BATCH = "N"  # symbolic name of a batch of any size


def graph_of(
    row: Variant,
    arrays: Mapping[str, Any],
    batch: Optional[int] = 1,
    softmax: bool = False,
    metadata: Optional[Mapping[str, str]] = None,
) -> onnx.ModelProto:
    """Build an ONNX model of ``row`` and its ``arrays``, in the standard operators of opset 13 alone.

    Its input is ``x`` ``[batch, C, H, W]``; its only output is ``[batch, num_classes]`` and named after the last layer.

    :param batch: the size of a batch; None for any size, named :data:`BATCH`.
    :param softmax: make the output probabilities, named ``prob``.
    :param metadata: text to text, for the model's ``metadata_props``.
    :raises UserError: if ``onnx`` is not installed, or two layers have one name.
    """
    onnx = _onnx()
    from onnx import TensorProto, helper, numpy_helper

    names = [layer.name for layer in row.layers()]
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{row.name} has two layers named {name}, and an ONNX file needs a name for each")

    builder = _Builder()
    value = "x"
    for layer in row.layers():
        value = _ADD[layer.op](builder, layer, value)
    if softmax and row.output == OUTPUTS[0]:
        value = builder.node("Softmax", [value], "prob", axis=1)
    count: Any = BATCH if batch is None else batch
    shape = [count, row.channels, row.input_size, row.input_size]
    constants = {**arrays, **builder.constants}
    graph = helper.make_graph(
        builder.nodes,
        row.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, [count, row.num_classes])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="fastalex")
    model.ir_version = 8
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    return model


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise UserError("this needs the package onnx: pip install 'fastalex[onnx]'") from None
    return onnx


class _Builder:
    """The nodes so far, and the constants besides the network's parameters."""

    def __init__(self) -> None:
        self.nodes: List[Any] = []
        self.constants: Dict[str, np.ndarray] = {}

    def node(self, op: str, inputs: List[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        self.constants[name] = np.asarray(values, np.float32)
        return name


def _conv(builder: _Builder, layer: Layer, value: str) -> str:
    options = layer.options
    pads = [options["pad"]] * 2
    for axis in (1, 2):  # an overhanging window reads zeros, which ONNX writes as padding at the end
        reach = (layer.out_shape[axis] - 1) * options["stride"] + options["kernel"]
        pads.append(max(0, reach - options["pad"] - layer.in_shape[axis]))
    inputs = [value, layer.param + ".weight", layer.param + ".bias"]
    strides, kernel = [options["stride"]] * 2, [options["kernel"]] * 2
    return builder.node(
        "Conv", inputs, layer.name, group=options["groups"], kernel_shape=kernel, strides=strides, pads=pads
    )


def _lrn(builder: _Builder, layer: Layer, value: str) -> str:
    options = layer.options
    constants = {
        "size": options["size"],
        "alpha": options["alpha"] * options["size"],  # ONNX divides by the size
        "beta": options["beta"],
        "bias": options["k"],
    }
    if options["groups"] == 1:
        return builder.node("LRN", [value], layer.name, **constants)
    from onnx import helper

    parts = [f"{layer.name}.{group}" for group in range(options["groups"])]
    builder.nodes.append(helper.make_node("Split", [value], [part + ".in" for part in parts], axis=1))
    for part in parts:
        builder.node("LRN", [part + ".in"], part, **constants)
    return builder.node("Concat", parts, layer.name, axis=1)


def _spatial_norm(builder: _Builder, layer: Layer, value: str) -> str:
    """Add a normalization within a channel, for which ONNX has no operator.

    The sum of squares is an average over the window, padding included, times the size of the window.
    """
    options, name = layer.options, layer.name
    size = options["size"]
    squares = builder.node("Mul", [value, value], name + ".squares")
    mean = builder.node(
        "AveragePool",
        [squares],
        name + ".mean",
        kernel_shape=[size] * 2,
        pads=[size // 2] * 4,
        strides=[1, 1],
        count_include_pad=1,
    )
    scaled = builder.node("Mul", [mean, builder.constant(name + ".alpha", options["alpha"] * size**2)], name + ".sum")
    shifted = builder.node("Add", [scaled, builder.constant(name + ".k", options["k"])], name + ".base")
    power = builder.node("Pow", [shifted, builder.constant(name + ".beta", options["beta"])], name + ".power")
    return builder.node("Div", [value, power], name)


def _maxpool(builder: _Builder, layer: Layer, value: str) -> str:
    options = layer.options
    ceil = int(options["rounding"] == "ceil")
    sides = {"kernel_shape": [options["kernel"]] * 2, "strides": [options["stride"]] * 2}
    return builder.node("MaxPool", [value], layer.name, ceil_mode=ceil, **sides)


def _avgpool(builder: _Builder, layer: Layer, value: str) -> str:
    """Add an adaptive average pool as two products with matrices: rows from the left, columns from the right."""
    if layer.in_shape == layer.out_shape:
        return value
    rows = builder.constant(layer.name + ".rows", adaptive_means(layer.in_shape[1], layer.out_shape[1]))
    columns = builder.constant(
        layer.name + ".columns", adaptive_means(layer.in_shape[2], layer.out_shape[2]).swapaxes(2, 3)
    )
    half = builder.node("MatMul", [rows, value], layer.name + ".half")
    return builder.node("MatMul", [half, columns], layer.name)


def adaptive_means(side: int, out: int) -> np.ndarray:
    """Return the matrix ``[1, 1, out, side]`` of the windows of adaptive_avgpool in ``csrc/backend/ops.h``."""
    matrix = np.zeros((1, 1, out, side))
    for i in range(out):
        first, end = i * side // out, -(-(i + 1) * side // out)
        matrix[0, 0, i, first:end] = 1 / (end - first)
    return matrix


def _fc(builder: _Builder, layer: Layer, value: str) -> str:
    if len(layer.in_shape) == 3:
        value = builder.node("Flatten", [value], layer.name + ".flat", axis=1)
    return builder.node("Gemm", [value, layer.param + ".weight", layer.param + ".bias"], layer.name, transB=1)


_ADD: Dict[str, Callable[[_Builder, Layer, str], str]] = {
    "conv": _conv,
    "relu": lambda builder, layer, value: builder.node("Relu", [value], layer.name),
    "tanh": lambda builder, layer, value: builder.node("Tanh", [value], layer.name),
    "sigmoid": lambda builder, layer, value: builder.node("Sigmoid", [value], layer.name),
    "leaky_relu": lambda builder, layer, value: builder.node("LeakyRelu", [value], layer.name, **layer.options),
    "lrn": _lrn,
    "spatial_norm": _spatial_norm,
    "maxpool": _maxpool,
    "adaptive_avgpool": _avgpool,
    "dropout": lambda builder, layer, value: value,
    "fc": _fc,
    "softmax": lambda builder, layer, value: builder.node("Softmax", [value], layer.name, axis=1),
}
