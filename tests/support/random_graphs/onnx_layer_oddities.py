"""Oddities in the layers of an ONNX graph. Each changes a draft and has the words that its refusal must match: those
of the operation, or of its purpose."""

from __future__ import annotations

from typing import Dict

import numpy as np

from .cases import Impossible, Table
from .onnx_builder import Convolution, Graph, Op, binary, clip, cut, gather, node, norm, pool, turned
from .onnx_graphs import Draft, FullyConnected, lrn

ODDITIES = Table()
oddity = ODDITIES.add

# Activations --------------------------------------------------------------------------------------------------------

_ACT = "|activation"


def _set_acts(draft: Draft, op: Op) -> None:
    """One activation, those of the fully connected layers, or all."""
    where = int(draft.rng.integers(3))
    chosen = [int(draft.rng.integers(7))] if where == 0 else [5, 6] if where == 1 else list(range(7))
    for block in chosen:
        if block < 5 and "act" not in draft.blocks[block]:
            raise Impossible
    draft.acts = [op if index in chosen else act for index, act in enumerate(draft.acts)]


@oddity("leaky", "leaky" + _ACT)
def _leaky(draft: Draft) -> None:
    _set_acts(draft, node("LeakyRelu", alpha=float(draft.rng.choice([0.01, 0.1, 0.2]))))


@oddity("tanh beside relu", "tanh|relu" + _ACT)
def _mixed(draft: Draft) -> None:
    at = int(draft.rng.integers(7))
    if at < 5 and "act" not in draft.blocks[at]:
        raise Impossible
    draft.acts = [node("Tanh" if (act.label == "Relu") == (i == at) else "Relu") for i, act in enumerate(draft.acts)]


@oddity("sigmoid", "sigmoid" + _ACT)
def _sigmoid(draft: Draft) -> None:
    at = int(draft.rng.integers(5, 7)) if draft.rng.integers(2) else int(draft.rng.integers(5))
    draft.acts = [node("Sigmoid") if index == at else act for index, act in enumerate(draft.acts)]
    if at < 5 and "act" not in draft.blocks[at]:
        raise Impossible


@oddity("relu6", "clip|relu6" + _ACT)
def _relu6(draft: Draft) -> None:
    _set_acts(draft, clip(0, float(draft.rng.choice([0.5, 1.0, 6.0]))))


@oddity("another activation", "elu|softplus|softsign|swish|hardsigmoid|thresholded|abs|celu" + _ACT)
def _other_act(draft: Draft) -> None:
    ops = ("Elu", "Selu", "Softplus", "Softsign", "HardSwish", "HardSigmoid", "ThresholdedRelu", "Abs", "Celu")
    draft.opset = max(draft.opset, 14)  # HardSwish
    _set_acts(draft, node(str(draft.rng.choice(ops))))


@oddity("prelu", "prelu" + _ACT)
def _prelu(draft: Draft) -> None:
    slopes = draft.rng.uniform(0.05, 0.5, draft.convs[2].out).reshape(-1, 1, 1)
    at = int(draft.rng.integers(2))
    op = binary("PRelu", slopes if at else slopes[:1])
    draft.acts = [op if index == 2 or (at == 0 and index > 4) else act for index, act in enumerate(draft.acts)]
    if at == 0:
        draft.acts[5:] = [binary("PRelu", slopes[:1, 0, 0])] * 2


@oddity("no activation", r"activation|no relu|conv\d|fc\d|follow|between|gemm|matmul|fully connected|relu|tanh")
def _no_act(draft: Draft) -> None:
    at = int(draft.rng.integers(7))
    nothing = Op("no activation", lambda graph, t: t)
    draft.acts = [nothing if index == at else act for index, act in enumerate(draft.acts)]
    if at < 5:
        draft.blocks[at] = [word for word in draft.blocks[at] if word != "act"]


