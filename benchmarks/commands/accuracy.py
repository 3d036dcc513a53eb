"""``accuracy``: measure what each precision of the CPU engine costs in accuracy."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import files, records
from benchmarks.report import accuracy as text
from fastalex.runtime import precisions

HELP = "measure what each precision of the CPU engine costs in accuracy, write the result and docs/accuracy.md"
NETWORKS = ("alexnet-digits", "alexnet2012", "torchvision")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS, help="default: all")
    parser.add_argument("--precision", nargs="+", choices=list(precisions.SUPPORTED["cpu"]), help="default: all")
    parser.add_argument("--threads", type=int, help="CPU threads; default: all this process may use")
    parser.add_argument("--quick", action="store_true", help="a quarter of the images, and nothing is written")
    parser.add_argument("--output", type=Path, help="write the result there, and no document")


def run(options: argparse.Namespace) -> int:
    from benchmarks.measure import accuracy

    chosen = [
        setting
        for setting in accuracy.settings()
        if options.precision is None or setting.precision in options.precision
    ]
    whole = not (options.quick or options.precision or set(options.networks) < set(NETWORKS))
    rows = []
    for name in options.networks:
        rows += accuracy.measure_network(name, options.threads, options.quick, chosen)
    record = accuracy.record(rows, options.quick)
    if options.output:
        files.write_atomically(options.output, files.as_json(record))
    elif whole:  # a partial run is not a result
        files.write_atomically(text.RESULTS / (records.slug(record["title"]) + ".json"), files.as_json(record))
        text.write()
    print(text.render([record])[len(text.INTRODUCTION) :].strip())
    return 0
