"""Error bounds of every op, derived from its arithmetic, for each value of a result.

The naive backend computes in double and rounds once, so that nearly all of a difference is the other backend's error.
With ``u = 2^-24``, the largest relative error of one fp32 rounding, ``n`` roundings multiply a value by a factor within
``1 +- gamma(n)``, ``gamma(n) = n u / (1 - n u)`` (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd
edition, lemma 3.1). The bounds hold for any order of the operations and for fused multiply-adds, which round less.
No input is so small that anything underflows.

With fp16 activations, ``u16 = 2^-11`` replaces u when a value is stored, and a value that underflows has the error
2^-25, half of the smallest fp16 number. If products are summed in fp16 (``half_sum`` of them, before the sum moves to
fp32), the worst case says nothing: gamma16(32) of the sum of magnitudes is as large as the sum. The bound is then
Hoeffding's, for independent rounding errors with mean 0 (Higham and Mary, "A new approach to probabilistic rounding
error analysis", 2019): see :func:`_half_sums`.
"""

from __future__ import annotations

import math
from typing import Callable, Dict, Union

import numpy as np

from ..networks import activations
from . import winograd_bounds
from .cases import Case
from .native import EXACT, REFERENCE, Arithmetic, Params, run_native

U = 2.0**-24
#: Allowed error of one call of tanhf, expf or powf, in roundings: 4 units in the last place of at most two roundings
#: each. No C library rounds these functions correctly everywhere; they aim at "a few" units.
FUNCTION = 8
SMALLEST_NORMAL = 2.0**-126
U16 = 2.0**-11
TINY16 = 2.0**-25
#: Allowed size of a sum of independent errors, in deviations: exceeded with probability 2 exp(-7^2 / 2) = 5e-11.
DEVIATIONS = 7.0


def gamma(n: float) -> float:
    """Bound the relative error after ``n`` fp32 roundings."""
    return n * U / (1 - n * U)


def _relative(error: Union[float, np.ndarray], values: np.ndarray) -> np.ndarray:
    """Turn a relative error of ``values`` into an absolute one."""
    absolute: np.ndarray = error * np.abs(values)
    return absolute


def error_bound(
    case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic = EXACT
) -> np.ndarray:
    """Bound the absolute error of a backend for each value of ``reference``, float64 of its shape.

    :param x: the input of the reference, like ``params``.
    :param arithmetic: of the backend.
    """
    bound = _BOUNDS[case.op](case, x, params, reference, arithmetic)
    last = case.ops[-1]
    if last in activations.OPS and last not in ("relu", case.op):
        if arithmetic.half and last != "tanh":  # a step of its own, whose input is stored as a half
            bound = bound * (1 + U16) + U16 * _magnitudes(case, x, params) + TINY16
        # The error of its input times its largest slope, which is at most 1 in the cases, and its own error.
        bound = bound * (0.25 if last == "sigmoid" else 1.0)
        bound = bound + gamma(FUNCTION + 3) * np.abs(reference)
    if arithmetic.half and case.op not in ("maxpool", "relu"):  # these compute nothing
        bound = bound * (1 + U16) + U16 * np.abs(reference) + TINY16  # the result is stored as a half
    return bound


def _sum_of_products(
    case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic
) -> np.ndarray:
    """Bound the error of conv and fc layers.

    Each of K products, and the bias, goes through one multiplication and at most K additions, and the reference is
    rounded once. So |error| <= (gamma(K + 1) + u) * sum(|w| |x|) <= gamma(K + 2) * sum(|w| |x|) (Higham, equation 3.5
    and lemma 3.3); their difference of K u^2 covers the rounding of this sum by the naive backend. int8, int4: the
    scale adds a multiplication, and the weights that the backend returns have one rounding more. Byte planes round the
    input; see :func:`byte_plane_error`.
    """
    if arithmetic.form.startswith("winograd"):
        return winograd_bounds.bound(case, x, params, arithmetic.form, arithmetic.half_sum, DEVIATIONS)
    roundings = case.products + 2 + (2 if case.storage in ("int8", "int4") else 0)
    bound = gamma(roundings) * _magnitudes(case, x, params)
    if arithmetic.byte_planes:
        bound = bound + byte_plane_error(x, params, arithmetic.byte_planes)
    return bound + _half_sums(case, x, params, arithmetic.half_sum) if arithmetic.half_sum else bound


def _magnitudes(case: Case, x: np.ndarray, params: Params) -> np.ndarray:
    """Compute ``sum(|w| |x|) + |b|`` for each output of the conv or fc layer of ``case``, in float64."""
    sizes = run_native(case.first_line, np.abs(x), [np.abs(param) for param in params], REFERENCE)
    return sizes.astype(np.float64)


