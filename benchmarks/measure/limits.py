"""Upper limits of this machine, measured beside the engines.

``limits.cpp`` measures the rates; the compiler that builds fastalex builds it into a temporary folder.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Dict, Optional, Sequence

SOURCE = Path(__file__).resolve().with_name("limits.cpp")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-O2", "-std=c++14", "-pthread")
# Buffers far larger than any cache, and repetitions for about two seconds (quick: half a second).
SIZE_MIB, REPEATS = 1024, 4
QUICK_SIZE_MIB, QUICK_REPEATS = 256, 2
TIMEOUT_S = 120.0


class NoLimitsError(RuntimeError):
    """The limits cannot be measured here; the message is one sentence."""


def compile_program(folder: str) -> str:
    """Compile the program and return its path. :raises NoLimitsError: without a compiler that can."""
    named = os.environ.get("CXX")
    command = shlex.split(named) if named else [one for one in COMPILERS if shutil.which(one)][:1]
    if not command:
        raise NoLimitsError("the machine's limits are left blank: there is no C++ compiler (set CXX, or install g++)")
    path = os.path.join(folder, "limits")
    try:
        done = subprocess.run([*command, *FLAGS, str(SOURCE), "-o", path], capture_output=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoLimitsError(f"the machine's limits are left blank: {command[0]}: {error}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = said[0] if said else f"code {done.returncode}"
        raise NoLimitsError(f"the machine's limits are left blank: {command[0]} failed: {reason}")
    return path


def measure(program: str, cpus: Sequence[int], threads: int, quick: bool) -> Dict[str, Optional[float]]:
    """One run of the program on ``threads`` threads, each on its own of ``cpus`` (if any).

    :raises NoLimitsError: if it fails.
    """
    places = ",".join(map(str, cpus[:threads])) or f"x{threads}"
    size, repeats = (QUICK_SIZE_MIB, QUICK_REPEATS) if quick else (SIZE_MIB, REPEATS)
    try:
        done = subprocess.run([program, places, str(size), str(repeats)], capture_output=True, timeout=TIMEOUT_S)
        done.check_returncode()
        return json.loads(done.stdout.decode())
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise NoLimitsError(f"the machine's limits are left blank: the program failed: {error}") from None
