"""Narrow AlexNets as caffemodels: usual forms of such files, and oddities. Oracles: OpenCV and PyTorch."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from tests.support import file_writers
from tests.support.file_writers import V1_TYPES, CaffeLayer

from . import caffe_oracles, cases
from .cases import Case, Impossible, Oddity

DEVIATION = 60.0  # of a picture of 0 to 255, less its mean

_ORDERS = (("act", "lrn", "pool"), ("act", "pool", "lrn"), ("lrn", "pool", "act"), ("act", "pool"), ("pool", "act"))


class Part:
    """A layer before it is wired: ``blobs`` says how its arrays are made, from its input channels and sides.

    One of several bottoms reads the tops of the parts that are named in ``reads``.
    """

    def __init__(self, kind: str, key: str = "", *, reads: Sequence[str] = (), mark: str = "", **options: Any) -> None:
        self.kind, self.key, self.options, self.reads, self.mark = kind, key, options, list(reads), mark
        self.dangling = False  # nothing reads its top

    def __str__(self) -> str:
        words = ", ".join(f"{key} {value}" for key, value in self.options.items())
        return self.kind + (f"({words})" if words else "") + (" unread" if self.dangling else "")


def conv(out: int, kernel: int, stride: int, pad: int, group: int) -> Part:
    words: Dict[str, Any] = {"num_output": out, "kernel_size": [kernel]}
    words.update({"stride": [stride]} if stride > 1 else {})
    words.update({"pad": [pad]} if pad else {})
    return Part("Convolution", "convolution_param", **words, **({"group": group} if group > 1 else {}))


def relu(slope: float = 0.0) -> Part:
    return Part("ReLU", "relu_param", **({"negative_slope": slope} if slope else {}))


def pool(kernel: int = 3, stride: int = 2, **options: Any) -> Part:
    return Part("Pooling", "pooling_param", pool=options.pop("pool", 0), kernel_size=kernel, stride=stride, **options)


class Draft:
    """A network before it is wired; oddities change its lists of parts."""

    def __init__(self, rng: np.random.Generator, published: bool = False) -> None:
        self.rng = rng
        published = published or rng.random() < 0.4  # bvlc_alexnet or caffenet but for the widths
        self.columns = 2 if published else int(rng.choice([1, 2]))
        widths = [int(2 * rng.integers(2, 13)) for _ in range(5)]
        groups = [1, self.columns, 1, self.columns, self.columns]
        pad = 0 if published else int(rng.choice([0, 0, 2]))
        sizes = ((11, 4, pad), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
        self.convs = [conv(width, *size, group) for width, size, group in zip(widths, sizes, groups)]
        self.acts: List[Optional[Part]] = [relu() if published or rng.random() < 0.85 else Part("TanH")] * 7
        constants: Dict[str, Any] = {"local_size": int(rng.choice([3, 5, 5]))}
        constants.update({"alpha": float(rng.choice([1e-4, 0.02, 0.3]))})
        constants.update({"beta": float(rng.choice([0.75, 0.5])), "k": float(rng.choice([1.0, 2.0]))})
        if published:
            constants = {"local_size": 5, "alpha": 1e-4, "beta": 0.75}
        self.lrns = [Part("LRN", "lrn_param", **constants)] * 5
        kernel = 3 if published else int(rng.choice([3, 3, 3, 2]))
        self.pools = [pool(kernel)] * 5
        order = _ORDERS[int(rng.integers(2))]
        orders = [order] * 2 if published else [_ORDERS[int(rng.integers(len(_ORDERS)))] for _ in range(2)]
        self.blocks: List[List[Any]] = [list(each) for each in (*orders, ("act",), ("act",), ("act", "pool"))]
        self.side = 227 if published else int(rng.integers(63, 132))
        classes = int(rng.integers(3, 13))
        outs = (int(rng.integers(16, 41)), int(rng.integers(16, 41)), classes)
        self.fcs = [Part("InnerProduct", "inner_product_param", num_output=out) for out in outs]
        self.after: List[List[Any]] = [["act"], ["act"], []]
        self.first: List[Part] = []  # before conv1
        self.last_map: List[Part] = [Part("Flatten")] if rng.random() < 0.2 else []
        self.aside: List[Tuple[str, Part]] = []  # side branches: the mark that a layer reads, the layer
        self.version = int(rng.choice([1, 2]))
        self.dropout, self.loss, self.split = (bool(rng.integers(2)) for _ in range(3))
        self.inplace = bool(rng.integers(3))
        self.stated = str(rng.choice(["input_dim", "input_shape", "layer"][: 3 if self.version == 2 else 2]))
        self.writing = {
            "packed": bool(rng.integers(4)),
            "double": not rng.integers(5),
            "old_shape": not rng.integers(4),
        }

    def put(self, block: int, part: Part) -> None:
        """Insert ``part`` at a random position of a block."""
        self.blocks[block].insert(int(self.rng.integers(len(self.blocks[block]) + 1)), part)

    def set_act(self, at: int, part: Optional[Part]) -> None:
        """:raises Impossible: if the block has none."""
        if at < 5 and "act" not in self.blocks[at]:
            raise Impossible
        self.acts = [part if index == at else act for index, act in enumerate(self.acts)]

    def pool_blocks(self) -> List[int]:
        return [index for index, block in enumerate(self.blocks) if "pool" in block]

    def parts(self) -> List[Tuple[str, Part]]:
        """(name, part) of all layers on the main path, in order."""
        found: List[Tuple[str, Part]] = [(f"pre{i}", part) for i, part in enumerate(self.first)]

        def extend(number: int, words: Sequence[Any], lists: Dict[str, Any]) -> None:
            for place, word in enumerate(words):
                part = lists[word] if isinstance(word, str) else word
                if part is not None:
                    found.append((f"{part.kind.lower()}{number}_{place}", part))

        for index, words in enumerate(self.blocks):
            found.append((f"conv{index + 1}", self.convs[index]))
            lists = {"act": self.acts[index], "lrn": self.lrns[index], "pool": self.pools[index]}
            extend(index + 1, words, lists)
        extend(5, self.last_map, {})
        for index, fc in enumerate(self.fcs):
            found.append((f"fc{index + 6}", fc))
            words = list(self.after[index])
            if self.dropout and index < len(self.fcs) - 1:
                words.append(Part("Dropout", "dropout_param", dropout_ratio=0.5))
            extend(index + 6, words, {"act": self.acts[min(5 + index, 6)]})
        return found

    def describe(self) -> str:
        kept = [str(part) if not name.startswith(("conv", "fc")) else f"| {name} {part}" for name, part in self.parts()]
        aside = "".join(" | aside of {}: {}".format(*each) for each in self.aside)
        flags = ", ".join(key for key, value in self.writing.items() if value)
        words = (self.version, self.side, self.stated, " ".join(kept), aside, flags)
        return "Caffe V%d, %d pixels (%s) %s%s | %s" % words + "{}{}{}".format(
            ", in place" if self.inplace else "",
            ", loss" if self.loss else "",
            ", split" if self.split else "",
        )


_IN_PLACE = ("ReLU", "TanH", "Sigmoid", "ELU", "Dropout", "Power", "BatchNorm", "Scale", "AbsVal", "BNLL", "PReLU")


def wire(draft: Draft) -> Tuple[List[CaffeLayer], List[Tuple[int, int]], Dict[str, str]]:
    """The layers with their tops and arrays, the products of each sum with the side of its kernel, and the tops by
    the names of layers."""
    layers: List[CaffeLayer] = []
    products: List[Tuple[int, int]] = []
    tops, shapes = {"data": "data"}, {"data": (3, draft.side, draft.side)}

    def add(name: str, part: Part, bottom: str) -> str:
        bottoms = [bottom] + [tops[one] for one in part.reads]
        shape, blobs = _made(draft.rng, part, [shapes[one] for one in bottoms], products)
        own = part.dangling or part.reads or "last fc" in tops  # the logits may also be an output
        top = bottom if draft.inplace and part.kind in _IN_PLACE and not own else name
        names = [top] if part.kind != "Slice" else [name + "_a", name + "_b"]
        if part.kind == "Slice":
            point = part.options["slice_point"][0]
            shapes[names[0]], shapes[names[1]] = (point, *shape[1:]), (shape[0] - point, *shape[1:])
            tops.update({name + "_a": names[0], name + "_b": names[1]})
        else:
            shapes[top] = shape
        layers.append(CaffeLayer(part.kind, name, bottoms, names, {part.key: part.options} if part.key else {}, blobs))
        tops[part.mark or name] = tops[name] = names[0]
        return names[0]

    t = "data"
    for name, part in draft.parts():
        result = add(name, part, t)
        if part is draft.fcs[-1]:
            tops["last fc"] = result
        if part.kind == "Slice":  # the Concat that follows reads both, the second first
            result = tops[name + "_b"]
            tops["first half"] = tops[name + "_a"]
        t = t if part.dangling else result
        if draft.split and name == "conv3":  # Caffe inserts this where two layers read one top
            add("conv3_split", Part("Split"), t)
            t = tops["conv3_split"]
    for mark, part in draft.aside:
        add("aside_" + part.kind.lower(), part, tops[mark])
    tops["result"] = t
    return layers, products, tops


def _made(
    rng: np.random.Generator, part: Part, given: List[Tuple[int, ...]], products: List[Tuple[int, int]]
) -> Tuple[Tuple[int, ...], List[np.ndarray]]:
    """The shape of a part's result and its arrays.

    :raises Impossible: if it has no pixels, or what it reads does not fit.
    """
    shape, options = given[0], part.options
    channels = shape[0]

    def drawn(*sides: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.standard_normal(sides)).astype(np.float32)

    if part.kind == "Convolution":
        kernel = [options.get("kernel_h", 0) or options["kernel_size"][-1], options.get("kernel_w", 0)]
        kernel[1] = kernel[1] or kernel[0]
        stride = [options.get("stride_" + side, options.get("stride", [1])[-1]) for side in "hw"]
        pads = [options.get("pad_" + side, options.get("pad", [0])[-1]) for side in "hw"]
        group, out, dilation = options.get("group", 1), options["num_output"], options.get("dilation", [1])[-1]
        if channels % group or out % group:
            raise Impossible
        sides = [(shape[1 + i] + 2 * pads[i] - dilation * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2)]
        fan = channels // group * kernel[0] * kernel[1]
        first = not products
        products.append((fan, kernel[0]))
        scale = np.sqrt(2 / fan) / (DEVIATION if first else 1.0)
        blobs = [drawn(out, channels // group, *kernel, scale=scale), drawn(out, scale=0.2)]
        result: Tuple[int, ...] = (out, *sides)
    elif part.kind == "InnerProduct":
        features, out = int(np.prod(shape)), options["num_output"]
        products.append((features, 1))
        weight = drawn(out, features, scale=np.sqrt(2 / features))
        blobs = [np.ascontiguousarray(weight.T) if options.get("transpose") else weight, drawn(out, scale=0.2)]
        result = (out,)
    elif part.kind == "Pooling":
        result, blobs = (channels, *_pooled(options, shape[1:])), []
    elif part.kind == "BatchNorm":
        factor = float(rng.choice([1.0, 999.0]))
        blobs = [factor * drawn(channels, scale=0.3), np.float32(factor) * rng.uniform(0.5, 2, channels)]
        blobs = [blob.astype(np.float32) for blob in [*blobs, np.array([factor])]]
        result = shape
    elif part.kind == "Scale":
        blobs, result = [rng.uniform(0.5, 1.5, channels).astype(np.float32), drawn(channels, scale=0.3)], shape
        blobs = blobs if options.get("bias_term") else blobs[:1]
    elif part.kind == "PReLU":
        blobs, result = [rng.uniform(0.05, 0.5, channels).astype(np.float32)], shape
    elif part.kind in ("Concat", "Eltwise"):
        if len({one[1:] for one in given}) > 1 or (part.kind == "Eltwise" and len(set(given)) > 1):
            raise Impossible
        result = (sum(one[0] for one in given), *shape[1:]) if part.kind == "Concat" else shape
        blobs = []
    else:
        blobs, result = [], (int(np.prod(shape)),) if part.kind == "Flatten" else shape
    if min(result) < 1:
        raise Impossible
    if options.get("bias_term") is False:
        blobs = blobs[:1]
    return result, blobs


def _pooled(options: Dict[str, Any], sides: Sequence[int]) -> List[int]:
    """Caffe rounds up and leaves out a window that would begin in the padding: src/caffe/layers/pooling_layer.cpp."""
    if options.get("global_pooling"):
        return [1, 1]
    stride, pad, found = options["stride"], options.get("pad", 0), []
    for side in sides:
        room = side + 2 * pad - options["kernel_size"]
        if room < 0 or pad >= options["kernel_size"]:
            raise Impossible
        count = (room // stride if options.get("round_mode") else -(-room // stride)) + 1
        found.append(count - 1 if pad and (count - 1) * stride >= side + pad else count)
    return found


def make(seed: int, names: Optional[Sequence[str]] = None, published: bool = False) -> Case:
    """A case with none to two oddities, or with those of ``names``; ``published``: in a network that many have."""
    from .caffe_oddities import ODDITIES

    def draw(rng: np.random.Generator) -> Case:
        chosen = cases.choose_oddities(rng, ODDITIES) if names is None else names
        draft = Draft(rng, published)
        for name in chosen:
            ODDITIES[name].change(draft)
        return _case(seed, draft, tuple(Oddity(name, ODDITIES[name].words) for name in chosen))

    return cases.first_possible(seed, draw)


def made(change: Callable[[Draft], None], words: str, seed: int = 0) -> Case:
    """A case of one of the published networks after ``change``, whose refusal must match ``words``."""

    def draw(rng: np.random.Generator) -> Case:
        draft = Draft(rng, True)
        change(draft)
        return _case(seed, draft, (Oddity("the change", words),) if words else ())

    return cases.first_possible(seed, draw)


def _case(seed: int, draft: Draft, oddities: Tuple[Oddity, ...]) -> Case:
    layers, products, tops = wire(draft)
    x = np.round(DEVIATION * draft.rng.standard_normal((2, 3, draft.side, draft.side))).astype(np.float32)
    exact = caffe_oracles.by_torch(layers, x)
    logits = exact[tops["last fc"]]
    cases.check_alive(logits)
    wanted = [tops["result"], *(layers[-1 - i].tops[0] for i in range(len(draft.aside)))]
    expected = [exact[top] for top in wanted]
    scale = max(float(np.abs(each).max()) for each in [logits, *expected])
    tolerance = cases.tolerance_of(*zip(*products), scale)
    names = [next(layer.name for layer in reversed(layers) if top in layer.tops) for top in wanted]
    theirs = caffe_oracles.by_opencv(layers, x, names)
    if theirs is not None:
        for one, other in zip(theirs, expected):
            apart = np.abs(one.reshape(other.shape) - other).max()
            assert apart <= tolerance, f"OpenCV and PyTorch differ by {apart:g} > {tolerance:g}: {draft.describe()}"
        expected = [one.reshape(other.shape) for one, other in zip(theirs, expected)]
    if draft.version == 1 and any(layer.kind not in V1_TYPES for layer in layers):
        draft.version = 2  # the layer is younger than generation 1
    if draft.loss and tops["result"] == layers[-1].tops[0] == tops["last fc"]:
        layers = [*layers, *_training(tops["result"])]
    words = dict(draft.writing, version=draft.version, stated=draft.stated)
    data = file_writers.caffe_net(layers, (1, 3, draft.side, draft.side), **words)
    data = data.SerializeToString(deterministic=True)
    return Case(seed, "net.caffemodel", data, x, tuple(expected), tolerance, draft.describe(), oddities)


def _training(top: str) -> List[CaffeLayer]:
    """Layers that a training snapshot has after the last layer."""
    return [
        CaffeLayer("Accuracy", "accuracy", [top, "label"], ["accuracy"]),
        CaffeLayer("SoftmaxWithLoss", "loss", [top, "label"], ["loss"]),
    ]
