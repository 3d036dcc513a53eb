"""``cpu``: measure this CPU."""

from __future__ import annotations

import argparse

from benchmarks.commands import options as shared
from benchmarks.commands.publish import publish
from benchmarks.measure import cpu as measuring
from benchmarks.measure import machine
from benchmarks.numeric_classes import CLASSES, MODES
from benchmarks.report import cpu as text

HELP = "measure fastalex on this CPU, write results/cpu/<cpu>.json, RESULTS.md and the page of this machine"


def add_options(parser: argparse.ArgumentParser) -> None:
    shared.add_cases(parser, "1 8 32; --quick: 1 32")
    shared.add_modes(parser, "all")
    shared.add_threads(parser)
    shared.add_output(parser, "cpu/<cpu>")


def run(options: argparse.Namespace, child: measuring.Child = measuring.run_child) -> int:
    """Measure and write the result; a wrong result ends the run before its case is timed, and nothing is written."""
    shared.check_cases(options)
    classes = CLASSES if options.quick else MODES.values()
    chosen = shared.modes(options, [mode for mode, numeric_class in MODES.items() if numeric_class in classes])
    base = machine.setting(options.threads, options.quick)
    rows = measuring.measure(base, options.variants, chosen, shared.cpu_batches(options), child)
    record = machine.make_record(base, rows)
    publish(record, options, text.section(record))
    return 0
