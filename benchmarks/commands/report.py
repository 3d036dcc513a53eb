"""``report``: write documents again from the committed results."""

from __future__ import annotations

import argparse

from benchmarks import records
from benchmarks.commands.options import to_stderr
from benchmarks.report import accuracy, charts, clients, compose, lpips, scale, serve, simulated

HELP = "write RESULTS.md, its pages and its charts from the committed results, or the document of another command"
DOCUMENTS = ("results", "accuracy", "clients", "lpips", "scale", "serve", "simulated", "experiments")


def add_options(parser: argparse.ArgumentParser) -> None:
    text = f"of {', '.join(DOCUMENTS)}; default: results"
    parser.add_argument("document", nargs="?", choices=DOCUMENTS, default="results", metavar="DOCUMENT", help=text)


def run(options: argparse.Namespace) -> int:
    if options.document == "results":
        compose.write()
        missing = charts.write(records.load())
        if missing:
            to_stderr(missing)
    elif options.document == "experiments":
        from benchmarks.experiments import report  # which imports PyTorch

        report.write()
    else:
        pages = {"accuracy": accuracy, "clients": clients, "lpips": lpips, "scale": scale, "serve": serve}
        {**pages, "simulated": simulated}[options.document].write()
    return 0
