"""Error bounds of every op that follow from the arithmetic, for each value of a result.

The naive backend computes in double and rounds once, so nearly all of a difference is the other backend's. With
``u = 2^-24``, the largest relative error of one fp32 rounding, ``n`` roundings multiply a value by a factor within
``1 +- gamma(n)``, ``gamma(n) = n u / (1 - n u)`` (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd
edition, lemma 3.1). The bounds hold for any order of the operations and for fused multiply-adds, which round less.
No input is so small that anything underflows.

With fp16 activations ``u16 = 2^-11`` takes the place of u where a value is stored, and 2^-25, half of the smallest
half, is the error of one that underflows. Where products are summed in fp16 for a while (``half_sum`` of them, then the
sum moves to fp32) the worst case says nothing: gamma16(32) of the sum of magnitudes is as large as the sum. There the
bound is Hoeffding's, for rounding errors that are independent with mean 0 (Higham and Mary, "A new approach to
probabilistic rounding error analysis", 2019): see :func:`_half_sums`.
"""

from __future__ import annotations

import math
from typing import Callable, Dict

import numpy as np

from ..networks import activations
from . import winograd_bounds
from .cases import Case
from .native import EXACT, REFERENCE, Arithmetic, Params, run_native

U = 2.0**-24
#: Roundings' worth of error that is allowed to one call of tanhf, expf or powf: 4 units in the last place, each at
#: most two roundings. No C library rounds these correctly everywhere; they aim at "a few" units.
FUNCTION = 8
SMALLEST_NORMAL = 2.0**-126
U16 = 2.0**-11
TINY16 = 2.0**-25
#: Deviations that a sum of independent errors is allowed: 2 exp(-7^2 / 2) = 5e-11 for each value.
DEVIATIONS = 7.0


def gamma(n: float) -> float:
    """The bound on the relative error after ``n`` roundings."""
    return n * U / (1 - n * U)


def error_bound(
    case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic = EXACT
) -> np.ndarray:
    """The largest absolute error that the arithmetic can make, for each value of ``reference`` (float64, its shape).

    ``x`` and ``params`` are what the reference was computed from.
    """
    bound = _BOUNDS[case.op](case, x, params, reference, arithmetic)
    last = case.ops[-1]
    if last in activations.OPS and last not in ("relu", case.op):
        if arithmetic.half and last != "tanh":  # a step of its own, whose input is stored as a half
            bound = bound * (1 + U16) + U16 * _magnitudes(case, x, params) + TINY16
        # What the function passes errors on by, its largest slope, at most 1 in the cases; and its own error.
        bound = bound * (0.25 if last == "sigmoid" else 1.0)
        bound = bound + gamma(FUNCTION + 3) * np.abs(reference)
    if arithmetic.half and case.op not in ("maxpool", "relu"):  # those only choose
        bound = bound * (1 + U16) + U16 * np.abs(reference) + TINY16  # the result is stored as a half
    return bound


def _sum_of_products(
    case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic
) -> np.ndarray:
    """A term of K products and a bias passes one multiplication and at most K additions; the reference is rounded too.

    So |error| <= (gamma(K + 1) + u) * sum(|w| |x|) <= gamma(K + 2) * sum(|w| |x|) (Higham, equation 3.5 and lemma
    3.3), and the K u^2 that lies between the two covers the rounding of the sum itself, which the naive backend gives.
    int8, int4: the scale is one more multiplication, and one more rounding is in the weights as they are given back.
    Where the input is cut into digits, each of its values is off by half a step; see :func:`byte_plane_error`.
    """
    if arithmetic.form.startswith("winograd"):
        return winograd_bounds.bound(case, x, params, arithmetic.form, arithmetic.half, arithmetic.half_sum, DEVIATIONS)
    roundings = case.products + 2 + (2 if case.storage in ("int8", "int4") else 0)
    bound = gamma(roundings) * _magnitudes(case, x, params)
    if arithmetic.byte_planes:
        bound = bound + byte_plane_error(x, params, arithmetic.byte_planes)
    return bound + _half_sums(case, x, params, arithmetic.half_sum) if arithmetic.half_sum else bound


def _magnitudes(case: Case, x: np.ndarray, params: Params) -> np.ndarray:
    """``sum(|w| |x|) + |b|`` for each output of the conv or fc layer of ``case``, in float64."""
    sizes = run_native(case.first_line, np.abs(x), [np.abs(param) for param in params], REFERENCE)
    return sizes.astype(np.float64)


