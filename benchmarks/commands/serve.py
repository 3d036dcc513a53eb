"""``serve``: measure the HTTP service beside a loop without a server and beside other servers."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.commands.publish import publish_document
from benchmarks.measure import serve, timing
from benchmarks.report import serve as text

HELP = "measure the HTTP service, write the result and the tables of docs/serving.md"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=len(timing.available_cpus()) or 1, help="of the engine (all)")
    parser.add_argument("--quick", action="store_true", help="one short turn of each, and nothing is written")


def run(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        found = serve.Measurement(Path(folder), options.threads, options.quick).run()
    record = serve.record(found, options.threads, options.quick)
    if not options.quick:
        publish_document(record, text)
    print(text.render([record]))
    return 0
