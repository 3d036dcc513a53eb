"""Every op on every backend against the naive one, within bounds that follow from the arithmetic.

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

import dataclasses
import json
import math
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence

import numpy as np

from . import _core, winograd_bound
from .cases import STORAGES, Case, served, small
from .errors import BackendError, UserError
from .placement import PRECISIONS

U = 2.0**-24
REFERENCE = "naive"

#: Roundings' worth of error that is allowed to one call of tanhf, expf or powf: 4 units in the last place, each at
#: most two roundings. No C library rounds these correctly everywhere; they aim at "a few" units.
FUNCTION = 8

U16 = 2.0**-11
TINY16 = 2.0**-25

#: Deviations that a sum of independent errors is allowed: 2 exp(-7^2 / 2) = 5e-11 for each value.
DEVIATIONS = 7.0

SMALLEST = 1e-3  # a reference whose largest value is below this tells nothing
MARGIN = 10.0  # and so does one that is nowhere this much larger than its bound: zeros would pass

Params = Sequence[np.ndarray]
#: Runs a layer table on a backend: ``(table, x, params, backend, storage)`` -> output.
Runner = Callable[[str, np.ndarray, Params, str, str], np.ndarray]


class Arithmetic(NamedTuple):
    """How a backend computes a case: ``half`` activations, products in one fp16 sum (0: sums in fp32), the form of
    a convolution's weights (``direct``, ``winograd 2x3``, ...), and the digits of 8 bits that a fully connected layer's
    input is cut into (0: it stays a float)."""

    half: bool = False
    half_sum: int = 0
    form: str = "direct"
    digits: int = 0


EXACT = Arithmetic()


class Outcome(NamedTuple):
    """One case on one backend. ``error`` is the largest absolute error, ``share`` the largest error in parts of its
    bound (both None if there is none to give), ``reason`` one sentence where it is not ``ok``."""

    backend: str
    case: str
    op: str
    ok: bool
    error: Optional[float]
    share: Optional[float]
    reason: str


def run_native(
    table: str,
    x: np.ndarray,
    params: Params,
    backend: str,
    storage: str = "fp32",
    precision: str = "fp32",
    tuning: str = "",
    exact: bool = False,
) -> np.ndarray:
    """The output of the native engine for one batch, float32 ``[N, features]`` or ``[N, C, H, W]``.

    The net first computes a batch of NaN: a workspace that is read before it is written then shows in the result.

    :raises UserError: for a table that makes no net.
    :raises BackendError: if the backend cannot be used.
    """
    net = _net(table, x, params, backend, storage, precision, tuning, exact)
    if backend != REFERENCE:
        net.run(np.full_like(x, np.nan))
    return net.run(x)


def kept_params(
    case: Case, params: Params, backend: str, precision: str = "fp32", exact: bool = False
) -> List[np.ndarray]:
    """The parameters as ``backend`` keeps them in ``case.storage``, back in float32."""
    net = _net(case.table, np.zeros(case.shape, np.float32), params, backend, case.storage, precision, exact=exact)
    return [net.param(index).reshape(param.shape) for index, param in enumerate(params)]


def arithmetic_of(
    case: Case, backend: str, precision: str = "fp32", tuning: str = "", exact: bool = False
) -> Arithmetic:
    """What ``backend`` says of the kernels that it would run for ``case``."""
    x, params = case.random()
    net = _net(case.table, x, params, backend, case.storage, precision, tuning, exact)
    batch, _, height, width = case.shape
    step = json.loads(net.describe(batch, height, width))["steps"][0]
    return Arithmetic(precision == "fp16", step.get("half_sum", 0), step.get("format", "direct"), step.get("digits", 0))


def to_bf16(x: np.ndarray) -> np.ndarray:
    """float32 with 8 bits, rounded to nearest, of ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def check(
    case: Case,
    backend: str,
    seed: int = 0,
    run: Runner = run_native,
    precision: str = "fp32",
    tuning: str = "",
    exact: bool = False,
) -> Outcome:
    """Run ``case`` on ``backend`` and on the naive backend, and compare. Raises nothing that a backend may do wrong.

    Weights that are kept in fewer bits are compared with what they became, so quantisation is no excuse; neither is
    the rounding of an input that becomes fp16 or bf16.

    :param precision: of the activations, ``fp32``, ``fp16`` or ``bf16``; with the latter two no weights are kept in
        fp32.
    :param tuning: rules that choose the kernels (``csrc/include/fastalex.h``).
    :param exact: no Winograd.
    """
    x, params = case.random(seed)
    if precision != "fp32":
        x = x.astype(np.float16).astype(np.float32) if precision == "fp16" else to_bf16(x)
        case = dataclasses.replace(case, storage=precision) if case.storage == "fp32" else case
    try:
        arithmetic = arithmetic_of(case, backend, precision, tuning, exact)
        if precision == "fp32" and not tuning and not exact:
            result = run(case.table, x, params, backend, case.storage)
        else:
            result = run_native(case.table, x, params, backend, case.storage, precision, tuning, exact)
        if case.storage != "fp32":
            params = kept_params(case, params, backend, precision, exact)
        reference = run_native(case.table, x, params, REFERENCE).astype(np.float64)
        bound = error_bound(case, x, params, reference, arithmetic)
    except (BackendError, UserError, MemoryError, RuntimeError, ValueError) as error:
        return Outcome(backend, case.name, case.op, False, None, None, str(error) or type(error).__name__)
    return compare(case, backend, result, reference, bound)


