"""A worker with faults of every kind, which the pool must tell apart: ``python -m tests.fuzz.planted FOLDER``."""

from __future__ import annotations

import ctypes
import warnings
from typing import Callable, Dict

import numpy as np

from fastalex.errors import UserError
from tests.fuzz import corpus, pool, targets, worker
from tests.fuzz.targets import Seen

NAME = "planted"  # the format


def _spin() -> Seen:
    while True:
        pass


def _raise(error: Exception) -> Seen:
    raise error


def _warn(text: str) -> Seen:
    warnings.warn(text, stacklevel=1)
    return Seen()


def _hold(bytes_held: int) -> Seen:
    bytearray(b"\1") * bytes_held
    return Seen()


# What is done -> the kind of verdict that it must get.
FAULTS: Dict[Callable[[], Seen], str] = {
    Seen: worker.LOADED,
    lambda: _raise(UserError("the file is bad")): worker.REFUSED,
    lambda: Seen(output="a\nb\n"): worker.LOADED,
    lambda: Seen(ctypes.string_at(0).decode()): pool.CRASH,
    _spin: pool.HANG,
    lambda: _raise(KeyError("a")): worker.TRACEBACK,
    lambda: _hold(worker.MEMORY + (100 << 20)): worker.OVER,
    lambda: _hold(worker.MEMORY // 2): worker.LOADED,
    lambda: Seen(str(np.ones(1 << 37, np.uint8))): worker.OVER,
    lambda: Seen("two\nlines"): worker.MESSAGE,
    lambda: Seen("\x1b[31mred"): worker.MESSAGE,
    lambda: Seen("long" * 1000): worker.MESSAGE,
    lambda: Seen(output="\x1b[31mred"): worker.MESSAGE,
    lambda: _warn("two\nlines"): worker.MESSAGE,
}


def register() -> None:
    """Add the format and its target to those of this process."""
    corpus.FORMATS[NAME] = corpus.Format(NAME, lambda: [{"a": b""}], lambda name, data, chance: data)
    targets.TARGETS[NAME] = lambda path, number: list(FAULTS)[number]()


if __name__ == "__main__":
    register()
    worker.SECONDS = 2.0
    worker.main()