@oddity(
    "an activation that nothing reads", r"activation|relu|conv\d|fc\d|follow|between|gemm|matmul|fully connected|tanh"
)
def _unread(draft: Draft) -> None:
    """The node is there, and what comes next reads what it reads."""
    at = int(draft.rng.integers(7))
    if at < 5 and "act" not in draft.blocks[at]:
        raise Impossible
    act = draft.acts[at]

    def emit(graph: Graph, t: str) -> str:
        act.emit(graph, t)
        return t

    draft.acts = [Op(act.label + " unread", emit) if index == at else one for index, one in enumerate(draft.acts)]


@oddity("twice the activation", "relu|tanh" + _ACT)
def _twice(draft: Draft) -> None:
    at = int(draft.rng.integers(5))
    draft.put(at, draft.acts[at])


# Between layers -----------------------------------------------------------------------------------------------------


def _norm(draft: Draft, width: int) -> Op:
    rng = draft.rng
    return norm(rng.uniform(0.5, 1.5, width), *rng.normal(0, 0.3, (2, width)), rng.uniform(0.5, 2, width))


@oddity("batch norm of a convolution", "batch ?norm")
def _batch_norm(draft: Draft) -> None:
    blocks = range(5) if draft.rng.integers(2) else [int(draft.rng.integers(5))]
    for block in blocks:
        op = _norm(draft, draft.convs[block].out)
        if draft.rng.integers(3):
            draft.blocks[block].insert(0, op)
        else:
            draft.put(block, op)


@oddity("batch norm of a fully connected layer", "batch ?norm")
def _batch_norm_fc(draft: Draft) -> None:
    at = int(draft.rng.integers(len(draft.between)))
    _after_fc(draft, at, _norm(draft, draft.fcs[at].out))


def _after_fc(draft: Draft, at: int, op: Op) -> None:
    """Before or after the activation."""
    if draft.rng.integers(2):
        draft.between[at].append(op)
    else:
        act = draft.acts[5 + at]
        draft.acts = list(draft.acts)
        draft.acts[5 + at] = Op(act.label + " " + op.label, lambda graph, t: op.emit(graph, act.emit(graph, t)))


@oddity("a scale between fully connected layers", r"\b(mul|div|add|sub|neg)\b|scale|factor")
def _scaled_fc(draft: Draft) -> None:
    at = int(draft.rng.integers(len(draft.between)))
    width, rng = draft.fcs[at].out, draft.rng
    ops = (
        binary("Mul", 0.5, first=True),
        binary("Div", 2.0),
        binary("Add", rng.normal(0, 0.5, (1, width))),
        binary("Sub", 0.3),
        node("Neg"),
        binary("Mul", rng.uniform(0.3, 2, width)),
        binary("Sub", rng.normal(0, 0.5, width), first=True),
    )
    _after_fc(draft, at, ops[int(rng.integers(len(ops)))])


@oddity("features reordered or cut", r"gather|slice|softmax|concat|\bmax\b|pow|sqrt|each value before it exactly once")
def _features(draft: Draft) -> None:
    at = int(draft.rng.integers(len(draft.between)))
    width, rng = draft.fcs[at].out, draft.rng
    ops = (
        gather([int(i) for i in rng.permutation(width)], 1),
        cut(1, 0, width - 4),
        turned(1),
        node("Softmax", axis=1),
        binary("Max", 0.4),
        binary("Pow", 2.0),
        Op("Concat(t, t)", lambda graph, t: graph.add("Concat", [t, t], [2 * width], axis=1)),
    )
    _after_fc(draft, at, ops[int(rng.integers(len(ops)))])


@oddity("arithmetic in a block", r"\b(mul|div|add|sub|neg)\b|scale|factor")
def _scaled_block(draft: Draft) -> None:
    block, rng = int(draft.rng.integers(5)), draft.rng
    width = draft.convs[block].out
    ops = (
        binary("Mul", rng.uniform(0.3, 2, (width, 1, 1))),
        binary("Add", rng.normal(0, 0.5, (1, width, 1, 1))),
        binary("Mul", 0.5),
        binary("Sub", 0.3, first=True),
        binary("Div", 1.5),
    )
    draft.put(block, ops[int(rng.integers(len(ops)))])


