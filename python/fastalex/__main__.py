"""``python -m fastalex`` is ``fastalex info``; with a command it is ``fastalex COMMAND``."""

from __future__ import annotations

import sys

from .cli.main import main

if __name__ == "__main__":
    arguments = sys.argv[1:]
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")):
        arguments.insert(0, "info")
    sys.exit(main(arguments))
