"""``gpu``: measure the GPU of a device file."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.commands import options as shared
from benchmarks.commands.publish import publish
from benchmarks.measure import gpu as measuring
from benchmarks.measure import machine
from benchmarks.measure.errors import WrongResultError
from benchmarks.report import gpu as text
from fastalex.errors import UserError
from fastalex.hardware import devices
from fastalex.runtime.precisions import FC_STORAGES

HELP = "measure a GPU: fastalex, PyTorch where it is installed, and the layers"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", required=True, help="the name of a file in devices/")
    shared.add_cases(parser, "1 8 32 128")
    parser.add_argument("--fc-weights", nargs="+", choices=FC_STORAGES, help="default: all")
    shared.add_output(parser, "<device>/<gpu>")


def run(options: argparse.Namespace, backend: str = "cuda", **tools: Any) -> int:
    shared.check_cases(options)
    place = measuring.find(options.device, backend)
    if place is None:
        refuse(options.device, devices.recognise(), engine_reason())
    one = measuring.Measurement(place, options.quick, options.fc_weights, say=shared.to_stderr, **tools)
    one.run(options.variants, options.batches or measuring.BATCHES)
    if one.wrong():
        raise WrongResultError("%(engine)s, %(variant)s, batch %(batch)d: %(correctness)s" % one.wrong()[0])
    record = measuring.record(one, options.device, machine.make_record(one.base, []))
    publish(record, options, text.terminal(record))
    return 0


def refuse(name: str, found: devices.Recognition, reason: str) -> None:
    """A device is measured on itself, by an engine built for it.

    :raises UserError: always; the sentence says which of the two is missing.
    """
    device = devices.get(name)
    if found.device is None or found.device.name != name:
        here = "" if found.device is None else "it is %s, " % found.device.name
        raise UserError("this machine is not %s (%s): %s%s" % (name, device.title, here, found.reason))
    raise UserError("this is %s, but this version has no CUDA engine to measure: %s" % (device.title, reason))


def engine_reason() -> str:
    """Why there is no CUDA engine, as the native core tells it."""
    try:
        from fastalex import _core
    except ImportError as error:
        return "the native core is not built (%s)" % error
    for backend in _core.backends():
        if backend["name"] == "cuda":
            return str(backend["reason"] or "this script measures CPUs only")
    return "the native core knows no cuda backend"
