"""``clients``: measure JetBot and read-outs beside PyTorch."""

from __future__ import annotations

import argparse

from benchmarks.commands.publish import publish_document
from benchmarks.measure import clients, timing
from benchmarks.report import clients as text

HELP = "measure JetBot and read-outs beside PyTorch, write the result and docs/clients-results.md"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=len(timing.available_cpus()) or 1, help="of both (all)")
    parser.add_argument("--quick", action="store_true", help="fewer runs, and nothing is written")


def run(options: argparse.Namespace) -> int:
    record = clients.record(clients.measure(options.threads, options.quick), options.threads, options.quick)
    if options.quick:
        print(text.render([record])[len(text.INTRODUCTION) :].strip())
        return 0
    publish_document(record, text)
    return 0
