"""``peers``: compare fastalex with other engines on this CPU."""

from __future__ import annotations

import argparse
from typing import Any, Dict, Optional

from benchmarks import records
from benchmarks.commands import options as shared
from benchmarks.commands.publish import publish
from benchmarks.measure import machine, packages, power, selection
from benchmarks.measure import peers as measuring
from benchmarks.measure.engine_processes import Tools
from benchmarks.measure.engines import PEERS
from benchmarks.measure.errors import WrongResultError
from benchmarks.report import peers as text
from fastalex import density
from fastalex.errors import UserError
from fastalex.hardware import devices

HELP = "compare with other engines (requirements.txt) on this CPU, where they are installed"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)}; default: all")
    shared.add_cases(parser, "1 8 32; --quick: 1 32")
    shared.add_threads(parser, ", and 1 (not --quick)")
    text = "fastalex's cold processes alone, into the committed result"
    parser.add_argument("--cold", action="store_true", help=text)
    text = "share of the inputs of fc6, fc7 and fc8 that is not zero at batch 1, or three such numbers"
    parser.add_argument("--density", metavar="D", help=text + "; shifts the weights' biases (default: as drawn)")
    shared.add_output(parser, "peers/<cpu>")


def run(options: argparse.Namespace, tools: Optional[Tools] = None) -> int:
    shared.check_cases(options)
    if options.cold and options.quick:
        raise UserError("give one of --cold and --quick")
    if options.density is not None and options.cold:
        raise UserError("give one of --cold and --density")
    if options.density is not None and not (options.output or options.no_write or options.quick):
        raise UserError("--density needs --output FILE or --no-write: the committed result is of the weights as drawn")
    return cold_again(options, tools) if options.cold else compare(options, tools)


def compare(options: argparse.Namespace, tools: Optional[Tools] = None) -> int:
    """Run the whole comparison; a quick run takes the fastest engines of each class and under 3 minutes."""
    shares = None if options.density is None else density.parse(options.density)
    base = machine.setting(options.threads, options.quick, () if options.quick else (1,))
    batches = shared.cpu_batches(options)
    if options.quick and not options.names:
        chosen = selection.fastest(committed(), batches, base["counts"])
    else:
        chosen = selection.choose(options.names)
    state = power.state(base["cpus"])
    setup = (chosen, base["cpus"], base["counts"], base["quick"], tools)
    comparison = measuring.Comparison(*setup, log=shared.to_stderr, density=shares)
    comparison.run(options.variants, batches)
    record = machine.make_record(base, comparison.rows)
    record["machine"].update(state=state, gpu=power.gpu())  # the state before the measurement
    record.update(device=records.PEERS, cold=comparison.cold, packages=packages.facts(chosen))
    record.update(limits=comparison.limits, steps=comparison.steps, without_limits=comparison.without_limits)
    record.update(density=comparison.densities, density_asked=None if shares is None else list(shares))
    wrong = [row for row in comparison.rows if row["peer"] == "fastalex" and row["status"] != records.OK]
    if wrong:
        raise WrongResultError(
            f"{wrong[0]['engine']}, {wrong[0]['variant']}, batch {wrong[0]['batch']}: {wrong[0]['note']}"
        )
    publish(record, options, (text.quick if options.quick else text.terminal)(record))
    return 0


def cold_again(options: argparse.Namespace, tools: Optional[Tools] = None) -> int:
    """Measure fastalex's cold processes again; the ratios do not use them and stay as they are."""
    record = committed()
    if record is None:
        raise UserError("there is no comparison of this processor yet; run peers without --cold first")
    base = machine.setting(options.threads, options.quick, (1,))
    own = [engine for engine in selection.choose(()) if engine.peer == "fastalex"]
    comparison = measuring.Comparison(own, base["cpus"], base["counts"], False, tools, log=shared.to_stderr)
    comparison.run_cold(options.variants)
    again = {(row["variant"], row["engine"]): row for row in comparison.cold}
    record["cold"] = [again.get((row["variant"], row["engine"]), row) for row in record["cold"]]
    record["cold_commit"] = machine.commit()  # the rest keeps its own
    publish(record, options, text.terminal(record))
    return 0


def committed() -> Optional[Dict[str, Any]]:
    """The committed comparison for this processor and instruction set, or None."""
    from fastalex import _core

    this = (records.PEERS, devices.cpu().model, str(_core.cpu_isa()))
    matches = [
        record for record in records.load() if (record["device"], record["title"], record["machine"].get("isa")) == this
    ]
    return matches[-1] if matches else None
