"""Builder of ONNX graphs: nodes, stored tensors, shapes, and the network that is drawn before nodes are made."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .cases import Impossible

IR_VERSION = 8  # readable by onnxruntime 1.15


class Graph:
    """Nodes and tensors under names of one style; ``shapes`` without the batch, for what the picture becomes."""

    def __init__(self, rng: np.random.Generator, opset: int, constants: bool, style: str, listed: bool) -> None:
        self.rng, self.opset, self.constants, self.style = rng, opset, constants, style
        self.listed = listed  # stored tensors are named among the inputs, as before IR version 4
        self.nodes: List[Any] = []
        self.tensors: List[Any] = []
        self.shapes: Dict[str, Tuple[int, ...]] = {}
        self.products: List[Tuple[int, int]] = []  # of each layer: products of a sum, side of its kernel
        self.marks: Dict[str, str] = {}  # tensors that something else may read
        self.count = 0

    def name(self, hint: str) -> str:
        self.count += 1
        return str(self.count) if self.style == "numbers" else f"{hint}_{self.count}"

    def constant(self, array: Any, hint: str = "constant") -> str:
        """A stored tensor: an initializer or a Constant node."""
        name, array = self.name(hint), np.asarray(array)
        if self.constants:
            tensor = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name + "_value")
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def numbers(self, *values: float) -> str:
        """Float constant: a scalar for a single value."""
        return self.constant(np.array(values if len(values) > 1 else values[0], np.float32))

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def add(self, op: str, inputs: Sequence[str], shape: Any = None, outputs: int = 1, **attributes: Any) -> str:
        """Append a node; return its first output, whose shape is that of the first input unless it is given."""
        names = [self.name(op.lower()) for _ in range(outputs)]
        kept = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(
            helper.make_node(op, list(inputs), names, name="" if self.style == "bare" else names[0], **kept)
        )
        if shape is None and inputs and inputs[0] in self.shapes:
            shape = self.shapes[inputs[0]]
        if shape is not None:
            self.shapes[names[0]] = tuple(shape)
        return names[0]

    def described(self, name: str, kind: int = TensorProto.FLOAT) -> Any:
        """A graph output; nothing is said of its sides."""
        return helper.make_tensor_value_info(name, kind, [None] * (1 + len(self.shapes[name])))

    def model(self, source: str, sides: Sequence[Any], kind: int, outputs: Sequence[str], ints: Sequence[str]) -> Any:
        inputs = [helper.make_tensor_value_info(source, kind, list(sides))]
        if self.listed:  # the picture need not be the first of them
            stored = [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in self.tensors]
            inputs = stored[:2] + inputs + stored[2:]
        kinds = [TensorProto.INT64 if name in ints else TensorProto.FLOAT for name in outputs]
        results = [self.described(name, kind) for name, kind in zip(outputs, kinds)]
        graph = helper.make_graph(self.nodes, "made", inputs, results, self.tensors)
        opset = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="made")


class Op(NamedTuple):
    """An op on the picture's path: a label for the description, and a function that appends it to a graph."""

    label: str
    emit: Callable[[Graph, str], str]
    slope: float = 1.0  # largest factor on a difference


def node(op: str, slope: float = 1.0, **attributes: Any) -> Op:
    """One node that keeps the shape."""
    words = ",".join(f"{key}={round(v, 3) if isinstance(v, float) else v}" for key, v in attributes.items())
    return Op(op + (f"({words})" if words else ""), lambda graph, t: graph.add(op, [t], **attributes), slope)


def binary(op: str, values: Any, slope: float = 1.0, first: bool = False) -> Op:
    """One node with a constant, which may come first."""
    values = np.asarray(values, np.float32)

    def emit(graph: Graph, t: str) -> str:
        constant = graph.constant(values, "factor")
        return graph.add(op, [constant, t] if first else [t, constant], graph.shapes[t])

    return Op(f"{op}({list(values.shape)} {np.round(values.reshape(-1)[:3], 3)})", emit, slope)


def clip(low: float, high: float) -> Op:
    def emit(graph: Graph, t: str) -> str:
        return graph.add("Clip", [t, graph.numbers(low), graph.numbers(high)])

    return Op(f"Clip({low:g}, {high:g})", emit)


def gather(order: Sequence[int], axis: int) -> Op:
    def emit(graph: Graph, t: str) -> str:
        shape = list(graph.shapes[t])
        shape[axis - 1] = len(order)
        return graph.add("Gather", [t, graph.integers(*order)], shape, axis=axis)

    return Op(f"Gather(axis {axis}, {list(order)})", emit)


def cut(axis: int, start: int, end: int, step: int = 1) -> Op:
    """Slice of one axis; a step of -1 turns it round."""

    def emit(graph: Graph, t: str) -> str:
        shape = list(graph.shapes[t])
        shape[axis - 1] = len(range(shape[axis - 1])[start:end:step]) if step > 0 else shape[axis - 1]
        limits = [graph.integers(value) for value in (start, end, axis, step)]
        return graph.add("Slice", [t, *limits], shape)

    return Op(f"Slice(axis {axis}, {start}:{end}:{step})", emit)


def turned(axis: int) -> Op:
    return cut(axis, -1, -(2**31), -1)


