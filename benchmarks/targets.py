"""Speed targets of fastalex on a CPU, and the verdict on the rows of a comparison.

A class of arithmetic, network and batch is met if the fastest peer of the class takes so many times as long as
fastalex, or if fastalex comes near enough to the limit of the machine that was measured in the same run.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from benchmarks import ranking
from benchmarks.numeric_classes import BITS16, CLASSES, FC8, FP32, INT8

#: (class, batch) -> the least ratio of the fastest peer's time to fastalex's, by network or for all.
RATIOS: Dict[Tuple[str, int], Dict[Optional[str], float]] = {
    (FP32, 1): {None: 1.2},
    (FP32, 32): {None: 1.4},
    (FC8, 1): {"alexnet2012": 2.0, "torchvision": 1.6},
    (FC8, 32): {None: 1.4},
    (BITS16, 1): {None: 1.3},
    (BITS16, 32): {None: 1.0},
    (INT8, 1): {None: 1.15},
    (INT8, 32): {None: 1.0},
}
ONE_THREAD = 0.9  # share of the ratio required with one thread on a machine with more
PERCENT_OF_LIMIT = 85.0
#: A fresh process with 8-bit fully connected weights from a file that holds them so; the installed size without numpy.
COLD_TOTAL_MS, COLD_PEAK_MIB = 250.0, 150e6 / 2**20
INSTALLED_MB = 30.0
#: Case of LPIPS -> times as fast as the package lpips, on a CPU.
LPIPS = {"batch 1": 2.0, "batch 16": 2.0, "50 x 50 matrix": 10.0}


def ratio_target(numeric_class: str, variant: str, batch: int, one_of_many: bool) -> Optional[float]:
    """The least ratio; None where none was set. ``one_of_many``: one thread, on a machine that has more."""
    by_network = RATIOS.get((numeric_class, batch), {})
    target = by_network.get(variant, by_network.get(None))
    return None if target is None else target * (ONE_THREAD if one_of_many else 1.0)


def verdicts(rows: Sequence[Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """One for each class, network, number of threads and batch in ``rows`` in which fastalex has a time.

    ``ratio`` is None without a right peer, ``percent`` without limits; ``met`` is None where there is no target, or
    neither figure to hold against it.
    """
    most = max((row["threads"] for row in rows), default=1)
    rated = []
    for numeric_class in CLASSES:
        for case in ranking.cases(rows):
            variant, batch, threads = case
            ranked = ranking.ranked(rows, case, numeric_class)
            own = next((row for row in ranked if row["peer"] == "fastalex"), None)
            if own is None:
                continue
            peer = next((row for row in ranked if row["peer"] != "fastalex"), None)
            verdict = {"numeric_class": numeric_class, "variant": variant, "batch": batch, "threads": threads}
            verdict.update(ms_per_image=own["ms_per_image"], peer=peer and peer["engine"])
            verdict["peer_ms_per_image"] = peer and peer["ms_per_image"]
            verdict["ratio"] = peer["median_ms"] / own["median_ms"] if peer else None
            verdict["percent"] = percent(own)
            verdict["target"] = ratio_target(numeric_class, variant, batch, threads == 1 and most > 1)
            verdict["met"] = is_met(verdict["ratio"], verdict["target"], verdict["percent"])
            rated.append(verdict)
    return sorted(
        rated, key=lambda verdict: (CLASSES.index(verdict["numeric_class"]), verdict["variant"], verdict["threads"])
    )


def percent(row: Mapping[str, Any]) -> Optional[float]:
    """Percentage of the machine's limit that a row of fastalex reaches."""
    if row.get("floor_ms") is None or not row["median_ms"]:
        return None
    return 100.0 * row["floor_ms"] / row["median_ms"]


def is_met(ratio: Optional[float], target: Optional[float], of_limit: Optional[float]) -> Optional[bool]:
    """Whether the target is met; None without a target, or if the limit alone does not settle it."""
    near = of_limit is not None and of_limit >= PERCENT_OF_LIMIT
    if target is None or (ratio is None and not near):
        return None
    return near or (ratio is not None and ratio >= target)
