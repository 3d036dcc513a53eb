"""``layers``: time each layer of fastalex on this CPU."""

from __future__ import annotations

import argparse
from typing import Optional

from benchmarks import records
from benchmarks.commands import options as shared
from benchmarks.commands.publish import publish
from benchmarks.measure import layers as measuring
from benchmarks.measure import machine
from benchmarks.measure.engine_processes import Tools
from benchmarks.report import layers as text

HELP = "time each layer of fastalex on this CPU"


def add_options(parser: argparse.ArgumentParser) -> None:
    shared.add_cases(parser, "1 8 32; --quick: 1 32")
    shared.add_modes(parser, "fp32, bf16 with int8, int8")
    shared.add_threads(parser, ", and 1")
    shared.add_output(parser, "layers/<cpu>")


def run(options: argparse.Namespace, tools: Optional[Tools] = None) -> int:
    """Time the layers of each network, number of threads, batch, precision and kind of fully connected weights."""
    shared.check_cases(options)
    chosen = shared.modes(options, measuring.MODES)
    base = machine.setting(options.threads, options.quick, (1,))
    measurement = measuring.Measurement(base, tools, shared.to_stderr)
    measurement.run(options.variants, shared.cpu_batches(options), chosen)
    record = dict(machine.make_record(base, measurement.rows), device=records.LAYERS)
    publish(record, options, text.terminal(record))
    return 0
