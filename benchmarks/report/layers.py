"""The tables of the layers of fastalex on a CPU."""

from __future__ import annotations

from typing import Any, List, Mapping, Tuple

from benchmarks.numeric_classes import mode_name
from benchmarks.report import machine
from benchmarks.report.markdown import digits, table, text_table


def report_table(one: Mapping[str, Any]) -> Tuple[List[str], List[List[str]]]:
    """Head and lines of one network, batch and mode, the total last."""
    keys = ("ms", "gflop_s", "gb_s", "percent")
    lines = [
        [row["layer"], row.get("format") or "", *(digits(row[key]) for key in keys), row["bound"] or ""]
        for row in one["layers"]
    ]
    head = [title(one), "kernel", "ms", "GFLOP/s", "GB/s of weights", "%", "of"]
    return head, [*lines, ["total", "", digits(one["total_ms"]), "", "", "", ""]]


def title(one: Mapping[str, Any]) -> str:
    """Network, batch, threads and mode."""
    mode = mode_name(one["precision"], one["fc_weights"])
    return f"{one['variant']}, batch {one['batch']}, threads {one['threads']}, {mode}"


def terminal(record: Mapping[str, Any]) -> str:
    """What run.py prints."""
    parts = [text_table(*report_table(one)) + machine.limits_line(one["limits"]) + "\n" for one in record["rows"]]
    return machine.machine_line(record) + "\n\n" + "\n".join(parts)


def section(record: Mapping[str, Any]) -> str:
    """The Markdown of one record."""
    text = f"\n## Layers of fastalex, measured: {record['title']}\n\n{machine.machine_line(record)}\n\n"
    text += (
        "Median times by the engine's own clock; an activation is part of the layer before it. GFLOP/s counts a\n"
        "direct convolution, whatever the kernel does. The last columns are the percentage of a limit measured in\n"
        "the same run: of arithmetic in the kernel's number format, by the products that it makes, or of reading\n"
        "the weights (read).\n"
    )
    for one in record["rows"]:
        text += "\n" + table(*report_table(one), left=2) + "\n" + machine.limits_line(one["limits"]) + "\n"
    return text
