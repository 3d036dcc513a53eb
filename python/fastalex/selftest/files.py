"""A network that was read from a file's graph, held against the graph itself.

The graph is executed node by node (:mod:`fastalex.weights.interpreter`), and so is the network as its variant's table
has it, on the same pictures: what the reader has misunderstood then shows as another result.

How much the two may differ: both round each sum of products, the more the longer it is. With independent errors of
relative size u = 2^-24 in sums of n products, a result is off by :data:`~.bounds.DEVIATIONS` u sqrt(n) of what is
summed up (Higham and Mary 2019, as in :mod:`.bounds`), and n counts the products of all layers, since each passes on
the errors of those before it. What is summed up is taken from the last layer: ``sum(|w| |x|) + |b|``.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from ..errors import UserError
from ..images import profiles
from ..networks.architecture import Variant
from ..networks.layers import Layer
from ..weights import Weights, interpreter
from ..weights.graph import Graph, Node, shown
from .bounds import DEVIATIONS, U

MOST_PICTURES = 16  # of a graph that takes no other number
ROOM = 32  # pixels that the second size is larger by


def check(loaded: Weights, variant: Variant, arrays: Mapping[str, Any]) -> None:
    """Hold the network ``variant`` with ``arrays`` against the graph of the file that it comes from, if it has one.

    :raises UserError: if they differ, or the graph has an op that cannot be computed here.
    """
    if loaded.graph is None:
        return
    for number, size in enumerate(_sizes(loaded.graph, variant)):
        try:
            x, expected = _expected(loaded.graph, variant, size)
        except (interpreter.UnknownOpError, *interpreter.PROBLEMS) as problem:
            if number:  # the graph takes pictures of one size alone, whatever it says
                return
            raise UserError(
                f"{loaded.path} cannot be checked: {shown(' '.join(str(problem).split()), 200)}; check=False loads it all the same"
            ) from None
        found, magnitudes = _of_variant(variant, arrays, x)
        _compare(loaded.path, variant, found, expected, magnitudes)


def _sizes(graph: Graph, variant: Variant) -> List[int]:
    fixed = graph.shape[2] if len(graph.shape) == 4 else 0
    if fixed > 0 or not variant.adaptive_pool:
        return [fixed or variant.input_size]
    return [variant.input_size, variant.input_size + ROOM]


def _expected(graph: Graph, variant: Variant, size: int) -> Tuple[np.ndarray, np.ndarray]:
    """Pictures, and what the graph makes of them: of one, or of as many as the graph insists on."""
    x = _pictures(1, variant, size)
    try:
        return x, interpreter.run(graph, x)
    except interpreter.PROBLEMS:
        if not graph.shape or not 1 < graph.shape[0] <= MOST_PICTURES:
            raise
    x = _pictures(graph.shape[0], variant, size)
    return x, interpreter.run(graph, x)


def _pictures(batch: int, variant: Variant, size: int) -> np.ndarray:
    """Random pixels as the variant's profile gives them, so that values are as large as in use."""
    generator = np.random.default_rng(0)
    pixels = generator.uniform(0, 255, (batch, variant.channels, size, size)).astype(np.float32)
    row = profiles.get(variant.profile)
    if variant.channels != 3:
        return pixels / np.float32(255)
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (row.mean, row.std))
    return (pixels / np.float32(row.divisor) - mean) / std


