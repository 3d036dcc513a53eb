"""``scale``: measure read-outs by several processes and by Ray."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import files
from benchmarks.commands.publish import publish_document
from benchmarks.measure import scale
from benchmarks.report import scale as text

HELP = "measure read-outs by one and two processes and by Ray, write the result and the tables of docs/scale.md"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", nargs="+", choices=list(scale.NETWORKS), help="default: all")
    parser.add_argument("--no-ray", action="store_true", help="leave Ray out, and write nothing")
    parser.add_argument("--quick", action="store_true", help="a quarter of the images, and nothing is written")
    parser.add_argument("--output", type=Path, help="write the result there, and no document")


def run(options: argparse.Namespace) -> int:
    names = options.networks or list(scale.NETWORKS)
    with_ray = not options.no_ray and scale.ray_version() is not None
    record = scale.record(names, options.quick, with_ray)
    if options.output:
        files.write_atomically(options.output, files.as_json(record))
    elif with_ray and not options.quick and names == list(scale.NETWORKS):  # a partial run is not a result
        publish_document(record, text)
    print(text.render([record]))
    return 0
