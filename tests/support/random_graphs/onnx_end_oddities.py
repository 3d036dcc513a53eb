"""Oddities before an ONNX graph's first layer, between features and classifier, and after the last layer."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from .cases import Impossible, Table
from .onnx_builder import Graph, Op, binary, clip, cut, gather, node, norm, pool, turned
from .onnx_graphs import Draft

ODDITIES = Table()
oddity = ODDITIES.add

# Before the classifier ----------------------------------------------------------------------------------------------


@oddity("a global pool", "global|pool|reducemean|adaptive")
def _global(draft: Draft) -> None:
    op = str(draft.rng.choice(["GlobalAveragePool", "GlobalMaxPool", "ReduceMean"]))

    def emit(graph: Graph, t: str) -> str:
        shape = [graph.shapes[t][0], 1, 1]
        return graph.add(op, [t], shape, **({"axes": [2, 3]} if op == "ReduceMean" else {}))

    draft.last_map = [Op(op, emit)]
    draft.convs[4].out = int(draft.rng.integers(6, 13)) * 2


@oddity("an adaptive pool", "average|pool|adaptive")
def _adaptive(draft: Draft) -> None:
    """An average over windows that do not overlap, as PyTorch exports an adaptive pool."""

    def emit(graph: Graph, t: str) -> str:
        side = graph.shapes[t][1]
        if side < 2:
            raise Impossible
        kernel = side if side % 2 or draft.rng.integers(2) else side // 2
        return pool("AveragePool", kernel, kernel).emit(graph, t)

    draft.side = max(draft.side, int(draft.rng.integers(110, 132)))
    draft.last_map = [Op("AveragePool to fewer", emit)]


@oddity("another order of features", "transpose|layout|order")
def _nhwc(draft: Draft) -> None:
    def emit(graph: Graph, t: str) -> str:
        channels, height, width = graph.shapes[t]
        return graph.add("Transpose", [t], [height, width, channels], perm=[0, 2, 3, 1])

    draft.last_map = [Op("Transpose to NHWC", emit)]
    draft.side = max(draft.side, int(draft.rng.integers(110, 132)))


@oddity("a flatten of the pictures together", "flatten|reshape|gemm|conv|transpose|axis")
def _first_axis(draft: Draft) -> None:
    """As a 1 x 1 convolution after the classifier's map, which is no fully connected layer."""

    def emit(graph: Graph, t: str) -> str:
        channels, height, width = graph.shapes[t]
        moved = graph.add("Transpose", [t], [channels, height, width], perm=[0, 1, 3, 2])
        return graph.add("Reshape", [moved, graph.integers(0, -1)], [channels * height * width])

    draft.last_map = [Op("Transpose and Reshape", emit)]
    draft.side = max(draft.side, int(draft.rng.integers(110, 132)))


# Heads --------------------------------------------------------------------------------------------------------------


@oddity("softmax", "softmax")
def _softmax(draft: Draft) -> None:
    draft.head = [node("Softmax", axis=int(draft.rng.choice([1, -1])))]


@oddity("log-softmax", "softmax")
def _log_softmax(draft: Draft) -> None:
    draft.head = [node("LogSoftmax", slope=2.0, axis=1)]


@oddity("softmax over the batch", "softmax|axis")
def _softmax_batch(draft: Draft) -> None:
    draft.head, draft.batch = [node("Softmax", axis=0)], "N"


@oddity("sigmoid at the end", "sigmoid")
def _sigmoid_head(draft: Draft) -> None:
    draft.head = [node("Sigmoid", slope=0.25)]


@oddity("a temperature", r"\b(mul|div)\b|scale|factor|temperature|softmax")
def _temperature(draft: Draft) -> None:
    by = float(draft.rng.choice([0.5, 1.5, 3.0]))
    draft.head = [binary("Div", by, 1 / by) if draft.rng.integers(2) else binary("Mul", by, by)]
    if draft.rng.integers(2):
        draft.head.append(node("Softmax", axis=1))


@oddity("arithmetic at the end", r"\b(neg|add|sub|mul|abs|exp|sqrt|tanh|relu|clip|max|min|reducemax|pow)\b")
def _arithmetic_head(draft: Draft) -> None:
    rng = draft.rng
    ops = (
        node("Neg"),
        binary("Add", rng.normal(0, 1, draft.classes)),
        binary("Sub", 1.0, first=True),
        binary("Mul", rng.uniform(0.5, 2, (1, draft.classes)), 2.0),
        node("Abs"),
        node("Tanh"),
        node("Relu"),
        clip(-0.5, 0.5),
        binary("Max", 0.0),
    )
    draft.head = [ops[int(rng.integers(len(ops)))]]


