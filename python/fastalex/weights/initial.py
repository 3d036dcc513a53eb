"""Arrays for a variant: random ones to start from, and the check that given ones fit."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Union

import numpy as np

from ..errors import UserError
from ..networks.architecture import Variant
from ..networks.variants import get
from .quantized import QuantizedWeight

BIAS_STD = 0.05  # small, but not zero: a bias that an engine forgets must show in its tests


def random_weights(variant: Union[str, Variant], seed: int = 0) -> Dict[str, np.ndarray]:
    """Parameter name -> float32 array, the same for the same ``seed`` and numpy version.

    Weights are normal with standard deviation ``sqrt(2 / fan_in)``, which keeps the scale of the activations through
    layers of ReLU (He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015, equation 10); biases are normal
    with standard deviation 0.05.
    """
    return random_arrays(get(variant).parameter_shapes(), seed)


def random_arrays(shapes: Mapping[str, tuple], seed: int = 0) -> Dict[str, np.ndarray]:
    """:func:`random_weights` for parameters of ``shapes``; those of a network's first layers are the network's own."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for name, shape in shapes.items():
        array = generator.standard_normal(shape, dtype=np.float32)
        array *= np.float32(math.sqrt(2.0 / math.prod(shape[1:])) if len(shape) > 1 else BIAS_STD)
        arrays[name] = array
    return arrays


def check(variant: Union[str, Variant], arrays: Mapping[str, Any], storage: str = "fp32") -> List[Any]:
    """The arrays in the order of :meth:`Variant.parameter_shapes`, float32 and C-contiguous.

    Of a :class:`~fastalex.weights.quantized.QuantizedWeight` in ``storage`` it is the levels and the scales, as the
    engine takes them; another one is dequantized.

    An array that is so already is passed on without a copy (a memory-mapped one stays mapped). Integers and other
    floats are converted. Values are not looked at: NaN and infinity pass through to the network.

    :raises UserError: naming the first array that is missing, unexpected, of the wrong shape or not of numbers.
    """
    row = get(variant)
    shapes = row.parameter_shapes()
    _check_classes(row, shapes, arrays)
    return list(check_shapes(shapes, arrays, row.name, storage).values())


def check_shapes(
    shapes: Mapping[str, tuple], arrays: Mapping[str, Any], owner: str, storage: str = "fp32"
) -> Dict[str, Any]:
    """:func:`check` for parameters of ``shapes``, by name; ``owner`` is what needs them."""
    for name in shapes:
        if name not in arrays:
            raise UserError(f"the weights lack the array '{name}' that {owner} needs")
    for name in arrays:
        if name not in shapes:
            raise UserError(f"the weights have an array '{name}' that {owner} does not")
    return {name: _native(name, arrays[name], shape, storage) for name, shape in shapes.items()}


def _native(name: str, given: Any, shape: tuple, storage: str) -> Any:
    if isinstance(given, QuantizedWeight) and given.storage == storage and given.shape == shape:
        return given.native
    return _as_float32(name, given, shape)


def _check_classes(row: Variant, shapes: Mapping[str, tuple], arrays: Mapping[str, np.ndarray]) -> None:
    """The commonest mistake gets a sentence of its own: a network that was trained with other classes."""
    last = [name for name in shapes if name.endswith(".weight")][-1]
    got = np.shape(arrays[last]) if last in arrays else ()
    if len(got) == 2 and got[1] == shapes[last][1] and got[0] != row.num_classes:
        raise UserError(
            f"the weights have {got[0]} classes ('{last}' has shape {tuple(got)}) and the network {row.num_classes}: pass num_classes={got[0]}"
        )


def _as_float32(name: str, given: np.ndarray, shape: tuple) -> np.ndarray:
    array = np.asarray(given)
    if array.dtype.kind not in "fiu":
        raise UserError(f"the array '{name}' must hold numbers, not {array.dtype}")
    if array.shape != shape:
        raise UserError(f"the array '{name}' has shape {array.shape}, but must have {shape}")
    try:
        with np.errstate(over="raise"):
            return np.require(array, np.float32, ["C_CONTIGUOUS"])
    except FloatingPointError:
        raise UserError(f"the array '{name}' has values that are too large for float32") from None
