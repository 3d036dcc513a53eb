"""Entry point of the command line: parses the arguments, runs one command, and reports its errors.

Exit codes: 0 on success; 1 if ``info`` finds a problem; 2, with one sentence on standard error, for an error that the
caller can fix; 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP; 141 if the reader of the output went away (as
after SIGPIPE).
Modules that are slow to load are imported inside the commands.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, Callable, List, NoReturn, Optional, Sequence

from .._util import console, signals
from .._version import __version__
from ..errors import BackendError, UserError
from . import (
    bench,
    classify,
    convert,
    evaluate,
    export,
    info,
    plot,
    quantize,
    rdm,
    readout,
    serve,
    summary,
    train,
    tune,
    ui,
    weights,
)
from .common import OK, PIPE_CLOSED, USAGE_ERROR

# In the order of --help.
COMMANDS = (
    classify,
    info,
    summary,
    bench,
    tune,
    convert,
    export,
    quantize,
    weights,
    readout,
    rdm,
    plot,
    serve,
    ui,
    train,
    evaluate,
)


def main(argv: Optional[Sequence[str]] = None, say: Callable[[str], None] = console.error) -> int:
    """Run the command line ``argv`` (default: that of the process) and return the exit code. Never exits.

    :param say: prints the sentence about an error.
    """
    try:
        with signals.raised():
            return _main(sys.argv[1:] if argv is None else list(argv))
    except KeyboardInterrupt as stop:
        return signals.exit_code(stop)
    except BrokenPipeError:
        console.discard_output()
        return PIPE_CLOSED
    except console.OutputError as error:
        console.discard_output()
        say(f"the output cannot be written: {error}")
    except (UserError, BackendError) as error:
        say(str(error))
    except MemoryError:
        say("there is not enough memory; try a smaller batch or network")
    except ImportError as error:
        say(f"the installation is incomplete ({error}); install fastalex again")
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        say(f"{error.strerror or error}{where}")
    return USAGE_ERROR


def _main(argv: List[str]) -> int:
    try:
        options, unknown = _parser().parse_known_args(argv)
    except SystemExit:  # --help or --version; _Parser has printed the text
        return OK
    if unknown:  # argparse itself would point to the help of the whole program
        raise UserError(f"unknown arguments: {' '.join(unknown)} (see: fastalex {options.command} --help)")
    options.words = argv
    code: int = options.run(options)
    return code


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises one-sentence errors and prints through :mod:`fastalex._util.console`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see: {self.prog} --help)")

    def _print_message(self, message: str, file: Any = None) -> None:
        if message:
            console.write(message.rstrip("\n"))


def _parser() -> _Parser:
    parser = _Parser(prog="fastalex", description="Run, inspect, measure and train networks of the AlexNet family.")
    parser.add_argument("--version", action="version", version="fastalex " + __version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
