"""Lower bounds on the time of a step and of a network, from the machine's measured limits. Pure functions.

The floor of a network is the sum over its steps of the longer of two times: the multiply-accumulates that its own
algorithm makes (Winograd's are fewer than a direct convolution's) at the measured rate of their kind of number, and the
bytes of its weights at the measured rate of reading memory. Activations, pooling and normalization are taken as free.
"""

from __future__ import annotations

import statistics
from typing import Any, Collection, Dict, Mapping, Optional, Sequence

SUPPORTED = ("fp32", "bf16", "int8")  # data types with a measured rate of arithmetic
READS = {"read_4k": "4 KiB pages", "read_huge": "huge pages"}


def combine(runs: Sequence[Mapping[str, Optional[float]]]) -> Optional[Dict[str, Any]]:
    """Combine the limits of several runs: medians, with the faster way of reading as ``gb_s``; None without runs.

    ``gflop_s`` has a rate for each of :data:`SUPPORTED`, or None where the processor has no such instruction.
    """
    if not runs:
        return None
    medians = {key: _median([run.get(key) for run in runs]) for key in (*SUPPORTED, *READS)}
    limits: Dict[str, Any] = {"gflop_s": {key: medians[key] for key in SUPPORTED}, "runs": len(runs)}
    limits.update({key: medians[key] for key in READS})
    limits["gb_s"] = max((medians[key] for key in READS if medians[key] is not None), default=None)
    return limits


def _median(values: Sequence[Optional[float]]) -> Optional[float]:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def step_floor_ms(step: Mapping[str, Any], batch: int, limits: Optional[Mapping[str, Any]]) -> Optional[Dict[str, Any]]:
    """Least time ``ms`` of a step of ``AlexNet.kernels`` for a batch, and the limit that binds; None if unknown.

    ``math_ms`` and ``read_ms`` are its two parts, and ``bound`` is ``"math"`` or ``"read"``.
    """
    known = [step.get(key) for key in ("products", "numeric", "weight_bytes")]
    rate = limits["gflop_s"].get(step.get("numeric")) if limits else None
    if None in known or not limits or not rate or not limits["gb_s"]:
        return None
    math_ms = 2.0 * step["products"] * batch / rate / 1e6
    read_ms = step["weight_bytes"] / limits["gb_s"] / 1e6
    bound = "math" if math_ms >= read_ms else "read"
    return {"ms": max(math_ms, read_ms), "math_ms": math_ms, "read_ms": read_ms, "bound": bound}


def floor_ms(
    steps: Optional[Sequence[Mapping[str, Any]]],
    heavy: Collection[str],
    batch: int,
    limits: Optional[Mapping[str, Any]],
) -> Optional[float]:
    """The floor of a whole network in ms a batch.

    :param heavy: the layers that have weights. The result is None unless each of them is in a known step.
    """
    total, covered = 0.0, set()
    for step in steps or ():
        layers = set(step.get("layers", ())) & set(heavy)
        if not layers:
            continue
        floor = step_floor_ms(step, batch, limits)
        if floor is None:
            return None
        total += floor["ms"]
        covered |= layers
    return total if covered and covered == set(heavy) else None
