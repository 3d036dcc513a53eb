"""``lpips``: measure LPIPS beside the package lpips."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import files
from benchmarks.commands.publish import publish_document
from benchmarks.measure import lpips, timing
from benchmarks.report import lpips as text

HELP = "measure LPIPS beside the package lpips, write the result and the tables of docs/lpips.md"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=len(timing.available_cpus()) or 1, help="default: all")
    parser.add_argument("--cases", nargs="+", choices=list(lpips.CASES), help="default: all")
    parser.add_argument("--quick", action="store_true", help="few rounds of the batches, and nothing is written")
    parser.add_argument("--output", type=Path, help="write the result there, and no document")


def run(options: argparse.Namespace) -> int:
    cases = options.cases or (lpips.QUICK if options.quick else list(lpips.CASES))
    memories = lpips.measure_memory(cases, options.threads)
    with tempfile.TemporaryDirectory() as folder:
        times = lpips.measure_times(cases, options.threads, options.quick, Path(folder))
    record = lpips.record(times, memories, options.quick)
    if options.output:
        files.write_atomically(options.output, files.as_json(record))
    elif not options.quick and list(cases) == list(lpips.CASES):  # a partial run is not a result
        publish_document(record, text)
    print(text.render([record]))
    return 0
