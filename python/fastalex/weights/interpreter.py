"""A small reference interpreter of a :class:`~fastalex.weights.graph.Graph`, in numpy: one function for each op.

It shares nothing with the readers, so that :mod:`fastalex.selftest.files` can compare a network that was read from a
file with the file itself. The semantics are those of github.com/onnx/onnx, ``docs/Operators.md``, in float32.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np

from .graph import Graph, Node, attribute, optional_input

Arrays = List[np.ndarray]
PART = 32  # rows or columns of a matrix that are copied at a time


#: Errors that numpy raises if the shapes of a graph do not fit each other.
PROBLEMS = (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError, MemoryError)


class UnknownOpError(Exception):
    """An op, or a form of an op, that the interpreter does not implement; the message names it."""


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    """Compute ``graph`` for pictures ``x``, float32. Values are freed after their last use.

    ``x`` is ``[N, C, H, W]``, or ``[N, H, W, C]`` if the graph takes the channels last.

    :raises UnknownOpError: if the result needs an op that is not in :data:`OPS`.
    """
    needed = needed_nodes(graph)
    last = last_uses(graph, needed)
    values: Dict[str, np.ndarray] = {graph.input: x}
    for position in needed:
        node = graph.nodes[position]
        inputs = [_value(graph, values, name) for name in node.inputs]
        for name, value in zip(node.outputs, evaluate(node, inputs, graph.opset)):
            values[name] = value
        for name in node.inputs:
            if last[name] == position and name != graph.output:
                values.pop(name, None)
    return values[graph.output]


def evaluate(node: Node, inputs: Sequence[Any], opset: int = 13) -> Arrays:
    """Compute the outputs of one node; an input that is left out is None.

    :raises UnknownOpError: for an op that is not in :data:`OPS`.
    """
    if node.op not in OPS:
        raise UnknownOpError(node.op)
    return [np.asarray(value) for value in OPS[node.op](node, list(inputs), opset)]


def needed_nodes(graph: Graph) -> List[int]:
    """Return the positions of the nodes that the result depends on, in order."""
    makers = {name: position for position, node in enumerate(graph.nodes) for name in node.outputs}
    needed, waiting = set(), [graph.output]
    while waiting:
        position = makers.get(waiting.pop())
        if position is not None and position not in needed:
            needed.add(position)
            waiting += graph.nodes[position].inputs
    return sorted(needed)


def last_uses(graph: Graph, needed: Sequence[int]) -> Dict[str, int]:
    """Return, for the name of each value, the position of the last node in ``needed`` that reads it."""
    return {name: position for position in needed for name in graph.nodes[position].inputs}


def _value(graph: Graph, values: Dict[str, np.ndarray], name: str) -> Any:
    if not name:
        return None
    return values[name] if name in values else graph.constants[name].array()


# Layers -------------------------------------------------------------------------------------------------------------


def _pads(node: Node, sides: Sequence[int], kernel: Sequence[int]) -> Tuple[int, int, int, int]:
    """Return the padding (top, left, bottom, right) of a map of ``sides``."""
    kind = attribute(node, "auto_pad", "NOTSET")
    if kind in ("NOTSET", "VALID"):
        top, left, bottom, right = attribute(node, "pads", [0, 0, 0, 0])
    elif kind in ("SAME_UPPER", "SAME_LOWER"):
        strides = attribute(node, "strides", [1, 1])
        totals = []
        for side, size, stride in zip(sides, kernel, strides):
            totals.append(max((-(-side // stride) - 1) * stride + size - side, 0))
        less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
        (top, left), (bottom, right) = (less, more) if kind == "SAME_UPPER" else (more, less)
    else:
        raise UnknownOpError(f"{node.op} with auto_pad={kind}")
    return top, left, bottom, right


def _windows(x: np.ndarray, kernel: Sequence[int], strides: Sequence[int], counts: Sequence[int]) -> np.ndarray:
    """Return the values in each window as a view ``[N, C, rows, columns, kernel height, kernel width]`` of ``x``."""
    n, c, down, along = x.strides
    shape = (*x.shape[:2], *counts, *kernel)
    return np.lib.stride_tricks.as_strided(x, shape, (n, c, down * strides[0], along * strides[1], down, along))


def _conv(node: Node, inputs: List[Any], opset: int) -> Arrays:
    x, weight = inputs[:2]
    groups, strides = attribute(node, "group", 1), attribute(node, "strides", [1, 1])
    if set(attribute(node, "dilations", [1])) != {1}:
        raise UnknownOpError("Conv with dilations")
    kernel = weight.shape[2:]
    top, left, bottom, right = _pads(node, x.shape[2:], kernel)
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    counts = [(x.shape[2 + i] - kernel[i]) // strides[i] + 1 for i in range(2)]
    out = np.empty((len(x), len(weight), *counts), np.float32)
    inner, outer = x.shape[1] // groups, len(weight) // groups
    for group in range(groups):
        rows = weight[group * outer : (group + 1) * outer].reshape(outer, -1)
        seen = _windows(x[:, group * inner : (group + 1) * inner], kernel, strides, counts)
        for image in range(len(x)):
            columns = seen[image].transpose(0, 3, 4, 1, 2).reshape(inner * kernel[0] * kernel[1], -1)
            out[image, group * outer : (group + 1) * outer] = (rows @ columns).reshape(outer, *counts)
    bias = optional_input(inputs, 2)
    if bias is not None:
        out += bias.reshape(1, -1, 1, 1)
    return [out]


def _max_pool(node: Node, inputs: List[Any], opset: int) -> Arrays:
    (x,) = inputs
    kernel, strides = node.attributes["kernel_shape"], attribute(node, "strides", [1, 1])
    if set(attribute(node, "dilations", [1])) != {1}:
        raise UnknownOpError("MaxPool with dilations")
    top, left, bottom, right = _pads(node, x.shape[2:], kernel)
    counts, ends = [], []
    for side, before, after, size, stride in zip(x.shape[2:], (top, left), (bottom, right), kernel, strides):
        room = side + before + after - size
        count = (-(-room // stride) if attribute(node, "ceil_mode", 0) else room // stride) + 1
        if attribute(node, "ceil_mode", 0) and (count - 1) * stride >= side + before:
            count -= 1  # the last window would start in the padding at the end
        counts.append(count)
        ends.append(max(after, (count - 1) * stride + size - side - before))
    x = np.pad(x, ((0, 0), (0, 0), (top, ends[0]), (left, ends[1])), constant_values=-np.inf)
    return [_windows(x, kernel, strides, counts).max(axis=(4, 5))]


def _average_pool(node: Node, inputs: List[Any], opset: int) -> Arrays:
    (x,) = inputs
    kernel, strides = node.attributes["kernel_shape"], attribute(node, "strides", [1, 1])
    top, left, bottom, right = _pads(node, x.shape[2:], kernel)
    if attribute(node, "ceil_mode", 0):
        raise UnknownOpError("AveragePool with ceil_mode")

    def sums(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
        counts = [(padded.shape[2 + i] - kernel[i]) // strides[i] + 1 for i in range(2)]
        result: np.ndarray = _windows(padded, kernel, strides, counts).sum(axis=(4, 5), dtype=np.float32)
        return result

    areas = np.float32(kernel[0] * kernel[1]) if attribute(node, "count_include_pad", 0) else sums(np.ones_like(x))
    return [sums(x) / areas]


def _lrn(node: Node, inputs: List[Any], opset: int) -> Arrays:
    (x,) = inputs
    size = node.attributes["size"]
    alpha, beta, bias = (attribute(node, key, value) for key, value in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    before = (size - 1) // 2
    squares = np.pad(np.square(x), ((0, 0), (before, size - 1 - before), (0, 0), (0, 0)))
    sums = squares[:, : x.shape[1]].copy()
    for first in range(1, size):
        sums += squares[:, first : first + x.shape[1]]
    base = np.float32(bias) + np.float32(alpha / size) * sums
    root = np.sqrt(base)
    return [x / (root * np.sqrt(root) if beta == 0.75 else base ** np.float32(beta))]  # two roots are much quicker


def _batch_normalization(node: Node, inputs: List[Any], opset: int) -> Arrays:
    if attribute(node, "training_mode", 0):
        raise UnknownOpError("BatchNormalization in training mode")
    x = inputs[0]
    scale, shift, mean, variance = (value.reshape(-1, *[1] * (x.ndim - 2)) for value in inputs[1:5])
    return [(x - mean) / np.sqrt(variance + np.float32(attribute(node, "epsilon", 1e-5))) * scale + shift]


def product(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Compute ``x @ matrix`` without a copy of all of an unaligned ``matrix``.

    numpy copies a matrix whose address in the mapped file is not a multiple of four. Done in parts, the copy stays in
    the cache, and memory does not hold the weights twice.
    """
    if matrix.ndim != 2 or x.ndim != 2 or matrix.flags.aligned:
        whole: np.ndarray = x @ matrix
        return whole
    if matrix.flags.f_contiguous:
        starts = range(0, max(matrix.shape[1], 1), PART)
        return np.concatenate([x @ matrix[:, start : start + PART] for start in starts], axis=1)
    out = np.zeros((len(x), matrix.shape[1]), np.float32)
    for start in range(0, len(matrix), PART):
        out += x[:, start : start + PART] @ matrix[start : start + PART]
    return out


