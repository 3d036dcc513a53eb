"""``experiments``: train with and without the ideas of the 2012 paper; needs PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HELP = "train to see what the ideas of the 2012 paper do, over several seeds; 'report experiments' has the tables"
OTHERS = {
    "traffic": "bytes that a process sends in a step, by scheme; writes its table of docs/training.md",
    "throughput": "images a second of training, against a loop of plain PyTorch; writes its table of docs/training.md",
    "digits": "no experiment: write FOLDER/train/<digit> and FOLDER/val/<digit>",
}
STOPPED = 130  # 128 + SIGINT, as shells report it


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--plan", metavar="P", help="train the open runs of this plan: fashion, digits, or the path of a .toml file")
    add("--minutes", type=float, metavar="M", help="begin no run that would end later than this (default: no limit)")
    add("--status", action="store_true", help="train nothing; print the table of done and open runs")
    add("--data", type=Path, metavar="DIR", help="folder of the images (default: where Debian's package has them)")
    add("--results", type=Path, metavar="DIR", help="folder of the results (default: benchmarks/experiments/results)")
    kinds = parser.add_subparsers(dest="experiment", metavar="OTHER")
    for name, text in OTHERS.items():
        one = kinds.add_parser(name, help=text, allow_abbrev=False)
        if name == "digits":
            one.add_argument("folder", type=Path, metavar="FOLDER")


def run(options: argparse.Namespace) -> int:
    if options.experiment == "traffic":
        from benchmarks.experiments import traffic

        traffic.measure()
    elif options.experiment == "throughput":
        from benchmarks.experiments import throughput

        throughput.measure()
    elif options.experiment == "digits":
        from benchmarks.experiments import digits_data

        digits_data.write(options.folder)
    else:
        return _run_plan(options)
    return 0


def _run_plan(options: argparse.Namespace) -> int:
    from benchmarks.experiments import plan as plans
    from benchmarks.experiments import record, session
    from fastalex import UserError

    if not options.plan:
        raise UserError(f"name a plan with --plan, or one of {', '.join(OTHERS)}")
    if options.minutes is not None and not options.minutes > 0:
        raise UserError("--minutes must be above 0")
    plan, folder = plans.load(options.plan), options.results or plans.RESULTS
    code, line = 0, ""
    if not options.status:
        try:
            line = session.carry_on(plan, options.data, options.minutes, folder)
        except KeyboardInterrupt:
            code, line = STOPPED, "stopped; the run that was training is lost, finished ones are kept"
    print(session.table(plan, record.of(plan, folder)))
    if line:
        print(f"{line}{_go_on(options, line)}")
    return code


def _go_on(options: Any, line: str) -> str:
    return "" if line.startswith("all") else f"; the same command with --plan {options.plan} goes on"