def byte_plane_error(x: np.ndarray, params: Params, planes: int) -> np.ndarray:
    """Error of rounding the input to ``planes`` byte planes, one of which may go to the sign: half a step, of
    which there are 2^(8 planes - 1) - 1 to the row's largest magnitude, and a rounding each for the step, for its
    reciprocal and for the quotient, which move a level of up to 2^(8 planes) by 3 u of it.
    """
    largest = np.abs(x.reshape(len(x), -1)).max(axis=1).astype(np.float64)
    off = largest * (0.5 / (2.0 ** (8 * planes - 1) - 1) + 3 * U)
    return off[:, None] * np.abs(params[0].astype(np.float64)).reshape(len(params[0]), -1).sum(axis=1)


def _half_sums(case: Case, x: np.ndarray, params: Params, length: int) -> np.ndarray:
    """Error of the parts of a sum of products that are added up in fp16, ``length`` products in each.

    Rounding i of a part has the error d_i s_i with |d_i| <= u16 and a partial sum s_i of at most the part's magnitudes
    m. There are ``length`` of them and two for joining parts before the move to fp32. With independent d_i of mean 0,
    Hoeffding bounds the sum of all by DEVIATIONS u16 sqrt(sum over parts of (length + 2) m^2), and m^2 is at most
    length times the sum of the part's squared products (Cauchy, Schwarz). A product that underflows is off by TINY16.
    """
    squares = run_native(
        case.first_line, np.square(x), [np.square(params[0]), np.zeros_like(params[1])], REFERENCE
    ).astype(np.float64)
    return DEVIATIONS * U16 * (length + 2) * np.sqrt(squares) + case.products * TINY16


def _normalization(window: int, x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """For y = x / (k + alpha * S) ** beta with S a sum of ``window`` squares, all of it positive, beta <= 1 exact.

    S: one multiplication and ``window - 1`` additions. alpha * S: alpha is rounded to fp32, and the product. k is
    rounded less often. The sum adds one: t has ``window + 3``, and t ** beta no more since beta <= 1.
    The power: two roots and a product for 0.75 (3.5 roundings), powf otherwise. One division; the reference's own.
    """
    return gamma(window + 3 + FUNCTION + 2) * np.abs(reference)


def _lrn(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    return _normalization(int(case.options["size"]), x, reference)


def _spatial_norm(
    case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic
) -> np.ndarray:
    return _normalization(int(case.options["size"]) ** 2, x, reference)


def _adaptive_avgpool(
    case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic
) -> np.ndarray:
    """n - 1 additions, a division (the count is exact), the reference's own: gamma(n + 1) times the mean of |x|.

    One more covers the rounding of that mean.
    """
    out = int(case.options["out"])
    count = math.prod(max(-(-(i + 1) * side // out) - i * side // out for i in range(out)) for side in case.shape[2:])
    return gamma(count + 2) * run_native(case.table, np.abs(x), params, REFERENCE).astype(np.float64)


def _tanh(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """The function, and the reference's rounding."""
    return gamma(FUNCTION + 1) * np.abs(reference)


def _sigmoid(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """An exponential, a sum with 1, a division, the reference's rounding; what is too small for a normal float may be
    flushed to zero."""
    return gamma(FUNCTION + 3) * np.abs(reference) + SMALLEST_NORMAL


def _leaky_relu(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """The slope as a float, the product, the reference's rounding."""
    return gamma(3) * np.abs(reference)


def _softmax(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """p = exp(z - m) / sum(exp(z - m)), with logits z that are themselves sums of products, off by at most e.

    Subtracting m rounds by u * |z - m| <= 2 u max|z|. So each exponent is off by d = e + 2 u max|z|, numerator and
    denominator by a factor of exp(+-d) each. Each has a function's error; the sum adds up ``out`` terms, the division
    and the reference round once, and one is for a sum that is rounded from a wider type.
    """
    largest = _magnitudes(case, x, params).max(axis=1, keepdims=True)  # |z| is at most the sum of magnitudes
    exponent = (gamma(case.products + 2) + gamma(2)) * largest
    if arithmetic.half:  # the logits are sums in fp16, and stored as halves
        sums = _half_sums(case, x, params, arithmetic.half_sum) if arithmetic.half_sum else np.zeros_like(reference)
        exponent = exponent + sums.max(axis=1, keepdims=True) + U16 * largest + TINY16
    return (np.expm1(2 * exponent) + gamma(2 * FUNCTION + int(case.options["out"]) + 3)) * np.abs(reference)


def _exact(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """Nothing is computed, only chosen."""
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