def _gemm(node: Node, inputs: List[Any], opset: int) -> Arrays:
    x, weight = inputs[:2]
    x = x.T if attribute(node, "transA", 0) else x
    out = product(x, weight.T if attribute(node, "transB", 0) else weight)
    out = out * np.float32(attribute(node, "alpha", 1.0))
    bias = optional_input(inputs, 2)
    if bias is not None:
        out = out + np.float32(attribute(node, "beta", 1.0)) * bias
    return [out]


def _softmax(node: Node, inputs: List[Any], opset: int) -> Arrays:
    (x,) = inputs
    axis = attribute(node, "axis", -1 if opset >= 13 else 1)
    rows = x if opset >= 13 else x.reshape(math.prod(x.shape[:axis]), -1)  # older ones are over all later axes
    axis = axis if opset >= 13 else 1
    exponentials = np.exp(rows - rows.max(axis=axis, keepdims=True))
    return [(exponentials / exponentials.sum(axis=axis, keepdims=True)).reshape(x.shape)]


def _global_average(node: Node, inputs: List[Any], opset: int) -> Arrays:
    return [inputs[0].mean(axis=(2, 3), keepdims=True, dtype=np.float32)]


def _reduction(function: Callable[..., Any]) -> Callable[[Node, List[Any], int], Arrays]:
    def compute(node: Node, inputs: List[Any], opset: int) -> Arrays:
        over = axes(node, inputs) or None  # none is all of them
        if over is None and attribute(node, "noop_with_empty_axes", 0):
            return [inputs[0]]
        return [function(inputs[0], axis=over, keepdims=bool(attribute(node, "keepdims", 1)))]

    return compute


