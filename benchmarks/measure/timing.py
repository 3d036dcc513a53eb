"""Measuring calls of one network: statistics, comparison, pinning, memory and images."""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

# Tolerances relative to the largest reference value, by precision. fp32: sums of up to 9216 products against sums in
# double; the others round every activation, to 8 bits of mantissa or to a grid of 255 steps.
TOLERANCES = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.1}
SMALLEST_REFERENCE = 1e-3  # smaller outputs would pass any comparison


def summarize(times_ms: Sequence[float], batch: int) -> Dict[str, Any]:
    """Median, 10th and 90th percentile (ms a batch), their count, and images per second at the median."""
    if not times_ms:
        raise ValueError("no times to summarize")
    p10, median, p90 = (float(value) for value in np.percentile(np.asarray(times_ms, np.float64), (10, 50, 90)))
    return {
        "median_ms": median,
        "p10_ms": p10,
        "p90_ms": p90,
        "runs": len(times_ms),
        "images_per_s": batch * 1e3 / median,
    }


def time_calls(
    call: Callable[[], Any],
    warmup_s: float,
    measure_s: float,
    min_runs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> List[float]:
    """Times of single calls in ms, after a warm-up of at least ``warmup_s`` and two calls.

    Calls go on until ``measure_s`` have passed and there are ``min_runs``.
    """
    start, warm = clock(), 0
    while warm < 2 or clock() - start < warmup_s:
        call()
        warm += 1
    times: List[float] = []
    start = clock()
    while len(times) < min_runs or clock() - start < measure_s:
        before = clock()
        call()
        times.append((clock() - before) * 1e3)
    return times


def compare(result: np.ndarray, reference: np.ndarray, relative: float = TOLERANCES["fp32"]) -> Dict[str, Any]:
    """How far ``result`` is from ``reference`` (same shape), and whether that is within ``relative`` x max|reference|.

    A result that is not finite, or a reference below :data:`SMALLEST_REFERENCE`, is not ok.
    """
    if result.shape != reference.shape:
        raise ValueError(f"shapes differ: {result.shape} and {reference.shape}")
    largest = float(np.max(np.abs(reference)))
    difference = float(np.max(np.abs(result.astype(np.float64) - reference.astype(np.float64))))
    tolerance = relative * largest
    sound = bool(np.isfinite(result).all() and np.isfinite(reference).all() and largest >= SMALLEST_REFERENCE)
    return {
        "max_abs_diff": difference,
        "max_abs_reference": largest,
        "tolerance": tolerance,
        "ok": sound and difference <= tolerance,
    }


def available_cpus() -> List[int]:
    """The CPUs this process may use; empty where the system cannot say (then nothing is pinned)."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def pin(cpus: Sequence[int]) -> None:
    """Keep this process on ``cpus``; nothing to do for an empty list."""
    if cpus:
        os.sched_setaffinity(0, cpus)


def peak_rss_mib(status_path: str = "/proc/self/status") -> Optional[float]:
    """The highest resident size of this process so far (VmHWM) in MiB; None where there is no /proc."""
    try:
        with open(status_path) as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def random_images(shape: Sequence[int], batch: int) -> np.ndarray:
    """Standard normal images, float32 [batch, channels, height, width]; the last one repeats the first."""
    images = np.random.default_rng(2012).standard_normal((batch, *shape), dtype=np.float32)
    images[-1] = images[0]
    return images
