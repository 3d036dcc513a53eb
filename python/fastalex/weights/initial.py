"""The arrays of a variant's parameters: random ones, and the check that a file's arrays fit."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Union

import numpy as np

from ..errors import UserError
from ..networks.architecture import Variant
from ..networks.layers import Shape
from ..networks.variants import get
from .quantized import QuantizedWeight

BIAS_STD = 0.05  # small, but not zero, so that tests notice an engine that forgets a bias


def random_weights(variant: Union[str, Variant], seed: int = 0) -> Dict[str, np.ndarray]:
    """Draw float32 arrays by parameter name, equal for equal ``seed`` and numpy version.

    Weights are normal with standard deviation ``sqrt(2 / fan_in)``, which preserves the scale of the activations
    through layers of ReLU (He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015, equation 10); biases are
    normal with standard deviation 0.05.
    """
    return random_arrays(get(variant).parameter_shapes(), seed)


def random_arrays(shapes: Mapping[str, Shape], seed: int = 0) -> Dict[str, np.ndarray]:
    """Draw arrays as :func:`random_weights` does, for parameters of ``shapes``.

    For the first layers of a network these are the arrays that the whole network would get.
    """
    generator = np.random.default_rng(seed)
    arrays = {}
    for name, shape in shapes.items():
        array = generator.standard_normal(shape, dtype=np.float32)
        array *= np.float32(math.sqrt(2.0 / math.prod(shape[1:])) if len(shape) > 1 else BIAS_STD)
        arrays[name] = array
    return arrays


def check(variant: Union[str, Variant], arrays: Mapping[str, Any], storage: str = "fp32") -> List[Any]:
    """Return the arrays in the order of :meth:`Variant.parameter_shapes`, float32 and C-contiguous.

    A :class:`~fastalex.weights.quantized.QuantizedWeight` in ``storage`` becomes the tuple of quantized values and
    scales that the engine takes; one in another storage is dequantized. Arrays that need no conversion are not copied
    (a memory-mapped one stays mapped). Values are not checked: NaN and infinity reach the network.

    :raises UserError: naming the first array that is missing, unexpected, of the wrong shape or not of numbers.
    """
    row = get(variant)
    shapes = row.parameter_shapes()
    _check_classes(row, shapes, arrays)
    return list(check_shapes(shapes, arrays, row.name, storage).values())


def check_shapes(
    shapes: Mapping[str, Shape], arrays: Mapping[str, Any], owner: str, storage: str = "fp32"
) -> Dict[str, Any]:
    """Check arrays as :func:`check` does, for parameters of ``shapes``, and return them by name.

    :param owner: the network that needs them, for error messages.
    """
    for name in shapes:
        if name not in arrays:
            raise UserError(f"the weights lack the array '{name}' that {owner} needs")
    for name in arrays:
        if name not in shapes:
            raise UserError(f"the weights have an array '{name}' that {owner} does not")
    return {name: _native(name, arrays[name], shape, storage) for name, shape in shapes.items()}


def _native(name: str, array: Any, shape: Shape, storage: str) -> Any:
    if isinstance(array, QuantizedWeight) and array.storage == storage and array.shape == shape:
        return array.native
    return _as_float32(name, array, shape)


def _check_classes(row: Variant, shapes: Mapping[str, Shape], arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse weights with another number of classes, the most common mistake, with a message of its own."""
    last = [name for name in shapes if name.endswith(".weight")][-1]
    shape = np.shape(arrays[last]) if last in arrays else ()
    if len(shape) == 2 and shape[1] == shapes[last][1] and shape[0] != row.num_classes:
        raise UserError(
            f"the weights have {shape[0]} classes ('{last}' has shape {tuple(shape)}) and the network "
            f"{row.num_classes}: pass num_classes={shape[0]}"
        )


def _as_float32(name: str, values: np.ndarray, shape: Shape) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise UserError(f"the array '{name}' must hold numbers, not {array.dtype}")
    if array.shape != shape:
        raise UserError(f"the array '{name}' has shape {array.shape}, but must have {shape}")
    try:
        with np.errstate(over="raise"):
            return np.require(array, np.float32, ["C_CONTIGUOUS"])
    except FloatingPointError:
        raise UserError(f"the array '{name}' has values that are too large for float32") from None
