"""Tables of a comparison with other engines: who is fastest in each class, every mode, cold starts, sizes."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from benchmarks import ranking
from benchmarks.numeric_classes import CLASSES
from benchmarks.records import OK, WRONG
from benchmarks.report.markdown import digits


def summary(rows: Sequence[Mapping[str, Any]]) -> Tuple[List[str], List[List[str]]]:
    """Head and lines of rows with one number of threads: a line for each class and peer, a column for each network and
    batch.
    """
    columns = ranking.cases(rows)
    head = ["class", "engine", *("%s, batch %d" % case[:2] for case in columns)]
    lines = []
    measured = {row["engine"]: row["numeric_class"] for row in rows if row["status"] in (OK, WRONG)}
    for name in CLASSES:
        ranked = {case: {row["peer"]: row for row in ranking.ranked(rows, case, name)} for case in columns}
        peers = dict.fromkeys(
            row["peer"] for row in rows if measured.get(row["engine"], row["numeric_class"]) == name
        )  # an engine that was not measured stands where it was expected
        for peer in peers:
            cells = [_cell(rows, case, peer, name, ranked[case]) for case in columns]
            lines.append([name, peer, *cells])
    return head, lines


def _cell(
    rows: Sequence[Mapping[str, Any]], case: ranking.Case, peer: str, name: str, ranked: Mapping[str, Mapping[str, Any]]
) -> str:
    if peer not in ranked:
        same = [row for row in rows if ranking.case_of(row) == case and row["peer"] == peer]
        wrong = any(row["status"] == WRONG and row["numeric_class"] == name for row in same)
        return "WRONG" if wrong else ""
    row = ranked[peer]
    text = f"{digits(row['ms_per_image'])} ms"
    if row is next(iter(ranked.values())):
        text = f"**{text}**"
    times = ranking.ratio(row, rows)
    mode = row["engine"][len(peer) :].strip() if peer != "fastalex" else ""
    words = [mode] if mode else []
    words += [f"{times:.2f}"] if times is not None and peer != "fastalex" else []
    return f"{text} ({', '.join(words)})" if words else text


def details(rows: Sequence[Mapping[str, Any]]) -> Tuple[List[str], List[List[str]]]:
    """Head and lines of the rows of one network: a line for each engine that was measured or is wrong, a column for
    each number of threads and batch.
    """
    columns = sorted(ranking.cases(rows), key=lambda case: (case[2], case[1]))
    head = ["engine", "class", *(f"threads {case[2]}, batch {case[1]}" for case in columns)]
    lines = []
    for name in dict.fromkeys(row["engine"] for row in rows):
        found = {ranking.case_of(row): row for row in rows if row["engine"] == name and row["status"] in (OK, WRONG)}
        if not found:
            continue
        errors, cosines = (
            [row[key] for row in found.values() if row.get(key) is not None] for key in ("relative_error", "cosine")
        )
        cells = [_times(found[case]) if case in found else "" for case in columns]
        last = [_error(max(errors, default=None)), f"{min(cosines):.6f}" if cosines else ""]
        lines.append([name, next(iter(found.values()))["numeric_class"], *cells, *last])
    return [*head, "relative error", "cosine"], lines


def _times(row: Mapping[str, Any]) -> str:
    """Median and percentiles of ms an image, and the energy where it was metered."""
    if row["status"] == WRONG:
        return "WRONG"
    if row["median_ms"] is None:
        return ""
    text = "{} ({} to {})".format(*tuple(digits(row[key] / row["batch"]) for key in ("median_ms", "p10_ms", "p90_ms")))
    energy = row.get("mj_per_image")
    return text if energy is None else f"{text}, {digits(energy)} mJ"


def _error(value: Optional[float]) -> str:
    return "" if value is None else f"{value:.1e}"


def notes(rows: Iterable[Mapping[str, Any]]) -> List[str]:
    """One line for each engine that has no figure, with the reason and the cases."""
    found: Dict[Tuple[str, str], List[str]] = {}
    for row in rows:
        if row["note"]:
            found.setdefault((row["engine"], row["note"]), []).append("%s batch %d threads %d" % ranking.case_of(row))
    every = len(ranking.cases(rows))
    return [
        "{}: {}{}".format(name, note, "" if len(where) == every else " ({})".format(", ".join(where)))
        for (name, note), where in found.items()
    ]


def cold_table(record: Mapping[str, Any]) -> Tuple[List[str], List[List[str]]]:
    """Head and lines: fresh processes."""
    head = ["network", "engine", "total ms", "interpreter", "import", "load", "first run", "peak MiB"]
    keys = ("total_ms", "start_ms", "import_ms", "load_ms", "first_run_ms", "peak_rss_mib")
    lines = [[row["variant"], row["engine"], *(digits(row.get(key)) for key in keys)] for row in record["cold"]]
    return head, lines


def package_table(record: Mapping[str, Any]) -> Tuple[List[str], List[List[str]]]:
    keys = ("installed_mb", "without_numpy_mb")
    lines = [
        [name, one["version"] or "", *(digits(one.get(key)) for key in keys)]
        for name, one in record["packages"].items()
    ]
    return ["package", "version", "MB installed", "without numpy"], lines