@oddity("classes reordered or fewer", "gather|slice|concat|split|class")
def _classes(draft: Draft) -> None:
    rng, count = draft.rng, draft.classes
    order = [int(i) for i in rng.permutation(count)]
    ops = (gather(order, 1), gather(order[: count // 2 + 1], 1), cut(1, 0, count - 1), cut(1, 1, count), turned(1))
    draft.head = [ops[int(rng.integers(len(ops)))]]


@oddity("no numbers of classes", "argmax|topk|reducemax|squeeze|reduce|output")
def _argmax(draft: Draft) -> None:
    if draft.rng.integers(2):
        keep = int(draft.rng.integers(2))
        shape = [1] if keep else []

        def emit(graph: Graph, t: str) -> str:
            return graph.add("ArgMax", [t], shape, axis=1, keepdims=keep)

        draft.head, draft.ints = [Op(f"ArgMax(keepdims={keep})", emit)], True
    else:
        draft.head = [node("ReduceMax", axes=[1], keepdims=1)]


@oddity("two outputs", "output|two|several")
def _two_outputs(draft: Draft) -> None:
    both = ("result", str(draft.rng.choice(["fc7", "block5", "conv1", "fc6"])))
    draft.outputs = both if draft.rng.integers(2) else both[::-1]


@oddity("an earlier output", "output|fully connected|fc|layers|gemm|matmul|its result is not")
def _earlier(draft: Draft) -> None:
    draft.outputs = (str(draft.rng.choice(["fc6", "fc7", "block5", "block3"])),)


# Before conv1 -------------------------------------------------------------------------------------------------------


@oddity("arithmetic of the input", r"\b(sub|div|mul|add)\b|input|preprocess|normali[sz]")
def _input_arithmetic(draft: Draft) -> None:
    rng = draft.rng
    means, stds = rng.uniform(-0.5, 0.5, (1, 3, 1, 1)), rng.uniform(0.5, 2, (3, 1, 1))
    choices = (
        [binary("Sub", means)],
        [binary("Sub", means), binary("Div", stds)],
        [binary("Mul", 0.5)],
        [binary("Mul", 2.0, first=True), binary("Add", -means)],
        [binary("Div", stds)],
        [binary("Sub", 1.0, first=True)],
        [norm(stds[:, 0, 0], means[0, :, 0, 0], means[0, :, 0, 0], stds[:, 0, 0])],
    )
    draft.inputs += choices[int(rng.integers(len(choices)))]


@oddity("channels of the input swapped", "gather|slice|concat|split|channel|order")
def _swapped(draft: Draft) -> None:
    rng = draft.rng

    def joined(graph: Graph, t: str) -> str:
        planes = [cut(1, i, i + 1).emit(graph, t) for i in (2, 1, 0)]
        return graph.add("Concat", planes, graph.shapes[t], axis=1)

    def split(graph: Graph, t: str) -> str:
        names = [graph.name("plane") for _ in range(3)]
        graph.nodes.append(helper.make_node("Split", [t], names, axis=1))
        return graph.add("Concat", [names[i] for i in (2, 0, 1)], graph.shapes[t], axis=1)

    ops = (
        gather([2, 1, 0], 1),
        gather([0, 0, 1], 1),
        turned(1),
        Op("Concat of planes 2, 1, 0", joined),
        Op("Split, Concat of planes 2, 0, 1", split),
        gather([1, 2, 0], 1),
    )
    draft.inputs.append(ops[int(rng.integers(len(ops)))])


@oddity("a mirrored or turned picture", "slice|transpose|gather|reverse")
def _mirrored(draft: Draft) -> None:
    def turn(graph: Graph, t: str) -> str:
        return graph.add("Transpose", [t], perm=[0, 1, 3, 2])

    ops = (turned(3), turned(2), Op("Transpose of height and width", turn), gather(list(range(draft.side))[::-1], 3))
    draft.inputs.append(ops[int(draft.rng.integers(len(ops)))])


@oddity("a cut picture", "slice|crop|gather|input")
def _cut(draft: Draft) -> None:
    more = int(draft.rng.integers(1, 9))
    draft.given = (3, draft.side + more, draft.side + more)
    start = int(draft.rng.integers(0, more + 1))
    draft.inputs += [cut(axis, start, start + draft.side) for axis in (2, 3)]


@oddity("a resized picture", "resize|upsample|pool|input")
def _resized(draft: Draft) -> None:
    small = (draft.side + 1) // 2
    draft.side = 2 * small

    def emit(graph: Graph, t: str) -> str:
        scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
        words = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return graph.add("Resize", [t, "", scales], [3, draft.side, draft.side], **words)

    draft.given, draft.inputs = (3, small, small), [*draft.inputs, Op("Resize by 2", emit)]


@oddity("channels last", "transpose|nhwc|layout|channel|input")
def _channels_last(draft: Draft) -> None:
    def emit(graph: Graph, t: str) -> str:
        height, width, channels = graph.shapes[t]
        return graph.add("Transpose", [t], [channels, height, width], perm=[0, 3, 1, 2])

    draft.layout = "NHWC"
    draft.inputs.insert(0, Op("Transpose from NHWC", emit))


@oddity("bytes as input", "cast|byte|uint8|type|input|integer|div|mul|sub")
def _bytes(draft: Draft) -> None:
    draft.kind = TensorProto.UINT8
    draft.inputs = [node("Cast", to=TensorProto.FLOAT), binary("Div", 64.0), *draft.inputs]


@oddity("rounded on the way", "cast|round|floor|ceil|half|float16")
def _rounded(draft: Draft) -> None:
    def halves(graph: Graph, t: str) -> str:
        return graph.add("Cast", [graph.add("Cast", [t], to=TensorProto.INT32)], to=TensorProto.FLOAT)

    ops = (Op("Cast to int32 and back", halves), node("Floor"), node("Round"), node("Ceil"))
    op = ops[int(draft.rng.integers(len(ops)))]
    scaled = Op(f"Mul(4) {op.label}", lambda graph, t: op.emit(graph, binary("Mul", 4.0).emit(graph, t)))
    draft.inputs.append(scaled)  # whole numbers of what is only scaled, so that both programs round alike


@oddity("sides that are not stated", "size|side|input|shape")
def _symbolic(draft: Draft) -> None:
    draft.symbolic = True
