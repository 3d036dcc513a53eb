"""What was to be reached on a CPU and what was: a table and lines."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Tuple

from benchmarks import targets
from benchmarks.numeric_classes import MODES, own_engine
from benchmarks.report.markdown import digits

EXPLAINED = (
    "Ratio: the fastest peer's time over fastalex's, the peer in its fastest mode. % of limit: the floor of\n"
    "fastalex's own algorithm over its time. The floor is summed over the layers: of each the longer of its\n"
    "products at the measured rate of arithmetic and its weights' bytes at the measured rate of reading. Met:\n"
    f"the ratio reaches the target, or at least {targets.PERCENT_OF_LIMIT:.0f}% of the limit is reached. Blank: not "
    "measured, or no\ntarget.\n"
)
MET = {True: "yes", False: "no", None: ""}


def verdicts(record: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Those of all rows of ``record``, by the targets of its kind of machine."""
    return targets.verdicts(record["rows"], targets.ratios(record))


def table(record: Mapping[str, Any]) -> Tuple[List[str], List[List[str]]]:
    """Head and lines."""
    head = ["class", "network", "threads", "batch", "fastalex, ms/image", "fastest peer", "ms/image", "ratio", "target"]
    head += ["% of limit", "met"]
    lines = []
    for one in verdicts(record):
        cells = [one["numeric_class"], one["variant"], str(one["threads"]), str(one["batch"])]
        cells += [digits(one["ms_per_image"]), one["peer"] or "", digits(one["peer_ms_per_image"])]
        cells += ["" if one[key] is None else f"{one[key]:.2f}" for key in ("ratio", "target")]
        cells += ["" if one["percent"] is None else f"{one['percent']:.0f}", MET[one["met"]]]
        lines.append(cells)
    return head, lines


def kind(record: Mapping[str, Any]) -> str:
    """One line: whose targets these are."""
    return f"kind of machine: {targets.kind_of(record) or 'none that has targets of its own'}"


def count(record: Mapping[str, Any]) -> str:
    """How many of the targets are met."""
    known = [one["met"] for one in verdicts(record) if one["met"] is not None]
    return f"{sum(known)} of {len(known)} targets met"


def start_and_size(record: Mapping[str, Any]) -> List[str]:
    """Lines on the cold process and the installed size: what was measured, what it may be, and whether it is."""
    lines = [
        "{}, {}: cold process {} ms (at most {:.0f}): {}; peak {} MiB (at most {:.0f}): {}".format(
            row["variant"],
            row["engine"],
            digits(row["total_ms"]),
            targets.COLD_TOTAL_MS,
            MET[row["total_ms"] <= targets.COLD_TOTAL_MS],
            digits(row["peak_rss_mib"]),
            targets.COLD_PEAK_MIB,
            MET[None if row["peak_rss_mib"] is None else row["peak_rss_mib"] <= targets.COLD_PEAK_MIB],
        )
        for row in _int8_fc(record["cold"])
    ]
    size = record["packages"].get("fastalex", {}).get("without_numpy_mb")
    if size is not None:
        words = (digits(size), targets.INSTALLED_MB, MET[size <= targets.INSTALLED_MB])
        lines.append("installed without numpy: {} MB (at most {:.0f}): {}".format(*words))
    return lines


def _int8_fc(cold: Iterable[Mapping[str, Any]]) -> List[Mapping[str, Any]]:
    names = [own_engine(*mode) for mode in MODES if mode[1] == "int8"]
    return [row for row in cold if row["engine"] in names]