def _relu(node: Node, inputs: List[Any], opset: int) -> Arrays:
    return [np.maximum(inputs[0], 0)]


def _leaky_relu(node: Node, inputs: List[Any], opset: int) -> Arrays:
    slope = np.float32(attribute(node, "alpha", 0.01))
    return [np.where(inputs[0] < 0, slope * inputs[0], inputs[0])]


def _sigmoid(node: Node, inputs: List[Any], opset: int) -> Arrays:
    tail = np.exp(-np.abs(inputs[0]))  # the exponent is never positive, so that nothing overflows
    return [np.where(inputs[0] < 0, tail, np.float32(1)) / (1 + tail)]


def _dropout(node: Node, inputs: List[Any], opset: int) -> Arrays:
    training = optional_input(inputs, 2)
    if training is not None and training.any():
        raise UnknownOpError("Dropout in training mode")
    return [inputs[0], np.ones(inputs[0].shape, bool)]


# Arithmetic, and ops that move values --------------------------------------------------------------------------------


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[Node, List[Any], int], Arrays]:
    def compute(node: Node, inputs: List[Any], opset: int) -> Arrays:
        a, b = inputs
        if opset < 7 and attribute(node, "broadcast", 0) and b.ndim < a.ndim:
            axis = attribute(node, "axis", a.ndim - b.ndim)
            b = b.reshape(b.shape + (1,) * (a.ndim - axis - b.ndim))
        floats = a.dtype.kind == b.dtype.kind == "f"  # half precision constants combine with float32 pictures
        return [np.asarray(function(a, b), np.result_type(a, b) if floats else a.dtype)]

    return compute


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    quotient: np.ndarray
    if a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
        quotient = a / b
    else:
        down = a // b
        quotient = down + ((down * b != a) & ((a < 0) != (b < 0)))  # rounded toward zero, as in C
    return quotient


#: TensorProto.DataType -> type of numpy.
TYPES = {1: "f4", 2: "u1", 3: "i1", 5: "i2", 6: "i4", 7: "i8", 9: "?", 10: "f2", 11: "f8"}


def _cast(node: Node, inputs: List[Any], opset: int) -> Arrays:
    kind = node.attributes.get("to")
    if kind not in TYPES:
        raise UnknownOpError(f"Cast to the type {kind}")
    return [inputs[0].astype(TYPES[kind])]


def _flatten(node: Node, inputs: List[Any], opset: int) -> Arrays:
    (x,) = inputs
    axis = attribute(node, "axis", 1)
    rows = 1
    for side in x.shape[: axis if axis >= 0 else x.ndim + axis]:
        rows *= side
    return [x.reshape(rows, -1)]


def _reshape(node: Node, inputs: List[Any], opset: int) -> Arrays:
    x = inputs[0]
    shape = listed(node, inputs, "shape")
    if shape is None:
        raise UnknownOpError("Reshape without a shape")
    zero_copies = not attribute(node, "allowzero", 0)
    sides = [x.shape[i] if side == 0 and zero_copies else int(side) for i, side in enumerate(shape)]
    return [x.reshape(sides)]