def _of_variant(variant: Variant, arrays: Mapping[str, Any], x: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The network's result, and the magnitudes that its last fully connected layer sums up."""
    magnitudes = np.zeros((len(x), 1), np.float32)
    for layer in variant.layers((x.shape[2], x.shape[3])):
        if layer.op == "fc":
            x = x.reshape(len(x), -1)
            weight, bias = (np.asarray(arrays[layer.param + leaf]) for leaf in (".weight", ".bias"))
            if layer.name == "fc8":
                magnitudes = np.abs(x) @ np.abs(weight).T + np.abs(bias)
            x = interpreter.product(x, weight.T) + bias
        elif layer.op != "dropout":
            x = _NODES[layer.op](layer, arrays, x)
    return x, magnitudes


def _one(op: str, inputs: List[Any], **attributes: Any) -> np.ndarray:
    return interpreter.evaluate(Node(op, op, [], [op], attributes), inputs)[0]


def _conv(layer: Layer, arrays: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    options = layer.options
    ends = [
        max(options["pad"], (out - 1) * options["stride"] + options["kernel"] - options["pad"] - side)
        for out, side in zip(layer.out_shape[1:], layer.in_shape[1:])
    ]
    inputs = [x, *(np.asarray(arrays[layer.param + leaf]) for leaf in (".weight", ".bias"))]
    pads = [options["pad"], options["pad"], *ends]
    return _one("Conv", inputs, group=options["groups"], strides=[options["stride"]] * 2, pads=pads)


def _max_pool(layer: Layer, arrays: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    options = layer.options
    sides = {"kernel_shape": [options["kernel"]] * 2, "strides": [options["stride"]] * 2}
    return _one("MaxPool", [x], ceil_mode=int(options["rounding"] == "ceil"), **sides)


def _lrn(layer: Layer, arrays: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    options = layer.options
    numbers = {"size": options["size"], "alpha": options["alpha"] * options["size"], "beta": options["beta"]}
    parts = np.split(x, options["groups"], axis=1)
    return np.concatenate([_one("LRN", [part], bias=options["k"], **numbers) for part in parts], axis=1)


def _spatial_norm(layer: Layer, arrays: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    options = layer.options
    size = options["size"]
    window = {"kernel_shape": [size] * 2, "pads": [size // 2] * 4, "strides": [1, 1], "count_include_pad": 1}
    sums = _one("AveragePool", [np.square(x)], **window) * np.float32(size**2)
    return x / (np.float32(options["k"]) + np.float32(options["alpha"]) * sums) ** np.float32(options["beta"])


def _adaptive_average(layer: Layer, arrays: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    out = layer.options["out"]

    def windows(side: int) -> List[slice]:
        return [slice(i * side // out, -(-(i + 1) * side // out)) for i in range(out)]

    rows = np.stack([x[:, :, part].mean(axis=2, dtype=np.float32) for part in windows(x.shape[2])], axis=2)
    return np.stack([rows[..., part].mean(axis=3, dtype=np.float32) for part in windows(x.shape[3])], axis=3)


_NODES: Dict[str, Any] = {
    "adaptive_avgpool": _adaptive_average,
    "conv": _conv,
    "leaky_relu": lambda layer, arrays, x: np.where(x < 0, np.float32(layer.options["alpha"]) * x, x),
    "lrn": _lrn,
    "maxpool": _max_pool,
    "relu": lambda layer, arrays, x: np.maximum(x, 0),
    "sigmoid": lambda layer, arrays, x: _one("Sigmoid", [x]),
    "softmax": lambda layer, arrays, x: _one("Softmax", [x]),
    "spatial_norm": _spatial_norm,
    "tanh": lambda layer, arrays, x: np.tanh(x),
}


def _compare(path: str, variant: Variant, found: np.ndarray, expected: np.ndarray, magnitudes: np.ndarray) -> None:
    if found.shape != expected.shape:
        shapes = (path, list(expected.shape[1:]), variant.name, list(found.shape[1:]))
        raise UserError(
            "the graph of {} gives {} values an image, the network {} that was read from it {}".format(*shapes)
        )
    products = sum(layer.macs // max(1, int(np.prod(layer.out_shape))) for layer in variant.layers())
    bound = DEVIATIONS * U * np.sqrt(products) * magnitudes.max(axis=1, keepdims=True)
    difference = np.abs(found.astype(np.float64) - expected)
    if not np.isfinite(expected).all() and np.array_equal(np.isfinite(found), np.isfinite(expected)):
        return  # weights that are not finite
    if not (difference <= bound).all():  # a softmax changes by no more than its logits do
        worst = float(np.nanmax(difference)) if not np.isnan(difference).all() else float("nan")
        raise UserError(
            f"{path} computes something else than the network {variant.name} that was read from it: values differ by {worst:.3g} where {float(np.abs(expected).max()):.3g} is "
            "the largest; name the variant if you know better, with check=False"
        )
