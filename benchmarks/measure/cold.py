"""Cold starts of fastalex: a program that imports only what a user would, in fresh processes."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Callable, Dict, List

import numpy as np

COLD_REPEATS = 3

COLD_PROGRAM = """
import json, os, sys, time
spec = json.loads(sys.argv[1])
if spec["cpus"]:
    os.sched_setaffinity(0, spec["cpus"])
marks = [time.monotonic()]
import numpy
from fastalex import AlexNet
marks.append(time.monotonic())
net = AlexNet(spec["variant"], weights=spec["weights"], device="cpu", precision=spec["precision"],
              fc_weights=spec["fc_weights"], threads=spec["threads"])
marks.append(time.monotonic())
shape = (1, net.variant.channels, net.variant.input_size, net.variant.input_size)
net(numpy.linspace(-2.0, 2.0, numpy.prod(shape), dtype=numpy.float32).reshape(shape))
marks.append(time.monotonic())
peak = None
if os.path.exists("/proc/self/status"):
    with open("/proc/self/status") as status:
        peak = next((int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:")), None)
started = spec["started"]
print(json.dumps({"total_ms": (marks[3] - started) * 1e3, "start_ms": (marks[0] - started) * 1e3,
                  "import_ms": (marks[1] - marks[0]) * 1e3, "build_ms": (marks[2] - marks[1]) * 1e3,
                  "first_run_ms": (marks[3] - marks[2]) * 1e3, "peak_rss_mib": peak}))
"""


def command(spec: Dict[str, Any]) -> List[str]:
    return [sys.executable, "-c", COLD_PROGRAM, json.dumps(dict(spec, started=time.monotonic()))]


def measure_cold(spec: Dict[str, Any], child: Callable[[str, Dict[str, Any]], Dict[str, Any]]) -> Dict[str, Any]:
    """Start to first result, in :data:`COLD_REPEATS` fresh processes: the median of each figure.

    The weights file has just been written, so it is in the system's page cache: this is no disk benchmark.
    """
    seen = [child("cold", spec) for _ in range(COLD_REPEATS)]
    medians: Dict[str, Any] = {"repeats": len(seen)}
    for key in seen[0]:
        values = [one[key] for one in seen if one[key] is not None]
        medians[key] = float(np.median(values)) if values else None
    return medians