def norm(scale: Any, bias: Any, mean: Any, var: Any, epsilon: float = 1e-5) -> Op:
    def emit(graph: Graph, t: str) -> str:
        stored = [graph.constant(np.asarray(part, np.float32), "norm") for part in (scale, bias, mean, var)]
        return graph.add("BatchNormalization", [t, *stored], epsilon=epsilon)

    return Op("BatchNormalization", emit)


def window(side: int, kernel: int, stride: int, pads: Tuple[int, int], dilation: int, ceil: bool, auto: str) -> int:
    """Number of window positions along a side.

    :raises Impossible: if there are none.
    """
    reach = (kernel - 1) * dilation + 1
    if auto.startswith("SAME"):
        return -(-side // stride)
    room = side + (0 if auto == "VALID" else sum(pads)) - reach
    if room < 0:
        raise Impossible
    count = (-(-room // stride) if ceil else room // stride) + 1
    return count - 1 if (count - 1) * stride >= side + pads[0] else count  # a window begins inside


def pool(op: str = "MaxPool", kernel: int = 3, stride: int = 2, **options: Any) -> Op:
    """``pads`` (four), ``ceil_mode``, ``auto_pad``, ``dilations`` as the node has them, where they are given."""

    def emit(graph: Graph, t: str) -> str:
        channels, height, width = graph.shapes[t]
        pads, ceil = options.get("pads") or [0] * 4, bool(options.get("ceil_mode"))
        dilation, auto = (options.get("dilations") or [1])[0], options.get("auto_pad") or ""
        sides = [
            window(side, kernel, stride, (pads[index], pads[index + 2]), dilation, ceil, auto)
            for index, side in enumerate((height, width))
        ]
        words = dict(options, kernel_shape=[kernel] * 2, strides=[stride] * 2)
        return graph.add(op, [t], [channels, *sides], **words)

    rest = "".join(" {}={}".format(*item) for item in options.items())
    return Op(f"{op}({kernel}/{stride}{rest})", emit)


class Convolution:
    """One convolution as it is drawn; ``written`` are attributes beside the usual ones, None for one to leave out."""

    def __init__(self, out: int, kernel: int, stride: int, pad: int, groups: int = 1) -> None:
        self.out, self.kernel, self.strides, self.groups = out, kernel, [stride, stride], groups
        self.pads, self.dilation, self.auto, self.bias = [pad] * 4, 1, "", True
        self.weight = "stored"  # or how its parameter is computed

    def __str__(self) -> str:
        words = f"{self.out}x{self.kernel}/{self.strides} p{self.pads}"
        extra = f" g{self.groups}" if self.groups > 1 else ""
        extra += f" d{self.dilation}" if self.dilation > 1 else ""
        return words + extra + (" " + self.auto if self.auto else "") + ("" if self.bias else " no bias")

    def emit(self, graph: Graph, t: str) -> str:
        channels, height, width = graph.shapes[t]
        if channels % self.groups or self.out % self.groups:
            raise Impossible
        fan = channels // self.groups * self.kernel**2
        graph.products.append((fan, self.kernel))
        scale = np.sqrt(2 / fan)
        weight = scale * graph.rng.standard_normal((self.out, channels // self.groups, self.kernel, self.kernel))
        inputs = [t, stored_parameter(graph, weight.astype(np.float32), self.weight)]
        bias = (0.2 * graph.rng.standard_normal(self.out)).astype(np.float32)
        inputs += [graph.constant(bias, "bias")] if self.bias else []
        sides = [
            window(
                side, self.kernel, self.strides[i], (self.pads[i], self.pads[i + 2]), self.dilation, False, self.auto
            )
            for i, side in enumerate((height, width))
        ]
        plain = bool(graph.rng.integers(2))  # defaults are written or left out
        return graph.add(
            "Conv",
            inputs,
            [self.out, *sides],
            kernel_shape=None if plain else [self.kernel] * 2,
            strides=self.strides,
            pads=None if self.auto or (plain and not any(self.pads)) else self.pads,
            group=None if plain and self.groups == 1 else self.groups,
            dilations=None if plain and self.dilation == 1 else [self.dilation] * 2,
            auto_pad=self.auto or (None if plain else "NOTSET"),
        )


def stored_parameter(graph: Graph, array: np.ndarray, how: str) -> str:
    """A tensor, or a node that makes it: ``Transpose`` of one that is stored the other way, ``Cast`` of a half,
    ``Mul`` of a scaled one, ``Identity``."""
    if how == "Transpose":
        order = list(range(array.ndim))[::-1]
        return graph.add("Transpose", [graph.constant(array.transpose(order), "weight")], perm=order)
    if how == "Cast":
        return graph.add("Cast", [graph.constant(array.astype(np.float16), "weight")], to=TensorProto.FLOAT)
    if how == "Mul":
        return graph.add("Mul", [graph.constant(array / 2, "weight"), graph.numbers(2.0)])
    if how == "Identity":
        return graph.add("Identity", [graph.constant(array, "weight")])
    return graph.constant(array, "weight")


def check_model(model: Any) -> bytes:
    """The model's bytes, the same for the same graph.

    :raises onnx.checker.ValidationError: if the maker made no valid model.
    """
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
