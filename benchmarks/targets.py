"""What fastalex is to reach on a CPU, and whether the rows of a comparison reach it.

A class of arithmetic, network and batch is met if the fastest peer of the class takes so many times as long as
fastalex, or if fastalex comes near enough to the limit of the machine that was measured in the same run.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import peers_table
import results_table
from engines import BITS16, CLASSES, FC8, FP32, INT8

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
ONE_THREAD = 0.9  # of the ratio, where a machine has more threads
PERCENT_OF_LIMIT = 85.0
#: A fresh process with 8-bit fully connected weights from a file that holds them so; the installed size without numpy.
COLD_TOTAL_MS, COLD_PEAK_MIB = 250.0, 150e6 / 2**20
INSTALLED_MB = 30.0

EXPLAINED = (
    "Ratio: the fastest peer's time over fastalex's, the peer in its fastest mode. %% of limit: the floor of\n"
    "fastalex's own algorithm over its time. The floor: summed over the layers, the longer of its products at the\n"
    "measured rate of arithmetic and its weights' bytes at the measured rate of reading. Met: the ratio is the target\n"
    "or more, or %.0f %% of the limit is shown. Blank: not measured, or no target.\n" % PERCENT_OF_LIMIT
)


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
    found = []
    for numeric_class in CLASSES:
        for case in peers_table.cases(rows):
            variant, batch, threads = case
            ranked = peers_table.ranking(rows, case, numeric_class)
            own = next((row for row in ranked if row["peer"] == "fastalex"), None)
            if own is None:
                continue
            peer = next((row for row in ranked if row["peer"] != "fastalex"), None)
            one = {"numeric_class": numeric_class, "variant": variant, "batch": batch, "threads": threads}
            one.update(ms_per_image=own["ms_per_image"], peer=peer and peer["engine"])
            one["peer_ms_per_image"] = peer and peer["ms_per_image"]
            one["ratio"] = peer["median_ms"] / own["median_ms"] if peer else None
            one["percent"] = percent(own)
            one["target"] = ratio_target(numeric_class, variant, batch, threads == 1 and most > 1)
            one["met"] = is_met(one["ratio"], one["target"], one["percent"])
            found.append(one)
    return sorted(found, key=lambda one: (CLASSES.index(one["numeric_class"]), one["variant"], one["threads"]))


def percent(row: Mapping[str, Any]) -> Optional[float]:
    """How much of the limit a row of fastalex shows."""
    if row.get("floor_ms") is None or not row["median_ms"]:
        return None
    return 100.0 * row["floor_ms"] / row["median_ms"]


def is_met(ratio: Optional[float], target: Optional[float], of_limit: Optional[float]) -> Optional[bool]:
    """None where there is no target, or no peer and the limit alone does not settle it."""
    near = of_limit is not None and of_limit >= PERCENT_OF_LIMIT
    if target is None or (ratio is None and not near):
        return None
    return near or (ratio is not None and ratio >= target)


def table(rows: Sequence[Mapping[str, Any]]) -> Tuple[List[str], List[List[str]]]:
    """Head and lines."""
    head = ["class", "network", "threads", "batch", "fastalex, ms/image", "fastest peer", "ms/image", "ratio", "target"]
    head += ["% of limit", "met"]
    digits = results_table.digits
    lines = []
    for one in verdicts(rows):
        cells = [one["numeric_class"], one["variant"], str(one["threads"]), str(one["batch"])]
        cells += [digits(one["ms_per_image"]), one["peer"] or "", digits(one["peer_ms_per_image"])]
        cells += ["" if one[key] is None else "%.2f" % one[key] for key in ("ratio", "target")]
        cells += ["" if one["percent"] is None else "%.0f" % one["percent"], MET[one["met"]]]
        lines.append(cells)
    return head, lines


MET = {True: "yes", False: "no", None: ""}


def count(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many of the targets are met."""
    known = [one["met"] for one in verdicts(rows) if one["met"] is not None]
    return "%d of %d targets met" % (sum(known), len(known))


def start_and_size(record: Mapping[str, Any]) -> List[str]:
    """Lines on the cold process and the installed size: what was measured, what it may be, and whether it is."""
    lines = [
        "%s, %s: cold process %s ms (at most %.0f): %s; peak %s MiB (at most %.0f): %s"
        % (
            row["variant"],
            row["engine"],
            results_table.digits(row["total_ms"]),
            COLD_TOTAL_MS,
            MET[row["total_ms"] <= COLD_TOTAL_MS],
            results_table.digits(row["peak_rss_mib"]),
            COLD_PEAK_MIB,
            MET[None if row["peak_rss_mib"] is None else row["peak_rss_mib"] <= COLD_PEAK_MIB],
        )
        for row in _int8_fc(record["cold"])
    ]
    size = record["packages"].get("fastalex", {}).get("without_numpy_mb")
    if size is not None:
        words = (results_table.digits(size), INSTALLED_MB, MET[size <= INSTALLED_MB])
        lines.append("installed without numpy: %s MB (at most %.0f): %s" % words)
    return lines


def _int8_fc(cold: Iterable[Mapping[str, Any]]) -> List[Mapping[str, Any]]:
    from engines import ENGINES

    names = [name for name, one in ENGINES.items() if one.peer == "fastalex" and one.options["fc_weights"] == "int8"]
    return [row for row in cold if row["engine"] in names]
