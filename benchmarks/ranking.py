"""Ranking of engines: the cases of a comparison and the order of the engines in each. Pure functions on rows."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from benchmarks.records import OK

#: Network, batch and threads.
Case = Tuple[str, int, int]


def case_of(row: Mapping[str, Any]) -> Case:
    """Network, batch and threads."""
    return row["variant"], row["batch"], row["threads"]


def cases(rows: Iterable[Mapping[str, Any]]) -> List[Case]:
    """The networks, batches and numbers of threads, in the order of the rows."""
    return list(dict.fromkeys(case_of(row) for row in rows))


def counts(rows: Iterable[Mapping[str, Any]]) -> List[int]:
    """Numbers of threads, in descending order."""
    return sorted({row["threads"] for row in rows}, reverse=True)


def ranked(rows: Iterable[Mapping[str, Any]], case: Case, numeric_class: str) -> List[Mapping[str, Any]]:
    """Fastest correct mode of each peer in a class, fastest first."""
    best: Dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if case_of(row) != case or row["numeric_class"] != numeric_class:
            continue
        if row["status"] == OK and row["median_ms"] is not None:
            held = best.get(row["peer"])
            if held is None or row["median_ms"] < held["median_ms"]:
                best[row["peer"]] = row
    return sorted(best.values(), key=lambda row: row["median_ms"])


def ratio(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Optional[float]:
    """Ratio of a correct row's time to that of fastalex in the same case and class; None if either is missing."""
    own = [
        other["median_ms"] for other in ranked(rows, case_of(row), row["numeric_class"]) if other["peer"] == "fastalex"
    ]
    return row["median_ms"] / own[0] if own and row["status"] == OK and row["median_ms"] is not None else None
