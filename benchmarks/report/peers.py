"""The text of a comparison with other engines: its part of the page of a machine, and what the terminal shows."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional

from benchmarks import floors, ranking
from benchmarks.numeric_classes import BITS16, FC8, INT8
from benchmarks.report import density, peer_tables, targets
from benchmarks.report.machine import commit, limits_line, machine_line
from benchmarks.report.markdown import table, text_table

EXPLAINED = (
    "Each engine runs in a process of its own on the same CPUs and sleeps while another is timed. They take\n"
    "turns in shuffled order, a burst of calls at a time, whose first call is thrown away. All have the same\n"
    "random weights and images. A result that differs from the naive backend's is WRONG and has no rank.\n"
    "Ratio: the engine's time over fastalex's in the same class of arithmetic (above 1: fastalex is faster).\n"
    "Blank: not measured.\n"
)
CLASSES_EXPLAINED = (
    f"Classes: {FC8} has fp32 activations; {BITS16} has 16-bit activations, and weights of 16 or 8 bits, whichever is\n"
    f"faster (in fastalex, fully connected ones of 8); {INT8} has 8-bit activations and weights, calibrated on\n"
    "random images.\n"
)


def setting(record: Mapping[str, Any]) -> str:
    """One sentence: how the machine was set, as far as it can be read."""
    state = record["machine"].get("state") or {}
    held = {True: "clocks held", False: "clocks not held", None: None}[state.get("clocks_held")]
    clock = state.get("clock_mhz")
    parts = [
        f"governor {state['governor']}" if state.get("governor") else None,
        f"{clock:.0f} MHz at the start" if clock else None,
        held,
        f"nvpmodel {state['nvpmodel']}" if state.get("nvpmodel") else None,
    ]
    known = [part for part in parts if part]
    return f"Clocks: {'; '.join(known) if known else 'not readable here'}."


def cold_note(record: Mapping[str, Any]) -> str:
    """What the cold processes of fastalex were measured at, if that was later than the rest."""
    return f"; fastalex's again at commit {commit(record['cold_commit'])}" if "cold_commit" in record else ""


def limit_lines(record: Mapping[str, Any]) -> List[str]:
    """The machine's limits, by number of threads: the median over the cases."""
    found = record.get("limits", [])
    if not found:
        return [record["without_limits"]] if record.get("without_limits") else []
    lines = []
    for threads in ranking.counts(found):
        of_count = [one for one in found if one["threads"] == threads]
        runs = [dict(one["gflop_s"], **{key: one[key] for key in floors.READS}) for one in of_count]
        lines.append(f"{threads} thread{'' if threads == 1 else 's'}: {limits_line(floors.combine(runs))}")
    return lines


def quick(record: Mapping[str, Any]) -> str:
    """What run.py prints for a quick run: the ratios, and what they rest on."""
    rows = record["rows"]
    text = f"{machine_line(record)}\n\n{text_table(*targets.table(record))}\n"
    lines = [targets.kind(record), targets.count(record), *density.lines(record), *limit_lines(record)]
    lines += targets.start_and_size(record)
    lines += [f"note: {note}" for note in peer_tables.notes(rows)]
    return text + "".join(f"{line}\n" for line in lines)


def terminal(record: Mapping[str, Any]) -> str:
    """What run.py prints."""
    text = ""
    for threads in ranking.counts(record["rows"]):
        rows = [row for row in record["rows"] if row["threads"] == threads]
        text += f"threads: {threads}\n{text_table(*peer_tables.summary(rows)).replace('**', '')}\n"
    if record["cold"]:
        text += f"cold start\n{text_table(*peer_tables.cold_table(record))}\n"
    return text + text_table(*peer_tables.package_table(record)) + "\n" + quick(record)


def section(record: Mapping[str, Any], chart: Optional[str] = None) -> str:
    """The Markdown of one record."""
    rows = record["rows"]
    text = f"\n## Peers, measured: {record['title']}\n\n{machine_line(record)}\n{setting(record)}\n\n"
    text += EXPLAINED + CLASSES_EXPLAINED
    text += f"\n### Ratios and targets\n\n{targets.EXPLAINED}\n"
    text += table(*targets.table(record), left=2) + "\n"
    lines = [targets.count(record), *density.lines(record), *limit_lines(record), *targets.start_and_size(record)]
    text += "".join(f"- {line}\n" for line in lines)
    if chart:
        text += f"\n![ms per image of each engine]({chart})\n"
    for threads in ranking.counts(rows):
        text += (
            f"\n### The fastest mode of each peer, threads: {threads}\n\nms per image (mode, ratio to fastalex):\n\n"
        )
        text += table(*peer_tables.summary([row for row in rows if row["threads"] == threads]), left=2)
    for variant in dict.fromkeys(row["variant"] for row in rows):
        text += f"\n### Every mode, {variant}\n\nms per image: median (10th to 90th percentile).\n\n"
        text += table(*peer_tables.details([row for row in rows if row["variant"] == variant]), left=2)
    if record["cold"]:
        text += (
            "\nCold process, start to first result at batch 1 (median of %d; files converted before and in the page\n"
            "cache, each engine's own format; the import of numpy is left out for all%s):\n\n"
            % (record["cold"][0]["repeats"], cold_note(record))
        ) + table(*peer_tables.cold_table(record), left=2)
    text += "\nInstalled size: the files of the package and of everything it requires, with numpy and without.\n\n"
    text += table(*peer_tables.package_table(record))
    blanks = peer_tables.notes(rows)
    return text + ("\n" + "".join(f"- {note}\n" for note in blanks) if blanks else "")
