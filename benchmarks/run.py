#!/usr/bin/env python3
"""The benchmarks as a program, from any folder: ``python benchmarks/run.py --help``.

``python benchmarks/run.py COMMAND ...`` does what ``python -m benchmarks COMMAND ...`` does in the root of the
repository. Worker processes start here as well: ``run.py measure.worker TASK SPEC`` runs a module of the package, and
imports nothing else, because its own start is measured.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from typing import Sequence


def find_package() -> None:
    """Make ``benchmarks`` the folder of this file, even if another package has that name."""
    package = types.ModuleType("benchmarks")
    package.__path__ = [os.path.dirname(os.path.abspath(__file__))]
    sys.modules.setdefault("benchmarks", package)


def main(words: Sequence[str]) -> int:
    if words and words[0].startswith("measure."):
        return importlib.import_module("benchmarks." + words[0]).main(words[1:])
    return importlib.import_module("benchmarks.commands.main").main(words)


find_package()  # at import, so that processes of torch.multiprocessing find it as well

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
