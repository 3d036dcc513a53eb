"""The tables of docs/lpips.md from the records of LPIPS beside the package lpips."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Sequence

from benchmarks import files, records, targets
from benchmarks.report.machine import measured
from benchmarks.report.markdown import digits, table

RESULTS = records.RESULTS / "lpips" / "cpu"
REPORT = records.DOCS / "lpips.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
ENGINES = ("fastalex", "lpips")  # in the order of the columns


def speed_table(one: Mapping[str, Any]) -> str:
    lines = []
    for case in dict.fromkeys(row["case"] for row in one["times"]):
        found = {row["engine"]: row for row in one["times"] if row["case"] == case}
        mine, theirs = (found[name] for name in ENGINES)
        ratio = theirs["median_ms"] / mine["median_ms"]
        keys = ("median_ms", "p10_ms", "p90_ms")
        spread = ["{} ({} to {})".format(*tuple(digits(row[key]) for key in keys)) for row in (mine, theirs)]
        lines.append([case, *spread, f"{ratio:.1f}", f"{targets.LPIPS[case]:g}", f"{mine['difference']:.0e}"])
    head = [f"{one['side']} x {one['side']}", "fastalex, ms", "lpips, ms", "times as fast", "target", "differ by"]
    return table(head, lines)


def memory_table(one: Mapping[str, Any]) -> str:
    """Of each case: the whole process's peak, and above the import the peak and the peak while running."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in one["memory"]):
        found = [next(r for r in one["memory"] if (r["case"], r["engine"]) == (case, name)) for name in ENGINES]
        for what, key, above in (
            ("whole process, peak", "peak_mib", False),
            ("above import, peak", "peak_mib", True),
            ("above import, while running", "running_mib", True),
        ):
            mine, theirs = (row[key] - (row["import_mib"] if above else 0) for row in found)
            lines.append([case, what, f"{mine:.0f}", f"{theirs:.0f}", f"{mine / theirs:.2f}"])
    head = [f"{one['side']} x {one['side']}", "resident size", "fastalex, MiB", "lpips, MiB", "ratio"]
    return table(head, lines, left=2)


def render(found: Sequence[Mapping[str, Any]]) -> str:
    """What stands between the two marks of docs/lpips.md."""
    parts = []
    for one in found:
        threads = sorted({row["threads"] for row in one["times"]})
        versions = ", ".join(f"{name} {one['versions'][name]}" for name in ("fastalex", "lpips", "torch"))
        title = f"### {one['title']} ({one['machine']['isa']}), {'/'.join(map(str, threads))} threads"
        parts.append(f"{title}\n\n{measured(one).capitalize()}; {versions}. Median (10th to 90th percentile).\n")
        parts += [speed_table(one), memory_table(one)]
    return "\n".join(parts) if parts else "Nothing is measured yet.\n"


def load() -> List[Dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]


def write() -> None:
    text = REPORT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    files.write_atomically(REPORT, before + BEGIN + "\n" + render(load()) + END + rest.split(END)[1])
