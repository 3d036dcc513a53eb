"""The peers' part of RESULTS.md: who is fastest in each class of arithmetic, every mode, cold starts, sizes."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import engines
import results_table
from peers import OK, WRONG

ROW_KEYS = ("variant", "batch", "engine", "peer", "numeric_class", "status", "note", "median_ms", "ms_per_image")
EXPLAINED = (
    "Each engine in a process of its own on the same CPUs, asleep while another is timed; bursts in shuffled turns,\n"
    "the first call of a burst thrown away; same random weights and images; a result that is not that of fastalex's\n"
    "naive backend is WRONG and has no rank. Ratio: to fastalex's time in the same class of arithmetic (above 1:\n"
    "fastalex is faster). Blank: not measured.\n"
)
Case = Tuple[str, int]


def cases(rows: Iterable[Mapping[str, Any]]) -> List[Case]:
    """The networks and batches, in the order of the rows."""
    return list(dict.fromkeys((row["variant"], row["batch"]) for row in rows))


def ranking(rows: Iterable[Mapping[str, Any]], case: Case, numeric_class: str) -> List[Mapping[str, Any]]:
    """The fastest right mode of each peer in a class, fastest first."""
    best: Dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if (row["variant"], row["batch"]) != case or row["numeric_class"] != numeric_class:
            continue
        if row["status"] == OK and row["median_ms"] is not None:
            held = best.get(row["peer"])
            if held is None or row["median_ms"] < held["median_ms"]:
                best[row["peer"]] = row
    return sorted(best.values(), key=lambda row: row["median_ms"])


def ratio(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Optional[float]:
    """A right row's time over that of fastalex in the same case and class; None where either is missing."""
    own = [
        other["median_ms"]
        for other in ranking(rows, (row["variant"], row["batch"]), row["numeric_class"])
        if other["peer"] == "fastalex"
    ]
    return row["median_ms"] / own[0] if own and row["status"] == OK and row["median_ms"] is not None else None


def summary(rows: Sequence[Mapping[str, Any]]) -> Tuple[List[str], List[List[str]]]:
    """Head and lines: a line for each class and peer, a column for each network and batch."""
    columns = cases(rows)
    head = ["class", "engine", *("%s, batch %d" % case for case in columns)]
    lines = []
    measured = {row["engine"]: row["numeric_class"] for row in rows if row["status"] in (OK, WRONG)}
    for name in engines.CLASSES:
        ranked = {case: {row["peer"]: row for row in ranking(rows, case, name)} for case in columns}
        peers = dict.fromkeys(
            row["peer"] for row in rows if measured.get(row["engine"], row["numeric_class"]) == name
        )  # an engine that was not measured stands where it was expected
        for peer in peers:
            cells = [_cell(rows, case, peer, name, ranked[case]) for case in columns]
            lines.append([name, peer, *cells])
    return head, lines


def _cell(
    rows: Sequence[Mapping[str, Any]], case: Case, peer: str, name: str, ranked: Mapping[str, Mapping[str, Any]]
) -> str:
    if peer not in ranked:
        same = [row for row in rows if (row["variant"], row["batch"]) == case and row["peer"] == peer]
        wrong = any(row["status"] == WRONG and row["numeric_class"] == name for row in same)
        return "WRONG" if wrong else ""
    row = ranked[peer]
    text = "%s ms" % results_table.digits(row["ms_per_image"])
    if row is next(iter(ranked.values())):
        text = "**%s**" % text
    times = ratio(row, rows)
    mode = row["engine"][len(peer) :].strip() if peer != "fastalex" else ""
    words = [mode] if mode else []
    words += ["%.2f" % times] if times is not None and peer != "fastalex" else []
    return "%s (%s)" % (text, ", ".join(words)) if words else text


def details(rows: Sequence[Mapping[str, Any]]) -> Tuple[List[str], List[List[str]]]:
    """Head and lines: every engine that was measured or is wrong; energy and clocks where they were read."""
    head = [
        "network",
        "engine",
        "class",
        "batch",
        "ms/image",
        "p10",
        "p90",
        "calls",
        "ratio",
        "relative error",
        "cosine",
    ]
    energy = any(row.get("mj_per_image") is not None for row in rows)
    head += ["mJ/image"] if energy else []
    lines = []
    for row in rows:
        if row["status"] not in (OK, WRONG) or (row["status"] == OK and row["median_ms"] is None):
            continue
        each = [row[key] / row["batch"] if row.get(key) else None for key in ("median_ms", "p10_ms", "p90_ms")]
        cells = [results_table.digits(value) for value in each] if row["status"] == OK else ["WRONG", "", ""]
        times = ratio(row, rows)
        cells += [str(row["runs"] or ""), "" if times is None else "%.2f" % times]
        cells += [_error(row.get("relative_error")), "" if row.get("cosine") is None else "%.6f" % row["cosine"]]
        cells += [results_table.digits(row.get("mj_per_image"))] if energy else []
        lines.append([row["variant"], row["engine"], row["numeric_class"], str(row["batch"]), *cells])
    return head, lines


