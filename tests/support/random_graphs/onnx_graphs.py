"""Narrow AlexNets in ONNX, node by node: usual forms of such graphs, and oddities. Oracle: onnxruntime."""

from __future__ import annotations

from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import onnx
import onnxruntime
import onnxruntime.capi.onnxruntime_pybind11_state as runtime_errors
from onnx import TensorProto, helper

from . import cases
from .cases import Case, Impossible, Oddity
from .onnx_builder import Convolution, Graph, Op, check_model, node, pool, stored_parameter

Word = Union[str, Op]  # of a block: "act", "lrn", "pool", or something else
_ORDERS = (("act", "lrn", "pool"), ("act", "pool", "lrn"), ("lrn", "pool", "act"), ("act", "pool"), ("pool", "act"))


_INVALID = (
    onnx.checker.ValidationError,
    runtime_errors.Fail,
    runtime_errors.InvalidArgument,
    runtime_errors.InvalidGraph,
    runtime_errors.RuntimeException,
)


class FullyConnected:
    """The drawn properties of a fully connected layer."""

    def __init__(self, out: int, form: str) -> None:
        self.out, self.form, self.bias, self.weight = out, form, True, "stored"

    def __str__(self) -> str:
        how = "" if self.weight == "stored" else " weight by " + self.weight
        return f"{self.out} ({self.form}{how}{'' if self.bias else ', no bias'})"

    def emit(self, graph: Graph, t: str) -> str:
        (features,) = graph.shapes[t]
        graph.products.append((features, 1))
        rng, shape = graph.rng, [self.out]
        weight = (np.sqrt(2 / features) * rng.standard_normal((self.out, features))).astype(np.float32)
        bias = (0.2 * rng.standard_normal(self.out)).astype(np.float32)
        if self.form.startswith("MatMul"):
            t = graph.add("MatMul", [t, stored_parameter(graph, weight.T, self.weight)], shape)
            if not self.bias:
                return t
            both = [t, graph.constant(bias if rng.integers(2) else bias[None], "bias")]
            return graph.add("Add", both if self.form == "MatMul+Add" else both[::-1], shape)
        alpha, beta = (2.0, 0.25) if "factors" in self.form else (None, None)
        turned = "transposed" in self.form
        stored = (weight if turned else weight.T) / (alpha or 1.0)
        inputs = [t, stored_parameter(graph, stored.astype(np.float32), self.weight)]
        if self.bias:
            inputs.append(graph.constant((bias / (beta or 1.0)).astype(np.float32), "bias"))
        trans = 1 if turned else (None if rng.integers(2) else 0)
        return graph.add("Gemm", inputs, shape, transB=trans, alpha=alpha, beta=beta)


FC_FORMS = ("Gemm transposed", "Gemm", "Gemm with factors", "Gemm transposed with factors", "MatMul+Add", "Add+MatMul")
FLATTENS = ("Flatten", "Reshape 0", "Reshape -1", "Reshape fixed", "shape of batch", "shape with Mul", "shape by Slice")


class Published(NamedTuple):
    """The layers of a published network; only its widths are drawn."""

    side: int
    columns: int
    pad: int
    ceil: bool
    order: Tuple[str, ...]
    k: float
    divided: bool


PUBLISHED = (
    Published(224, 1, 2, False, ("act", "pool"), 1.0, False),  # torchvision's
    Published(227, 2, 0, True, ("act", "lrn", "pool"), 1.0, False),  # Caffe's AlexNet
    Published(227, 2, 0, True, ("act", "pool", "lrn"), 1.0, False),  # Caffe's reference network
    Published(227, 2, 0, False, ("act", "lrn", "pool"), 2.0, True),  # the paper's
)


