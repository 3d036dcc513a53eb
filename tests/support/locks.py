"""One process at a time: several run the tests, and what is compiled for them is compiled once."""

from __future__ import annotations

import contextlib
import fcntl
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build"


@contextlib.contextmanager
def locked(name: str):
    """Waits until no other process holds the lock of that name; its end, however it comes, lets go of it."""
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / (name + ".lock"), "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
