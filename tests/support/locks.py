"""Locks between test processes, so that shared libraries are compiled once."""

from __future__ import annotations

import contextlib
import fcntl
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build"


@contextlib.contextmanager
def locked(name: str):
    """Hold the lock of that name; it is released when the process ends, however it ends."""
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / (name + ".lock"), "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
