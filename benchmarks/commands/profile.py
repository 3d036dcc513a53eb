"""``profile``: the counters of the slowest layers of a measured GPU."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import List

from benchmarks import files
from benchmarks.commands import options as shared
from benchmarks.measure import profile as measuring
from benchmarks.measure.errors import MeasurementError
from fastalex.errors import UserError

HELP = "read the counters of the layers that lose most, with NVIDIA's Nsight Compute, on the GPU of a result"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("result", type=Path, help="a file that 'gpu' wrote on this GPU, whole or partial")
    text = f"how many layers ({measuring.COUNT})"
    parser.add_argument("--count", type=int, default=measuring.COUNT, metavar="N", help=text)
    parser.add_argument("--device", default="cuda", metavar="D", help="as AlexNet takes it (cuda)")
    parser.add_argument("--output", type=Path, help="write it there, after each row")


def run(options: argparse.Namespace, ncu: measuring.Run = measuring.run_ncu) -> int:
    if options.count < 1:
        raise UserError("--count must be above 0")
    lines: List[str] = []

    def write(text: str) -> None:
        lines.append(text)
        if options.output:
            files.write_atomically(options.output, "\n".join(lines) + "\n")
        else:
            print(text, flush=True)

    chosen = measuring.slowest(read(options.result), options.count)
    try:
        measuring.profile(chosen, options.device, shared.to_stderr, ncu, write)
    except MeasurementError as error:
        write(str(error))
        raise
    return 0


def read(path: Path) -> dict:
    """Read a GPU result. :raises UserError: for any other file."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["machine"]["gpu"] and isinstance(record["rows"], list):
            return record
        raise ValueError("it is not of a GPU")
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = f"it has no {error}" if isinstance(error, KeyError) else getattr(error, "strerror", None) or error
        raise UserError(f"{path} is not a result of 'gpu': {said}") from None