def byte_plane_error(x: np.ndarray, params: Params, planes: int) -> np.ndarray:
    """Bound the error of an fc layer from splitting its input into ``planes`` byte planes, float64 ``[N, out]``.

    An input value is rounded to an integer, at most 2^(8 planes - 1) - 1 for the row's largest magnitude (one bit may
    be the sign), times a scale. It is off by half the scale, and by 3 u of the largest magnitude for the roundings of
    the scale, of its reciprocal and of the quotient.
    """
    largest = np.abs(x.reshape(len(x), -1)).max(axis=1).astype(np.float64)
    off = largest * (0.5 / (2.0 ** (8 * planes - 1) - 1) + 3 * U)
    error: np.ndarray = off[:, None] * np.abs(params[0].astype(np.float64)).reshape(len(params[0]), -1).sum(axis=1)
    return error


def _half_sums(case: Case, x: np.ndarray, params: Params, length: int) -> np.ndarray:
    """Bound the error of summing products in fp16, in parts of ``length`` products.

    Rounding i of a part has the error d_i s_i, where |d_i| <= u16 and the partial sum s_i is at most the sum of the
    part's magnitudes, m. A part has ``length`` roundings, and two more join parts before the move to fp32. For
    independent d_i of mean 0, Hoeffding bounds the sum of all by DEVIATIONS u16 sqrt(sum over parts of (length + 2)
    m^2), and m^2 is at most length times the sum of the part's squared products (Cauchy, Schwarz). A product that
    underflows has the error TINY16.
    """
    squares = run_native(
        case.first_line, np.square(x), [np.square(params[0]), np.zeros_like(params[1])], REFERENCE
    ).astype(np.float64)
    error: np.ndarray = DEVIATIONS * U16 * (length + 2) * np.sqrt(squares) + case.products * TINY16
    return error


def _normalization(window: int, x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Bound the error of y = x / (k + alpha * S) ** beta, with S a sum of ``window`` squares and an exact beta <= 1.

    All terms are positive. Roundings of S: a multiplication and ``window - 1`` additions; of alpha * S: alpha itself
    and the product; of k + alpha * S: the sum (k has fewer). That makes ``window + 3``, and no more after the power,
    since beta <= 1. The power is two roots and a product for 0.75 (3.5 roundings), otherwise powf. The division and the
    reference round once each.
    """
    return _relative(gamma(window + 3 + FUNCTION + 2), reference)


def _lrn(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    return _normalization(int(case.options["size"]), x, reference)


def _spatial_norm(
    case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic
) -> np.ndarray:
    return _normalization(int(case.options["size"]) ** 2, x, reference)


def _adaptive_avgpool(
    case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic
) -> np.ndarray:
    """Bound the error of a mean of n values by gamma(n + 2) times the mean of |x|.

    The roundings are n - 1 additions, a division (the count is exact), the reference's own, and that of this mean.
    """
    out = int(case.options["out"])
    count = math.prod(max(-(-(i + 1) * side // out) - i * side // out for i in range(out)) for side in case.shape[2:])
    mean: np.ndarray = run_native(case.table, np.abs(x), params, REFERENCE).astype(np.float64)
    return gamma(count + 2) * mean


def _tanh(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """Bound the error by the function's and the reference's rounding."""
    return _relative(gamma(FUNCTION + 1), reference)


def _sigmoid(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """Bound the error by those of an exponential, a sum with 1, a division and the reference's rounding.

    A result below the normal floats may be flushed to zero.
    """
    return _relative(gamma(FUNCTION + 3), reference) + SMALLEST_NORMAL


def _leaky_relu(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """Bound the error by the roundings of the slope to a float, of the product, and of the reference."""
    return _relative(gamma(3), reference)


def _softmax(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """Bound the error of p = exp(z - m) / sum(exp(z - m)), with logits z that are sums of products, off by at most e.

    Subtracting m rounds by u * |z - m| <= 2 u max|z|. So each exponent is off by d = e + 2 u max|z|, and numerator and
    denominator by a factor of exp(+-d) each. Both have the error of the function. The sum has ``out`` terms, the
    division and the reference round once each, and one rounding is for a sum in a wider type.
    """
    largest = _magnitudes(case, x, params).max(axis=1, keepdims=True)  # |z| is at most the sum of magnitudes
    exponent = (gamma(case.products + 2) + gamma(2)) * largest
    if arithmetic.half:  # the logits are sums in fp16, and stored as halves
        sums = _half_sums(case, x, params, arithmetic.half_sum) if arithmetic.half_sum else np.zeros_like(reference)
        exponent = exponent + sums.max(axis=1, keepdims=True) + U16 * largest + TINY16
    return _relative(np.expm1(2 * exponent) + gamma(2 * FUNCTION + int(case.options["out"]) + 3), reference)


def _exact(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """Bound the error by 0: values are chosen, not computed."""
    return np.zeros_like(reference)


_BOUNDS: Dict[str, Callable[[Case, np.ndarray, Params, np.ndarray, Arithmetic], np.ndarray]] = {
    "conv": _sum_of_products,
    "fc": _sum_of_products,
    "lrn": _lrn,
    "spatial_norm": _spatial_norm,
    "maxpool": _exact,
    "adaptive_avgpool": _adaptive_avgpool,
    "relu": _exact,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "leaky_relu": _leaky_relu,
    "softmax": _softmax,
}
