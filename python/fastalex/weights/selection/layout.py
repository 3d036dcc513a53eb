"""Orders of axes: PyTorch's, which is the family's, and TensorFlow's (height, width, in, out)."""

from __future__ import annotations

import math
from typing import Tuple

import numpy as np

from ..order import by_shapes
from .names import Layer, Layers


def as_pytorch(layers: Layers) -> Tuple[Layers, str]:
    """Return ``layers`` in PyTorch's order of axes, and a note if they were in TensorFlow's.

    The first matrix of a network in TensorFlow's order reads the map as (height, width, channels).
    """
    shapes = [np.shape(layer["weight"]) for layer in layers.values() if np.ndim(layer["weight"]) == 4]
    if any(shape[0] != shape[1] for shape in shapes) or all(shape[2] == shape[3] for shape in shapes):
        return layers, ""
    turned = {name: dict(layer, weight=_turned(layer["weight"])) for name, layer in layers.items()}
    order = by_shapes({name: np.shape(layer["weight"]) for name, layer in turned.items()})
    convolutions = [name for name in order if np.ndim(turned[name]["weight"]) == 4]
    first = next((name for name in order if np.ndim(turned[name]["weight"]) == 2), None)
    if first is not None:
        channels = len(turned[convolutions[-1]]["weight"])
        turned[first]["weight"] = _channels_first(turned[first]["weight"], channels)
    return turned, "its arrays have TensorFlow's order of axes, and the first matrix is taken to read rows of pixels"


def as_matrix(layer: Layer) -> Layer:
    """Return a fully connected layer that may be stored as a convolution over the whole map."""
    weight = layer["weight"]
    return dict(layer, weight=np.asarray(weight).reshape(len(weight), -1)) if np.ndim(weight) == 4 else dict(layer)


def _turned(weight: np.ndarray) -> np.ndarray:
    array = np.asarray(weight)
    turned: np.ndarray = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    return turned


def _channels_first(weight: np.ndarray, channels: int) -> np.ndarray:
    """Reorder the inputs of ``weight`` [out, in] from (height, width, channels) to (channels, height, width)."""
    count = weight.shape[1] // channels
    side = math.isqrt(count)
    if side * side * channels != weight.shape[1]:
        return weight  # the shapes do not fit, which is said by their name
    moved: np.ndarray = weight.reshape(len(weight), side, side, channels).transpose(0, 3, 1, 2).reshape(len(weight), -1)
    return moved
