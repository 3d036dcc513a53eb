"""The command line of the benchmarks.

Exit codes: 0; 1 if the engine's result is wrong or a measurement failed; 2, with one sentence, for what the caller can
mend; 130 if the user stopped it.
"""

from __future__ import annotations

import argparse
import sys
from typing import List, NoReturn, Optional, Sequence

from benchmarks.commands import (
    accuracy,
    clients,
    cpu,
    experiments,
    gpu,
    layers,
    lpips,
    peers,
    predict,
    profile,
    report,
    rewrite,
    scale,
    serve,
    simulated,
    zeros,
)
from benchmarks.measure.errors import MeasurementError, StoppedError
from fastalex.errors import BackendError, UserError

PROGRAM = "python benchmarks/run.py"
STOPPED = 130  # 128 + SIGINT, as shells report it
COMMANDS = {
    "cpu": cpu,
    "gpu": gpu,
    "profile": profile,
    "peers": peers,
    "layers": layers,
    "predict": predict,
    "report": report,
    "accuracy": accuracy,
    "clients": clients,
    "lpips": lpips,
    "scale": scale,
    "experiments": experiments,
    "zeros": zeros,
    "serve": serve,
    "simulated": simulated,
    "rewrite": rewrite,
}
DESCRIPTION = """Measure AlexNet on this machine, or predict it for a device.

Without a command it measures a device: '%(program)s --device h200' is '%(program)s gpu --device h200',
and '--device cpu' (the default) is 'cpu'. 'COMMAND --help' shows the options of a command."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see: {self.prog} --help)")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line ``argv`` (default: the process's) and return the exit code."""
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        return COMMANDS[options.command].run(options)
    except (UserError, BackendError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except MeasurementError as error:
        print(f"error: {error}", file=sys.stderr)
        return STOPPED if isinstance(error, StoppedError) else 1
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return STOPPED


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of the command that ``argv`` names. :raises UserError: for a mistake."""
    words = list(argv)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = with_command(words)
    options, unknown = parser().parse_known_args(words)
    if unknown:
        facts = (options.command, " ".join(unknown), PROGRAM, options.command)
        raise UserError("{} does not take '{}' (see: {} {} --help)".format(*facts))
    return options


def with_command(words: Sequence[str]) -> List[str]:
    """Add the command to arguments that name only a device: the one that measures that device."""
    device = Parser(prog=PROGRAM, add_help=False, allow_abbrev=False)
    device.add_argument("--device", default="cpu")
    options, others = device.parse_known_args(words)
    return ["cpu", *others] if options.device == "cpu" else ["gpu", "--device", options.device, *others]


def parser() -> Parser:
    whole = Parser(
        prog=PROGRAM,
        description=DESCRIPTION % {"program": PROGRAM},
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        text = module.HELP[0].upper() + module.HELP[1:] + "."
        module.add_options(commands.add_parser(name, help=module.HELP, description=text, allow_abbrev=False))
    return whole