class Problem(NamedTuple):
    """A case for one precision of the CPU: what to run, what must come out (float64) and how far from it."""

    table: str
    storage: str
    precision: str
    x: np.ndarray
    params: List[np.ndarray]
    reference: np.ndarray
    bound: np.ndarray

    def run(self) -> np.ndarray:
        """What the CPU makes of it."""
        return run_native(self.table, self.x, self.params, "cpu", self.storage, self.precision)


def problem(case: Case, precision: str = "fp32", unsigned: bool = False) -> Problem:
    """``case`` in ``precision``. With ``bf16`` the input and the weights are rounded to it, so that it does not matter
    whether an instruction set multiplies in bf16 or by Winograd's algorithm in fp32; the bound allows both. With
    ``int8``, for convolutions, the input is on its levels: of either sign, or ``unsigned`` after a relu.

    With weights and inputs on their levels every sum is one of integers. What is rounded: the input's and the weights'
    values as they are given, the scale of a product (twice), the sum as a float, its product with the scale, the sum
    with the bias, and the reference.
    """
    x, params = case.random()
    table, storage = case.table, case.storage
    if precision == "int8":
        x = np.abs(x) if unsigned else x
        step = np.float32(np.abs(x).max() / (255 if unsigned else 127))
        x = np.rint(x / step) * step
        first, *rest = table.splitlines()
        relu = ["relu name=before"] if unsigned else []
        table, storage = "\n".join([*relu, "%s step=%.9g" % (first, step), *rest]), "int8"
    elif precision == "bf16":
        x, params = to_bf16(x), [to_bf16(params[0]), params[1]]
        storage = "bf16" if storage == "fp32" else storage
    net = _net(table, x, params, "cpu", storage, precision)
    kept = [net.param(index).reshape(param.shape) for index, param in enumerate(params)]
    reference = run_native(case.table, x, kept, REFERENCE).astype(np.float64)
    if precision != "int8":
        kept_as = dataclasses.replace(case, storage=storage)
        ways = {arithmetic_of(kept_as, "cpu", precision), arithmetic_of(case, "cpu")}
        bound = np.max([error_bound(case, x, kept, reference, way) for way in ways], axis=0)
        return Problem(table, storage, precision, x, params, reference, bound)
    sizes = run_native(case.first_line, np.abs(x), [np.abs(param) for param in kept], REFERENCE).astype(np.float64)
    own = gamma(FUNCTION) if case.ops[-1] == "tanh" else 0.0
    return Problem(table, storage, precision, x, params, reference, gamma(8) * sizes + own)


def run_all(backends: Iterable[str], cases: Optional[Iterable[Case]] = None, run: Runner = run_native) -> List[Outcome]:
    """:func:`check` for each case (default: the small ones) on each backend but the naive one, the reference."""
    chosen = list(small() if cases is None else cases)
    others = [backend for backend in backends if backend != REFERENCE]
    return [check(case, backend, run=run) for backend in others for case in chosen if served(case, backend)]


