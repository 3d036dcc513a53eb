"""The memory that is free, so that a model that does not fit is refused before the system ends the server for it."""

from __future__ import annotations

import os
from typing import Iterable, Optional

from ..errors import UserError

_MEMINFO = "/proc/meminfo"
_GROUP = "/sys/fs/cgroup"  # of a container, version 2


def check(path: str) -> None:
    """Check that the weights file ``path`` may fit into memory: its arrays take as much as it does, or more.

    :raises UserError: if it does not.
    """
    free = available()
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    if free is not None and size > free:
        raise UserError(f"{path} takes {size >> 20} MB of memory, and {free >> 20} MB are free")


def available() -> Optional[int]:
    """Return the bytes of memory that a program can still get, here and in its container; None where nobody says."""
    limits = [limit for limit in (_of_system(), _of_container()) if limit is not None]
    return min(limits) if limits else None


def _of_system() -> Optional[int]:
    kilobytes = _field(_MEMINFO, "MemAvailable:")
    return None if kilobytes is None else kilobytes << 10


def _of_container() -> Optional[int]:
    limit, used = (_number(_lines(f"{_GROUP}/memory.{name}")) for name in ("max", "current"))
    if limit is None or used is None:
        return None
    return max(0, limit - used + (_field(f"{_GROUP}/memory.stat", "inactive_file") or 0))  # files are dropped at need


def _field(path: str, name: str) -> Optional[int]:
    return _number(line[len(name) :] for line in _lines(path) if line.startswith(name + " "))


def _lines(path: str) -> Iterable[str]:
    try:
        with open(path, encoding="ascii") as stream:
            return stream.readlines()
    except OSError:
        return []


def _number(lines: Iterable[str]) -> Optional[int]:
    """Return the number that begins the first line, or None: ``max`` of a container without a limit."""
    word = next(iter(lines), "").split()[:1]
    return int(word[0]) if word and word[0].isdigit() else None
