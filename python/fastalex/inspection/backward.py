"""Gradients in numpy: for each op behind the last convolution, that of its input from that of its result.

Where a function has a corner, and where values of a pool's window are equal, the gradient is the one that PyTorch's
autograd chooses: zero for ReLU at zero, and the first of the equal values in the order of rows.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping

import numpy as np

from ..networks.layers import Layer

Arrays = Mapping[str, np.ndarray]


def through(layer: Layer, gradient: np.ndarray, x: np.ndarray, parameters: Arrays) -> np.ndarray:
    """Return the gradient of the input ``x`` of a layer, in the shape of ``x``.

    :param gradient: that of the layer's result, ``[C, H, W]`` or ``[features]``.
    :param parameters: arrays by name, of a fully connected layer ``"<param>.weight"`` ``[out, in]``.
    """
    if layer.op == "fc":
        return (gradient @ parameters[layer.param + ".weight"]).reshape(x.shape)
    return _OPS[layer.op](gradient.reshape(layer.out_shape), x, layer.options)


def _relu(gradient: np.ndarray, x: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    return np.asarray(gradient * (x > 0))


def _leaky_relu(gradient: np.ndarray, x: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    return np.asarray(gradient * np.where(x > 0, np.float32(1), np.float32(options["alpha"])))


def _tanh(gradient: np.ndarray, x: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    return np.asarray(gradient * (1 - np.tanh(x) ** 2))


def _sigmoid(gradient: np.ndarray, x: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    y = 0.5 + 0.5 * np.tanh(0.5 * x)  # the logistic function, without overflow
    return gradient * y * (1 - y)


def _maxpool(gradient: np.ndarray, x: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    kernel, stride = options["kernel"], options["stride"]
    result, channels = np.zeros_like(x), np.arange(len(x))
    for row in range(gradient.shape[1]):
        for column in range(gradient.shape[2]):
            top, left = row * stride, column * stride
            window = x[:, top : top + kernel, left : left + kernel]  # cut off where it overhangs
            down, right = np.divmod(window.reshape(len(x), -1).argmax(axis=1), window.shape[2])
            result[channels, top + down, left + right] += gradient[:, row, column]
    return result


def _adaptive_avgpool(gradient: np.ndarray, x: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    rows, columns = (_averaged(x.shape[axis], gradient.shape[axis]) for axis in (1, 2))
    spread: np.ndarray = np.einsum("ih,cij,jw->chw", rows, gradient, columns).astype(np.float32)
    return spread


def _averaged(size: int, count: int) -> np.ndarray:
    """Return the matrix ``[count, size]`` that averages a side of ``size`` to ``count`` values."""
    matrix = np.zeros((count, size))
    for i in range(count):
        start, end = i * size // count, -(-(i + 1) * size // count)
        matrix[i, start:end] = 1 / (end - start)
    return matrix


def _lrn(gradient: np.ndarray, x: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    groups = options["groups"]
    width = len(x) // groups

    def sums(values: np.ndarray) -> np.ndarray:
        columns = values.reshape(groups, width, *values.shape[1:])
        return _window_sums(columns, options["size"], 1).reshape(values.shape)

    return _normalized(gradient, x, options, sums)


def _spatial_norm(gradient: np.ndarray, x: np.ndarray, options: Mapping[str, Any]) -> np.ndarray:
    size = options["size"]
    return _normalized(gradient, x, options, lambda values: _window_sums(_window_sums(values, size, 1), size, 2))


def _normalized(
    gradient: np.ndarray, x: np.ndarray, options: Mapping[str, Any], sums: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return the gradient of ``x / (k + alpha * sums(x^2)) ** beta``; windows have odd sides, so they are symmetric."""
    alpha, beta = options["alpha"], options["beta"]
    wide = x.astype(np.float64)
    base = options["k"] + alpha * sums(wide**2)
    shared = sums(gradient * wide * base ** (-beta - 1))
    result: np.ndarray = (gradient * base**-beta - 2 * alpha * beta * wide * shared).astype(np.float32)
    return result


def _window_sums(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Sum ``size`` neighbors, an odd number, along ``axis``; windows are centered and cut off at the ends."""
    half = size // 2
    count = values.shape[axis]
    total = np.concatenate([np.zeros_like(values.take([0], axis)), values.cumsum(axis)], axis)
    places = np.arange(count)
    upper, lower = np.minimum(places + half + 1, count), np.maximum(places - half, 0)
    return np.asarray(total.take(upper, axis) - total.take(lower, axis))


_OPS: Dict[str, Callable[[np.ndarray, np.ndarray, Mapping[str, Any]], np.ndarray]] = {
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "maxpool": _maxpool,
    "adaptive_avgpool": _adaptive_avgpool,
    "lrn": _lrn,
    "spatial_norm": _spatial_norm,
}
