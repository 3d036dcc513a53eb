"""The tables of a CPU's result file."""

from __future__ import annotations

from typing import Any, Dict, List

from benchmarks.report.machine import machine_line
from benchmarks.report.markdown import digits, table
from fastalex.hardware import devices


def section(record: Dict[str, Any]) -> str:
    """The tables of one result file: times, memory and errors, then the cold starts."""
    head = ["network", "precision", "fc weights", "threads", "batch", "median ms", "p10", "p90", "images/s", "peak MiB"]
    head += ["max error / tolerance", "quantization error"]
    rows = []
    for row in record["rows"]:
        correctness = row["correctness"]
        figures = [row[key] for key in ("median_ms", "p10_ms", "p90_ms", "images_per_s", "peak_rss_mib")]
        figures += [correctness["max_abs_diff"] / correctness["tolerance"], correctness.get("quantisation_error")]
        rows.append([*_mode(row), str(row["threads"]), str(row["batch"]), *map(digits, figures)])
    family = "CPU" if record["device"] == "cpu" else devices.get(record["device"]).title
    text = f"\n## {family}, measured: {record['title']}\n\n{machine_line(record)}\n\n"
    text += (
        "p10 and p90: 10th and 90th percentile, in ms. Peak MiB: resident memory of a process that does only this,\n"
        "the mapped weights file included. Max error: against the naive backend, which sums in double.\n"
        "Quantization error: max difference from the output in fp32 with fp32 weights, over its maximum.\n\n"
    )
    text += table(head, rows, left=3)
    cold = [row for row in record["rows"] if row.get("cold")]
    if cold:
        repeats = cold[0]["cold"]["repeats"]
        text += f"\nCold process, start to first result (median of {repeats}; weights file in the page cache):\n\n"
        keys = ("total_ms", "start_ms", "import_ms", "build_ms", "first_run_ms", "peak_rss_mib")
        names = (
            "network",
            "precision",
            "fc weights",
            "total ms",
            "interpreter",
            "import",
            "load and build",
            "first run",
            "peak MiB",
        )
        cells = [_mode(row) + [digits(row["cold"][key]) for key in keys] for row in cold]
        text += table(names, cells, left=3)
    return text


def _mode(row: Dict[str, Any]) -> List[str]:
    """Network, precision and fully connected weights."""
    return [row["variant"], row["precision"], row["fc_weights"]]