def _error(value: Optional[float]) -> str:
    return "" if value is None else "%.1e" % value


def notes(rows: Iterable[Mapping[str, Any]]) -> List[str]:
    """One line for each engine that has no figure, with the reason and the cases."""
    found: Dict[Tuple[str, str], List[str]] = {}
    for row in rows:
        if row["note"]:
            found.setdefault((row["engine"], row["note"]), []).append("%s batch %d" % (row["variant"], row["batch"]))
    every = len(cases(rows))
    return [
        "%s: %s%s" % (name, note, "" if len(where) == every else " (%s)" % ", ".join(where))
        for (name, note), where in found.items()
    ]


def cold_table(record: Mapping[str, Any]) -> Tuple[List[str], List[List[str]]]:
    """Head and lines: fresh processes."""
    head = ["network", "engine", "total ms", "interpreter", "import", "load", "first run", "peak MiB"]
    keys = ("total_ms", "start_ms", "import_ms", "load_ms", "first_run_ms", "peak_rss_mib")
    lines = [
        [row["variant"], row["engine"], *(results_table.digits(row.get(key)) for key in keys)] for row in record["cold"]
    ]
    return head, lines


def package_table(record: Mapping[str, Any]) -> Tuple[List[str], List[List[str]]]:
    lines = [
        [name, one["version"] or "", results_table.digits(one["installed_mb"])]
        for name, one in record["packages"].items()
    ]
    return ["package", "version", "MB installed"], lines


def setting(record: Mapping[str, Any]) -> str:
    """One sentence: how the machine was set, as far as it can be read."""
    state = record["machine"].get("state") or {}
    held = {True: "clocks held", False: "clocks not held", None: None}[state.get("clocks_held")]
    clock = state.get("clock_mhz")
    parts = [
        "governor %s" % state["governor"] if state.get("governor") else None,
        "%.0f MHz at the start" % clock if clock else None,
        held,
        "nvpmodel %s" % state["nvpmodel"] if state.get("nvpmodel") else None,
    ]
    known = [part for part in parts if part]
    return "Clocks: %s." % ("; ".join(known) if known else "not readable here")


def terminal(record: Mapping[str, Any]) -> str:
    """What run.py prints."""
    text = "%s\n%s\n\n" % (results_table.machine_line(record), setting(record))
    text += results_table.text_table(*summary(record["rows"])).replace("**", "")
    text += "\n" + results_table.text_table(*details(record["rows"]))
    if record["cold"]:
        text += "\ncold start\n" + results_table.text_table(*cold_table(record))
    text += "\n" + results_table.text_table(*package_table(record))
    return text + "".join("note: %s\n" % note for note in notes(record["rows"]))


def section(record: Mapping[str, Any], chart: Optional[str] = None) -> str:
    """The Markdown of one record."""
    text = "\n## Peers, measured: %s\n\n%s\n%s\n\n" % (
        record["title"],
        results_table.machine_line(record),
        setting(record),
    )
    text += EXPLAINED
    if chart:
        text += "\n![ms per image of each engine](%s)\n" % chart
    text += "\nThe fastest mode of each peer, ms per image (mode, ratio to fastalex):\n\n"
    text += results_table.table(*summary(record["rows"]), left=2)
    text += "\nEvery mode:\n\n" + results_table.table(*details(record["rows"]), left=3)
    if record["cold"]:
        text += (
            "\nCold process, start to first result at batch 1 (median of %d; files converted before and in the page\n"
            "cache, each engine's own format; the import of numpy is left out for all):\n\n"
            % record["cold"][0]["repeats"]
        ) + results_table.table(*cold_table(record), left=2)
    text += "\nInstalled size: the files of the package and of all that it requires, numpy included.\n\n"
    text += results_table.table(*package_table(record))
    blanks = notes(record["rows"])
    return text + ("\n" + "".join("- %s\n" % note for note in blanks) if blanks else "")
