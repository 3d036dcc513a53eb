"""Processor time and memory of a process and of all that it started, from Linux's /proc."""

from __future__ import annotations

import os
from typing import Dict, List

TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> List[int]:
    """The process ``pid`` and its descendants that live."""
    children: Dict[int, List[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = _stat(int(name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree, with that of its members' children that have ended."""
    return sum(sum(map(int, fields[11:15])) for fields in map(_stat, tree(pid)) if fields) / TICKS


def memory_mib(pid: int, key: str = "VmRSS") -> float:
    """The sum of a line of /proc/PID/status over the tree; pages that several share are counted for each."""
    total = 0
    for one in tree(pid):
        try:
            with open(f"/proc/{one}/status", encoding="ascii", errors="replace") as status:
                total += sum(int(line.split()[1]) for line in status if line.startswith(key + ":"))
        except OSError:  # it ended
            continue
    return total / 1024


def _stat(pid: int) -> List[str]:
    """The fields of /proc/PID/stat after the name in parentheses (proc(5)); empty if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except OSError:
        return []
