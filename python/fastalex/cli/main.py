"""The command ``fastalex``: collects the commands, runs one, and turns its errors into sentences and exit codes.

Exit codes: 0; 1 if ``info`` finds something broken; 2, with one sentence on standard error, for what the caller can
mend; 130 if interrupted; 141 if the reader of the output went away (as if by SIGPIPE).
Modules that cost time to load are imported inside the commands.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, List, NoReturn, Optional, Sequence

from .._util import console
from .._version import __version__
from ..errors import BackendError, UserError
from . import (
    bench,
    classify,
    convert,
    evaluate,
    export,
    info,
    quantize,
    readout,
    summary,
    train,
    tune,
    weights,
)
from .common import INTERRUPTED, OK, PIPE_CLOSED, USAGE_ERROR

# In the order in which --help lists them.
COMMANDS = (classify, info, summary, bench, tune, convert, export, quantize, weights, readout, train, evaluate)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line ``argv`` (default: the process's) and return the exit code. Prints; never exits."""
    try:
        return _main(sys.argv[1:] if argv is None else list(argv))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        console.discard_output()
        return PIPE_CLOSED
    except console.OutputError as error:
        console.discard_output()
        console.error(f"the output cannot be written: {error}")
    except (UserError, BackendError) as error:
        console.error(str(error))
    except MemoryError:
        console.error("there is not enough memory for this; try a smaller batch or network")
    except ImportError as error:
        console.error(f"the installation is not complete ({error}); install fastalex again")
    except OSError as error:
        console.error(f"{error.strerror or error}{(f': {error.filename}' if error.filename else '')}")
    return USAGE_ERROR


def _main(argv: List[str]) -> int:
    try:
        options, unknown = _parser().parse_known_args(argv)
    except SystemExit:  # --help or --version, whose text argparse has handed to _Parser
        return OK
    if unknown:  # argparse itself would point to the help of the whole program
        raise UserError(f"unknown arguments: {' '.join(unknown)} (see: fastalex {options.command} --help)")
    return options.run(options)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, and writes through :mod:`fastalex._util.console`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see: {self.prog} --help)")

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            console.write(message.rstrip("\n"))


def _parser() -> _Parser:
    parser = _Parser(prog="fastalex", description="The AlexNet family on this machine: classify, inspect, measure.")
    parser.add_argument("--version", action="version", version="fastalex " + __version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
