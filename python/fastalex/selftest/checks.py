"""Checks of every op on every backend against the naive one, within bounds derived in :mod:`.bounds`."""

from __future__ import annotations

import dataclasses
from typing import Iterable, List, NamedTuple, Optional

import numpy as np

from ..errors import BackendError, UserError
from ..networks import activations
from .bounds import FUNCTION, error_bound, gamma
from .cases import Case, served, small
from .native import REFERENCE, Runner, arithmetic_of, make_net, run_native, stored_params

SMALLEST = 1e-3  # a reference must have a value at least this large, or the comparison says nothing
MARGIN = 10.0  # and a value this many times larger than its bound, or zeros would pass


class Outcome(NamedTuple):
    """The result of one case on one backend.

    ``error`` is the largest absolute error, and ``share`` the largest ratio of an error to its bound; both are None
    without a comparison. ``reason`` is one sentence if the case is not ``ok``, otherwise empty.
    """

    backend: str
    case: str
    op: str
    ok: bool
    error: Optional[float]
    share: Optional[float]
    reason: str


def to_bf16(x: np.ndarray) -> np.ndarray:
    """Round float32 to bf16, 8 significant bits, to nearest with ties to even; return float32."""
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
    """Run ``case`` on ``backend`` and on the naive backend, and compare; failures of the backend are not raised.

    The naive backend gets the weights as ``backend`` stores them, and an input that is already rounded to fp16 or bf16,
    so that neither quantization nor rounding of the input widens the bound.

    :param precision: of the activations, ``fp32``, ``fp16`` or ``bf16``; with the latter two, fp32 weights are stored
        in this precision as well.
    :param tuning: rules that choose the kernels (``csrc/include/fastalex.h``).
    :param exact: without Winograd's algorithm.
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
            params = stored_params(case, params, backend, precision, exact)
        reference = run_native(case.table, x, params, REFERENCE).astype(np.float64)
        bound = error_bound(case, x, params, reference, arithmetic)
    except (BackendError, UserError, MemoryError, RuntimeError, ValueError) as error:
        return Outcome(backend, case.name, case.op, False, None, None, str(error) or type(error).__name__)
    return compare(case, backend, result, reference, bound)


class Problem(NamedTuple):
    """A case in one precision of the CPU: the net, its input, the expected result (float64) and its error bound."""

    table: str
    storage: str
    precision: str
    x: np.ndarray
    params: List[np.ndarray]
    reference: np.ndarray
    bound: np.ndarray

    def run(self) -> np.ndarray:
        """Run it on the CPU."""
        return run_native(self.table, self.x, self.params, "cpu", self.storage, self.precision)


def problem(case: Case, precision: str = "fp32", unsigned: bool = False) -> Problem:
    """Make the problem of ``case`` in ``precision``.

    With ``bf16`` the input and the weights are rounded to it first, so that an instruction set may multiply in bf16 or
    by Winograd's algorithm in fp32; the bound allows both. With ``int8``, for convolutions, the input has quantized
    values: signed, or ``unsigned`` after a ReLU.

    If weights and inputs are quantized values, all sums are of integers. Roundings remain of the input's and the
    weights' values as floats, the scale of a product (two), the sum as a float, its product with the scale, the sum
    with the bias, and the reference.
    """
    x, params = case.random()
    table, storage = case.table, case.storage
    if precision == "int8":
        x = np.abs(x) if unsigned else x
        scale = np.float32(np.abs(x).max() / (255 if unsigned else 127))
        x = np.rint(x / scale) * scale
        first, *rest = table.splitlines()
        relu = ["relu name=before"] if unsigned else []
        table, storage = "\n".join([*relu, f"{first} scale={scale:.9g}", *rest]), "int8"
    elif precision == "bf16":
        x, params = to_bf16(x), [to_bf16(params[0]), params[1]]
        storage = "bf16" if storage == "fp32" else storage
    net = make_net(table, x, params, "cpu", storage, precision)
    stored = [net.param(index).reshape(param.shape) for index, param in enumerate(params)]
    reference = run_native(case.table, x, stored, REFERENCE).astype(np.float64)
    if precision != "int8":
        stored_case = dataclasses.replace(case, storage=storage)
        ways = {arithmetic_of(stored_case, "cpu", precision), arithmetic_of(case, "cpu")}
        bound = np.max([error_bound(case, x, stored, reference, way) for way in ways], axis=0)
        return Problem(table, storage, precision, x, params, reference, bound)
    sizes = run_native(case.first_line, np.abs(x), [np.abs(param) for param in stored], REFERENCE).astype(np.float64)
    own = gamma(FUNCTION + 3) * np.abs(reference) if case.ops[-1] in activations.OPS[1:] else 0.0
    return Problem(table, storage, precision, x, params, reference, gamma(8) * sizes + own)


def run_all(backends: Iterable[str], cases: Optional[Iterable[Case]] = None, run: Runner = run_native) -> List[Outcome]:
    """Check each case (default: the small ones) on each backend that supports it, except the naive one."""
    chosen = list(small() if cases is None else cases)
    others = [backend for backend in backends if backend != REFERENCE]
    return [check(case, backend, run=run) for backend in others for case in chosen if served(case, backend)]


def compare(case: Case, backend: str, result: np.ndarray, reference: np.ndarray, bound: np.ndarray) -> Outcome:
    """Compare ``result`` with ``reference``: it must be within ``bound`` everywhere; the three have one shape."""

    def outcome(reason: str, error: Optional[float] = None, share: Optional[float] = None) -> Outcome:
        return Outcome(backend, case.name, case.op, not reason, error, share, reason)

    if result.shape != reference.shape:
        return outcome(f"the shape is {result.shape} instead of {reference.shape}")
    if not np.abs(reference).max() >= SMALLEST or not (np.abs(reference) > MARGIN * bound).any():
        return outcome("the reference is too small to compare with")
    difference = np.abs(result.astype(np.float64) - reference)
    error, share = float(difference.max()), _share(difference, bound)
    if not np.isfinite(error):
        return outcome("the result is not finite")
    if not (difference <= bound).all():
        return outcome(f"{(difference > bound).sum()} of {bound.size} values are wrong", error, share)
    return outcome("", error, share)


def _share(difference: np.ndarray, bound: np.ndarray) -> Optional[float]:
    """Return the largest ratio of a difference to its bound; None if values with the bound 0 differ."""
    if (difference[bound == 0] > 0).any():
        return None
    return float((difference[bound > 0] / bound[bound > 0]).max()) if (bound > 0).any() else 0.0
