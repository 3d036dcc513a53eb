"""``gpu``: measure the GPU of a device file.

Whatever ends a run early (Ctrl-C, a process that fails, a wrong result), what was measured until then is kept in a file
beside the result that it would have been; its name ends with ``.partial``.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any, Dict, Optional

from benchmarks import files, records
from benchmarks.commands import options as shared
from benchmarks.commands.publish import publish
from benchmarks.measure import gpu as measuring
from benchmarks.measure import gpu_engines, machine, share
from benchmarks.measure.errors import MeasurementError, StoppedError, WrongResultError
from benchmarks.report import gpu as tables
from fastalex.errors import UserError
from fastalex.hardware import devices
from fastalex.runtime import device_spec
from fastalex.runtime.precisions import FC_STORAGES
from fastalex.tuning import rules

#: Batches that a small board has the time and memory for; the first table of RESULTS.md shows them.
SHARED_BATCHES = (1, 8, 32)
NOT_ALL = "; everything else was measured and written"
HELP = "measure a GPU: fastalex, PyTorch where it is installed, and the layers"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", required=True, help="the name of a file in devices/")
    shared.add_cases(parser, "1 8 32 128")
    parser.add_argument("--fc-weights", nargs="+", choices=FC_STORAGES, help="default: all")
    text = f"of {'; '.join(gpu_engines.ENGINES)}; default: all, in this order"
    parser.add_argument("--engines", nargs="+", choices=list(gpu_engines.ENGINES), metavar="NAME", help=text)
    said = "write one small file to send in place of the result (docs/measure-your-board.md), here or to --output"
    parser.add_argument("--share", action="store_true", help=said)
    shared.add_output(parser, "<device>/<gpu>")


def run(options: argparse.Namespace, backend: str = "cuda", **tools: Any) -> int:
    shared.check_cases(options)
    if options.share:
        check_share(options)
    place = measuring.find(options.device, backend)
    if place is None:
        refuse(options.device, recognized(backend), "" if device_spec.gpus(backend) else engine_reason())
    base = machine.make_record({"quick": options.quick, **measuring.host()}, [])
    partial = Kept(options, base)
    try:
        tools = dict(tools, log=shared.to_stderr, names=options.engines)
        measurement = measuring.Measurement(place, options.quick, options.fc_weights, **tools)
        batches = options.batches or (SHARED_BATCHES if options.share else measuring.BATCHES)
        measurement.run(options.variants, batches, partial.keep)
        if measurement.wrong():
            row = measurement.wrong()[0]
            raise WrongResultError(f"{row['engine']}, {row['variant']}, batch {row['batch']}: {row['correctness']}")
        finish(measurement, partial.record(measurement), options)
    except KeyboardInterrupt:
        raise StoppedError(f"stopped{partial.words()}") from None
    except MeasurementError as error:
        raise type(error)(f"{error}{partial.words()}") from None
    partial.drop()
    if measurement.failed():
        row = measurement.failed()[0]
        raise MeasurementError(f"{row['engine']}, {row['variant']}, batch {row['batch']}: {row['note']}{NOT_ALL}")
    return 0


class Kept:
    """The file with everything measured so far. There is none if the run writes nothing."""

    def __init__(self, options: argparse.Namespace, base: Dict[str, Any]) -> None:
        self.options, self.base = options, base
        self.path: Optional[Path] = None

    def keep(self, one: measuring.Measurement) -> None:
        if self.options.no_write or (self.options.quick and not self.options.output):
            return
        record = self.record(one)
        self.path = Path(str(target(record, self.options)) + ".partial")
        files.write_atomically(self.path, files.as_json(record))

    def record(self, one: measuring.Measurement) -> Dict[str, Any]:
        return measuring.record(one, self.options.device, self.base)

    def words(self) -> str:
        return f"; what was measured until then is in {self.path}" if self.path else "; nothing was written"

    def drop(self) -> None:
        if self.path:
            with contextlib.suppress(OSError):
                self.path.unlink()


def target(record: Dict[str, Any], options: argparse.Namespace) -> Path:
    """Path of the result."""
    if options.output:
        return Path(options.output)
    name = records.file_name(record)
    if options.share:
        return Path(f"{record['device']}-{name}.json")
    return records.RESULTS / record["device"] / (name + ".json")


def finish(one: measuring.Measurement, record: Dict[str, Any], options: argparse.Namespace) -> None:
    """Print the result, and write it or, with --share, the contributed part of it."""
    if not options.share:
        publish(record, options, tables.terminal(record))
        return
    written = files.as_json(share.contribution(record))
    print(written if options.json else tables.terminal(record), end="")
    if not options.no_write:
        path = target(record, options)
        files.write_atomically(path, written)
        shared.to_stderr(f"{path} is what to send: docs/measure-your-board.md says how")


def check_share(options: argparse.Namespace) -> None:
    """Check the options of --share. :raises UserError: for options that a contributed result cannot hold."""
    if options.quick:
        raise UserError("--share measures in full: give one of --quick and --share")
    other = [name for name in options.variants if name not in records.VARIANTS]
    if other:
        raise UserError(f"--share is for the networks of the tables ({', '.join(records.VARIANTS)}), not {other[0]}")


def refuse(name: str, recognition: devices.Recognition, reason: str) -> None:
    """Say why device ``name`` cannot be measured here: another machine, or no CUDA engine.

    :raises UserError: always.
    """
    device = devices.get(name)
    if recognition.device is None or recognition.device.name != name:
        reality = (
            recognition.reason
            if recognition.device is None
            else f"it is {recognition.device.name}, {recognition.reason}"
        )
        also = f"; CUDA: {reason}" if recognition.device is None and reason else ""
        raise UserError(f"this machine is not {name} ({device.title}): {reality}{also}")
    raise UserError(f"this is {device.title}, but its CUDA engine cannot be measured: {reason}")


def recognized(backend: str) -> devices.Recognition:
    """Recognize the machine by the first GPU that ``backend`` can use, otherwise by what the system reports."""
    for gpu in device_spec.gpus(backend):
        known = rules.known_as(gpu).device
        said = f"its GPU is {gpu.name}{(f'; say --device {known.name}' if known else ', which no device file knows')}"
        return devices.Recognition(known, None, said)
    return devices.recognize()


def engine_reason() -> str:
    """The native core's reason for having no CUDA engine."""
    try:
        from fastalex import _core
    except ImportError as error:
        return f"the native core is not built ({error})"
    for backend in _core.backends():
        if backend["name"] == "cuda":
            return str(backend["reason"] or "this script measures CPUs only")
    return "the native core knows no cuda backend"