def listed(node: Node, inputs: Sequence[Any], key: str) -> Any:
    """Return the list that newer opsets pass as second input and older ones as the attribute ``key``, or None."""
    value = optional_input(inputs, 1)
    return node.attributes.get(key) if value is None else value


def axes(node: Node, inputs: Sequence[Any]) -> Any:
    """Return the axes that a node names as whole numbers, or None."""
    numbers = listed(node, inputs, "axes")
    return None if numbers is None else tuple(int(axis) for axis in np.asarray(numbers).reshape(-1))


def _squeeze(node: Node, inputs: List[Any], opset: int) -> Arrays:
    return [np.squeeze(inputs[0], axes(node, inputs))]


def _unsqueeze(node: Node, inputs: List[Any], opset: int) -> Arrays:
    return [np.expand_dims(inputs[0], axes(node, inputs))]


def _transpose(node: Node, inputs: List[Any], opset: int) -> Arrays:
    return [np.transpose(inputs[0], node.attributes.get("perm"))]


def _concat(node: Node, inputs: List[Any], opset: int) -> Arrays:
    return [np.concatenate(inputs, attribute(node, "axis", 1))]


def _gather(node: Node, inputs: List[Any], opset: int) -> Arrays:
    return [np.take(inputs[0], np.asarray(inputs[1]).astype(np.int64), attribute(node, "axis", 0))]


def _gather_nd(node: Node, inputs: List[Any], opset: int) -> Arrays:
    x, indices = inputs
    if attribute(node, "batch_dims", 0):
        raise UnknownOpError("GatherND with batch_dims")
    return [x[tuple(np.moveaxis(np.asarray(indices).astype(np.int64), -1, 0))]]


def _split(node: Node, inputs: List[Any], opset: int) -> Arrays:
    x = inputs[0]
    axis = attribute(node, "axis", 0)
    sizes = listed(node, inputs, "split")
    if sizes is None:
        count = len(node.outputs)
        each = -(-x.shape[axis] // count)
        sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    return list(np.split(x, np.cumsum(sizes)[:-1].astype(int), axis))


def _slice(node: Node, inputs: List[Any], opset: int) -> Arrays:
    x = inputs[0]
    if "starts" in node.attributes:  # before opset 10
        starts, ends = node.attributes["starts"], node.attributes["ends"]
        sliced, steps = node.attributes.get("axes"), None
    else:
        starts, ends = inputs[1], inputs[2]
        sliced, steps = optional_input(inputs, 3), optional_input(inputs, 4)
    sliced = range(len(starts)) if sliced is None else sliced
    steps = [1] * len(starts) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, sliced, steps):
        axis, step, side = int(axis) % x.ndim, int(step), x.shape[int(axis) % x.ndim]
        low, high = (0, side) if step > 0 else (-1, side - 1)
        first, last = (int(v) + side if int(v) < 0 else int(v) for v in (start, end))
        first, last = min(max(first, 0), high), min(max(last, low), high if step < 0 else side)
        x = np.take(x, np.arange(first, last, step), axis)
    return [x]


def _shape(node: Node, inputs: List[Any], opset: int) -> Arrays:
    sides = np.array(inputs[0].shape, np.int64)
    return [sides[attribute(node, "start", 0) : node.attributes.get("end")]]


def _constant(node: Node, inputs: List[Any], opset: int) -> Arrays:
    for key, kind in (("value_float", "f4"), ("value_floats", "f4"), ("value_int", "i8"), ("value_ints", "i8")):
        if key in node.attributes:
            return [np.array(node.attributes[key], kind)]
    value = node.attributes.get("value")
    if value is None:
        raise UnknownOpError("Constant without numbers")
    return [value.array()]


def _constant_of_shape(node: Node, inputs: List[Any], opset: int) -> Arrays:
    value = node.attributes.get("value")
    fill = np.zeros(1, np.float32) if value is None else value.array().reshape(-1)[:1]
    return [np.full([int(side) for side in inputs[0]], fill[0])]


OPS: Dict[str, Callable[[Node, List[Any], int], Arrays]] = {
    "Add": _binary(np.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "Div": _binary(_divide),
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average,
    "Identity": lambda node, inputs, opset: [inputs[0]],
    "LRN": _lrn,
    "LeakyRelu": _leaky_relu,
    "MatMul": lambda node, inputs, opset: [product(inputs[0], inputs[1])],
    "MaxPool": _max_pool,
    "Mul": _binary(np.multiply),
    "Neg": lambda node, inputs, opset: [-inputs[0]],
    "Pow": _binary(np.power),
    "ReduceMean": _reduction(np.mean),
    "ReduceSum": _reduction(np.sum),
    "Relu": _relu,
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _sigmoid,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Tanh": lambda node, inputs, opset: [np.tanh(inputs[0])],
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": lambda node, inputs, opset: [np.where(*inputs)],
}
