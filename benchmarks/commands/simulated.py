"""``simulated``: keep runs of the kernels on a cycle simulator."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import files, simulated
from benchmarks.report import simulated as text

HELP = "merge files of simulated runs into those of their devices, and write the tables of docs/simulation.md"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="of the form in benchmarks/simulated.py")


def run(options: argparse.Namespace) -> int:
    """Merge all files, or none if one of them is refused."""
    found = {one["device"]: one for one in simulated.load()}
    changed = set()
    for path in options.files:
        record = simulated.read(path)
        device = record["device"]
        empty = dict(record, models=[], runs=[], not_run=[])
        found[device] = simulated.merged(found.get(device, empty), record)
        changed.add(device)
    for device in changed:
        files.write_atomically(simulated.FOLDER / f"{device}.json", files.as_json(found[device], sort_keys=False))
    text.write()
    print(text.render(list(found.values())))
    return 0
