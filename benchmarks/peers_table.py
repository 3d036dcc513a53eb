"""The peers' part of RESULTS.md: who is fastest in each class of arithmetic, every mode, cold starts, sizes."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import engines
import limits
import results_table
from peers import OK, WRONG

ROW_KEYS = (
    "variant",
    "batch",
    "threads",
    "engine",
    "peer",
    "numeric_class",
    "status",
    "note",
    "median_ms",
    "ms_per_image",
)
EXPLAINED = (
    "Each engine in a process of its own on the same CPUs, asleep while another is timed; bursts in shuffled turns,\n"
    "the first call of a burst thrown away; same random weights and images; a result that is not that of fastalex's\n"
    "naive backend is WRONG and has no rank. Ratio: to fastalex's time in the same class of arithmetic (above 1:\n"
    "fastalex is faster). Blank: not measured.\n"
)
CLASSES_EXPLAINED = (
    "Classes: %s has fp32 activations; %s has 16-bit activations and weights of 16 or 8 bits, whichever is faster,\n"
    "fastalex's fully connected ones of 8; %s has 8-bit activations and weights, calibrated on random images.\n"
    % (engines.FC8, engines.BITS16, engines.INT8)
)
Case = Tuple[str, int, int]


def case_of(row: Mapping[str, Any]) -> Case:
    """Network, batch and threads."""
    return row["variant"], row["batch"], row["threads"]


def cases(rows: Iterable[Mapping[str, Any]]) -> List[Case]:
    """The networks, batches and numbers of threads, in the order of the rows."""
    return list(dict.fromkeys(case_of(row) for row in rows))


def counts(rows: Iterable[Mapping[str, Any]]) -> List[int]:
    """The numbers of threads, most first."""
    return sorted({row["threads"] for row in rows}, reverse=True)


def ranking(rows: Iterable[Mapping[str, Any]], case: Case, numeric_class: str) -> List[Mapping[str, Any]]:
    """The fastest right mode of each peer in a class, fastest first."""
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
    """A right row's time over that of fastalex in the same case and class; None where either is missing."""
    own = [
        other["median_ms"] for other in ranking(rows, case_of(row), row["numeric_class"]) if other["peer"] == "fastalex"
    ]
    return row["median_ms"] / own[0] if own and row["status"] == OK and row["median_ms"] is not None else None


def summary(rows: Sequence[Mapping[str, Any]]) -> Tuple[List[str], List[List[str]]]:
    """Head and lines of rows with one number of threads: a line for each class and peer, a column for each network and
    batch.
    """
    columns = cases(rows)
    head = ["class", "engine", *("%s, batch %d" % case[:2] for case in columns)]
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
        same = [row for row in rows if case_of(row) == case and row["peer"] == peer]
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
    """Head and lines of the rows of one network: a line for each engine that was measured or is wrong, a column for
    each number of threads and batch.
    """
    columns = sorted(cases(rows), key=lambda case: (case[2], case[1]))
    head = ["engine", "class", *("threads %d, batch %d" % (case[2], case[1]) for case in columns)]
    lines = []
    for name in dict.fromkeys(row["engine"] for row in rows):
        found = {case_of(row): row for row in rows if row["engine"] == name and row["status"] in (OK, WRONG)}
        if not found:
            continue
        errors, cosines = (
            [row[key] for row in found.values() if row.get(key) is not None] for key in ("relative_error", "cosine")
        )
        cells = [_times(found[case]) if case in found else "" for case in columns]
        last = [_error(max(errors, default=None)), "%.6f" % min(cosines) if cosines else ""]
        lines.append([name, next(iter(found.values()))["numeric_class"], *cells, *last])
    return [*head, "relative error", "cosine"], lines


def _times(row: Mapping[str, Any]) -> str:
    """Median and percentiles of ms an image, and the energy where it was metered."""
    if row["status"] == WRONG:
        return "WRONG"
    if row["median_ms"] is None:
        return ""
    text = "%s (%s to %s)" % tuple(
        results_table.digits(row[key] / row["batch"]) for key in ("median_ms", "p10_ms", "p90_ms")
    )
    energy = row.get("mj_per_image")
    return text if energy is None else "%s, %s mJ" % (text, results_table.digits(energy))


