"""Tolerances within which results agree, by class of arithmetic."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np

from benchmarks.measure.timing import TOLERANCES
from benchmarks.numeric_classes import BF16, BITS16, FC4, FC8, FC16, FP32, INT8, INT8_FC4
from benchmarks.records import OK, WRONG

# max|difference| over max|reference|, and the cosine. 4-bit weights are another
# network, and must resemble it.
LARGEST_ERROR = dict.fromkeys((BITS16, BF16, FC16), TOLERANCES["bf16"])
LARGEST_ERROR.update(dict.fromkeys((FC8, INT8), TOLERANCES["int8"]))
LARGEST_ERROR.update(dict.fromkeys((FC4, INT8_FC4), 0.5))
LARGEST_ERROR[FP32] = TOLERANCES["fp32"]
SMALLEST_COSINE = dict.fromkeys(LARGEST_ERROR, 0.999)
SMALLEST_COSINE.update(dict.fromkeys((FC8, INT8), 0.99))
SMALLEST_COSINE.update(dict.fromkeys((FC4, INT8_FC4), 0.95))
SMALLEST_COSINE[FP32] = 0.99999


def agreement(result: np.ndarray, expected: np.ndarray, numeric_class: str) -> Dict[str, Any]:
    """Compare logits with the naive backend's, within the tolerance of their class of arithmetic."""
    if result.shape != expected.shape:
        note = f"the result has shape {result.shape}, not {expected.shape}"
        return {"status": WRONG, "note": note, "relative_error": None, "cosine": None}
    if not np.isfinite(result).all():
        return {"status": WRONG, "note": "the result is not finite", "relative_error": None, "cosine": None}
    got, right = result.astype(np.float64), expected.astype(np.float64)
    error = float(np.abs(got - right).max() / np.abs(right).max())
    lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(right, axis=1)
    cosine = float(((got * right).sum(1) / np.maximum(lengths, 1e-30)).min())
    good = error <= LARGEST_ERROR[numeric_class] and cosine >= SMALLEST_COSINE[numeric_class]
    note = None if good else f"relative error {error:.2g}, cosine {cosine:.4f}"
    return {"status": OK if good else WRONG, "note": note, "relative_error": error, "cosine": cosine}