class Draft:
    """A network before its graph is built; oddities change it."""

    def __init__(self, rng: np.random.Generator, published: bool = False, network: Optional[int] = None) -> None:
        self.rng = rng
        known = PUBLISHED[int(rng.integers(len(PUBLISHED)))] if published or rng.random() < 0.4 else None
        known = known if network is None else PUBLISHED[network]
        self.columns = known.columns if known else int(rng.choice([1, 2]))
        even = [int(2 * rng.integers(2, 13)) for _ in range(5)]
        grouped = [False, True, False, True, True]
        pad = known.pad if known else int(rng.choice([0, 2, 2, 1]))
        sizes = ((11, 4, pad), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
        self.convs = [
            Convolution(width, *size, groups=self.columns if own else 1)
            for width, size, own in zip(even, sizes, grouped)
        ]
        self.acts = [node("Relu" if known or rng.random() < 0.8 else "Tanh")] * 7
        constants = {
            "alpha": float(rng.choice([1e-4, 0.02, 0.3])),
            "beta": float(rng.choice([0.75, 0.5])),
            "bias": float(rng.choice([1.0, 2.0])),
            "size": int(rng.choice([3, 5, 5, 7])),
        }
        divided = self.columns == 2 and rng.random() < 0.3  # LRN of each column by itself
        if known:
            constants, divided = {"alpha": 1e-4, "beta": 0.75, "bias": known.k, "size": 5}, known.divided
        self.lrns = [lrn(self.columns if divided else 1, **constants)] * 5
        self.kernel = 3 if known else int(rng.choice([3, 3, 3, 2]))
        self.ceil = known.ceil if known else bool(rng.integers(2))
        self.pools = [pool(kernel=self.kernel, **({"ceil_mode": 1} if self.ceil else {}))] * 5
        orders = [_ORDERS[rng.integers(len(_ORDERS))] for _ in range(2)]
        if rng.random() < 0.3:
            orders = [("act", "pool")] * 2
        last = ("act", "pool") if known or rng.random() < 0.8 else ("pool", "act")
        orders = [known.order] * 2 if known else orders
        self.blocks: List[List[Word]] = [list(order) for order in (*orders, ("act",), ("act",), last)]
        self.side = known.side if known else int(rng.integers(63, 132))
        self.classes = int(rng.integers(3, 13))
        widths = (int(rng.integers(16, 41)), int(rng.integers(16, 41)), self.classes)
        self.fcs = [FullyConnected(width, str(rng.choice(FC_FORMS))) for width in widths]
        self.between: List[List[Op]] = [[], []]
        self.inputs: List[Op] = []
        self.head: List[Op] = []
        self.last_map: List[Op] = [pool("AveragePool", 1, 1)] if rng.random() < 0.2 else []
        self.given: Optional[Tuple[int, int, int]] = None  # what the file takes, where that is not the picture
        self.kind, self.layout = TensorProto.FLOAT, "NCHW"
        self.batch = (1, 2, "N")[int(rng.integers(3))]
        self.symbolic = False
        self.flatten = str(rng.choice(FLATTENS))
        self.outputs: Sequence[str] = ("result",)
        self.ints = False  # the result is whole numbers
        self.constants, self.listed = rng.random() < 0.3, rng.random() < 0.2
        self.style = str(rng.choice(["numbers", "names", "bare"]))
        self.opset = int(rng.integers(13, 18))
        self.idle, self.branch = rng.random() < 0.5, rng.random() < 0.3

    def put(self, block: int, op: Op) -> None:
        """Insert ``op`` at a random position of a block."""
        self.blocks[block].insert(int(self.rng.integers(len(self.blocks[block]) + 1)), op)

    def lrn_blocks(self) -> List[int]:
        return [index for index, block in enumerate(self.blocks) if "lrn" in block]

    def pool_blocks(self) -> List[int]:
        return [index for index, block in enumerate(self.blocks) if "pool" in block]

    def words(self, index: int) -> List[Op]:
        """The ops of a block."""
        found = {"act": self.acts[index], "lrn": self.lrns[index], "pool": self.pools[index]}
        return [found[word] if isinstance(word, str) else word for word in self.blocks[index]]

    def describe(self) -> str:
        parts = [f"{self.layout} {list(self.shape())} batch {self.batch}"]
        parts += [op.label for op in self.inputs]
        for index, conv in enumerate(self.convs):
            parts.append(f"conv{index + 1} {conv}: {' '.join(op.label for op in self.words(index)) or '-'}")
        parts += [op.label for op in self.last_map] + [self.flatten]
        for index, fc in enumerate(self.fcs):
            parts.append(f"fc{index + 6} {fc}")
            parts += [op.label for op in self.after(index)]
        parts += [op.label for op in self.head]
        parts.append(
            "outputs %s, opset %d, %s%s%s%s%s"
            % (
                "+".join(self.outputs),
                self.opset,
                self.style,
                ", Constant nodes" if self.constants else "",
                ", tensors among inputs" if self.listed else "",
                ", idle nodes" if self.idle else "",
                ", unused branch" if self.branch else "",
            )
        )
        return " | ".join(parts)

    def after(self, index: int) -> List[Op]:
        """The ops after a fully connected layer, which has an activation unless it is the last."""
        if index >= len(self.between):
            return []
        return [*self.between[index], self.acts[min(5 + index, 6)]]

    def shape(self) -> Tuple[int, int, int]:
        """Of one picture, in the order channels, height, width."""
        return self.given or (3, self.side, self.side)


def lrn(columns: int = 1, **constants: Any) -> Op:
    """One node, or one for each column between Split and Concat."""

    def emit(graph: Graph, t: str) -> str:
        if columns == 1:
            return graph.add("LRN", [t], **constants)
        channels, height, width = graph.shapes[t]
        if channels % columns:
            raise Impossible
        parts = [graph.name("column") for _ in range(columns)]
        graph.nodes.append(helper.make_node("Split", [t], parts, axis=1))
        for part in parts:
            graph.shapes[part] = (channels // columns, height, width)
        done = [graph.add("LRN", [part], **constants) for part in parts]
        return graph.add("Concat", done, [channels, height, width], axis=1)

    words = (
        f"LRN({constants['size']}, alpha {constants['alpha']:g}, beta {constants['beta']:g}, k {constants['bias']:g})"
    )
    return Op(words + (" in each column" if columns > 1 else ""), emit)


def idle(rng: np.random.Generator) -> Op:
    """A node without effect in inference."""
    kind = rng.integers(4)
    if kind == 0:
        return node("Identity")
    if kind == 1:
        return node("Cast", to=TensorProto.FLOAT)
    if kind == 2:
        return Op("Dropout", lambda graph, t: graph.add("Dropout", [t], outputs=2))
    return Op("Dropout", lambda graph, t: graph.add("Dropout", [t, graph.numbers(0.5)]))


def _flatten(graph: Graph, t: str, form: str, batch: Any) -> str:
    count = int(np.prod(graph.shapes[t]))
    if form == "Flatten" or (form == "Reshape fixed" and batch == "N"):
        return graph.add("Flatten", [t], [count], axis=1)
    if form.startswith("Reshape"):
        target = {"Reshape 0": (0, -1), "Reshape -1": (-1, count), "Reshape fixed": (batch, count)}[form]
        return graph.add("Reshape", [t, graph.integers(*target)], [count])
    shape = graph.add("Shape", [t], ())
    if form == "shape by Slice":
        start, end = graph.integers(0), graph.integers(1)
        first, rest = graph.add("Slice", [shape, start, end], ()), graph.integers(-1)
    else:
        axes = graph.integers(0)
        picked = [graph.add("Gather", [shape, graph.constant(np.int64(i), "index")], (), axis=0) for i in range(4)]
        first, rest = graph.add("Unsqueeze", [picked[0], axes], ()), graph.integers(-1)
        if form == "shape with Mul":
            total = graph.add("Mul", [graph.add("Mul", picked[1:3], ()), picked[3]], ())
            rest = graph.add("Unsqueeze", [total, axes], ())
    return graph.add("Reshape", [t, graph.add("Concat", [first, rest], (), axis=0)], [count])


def build(draft: Draft) -> Tuple[Any, Graph, float]:
    """The model, its graph, and the slope of what follows the logits."""
    graph = Graph(draft.rng, draft.opset, draft.constants, draft.style, draft.listed)
    source = graph.name("input")
    channels, height, width = draft.shape()
    graph.shapes[source] = (channels, height, width) if draft.layout == "NCHW" else (height, width, channels)
    t = source

    def follow(t: str, ops: Sequence[Op]) -> str:
        for op in ops:
            t = op.emit(graph, t)
            if draft.idle and not draft.ints and draft.rng.random() < 0.2:
                t = idle(draft.rng).emit(graph, t)
        return t

    t = follow(t, draft.inputs)
    for index, conv in enumerate(draft.convs):
        t = graph.marks[f"conv{index + 1}"] = conv.emit(graph, t)
        t = graph.marks[f"block{index + 1}"] = follow(t, draft.words(index))
    if draft.branch:
        side = graph.marks[f"block{draft.rng.integers(1, 5)}"]
        graph.add("Sigmoid", [graph.add("GlobalAveragePool", [side])])
    t = follow(t, draft.last_map)
    if min(graph.shapes[t], default=0) < 1:
        raise Impossible
    if len(graph.shapes[t]) > 1:
        t = _flatten(graph, t, draft.flatten, draft.batch)
    for index, fc in enumerate(draft.fcs):
        t = graph.marks[f"fc{index + 6}"] = fc.emit(graph, t)
        t = follow(t, draft.after(index))
    graph.marks["logits"] = t
    t = graph.marks["result"] = follow(t, draft.head)
    sides = [draft.batch, *(graph.shapes[source])]
    if draft.symbolic:
        sides = [draft.batch, 3, "H", "W"]
    names = [graph.marks[name] for name in draft.outputs]
    model = graph.model(source, sides, draft.kind, names, names if draft.ints else ())
    return model, graph, float(np.prod([op.slope for op in draft.head]))


def onnx_results(model: Any, x: np.ndarray, one_by_one: bool = False) -> List[np.ndarray]:
    """Results of onnxruntime without optimizations that regroup arithmetic."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    stored = {one.name for one in session.get_overridable_initializers()}
    name = next(one.name for one in session.get_inputs() if one.name not in stored)
    if not one_by_one:
        return session.run(None, {name: x})
    parts = [session.run(None, {name: x[i : i + 1]}) for i in range(len(x))]
    return [np.concatenate(each) for each in zip(*parts)]


def make(seed: int, names: Optional[Sequence[str]] = None, published: bool = False) -> Case:
    """A case with none to two oddities, or with those of ``names``; ``published``: in a network that many have."""
    from .onnx_oddities import ODDITIES

    def draw(rng: np.random.Generator) -> Case:
        chosen = cases.choose_oddities(rng, ODDITIES) if names is None else names
        draft = Draft(rng, published)
        oddities = tuple(Oddity(name, ODDITIES[name].words) for name in chosen)
        try:
            for name in chosen:
                ODDITIES[name].change(draft)
            return _case(seed, draft, oddities)
        except _INVALID:
            if len(chosen) < 2:
                raise
            raise Impossible from None  # two that do not go together

    return cases.first_possible(seed, draw)


def made(change: Callable[[Draft], None], words: str, network: int = 0, seed: int = 0) -> Case:
    """A case of one of the published networks after ``change``, whose refusal must match ``words``."""

    def draw(rng: np.random.Generator) -> Case:
        draft = Draft(rng, True, network)
        change(draft)
        return _case(seed, draft, (Oddity("the change", words),) if words else ())

    return cases.first_possible(seed, draw)


def _case(seed: int, draft: Draft, oddities: Tuple[Oddity, ...]) -> Case:
    model, graph, slope = build(draft)
    data = check_model(model)
    x = draft.rng.standard_normal((2, *draft.shape())).astype(np.float32)
    if draft.kind == TensorProto.UINT8:
        x = np.round(np.clip(128 + 60 * x, 0, 255))
    given = x if draft.layout == "NCHW" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    given = given.astype(np.uint8) if draft.kind == TensorProto.UINT8 else given
    outputs = [output.name for output in model.graph.output]
    if graph.marks["logits"] not in outputs:
        model.graph.output.append(graph.described(graph.marks["logits"]))
    results = onnx_results(model, given, draft.batch == 1)
    logits = results[outputs.index(graph.marks["logits"]) if graph.marks["logits"] in outputs else -1]
    cases.check_alive(logits)
    products, sides = zip(*graph.products)
    others = [part for name, part in zip(draft.outputs, results) if name != "result"]
    scale = max([slope * float(np.abs(logits).max()), *(float(np.abs(part).max()) for part in others)])
    tolerance = cases.tolerance_of(products, sides, scale)
    said = "ONNX: " + draft.describe()
    return Case(seed, "net.onnx", data, x, tuple(results[: len(outputs)]), tolerance, said, oddities)