@oddity("another normalization", "instance|meanvariance|lpnorm|normali[sz]ation")
def _other_norm(draft: Draft) -> None:
    block, rng = int(draft.rng.integers(3)), draft.rng
    width = draft.convs[block].out

    def instance(graph: Graph, t: str) -> str:
        stored = [graph.constant(rng.uniform(0.5, 1, width).astype(np.float32)) for _ in range(2)]
        return graph.add("InstanceNormalization", [t, *stored])

    ops = (Op("InstanceNormalization", instance), node("LpNormalization", axis=1), node("MeanVarianceNormalization"))
    draft.put(block, ops[int(rng.integers(len(ops)))])


@oddity("a residual", r"\b(add|sum|concat|max)\b|branch|residual|two|several")
def _residual(draft: Draft) -> None:
    """conv4's block may give the same width as conv3's: their sum, maximum or both together."""
    draft.convs[3].out = draft.convs[2].out
    op, name = str(draft.rng.choice(["Add", "Concat", "Sum", "Max"])), str(draft.rng.choice(["conv3", "block3"]))

    def emit(graph: Graph, t: str) -> str:
        other = graph.marks[name]
        if graph.shapes[other][1:] != graph.shapes[t][1:]:
            raise Impossible
        channels = sum(graph.shapes[one][0] for one in (t, other)) if op == "Concat" else graph.shapes[t][0]
        options = {"axis": 1} if op == "Concat" else {}
        return graph.add(op, [t, other], (channels, *graph.shapes[t][1:]), **options)

    draft.blocks[3].append(Op(f"{op} with {name}", emit))


@oddity("channels reordered", "gather|slice|concat|split|transpose|depthtospace|channel")
def _channels(draft: Draft) -> None:
    block, rng = int(draft.rng.integers(4)), draft.rng
    width = draft.convs[block].out

    def swapped(graph: Graph, t: str) -> str:
        halves = [graph.add("Slice", [t, *map(graph.integers, limits)]) for limits in _halves(width)]
        return graph.add("Concat", halves[::-1], graph.shapes[t], axis=1)

    def turn(graph: Graph, t: str) -> str:
        channels, height, wide = graph.shapes[t]
        return graph.add("Transpose", [t], [channels, wide, height], perm=[0, 1, 3, 2])

    ops = (
        gather([int(i) for i in rng.permutation(width)], 1),
        turned(3),
        Op("Concat of swapped halves", swapped),
        Op("Transpose of height and width", turn),
    )
    draft.put(block, ops[int(rng.integers(len(ops)))])


