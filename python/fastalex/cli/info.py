"""The command ``fastalex info``."""

from __future__ import annotations

import argparse
from typing import Any, Dict, List, Tuple

from .._util import console
from .common import BROKEN, OK
from .options import add_command


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    add_command(commands, "info", run, "show what is installed and which backends work, and run a self-test")


def run(options: argparse.Namespace) -> int:
    """Print the diagnosis; return exit code 1 if something is broken."""
    from . import diagnosis

    report = diagnosis.collect()
    if options.json:
        console.write_json(report)
    else:
        _print_report(report)
    for problem in report["problems"]:
        console.error(problem)
    return OK if report["ok"] else BROKEN


def _print_report(report: Dict[str, Any]) -> None:
    cpu, device, build = report["cpu"], report["device"], report["build"]
    rows = [("fastalex", f"{report['version']} in {report['location']}")]
    rows += [("python", f"{report['python']} on {report['platform']}")]
    rows += [("build: " + key, build[key]) for key in build]
    rows += [("CPU", f"{cpu['model']}, {cpu['machine']}, {cpu['cores']} cores, {cpu['usable_cores']} usable")]
    rows += [("instruction set", report["isa"] or "none")]
    rows += [("fc_layout", f"{report['fc_layout']} (default of the CPU)")]
    rows += [("device", device["card"] or device["title"] or "not in devices/*.toml")]
    rows += [("", device["reason"]), ("for this machine", report["advice"])]
    console.table("", ("", ""), rows)
    _print_gpus(report)
    backends = [
        (row["name"], "available" if row["available"] else "refused", row["reason"]) for row in report["backends"]
    ]
    console.table("Backends", ("name", "state", "reason"), backends)
    packages = [
        (row["name"], (row["version"] or "found") if row["found"] else "-", row["purpose"])
        for row in report["packages"]
    ]
    console.table("Python packages", ("name", "version", "used for"), packages)
    weights = [(row["name"], row["variant"] or "-", row["bytes"] or "-", row["path"]) for row in report["weights"]]
    console.table("Bundled weights", ("name", "variant", "bytes", "path"), weights, right=("bytes",))
    _print_selftest(report["selftest"])


def _print_gpus(report: Dict[str, Any]) -> None:
    """Print the GPUs that a backend can use. Without any, print nothing: the table of backends says why."""
    rows = []
    for gpu in report["gpus"]:
        about = (
            f"sm_{gpu['sm']}, {gpu['sms']} SMs, {gpu['clock_khz'] // 1000} MHz, {gpu['memory_bytes'] / 2**30:.1f} GiB"
        )
        rows.append((gpu["device"], gpu["name"], about, gpu["card"] or gpu["recognized"] or "-", gpu["tuning"]))
    if rows:
        console.table("GPUs", ("device", "name", "hardware", "known as", "tuning"), rows)


def _print_selftest(outcomes: List[Dict[str, Any]]) -> None:
    """Print one row for each op of each backend, and one for each case that failed."""
    rows: List[Tuple[Any, ...]] = []
    for backend, op in dict.fromkeys((row["backend"], row["op"]) for row in outcomes):
        group = [row for row in outcomes if (row["backend"], row["op"]) == (backend, op)]
        failed = [row for row in group if not row["ok"]]
        errors = [row["share"] for row in group if row["share"] is not None]
        largest = f"{max(errors):.3f}" if errors else "-"
        rows.append((backend, op, len(group), largest, f"{len(failed)} failed" if failed else "passed"))
        rows += [("", row["case"], "", "", "FAILED: " + row["reason"]) for row in failed]
    columns = ("backend", "op", "cases", "error / bound", "result")
    console.table("Self-test against the naive backend", columns, rows, right=("cases", "error / bound"))
