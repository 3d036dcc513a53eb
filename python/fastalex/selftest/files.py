"""Comparison of a network that was read from a file's graph with the graph itself.

The graph and the layers of the variant are executed node by node (:mod:`fastalex.weights.interpreter`) on the same
images. If the reader has misunderstood the graph, the results differ.

Both round their sums of products, a long sum more than a short one. With independent errors of relative size
u = 2^-24 in sums of n products, a result is off by :data:`~.bounds.DEVIATIONS` u sqrt(n) of the sum of magnitudes
(Higham and Mary 2019, as in :mod:`.bounds`). n counts the products of all layers, since each passes on the errors of
the layers before it; the magnitudes are those of the last layer, ``sum(|w| |x|) + |b|``.
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

MAX_BATCH = 16  # of a graph with a fixed batch size
SIZE_INCREMENT = 32  # pixels from the first image size to the second


def check(loaded: Weights, variant: Variant, arrays: Mapping[str, Any]) -> None:
    """Compare the network ``variant`` with parameters ``arrays`` with the graph of its file, if that has one.

    :raises UserError: if they differ, or the graph has an op that the interpreter lacks.
    """
    if loaded.graph is None:
        return
    for number, size in enumerate(_sizes(loaded.graph, variant)):
        try:
            x, expected = _expected(loaded.graph, variant, size)
        except (interpreter.UnknownOpError, *interpreter.PROBLEMS) as problem:
            if number:  # the graph takes images of one size only, whatever it declares
                return
            raise UserError(
                f"{loaded.path} cannot be checked: {shown(' '.join(str(problem).split()), 200)}; "
                "check=False loads it all the same"
            ) from None
        result, magnitudes = _run_variant(variant, arrays, x)
        _compare(loaded.path, variant, result, expected, magnitudes)


def _sizes(graph: Graph, variant: Variant) -> List[Tuple[int, int]]:
    """Return the heights and widths of the images to compare with: those of the graph, or two if it fixes none."""
    usual = variant.input_size
    height, width = graph.shape[2:] if len(graph.shape) == 4 else (0, 0)
    if height > 0 or width > 0 or not variant.adaptive_pool:
        return [(height or width or usual, width or height or usual)]
    return [(size, size) for size in (usual, usual + SIZE_INCREMENT)]


def _expected(graph: Graph, variant: Variant, size: Tuple[int, int]) -> Tuple[np.ndarray, np.ndarray]:
    """Return a batch of one image, or of the graph's fixed batch size, and the graph's result for it."""
    x = _random_images(1, variant, size)
    try:
        return x, _run_graph(graph, x)
    except interpreter.PROBLEMS:
        if not graph.shape or not 1 < graph.shape[0] <= MAX_BATCH:
            raise
    x = _random_images(graph.shape[0], variant, size)
    return x, _run_graph(graph, x)


def _run_graph(graph: Graph, x: np.ndarray) -> np.ndarray:
    """Return the graph's result for ``x``, ``[N, C, H, W]``; a map of 1 x 1, from convolutions alone, is flattened."""
    result = interpreter.run(graph, x.transpose(0, 2, 3, 1) if graph.channels_last else x)
    flat = result.ndim == 4 and sorted(result.shape[1:])[:2] == [1, 1]
    return result.reshape(len(result), -1) if flat else result


def _random_images(batch: int, variant: Variant, size: Tuple[int, int]) -> np.ndarray:
    """Normalize random pixels by the variant's profile, so that values are as large as those of real images."""
    generator = np.random.default_rng(0)
    pixels: np.ndarray = generator.uniform(0, 255, (batch, variant.channels, *size)).astype(np.float32)
    row = profiles.get(variant.profile)
    if variant.channels != 3:
        pixels /= np.float32(255)
        return pixels
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (row.mean, row.std))
    pixels = (pixels / np.float32(row.divisor) - mean) / std
    return pixels


def _run_variant(variant: Variant, arrays: Mapping[str, Any], x: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return the network's result, and the sums of magnitudes of its last fully connected layer."""
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


def _run_node(op: str, inputs: List[Any], **attributes: Any) -> np.ndarray:
    return interpreter.evaluate(Node(op, op, [], [op], attributes), inputs)[0]


def _conv(layer: Layer, arrays: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    options = layer.options
    ends = [
        max(options["pad"], (out - 1) * options["stride"] + options["kernel"] - options["pad"] - side)
        for out, side in zip(layer.out_shape[1:], layer.in_shape[1:])
    ]
    inputs = [x, *(np.asarray(arrays[layer.param + leaf]) for leaf in (".weight", ".bias"))]
    pads = [options["pad"], options["pad"], *ends]
    return _run_node("Conv", inputs, group=options["groups"], strides=[options["stride"]] * 2, pads=pads)


def _max_pool(layer: Layer, arrays: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    options = layer.options
    sides = {"kernel_shape": [options["kernel"]] * 2, "strides": [options["stride"]] * 2}
    return _run_node("MaxPool", [x], ceil_mode=int(options["rounding"] == "ceil"), **sides)


def _lrn(layer: Layer, arrays: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    options = layer.options
    attributes = {"size": options["size"], "alpha": options["alpha"] * options["size"], "beta": options["beta"]}
    groups = np.split(x, options["groups"], axis=1)
    return np.concatenate([_run_node("LRN", [part], bias=options["k"], **attributes) for part in groups], axis=1)


def _spatial_norm(layer: Layer, arrays: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    options = layer.options
    size = options["size"]
    window = {"kernel_shape": [size] * 2, "pads": [size // 2] * 4, "strides": [1, 1], "count_include_pad": 1}
    sums = _run_node("AveragePool", [np.square(x)], **window) * np.float32(size**2)
    scale = (np.float32(options["k"]) + np.float32(options["alpha"]) * sums) ** np.float32(options["beta"])
    normalized: np.ndarray = x / scale
    return normalized


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
    "sigmoid": lambda layer, arrays, x: _run_node("Sigmoid", [x]),
    "softmax": lambda layer, arrays, x: _run_node("Softmax", [x]),
    "spatial_norm": _spatial_norm,
    "tanh": lambda layer, arrays, x: np.tanh(x),
}


def _compare(path: str, variant: Variant, result: np.ndarray, expected: np.ndarray, magnitudes: np.ndarray) -> None:
    if result.shape != expected.shape:
        raise UserError(
            f"the graph of {path} gives {list(expected.shape[1:])} values an image, "
            f"the network {variant.name} that was read from it {list(result.shape[1:])}"
        )
    products = sum(layer.macs // max(1, int(np.prod(layer.out_shape))) for layer in variant.layers())
    bound = DEVIATIONS * U * np.sqrt(products) * magnitudes.max(axis=1, keepdims=True)
    difference = np.abs(result.astype(np.float64) - expected)
    if not np.isfinite(expected).all() and np.array_equal(np.isfinite(result), np.isfinite(expected)):
        return  # weights that are not finite
    if not (difference <= bound).all():  # holds after a softmax too, which changes by no more than its logits
        worst = float(np.nanmax(difference)) if not np.isnan(difference).all() else float("nan")
        raise UserError(
            f"{path} computes something else than the network {variant.name} that was read from it: values differ by "
            f"{worst:.3g} where {float(np.abs(expected).max()):.3g} is the largest; name the variant if you know "
            "better, with check=False"
        )
