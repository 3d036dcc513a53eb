"""What this machine can do at most, measured beside the engines, and how near to that a network runs.

``limits.cpp`` measures the rates; the compiler that builds fastalex builds it, too, into a temporary folder.

The floor of a network is the sum over its steps of the longer of two times: the multiply-accumulates that its own
algorithm makes (Winograd's are fewer than a direct convolution's) at the measured rate of their kind of number, and the
bytes of its weights at the measured rate of reading memory. Activations, pooling and normalisation are taken as free.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import Any, Collection, Dict, Mapping, Optional, Sequence

SOURCE = Path(__file__).resolve().with_name("limits.cpp")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-O2", "-std=c++14", "-pthread")
NUMBERS = ("fp32", "bf16", "int8")  # kinds of number, with a rate of arithmetic each
READS = {"read_4k": "4 KiB pages", "read_huge": "huge pages"}
# Far more than any cache holds, and few enough times to take about two seconds. Quick: about a half.
SIZE_MIB, REPEATS = 1024, 4
QUICK_SIZE_MIB, QUICK_REPEATS = 256, 2
TIMEOUT_S = 120.0


class NoLimitsError(RuntimeError):
    """The limits cannot be measured here; the message is one sentence."""


def compile_program(folder: str) -> str:
    """The path of the compiled program. :raises NoLimitsError: without a compiler that can."""
    named = os.environ.get("CXX")
    command = shlex.split(named) if named else [one for one in COMPILERS if shutil.which(one)][:1]
    if not command:
        raise NoLimitsError("the machine's limits are left blank: there is no C++ compiler (set CXX, or install g++)")
    path = os.path.join(folder, "limits")
    try:
        done = subprocess.run([*command, *FLAGS, str(SOURCE), "-o", path], capture_output=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoLimitsError("the machine's limits are left blank: %s: %s" % (command[0], error)) from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = said[0] if said else "code %d" % done.returncode
        raise NoLimitsError("the machine's limits are left blank: %s failed: %s" % (command[0], reason))
    return path


def measure(program: str, cpus: Sequence[int], threads: int, quick: bool) -> Dict[str, Optional[float]]:
    """One run of the program on ``threads`` threads, each on its own of ``cpus`` (if any).

    :raises NoLimitsError: if it fails.
    """
    places = ",".join(map(str, cpus[:threads])) or "x%d" % threads
    size, repeats = (QUICK_SIZE_MIB, QUICK_REPEATS) if quick else (SIZE_MIB, REPEATS)
    try:
        done = subprocess.run([program, places, str(size), str(repeats)], capture_output=True, timeout=TIMEOUT_S)
        done.check_returncode()
        return json.loads(done.stdout.decode())
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise NoLimitsError("the machine's limits are left blank: the program failed: %s" % error) from None


def combine(runs: Sequence[Mapping[str, Optional[float]]]) -> Optional[Dict[str, Any]]:
    """The limits by several runs: the median of each figure, and of reading the faster way; None for no runs.

    ``gflop_s`` has a rate for each of :data:`NUMBERS`, or None where the processor has no such instruction.
    """
    if not runs:
        return None
    medians = {key: _median([run.get(key) for run in runs]) for key in (*NUMBERS, *READS)}
    found: Dict[str, Any] = {"gflop_s": {key: medians[key] for key in NUMBERS}, "runs": len(runs)}
    found.update({key: medians[key] for key in READS})
    found["gb_s"] = max((medians[key] for key in READS if medians[key] is not None), default=None)
    return found


def _median(values: Sequence[Optional[float]]) -> Optional[float]:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def step_floor_ms(step: Mapping[str, Any], batch: int, limits: Optional[Mapping[str, Any]]) -> Optional[Dict[str, Any]]:
    """``ms`` that a step of ``AlexNet.kernels`` takes at least for a batch, and what binds it; None if unknown.

    ``math_ms`` and ``read_ms`` are its two parts, and ``bound`` is ``"math"`` or ``"read"``.
    """
    known = [step.get(key) for key in ("products", "numeric", "weight_bytes")]
    rate = limits["gflop_s"].get(step.get("numeric")) if limits else None
    if None in known or not limits or not rate or not limits["gb_s"]:
        return None
    math_ms = 2.0 * step["products"] * batch / rate / 1e6
    read_ms = step["weight_bytes"] / limits["gb_s"] / 1e6
    bound = "math" if math_ms >= read_ms else "read"
    return {"ms": max(math_ms, read_ms), "math_ms": math_ms, "read_ms": read_ms, "bound": bound}


def floor_ms(
    steps: Optional[Sequence[Mapping[str, Any]]],
    heavy: Collection[str],
    batch: int,
    limits: Optional[Mapping[str, Any]],
) -> Optional[float]:
    """The floor of a whole network in ms a batch.

    :param heavy: the layers that have weights. None comes back unless every one of them is in a step that is known.
    """
    total, found = 0.0, set()
    for step in steps or ():
        layers = set(step.get("layers", ())) & set(heavy)
        if not layers:
            continue
        one = step_floor_ms(step, batch, limits)
        if one is None:
            return None
        total += one["ms"]
        found |= layers
    return total if found and found == set(heavy) else None


def line(limits: Optional[Mapping[str, Any]]) -> str:
    """One line of figures."""
    if not limits:
        return "limits: not measured"
    rates = ["%s %.0f" % (key, limits["gflop_s"][key]) for key in NUMBERS if limits["gflop_s"].get(key)]
    reads = ["%.1f from %s" % (limits[key], pages) for key, pages in READS.items() if limits.get(key)]
    return "limits: %s Gop/s; read %s GB/s" % (", ".join(rates), ", ".join(reads))
