"""Modules of neighboring folders that the benchmarks use, loaded by path.

Neither other packages of the same name nor the current folder matter.
"""

from __future__ import annotations

import functools
import importlib.util
from types import ModuleType

from benchmarks.records import ROOT

TRAIN_DIGITS = "examples/train_digits.py"
JETBOT_DEMO = "examples/jetbot_demo.py"
PYTORCH_ALEXNET = "examples/pytorch_alexnet.py"
ORIGINALS = "tests/support/originals.py"


@functools.lru_cache(maxsize=None)
def load(path: str) -> ModuleType:
    """The module in a file of this repository."""
    spec = importlib.util.spec_from_file_location(path[: -len(".py")].replace("/", "."), str(ROOT / path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