def compare(case: Case, backend: str, result: np.ndarray, reference: np.ndarray, bound: np.ndarray) -> Outcome:
    """Whether ``result`` is within ``bound`` of ``reference`` everywhere; arrays of one shape."""

    def outcome(reason: str, error: Optional[float] = None, share: Optional[float] = None) -> Outcome:
        return Outcome(backend, case.name, case.op, not reason, error, share, reason)

    if result.shape != reference.shape:
        return outcome("the shape is %s instead of %s" % (result.shape, reference.shape))
    if not np.abs(reference).max() >= SMALLEST or not (np.abs(reference) > MARGIN * bound).any():
        return outcome("the reference is too small to compare with")
    difference = np.abs(result.astype(np.float64) - reference)
    error, share = float(difference.max()), _share(difference, bound)
    if not np.isfinite(error):
        return outcome("the result is not finite")
    if not (difference <= bound).all():
        return outcome("%d of %d values are wrong" % ((difference > bound).sum(), bound.size), error, share)
    return outcome("", error, share)


def _share(difference: np.ndarray, bound: np.ndarray) -> Optional[float]:
    """The largest difference in parts of its bound; None where exact values differ."""
    if (difference[bound == 0] > 0).any():
        return None
    return float((difference[bound > 0] / bound[bound > 0]).max()) if (bound > 0).any() else 0.0


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
    if case.ops[-1] == "tanh" and case.op != "tanh":
        # The slope of tanh is at most 1, so it passes errors on at most as large, and adds its own. (relu adds none.)
        bound = bound + gamma(FUNCTION) * np.abs(reference)
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
    Where the input is cut into digits, each of its values is off by half a step; see :func:`digit_steps`.
    """
    if arithmetic.form.startswith("winograd"):
        return winograd_bound.bound(case, x, params, arithmetic.form, arithmetic.half, arithmetic.half_sum, DEVIATIONS)
    roundings = case.products + 2 + (2 if case.storage in ("int8", "int4") else 0)
    magnitudes = run_native(case.first_line, np.abs(x), [np.abs(param) for param in params], REFERENCE)
    bound = gamma(roundings) * magnitudes.astype(np.float64)
    if arithmetic.digits:
        bound = bound + digit_steps(x, params, arithmetic.digits)
    return bound + _half_sums(case, x, params, arithmetic.half_sum) if arithmetic.half_sum else bound


def digit_steps(x: np.ndarray, params: Params, digits: int) -> np.ndarray:
    """Error of rounding the input to ``digits`` digits of 8 bits, one of which may go to the sign: half a step, of
    which there are 2^(8 digits - 1) - 1 to the row's largest magnitude, and a rounding each for the step, for its
    reciprocal and for the quotient, which move a level of up to 2^(8 digits) by 3 u of it.
    """
    largest = np.abs(x.reshape(len(x), -1)).max(axis=1).astype(np.float64)
    off = largest * (0.5 / (2.0 ** (8 * digits - 1) - 1) + 3 * U)
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


def _normalisation(window: int, x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """For y = x / (k + alpha * S) ** beta with S a sum of ``window`` squares, all of it positive, beta <= 1 exact.

    S: one multiplication and ``window - 1`` additions. alpha * S: alpha is rounded to fp32, and the product. k is
    rounded less often. The sum adds one: t has ``window + 3``, and t ** beta no more since beta <= 1.
    The power: two roots and a product for 0.75 (3.5 roundings), powf otherwise. One division; the reference's own.
    """
    return gamma(window + 3 + FUNCTION + 2) * np.abs(reference)


def _lrn(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    return _normalisation(int(case.options["size"]), x, reference)


def _spatial_norm(
    case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic
) -> np.ndarray:
    return _normalisation(int(case.options["size"]) ** 2, x, reference)


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


def _softmax(case: Case, x: np.ndarray, params: Params, reference: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """p = exp(z - m) / sum(exp(z - m)), with logits z that are themselves sums of products, off by at most e.

    Subtracting m rounds by u * |z - m| <= 2 u max|z|. So each exponent is off by d = e + 2 u max|z|, numerator and
    denominator by a factor of exp(+-d) each. Each has a function's error; the sum adds up ``out`` terms, the division
    and the reference round once, and one is for a sum that is rounded from a wider type.
    """
    magnitudes = run_native(case.first_line, np.abs(x), [np.abs(param) for param in params], REFERENCE)
    largest = magnitudes.astype(np.float64).max(axis=1, keepdims=True)  # |z| is at most the sum of magnitudes
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
    "softmax": _softmax,
}


def _net(
    table: str,
    x: np.ndarray,
    params: Params,
    backend: str,
    storage: str,
    precision: str = "fp32",
    tuning: str = "",
    exact: bool = False,
) -> _core.Net:
    return _core.Net(
        table,
        list(x.shape[1:]),
        list(params),
        backend,
        STORAGES.index(storage),
        precision=PRECISIONS.index(precision),
        tuning=tuning,
        exact=exact,
    )
