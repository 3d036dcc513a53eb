"""``zeros``: measure what zeros among the inputs of fc6, fc7 and fc8 save at batch 1."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import files, records
from benchmarks.commands import options as shared
from benchmarks.measure import machine
from benchmarks.measure import zeros as measuring
from benchmarks.report import zeros as text
from fastalex.errors import UserError

HELP = "time fc6, fc7 and fc8 at batch 1 by density, storage and instruction set; at most 6 minutes"
RESULTS = records.RESULTS / "zeros" / "cpu"


def add_options(parser: argparse.ArgumentParser) -> None:
    several = {"nargs": "+"}
    add = parser.add_argument
    add("--isa", **several, default=measuring.ISAS, metavar="NAME", help=f"default: {' '.join(measuring.ISAS)}")
    add("--fc-weights", **several, choices=measuring.STORAGES, default=measuring.STORAGES, help="default: all")
    densities = " ".join(f"{share:g}" for share in measuring.DENSITIES)
    add("--density", **several, type=float, default=measuring.DENSITIES, metavar="D", help=f"default: {densities}")
    add("--against", type=Path, metavar="PATH", help="site-packages folder of another build, to compare with")
    add("--seconds", type=float, default=measuring.TOTAL_S, metavar="S", help="time for all of it (%(default)g)")
    add("--threads", type=int, metavar="N", help="default: every CPU this process may use")
    add("--output", type=Path, help="result file instead of results/zeros/cpu/<cpu>.json")
    add("--no-write", action="store_true", help="print only")


def run(options: argparse.Namespace, **tools: Any) -> int:
    """Measure, print, and write the result."""
    if not all(0 < share <= 1 for share in options.density):
        raise UserError("--density takes numbers above 0 and at most 1")
    if options.against and not (options.against / "fastalex" / "__init__.py").is_file():
        raise UserError(f"{options.against} has no package fastalex; give the site-packages folder of another build")
    densities = list(dict.fromkeys(options.density))
    base = machine.setting([options.threads] if options.threads is not None else None, False)
    measurement = measuring.Measurement(base, options.against, shared.to_stderr, options.seconds, **tools)
    with tempfile.TemporaryDirectory(prefix="fastalex-zeros-") as folder:
        measurement.run(Path(folder), options.isa, options.fc_weights, densities)
    record = dict(machine.make_record(base, measurement.rows), device="zeros", left_out=measurement.left_out)
    record.update(variant=measuring.VARIANT, batch=1, against=measurement.builds.get(measuring.OTHER))
    print(text.terminal(record), end="")
    if not options.no_write:
        name = f"{records.slug(record['title'])}-{record['machine']['isa']}.json"
        files.write_atomically(options.output or RESULTS / name, files.as_json(record))
    return 0