def _error(value: Optional[float]) -> str:
    return "" if value is None else "%.1e" % value


def notes(rows: Iterable[Mapping[str, Any]]) -> List[str]:
    """One line for each engine that has no figure, with the reason and the cases."""
    found: Dict[Tuple[str, str], List[str]] = {}
    for row in rows:
        if row["note"]:
            found.setdefault((row["engine"], row["note"]), []).append("%s batch %d threads %d" % case_of(row))
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
    keys = ("installed_mb", "without_numpy_mb")
    lines = [
        [name, one["version"] or "", *(results_table.digits(one.get(key)) for key in keys)]
        for name, one in record["packages"].items()
    ]
    return ["package", "version", "MB installed", "without numpy"], lines


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


def limit_lines(record: Mapping[str, Any]) -> List[str]:
    """The machine's limits, by number of threads: the median over the cases."""
    found = record.get("limits", [])
    if not found:
        return [record["without_limits"]] if record.get("without_limits") else []
    lines = []
    for threads in counts(found):
        of_count = [one for one in found if one["threads"] == threads]
        runs = [dict(one["gflop_s"], **{key: one[key] for key in limits.READS}) for one in of_count]
        lines.append("%d thread%s: %s" % (threads, "" if threads == 1 else "s", limits.line(limits.combine(runs))))
    return lines


def quick(record: Mapping[str, Any]) -> str:
    """What run.py prints for a quick run: the ratios, and what they rest on."""
    import targets

    rows = record["rows"]
    text = "%s\n\n%s\n" % (results_table.machine_line(record), results_table.text_table(*targets.table(rows)))
    lines = [targets.count(rows), *limit_lines(record), *targets.start_and_size(record)]
    lines += ["note: %s" % note for note in notes(rows)]
    return text + "".join("%s\n" % line for line in lines)


def terminal(record: Mapping[str, Any]) -> str:
    """What run.py prints."""
    text = ""
    for threads in counts(record["rows"]):
        rows = [row for row in record["rows"] if row["threads"] == threads]
        text += "threads: %d\n%s\n" % (threads, results_table.text_table(*summary(rows)).replace("**", ""))
    if record["cold"]:
        text += "cold start\n%s\n" % results_table.text_table(*cold_table(record))
    return text + results_table.text_table(*package_table(record)) + "\n" + quick(record)


def section(record: Mapping[str, Any], chart: Optional[str] = None) -> str:
    """The Markdown of one record."""
    import targets

    rows = record["rows"]
    text = "\n## Peers, measured: %s\n\n%s\n%s\n\n" % (
        record["title"],
        results_table.machine_line(record),
        setting(record),
    )
    text += EXPLAINED
    if record.get("schema", 1) > 1:  # before, the classes were others
        text += CLASSES_EXPLAINED
        text += "\n### Ratios and targets\n\n%s\n" % targets.EXPLAINED
        text += results_table.table(*targets.table(rows), left=2) + "\n"
        lines = [targets.count(rows), *limit_lines(record), *targets.start_and_size(record)]
        text += "".join("- %s\n" % line for line in lines)
    if chart:
        text += "\n![ms per image of each engine](%s)\n" % chart
    for threads in counts(rows):
        text += (
            "\n### The fastest mode of each peer, threads: %d\n\nms per image (mode, ratio to fastalex):\n\n" % threads
        )
        text += results_table.table(*summary([row for row in rows if row["threads"] == threads]), left=2)
    for variant in dict.fromkeys(row["variant"] for row in rows):
        text += "\n### Every mode, %s\n\nms per image: median (10th to 90th percentile).\n\n" % variant
        text += results_table.table(*details([row for row in rows if row["variant"] == variant]), left=2)
    if record["cold"]:
        text += (
            "\nCold process, start to first result at batch 1 (median of %d; files converted before and in the page\n"
            "cache, each engine's own format; the import of numpy is left out for all):\n\n"
            % record["cold"][0]["repeats"]
        ) + results_table.table(*cold_table(record), left=2)
    text += "\nInstalled size: the files of the package and of all that it requires, with numpy and without.\n\n"
    text += results_table.table(*package_table(record))
    blanks = notes(rows)
    return text + ("\n" + "".join("- %s\n" % note for note in blanks) if blanks else "")