def _halves(width: int):
    return ((0, width // 2, 1), (width // 2, width, 1))


@oddity("a wrong place for columns", "concat|split|column")
def _columns(draft: Draft) -> None:
    """LRN of two parts that are put together the other way round, or cut at another place than the columns."""
    constants = {"alpha": 0.3, "beta": 0.75, "bias": 1.0, "size": 5}
    part = 2 if draft.rng.integers(2) else draft.convs[0].out // 2
    swap = bool(draft.rng.integers(2)) or part == draft.convs[0].out // 2

    def emit(graph: Graph, t: str) -> str:
        width = graph.shapes[t][0]
        cuts = ((0, part, 1), (part, width, 1))
        parts = [graph.add("Slice", [t, *map(graph.integers, one)]) for one in cuts]
        done = [graph.add("LRN", [one], **constants) for one in parts]
        return graph.add("Concat", done[::-1] if swap else done, graph.shapes[t], axis=1)

    if "lrn" not in draft.blocks[0] or not 0 < part < draft.convs[0].out:
        raise Impossible
    draft.lrns = list(draft.lrns)
    draft.lrns[0] = Op(f"LRN of channels cut at {part}{', swapped' if swap else ''}", emit)


# Pools and LRN ------------------------------------------------------------------------------------------------------


def _set_pool(draft: Draft, op: Op) -> None:
    at = int(draft.rng.choice(draft.pool_blocks()))
    draft.pools = [op if index == at else one for index, one in enumerate(draft.pools)]


def _usual(draft: Draft) -> Dict[str, int]:
    return {"ceil_mode": 1} if draft.ceil else {}


@oddity("one pool rounds otherwise", "ceil|round|pool")
def _one_ceil(draft: Draft) -> None:
    _set_pool(draft, pool(kernel=draft.kernel, ceil_mode=int(not draft.ceil)))


@oddity("one pool of another window", "pool|kernel|window")
def _one_kernel(draft: Draft) -> None:
    kernel = int(draft.rng.choice([side for side in (1, 2, 3, 4) if side != draft.kernel]))
    _set_pool(draft, pool(kernel=kernel, **_usual(draft)))


@oddity("one pool of another stride", "pool|stride")
def _one_stride(draft: Draft) -> None:
    _set_pool(draft, pool(kernel=3, stride=int(draft.rng.choice([1, 3])), **_usual(draft)))


@oddity("a padded pool", "pad|pool|round|ceil")
def _padded_pool(draft: Draft) -> None:
    pads = ([1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1])[int(draft.rng.integers(5))]
    _set_pool(draft, pool(kernel=draft.kernel, pads=pads))


@oddity("a pool with auto_pad", "auto_pad|pad|pool|same")
def _auto_pool(draft: Draft) -> None:
    _set_pool(draft, pool(kernel=draft.kernel, auto_pad=str(draft.rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))))


@oddity("a dilated pool", "dilation|dilated|pool")
def _dilated_pool(draft: Draft) -> None:
    _set_pool(draft, pool(kernel=2, dilations=[2, 2], **_usual(draft)))


@oddity("an average pool", "average|lppool|pool")
def _average(draft: Draft) -> None:
    if draft.rng.integers(3):
        _set_pool(draft, pool("AveragePool", draft.kernel))
    else:
        _set_pool(draft, pool("LpPool", draft.kernel, p=2))


@oddity("two LRNs of different constants", "lrn|norm")
def _two_lrns(draft: Draft) -> None:
    draft.blocks[:2] = [["act", "lrn", "pool"], ["act", "lrn", "pool"]]
    one = {"alpha": 0.3, "beta": 0.75, "bias": 1.0, "size": 5}
    change = ({"size": 3}, {"alpha": 0.02}, {"beta": 0.5}, {"bias": 2.0})[int(draft.rng.integers(4))]
    both = [lrn(**one), lrn(**dict(one, **change))]
    draft.lrns = (both if draft.rng.integers(2) else both[::-1]) + draft.lrns[2:]


# Convolutions -------------------------------------------------------------------------------------------------------


def _conv(draft: Draft) -> Convolution:
    return draft.convs[int(draft.rng.integers(5))]


@oddity("asymmetric pads", "pad")
def _asymmetric(draft: Draft) -> None:
    conv, rng = _conv(draft), draft.rng
    usual = conv.pads[0]
    choices = [[usual, usual, usual + 1, usual + 1], [usual + 1, usual + 1, usual, usual], [usual, usual + 1] * 2]
    conv.pads = choices[int(rng.integers(3))]


@oddity("other pads", "pad")
def _other_pads(draft: Draft) -> None:
    conv = draft.convs[int(draft.rng.integers(1, 5))]
    conv.pads = [conv.pads[0] + int(draft.rng.choice([-1, 1]))] * 4


@oddity("a convolution with auto_pad", "auto_pad|pad|same|valid")
def _auto_conv(draft: Draft) -> None:
    conv = _conv(draft)
    conv.auto = str(draft.rng.choice(["SAME_UPPER", "SAME_LOWER"]))
    if conv is draft.convs[0] and draft.rng.integers(2):
        conv.auto, conv.pads = "VALID", [0] * 4


@oddity("dilations", "dilat")
def _dilated(draft: Draft) -> None:
    conv = draft.convs[int(draft.rng.integers(1, 5))]
    conv.dilation = 2
    if draft.rng.integers(2):  # the map stays as large as without
        conv.pads = [conv.kernel - 1] * 4
        if draft.rng.integers(2):  # only the first half of the pads is the usual one
            half = (conv.kernel - 1) // 2
            rest = 2 * (conv.kernel - 1) - half
            conv.pads = [half, half, rest, rest]


@oddity("other strides", "stride")
def _strides(draft: Draft) -> None:
    if draft.rng.integers(2):
        draft.convs[0].strides = ([2, 2], [3, 3], [4, 2], [5, 5])[int(draft.rng.integers(4))]
    else:
        draft.convs[int(draft.rng.integers(1, 5))].strides = [2, 2] if draft.rng.integers(2) else [1, 2]


@oddity("another kernel", "kernel|shape|size|pad|window")
def _kernel(draft: Draft) -> None:
    at = int(draft.rng.integers(5))
    conv = draft.convs[at]
    conv.kernel = int(draft.rng.choice([(7, 9), (3, 7), (1, 5), (1, 5), (1, 5)][at]))
    if at:
        conv.pads = [conv.kernel // 2] * 4


@oddity("other groups", "group|column|shape|channel|split")
def _groups(draft: Draft) -> None:
    at = int(draft.rng.integers(5))
    conv = draft.convs[at]
    conv.groups = 3 if at == 0 else (2 if conv.groups == 1 else int(draft.rng.choice([1, 4])))
    if at == 0:
        conv.out = 3 * max(1, conv.out // 3)


@oddity("no bias", "bias")
def _no_bias(draft: Draft) -> None:
    layers = draft.convs if draft.rng.integers(2) else draft.fcs
    layer = layers[int(draft.rng.integers(len(layers)))]
    layer.bias = False


@oddity("a computed parameter", "computed|parameter|weight|transpose|cast|mul|missing")
def _computed(draft: Draft) -> None:
    layers = draft.convs if draft.rng.integers(2) else draft.fcs
    layer = layers[int(draft.rng.integers(len(layers)))]
    layer.weight = str(draft.rng.choice(["Transpose", "Cast", "Mul"]))


@oddity("a parameter used twice", "share|twice|parameter")
def _shared(draft: Draft) -> None:
    """conv4 again with the weights of conv3."""
    third, fourth = draft.convs[2], draft.convs[3]
    third.out = fourth.out = draft.convs[1].out
    third.groups = fourth.groups = 1
    draft.columns = 1
    emit_third = third.emit

    def first(graph: Graph, t: str) -> str:
        result = emit_third(graph, t)
        graph.marks["weight"] = next(one for one in reversed(graph.nodes) if one.op_type == "Conv").input[1]
        return result

    def second(graph: Graph, t: str) -> str:
        graph.products.append((fourth.out * 9, 3))
        bias = graph.constant((0.2 * graph.rng.standard_normal(fourth.out)).astype(np.float32), "bias")
        return graph.add("Conv", [t, graph.marks["weight"], bias], pads=[1] * 4)

    third.emit, fourth.emit = first, second


@oddity("six convolutions", r"convolutions|conv\b|conv_|conv\d|layers")
def _six(draft: Draft) -> None:
    at = int(draft.rng.integers(1, 5))
    extra = Convolution(draft.convs[at].out, int(draft.rng.choice([1, 3])), 1, 0)
    extra.pads = [extra.kernel // 2] * 4
    draft.blocks[at].append(Op(f"conv {extra}", extra.emit))


@oddity("another number of fully connected layers", "fully connected|gemm|matmul|fc")
def _fcs(draft: Draft) -> None:
    rng = draft.rng
    if rng.integers(2):
        extra = FullyConnected(draft.classes, "Gemm transposed")
        draft.head = [draft.acts[6], Op(f"fc {extra}", extra.emit)]
    else:
        draft.fcs.pop(1)
        draft.between.pop(1)


@oddity("a pad node", "pad")
def _pad_node(draft: Draft) -> None:
    block, rng = int(draft.rng.integers(4)), draft.rng
    mode = str(rng.choice(["constant", "reflect", "edge"]))

    def emit(graph: Graph, t: str) -> str:
        channels, height, width = graph.shapes[t]
        if min(height, width) < 2:
            raise Impossible
        pads = graph.integers(0, 0, 1, 1, 0, 0, 1, 1)
        return graph.add("Pad", [t, pads], [channels, height + 2, width + 2], mode=mode)

    op = Op(f"Pad({mode})", emit)
    if block == 0:
        draft.inputs.append(op)
    else:
        draft.blocks[block].append(op)
