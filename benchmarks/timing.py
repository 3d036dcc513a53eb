"""Measuring one network on one CPU: statistics, pinning, memory, and the fresh processes in which it all happens.

Each measurement runs in a process of its own, so that peak memory belongs to it alone and nothing is warm by accident.
``python timing.py TASK SPEC`` is such a process: it does TASK ("save", "quantise", "correct" or "time") for the JSON
object SPEC and prints one JSON object. A cold start is measured by :data:`COLD_PROGRAM`, which imports only what a user
would.

A SPEC has: variant, precision, fc_weights, batch, threads, cpus (to pin to), folder (of the files), weights (the path
of those that the mode loads), quick.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

# Of the largest reference value, by precision. fp32: sums of up to 9216 products against sums in double; the others
# round every activation, to 8 bits of a mantissa or to a grid of 255 steps.
TOLERANCES = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.1}
SMALLEST_REFERENCE = 1e-3  # a smaller output would pass any comparison
COLD_REPEATS = 3
CHILD_TIMEOUT_S = 1800.0

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


class ChildError(RuntimeError):
    """A measuring process failed; the message ends with the last line it wrote to stderr."""


def summarize(times_ms: Sequence[float], batch: int) -> Dict[str, Any]:
    """Median, 10th and 90th percentile (ms a batch), their count, and images per second at the median."""
    if not times_ms:
        raise ValueError("no times to summarize")
    p10, median, p90 = (float(value) for value in np.percentile(np.asarray(times_ms, np.float64), (10, 50, 90)))
    return {
        "median_ms": median,
        "p10_ms": p10,
        "p90_ms": p90,
        "runs": len(times_ms),
        "images_per_s": batch * 1e3 / median,
    }


def time_calls(
    call: Callable[[], Any],
    warmup_s: float,
    measure_s: float,
    min_runs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> List[float]:
    """Times of single calls in ms, after a warm-up of at least ``warmup_s`` and two calls.

    Calls go on until ``measure_s`` have passed and there are ``min_runs``.
    """
    start, warm = clock(), 0
    while warm < 2 or clock() - start < warmup_s:
        call()
        warm += 1
    times: List[float] = []
    start = clock()
    while len(times) < min_runs or clock() - start < measure_s:
        before = clock()
        call()
        times.append((clock() - before) * 1e3)
    return times


def compare(result: np.ndarray, reference: np.ndarray, relative: float = TOLERANCES["fp32"]) -> Dict[str, Any]:
    """How far ``result`` is from ``reference`` (same shape), and whether that is within ``relative`` x max|reference|.

    A result that is not finite, or a reference too small to tell anything, is not ok.
    """
    if result.shape != reference.shape:
        raise ValueError("shapes differ: %s and %s" % (result.shape, reference.shape))
    largest = float(np.max(np.abs(reference)))
    difference = float(np.max(np.abs(result.astype(np.float64) - reference.astype(np.float64))))
    tolerance = relative * largest
    sound = bool(np.isfinite(result).all() and np.isfinite(reference).all() and largest >= SMALLEST_REFERENCE)
    return {
        "max_abs_diff": difference,
        "max_abs_reference": largest,
        "tolerance": tolerance,
        "ok": sound and difference <= tolerance,
    }


def available_cpus() -> List[int]:
    """The CPUs this process may use; empty where the system cannot say (then nothing is pinned)."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def pin(cpus: Sequence[int]) -> None:
    """Keep this process on ``cpus``; nothing to do for an empty list."""
    if cpus:
        os.sched_setaffinity(0, cpus)


def peak_rss_mib(status_path: str = "/proc/self/status") -> Optional[float]:
    """The highest resident size of this process so far (VmHWM) in MiB; None where there is no /proc."""
    try:
        with open(status_path) as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def run_child(task: str, spec: Dict[str, Any]) -> Dict[str, Any]:
    """Do ``task`` for ``spec`` in a fresh process and return what it printed.

    :raises ChildError: if it fails, hangs or prints no JSON object.
    """
    if task == "cold":
        command = [sys.executable, "-c", COLD_PROGRAM, json.dumps(dict(spec, started=time.monotonic()))]
    else:
        command = [sys.executable, os.path.abspath(__file__), task, json.dumps(spec)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=CHILD_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise ChildError("the %s process did not end within %.0f s" % (task, CHILD_TIMEOUT_S)) from None
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    if done.returncode != 0 or not lines:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ChildError("the %s process failed (%d): %s" % (task, done.returncode, said[-1] if said else "no message"))
    return json.loads(lines[-1])


def measure_cold(
    spec: Dict[str, Any], child: Callable[[str, Dict[str, Any]], Dict[str, Any]] = run_child
) -> Dict[str, Any]:
    """Start to first result, in :data:`COLD_REPEATS` fresh processes: the median of each figure.

    The weights file has just been written, so it is in the system's page cache: this is no disk benchmark.
    """
    seen = [child("cold", spec) for _ in range(COLD_REPEATS)]
    medians: Dict[str, Any] = {"repeats": len(seen)}
    for key in seen[0]:
        values = [one[key] for one in seen if one[key] is not None]
        medians[key] = float(np.median(values)) if values else None
    return medians


def _net(spec: Dict[str, Any], **changes: Any) -> Any:
    from fastalex import AlexNet

    options = {"device": "cpu"}
    options.update((key, spec[key]) for key in ("weights", "precision", "fc_weights", "threads"))
    options.update(changes)
    return AlexNet(spec["variant"], **options)


def random_images(shape: Sequence[int], batch: int) -> np.ndarray:
    """Standard normal images, float32 [batch, channels, height, width]; the last one repeats the first."""
    images = np.random.default_rng(2012).standard_normal((batch, *shape), dtype=np.float32)
    images[-1] = images[0]
    return images


def _images(net: Any, batch: int) -> np.ndarray:
    row = net.variant
    return random_images((row.channels, row.input_size, row.input_size), batch)


def task_save(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Write seeded random weights of the variant into ``spec["folder"]``."""
    import engines

    engines.write_weights(spec)
    return {}


def task_quantise(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Write the file that the mode of ``spec`` loads."""
    import engines
    from fastalex import variants

    row = variants.get(spec["variant"])
    shape = (row.channels, row.input_size, row.input_size)
    engines.write_quantised(dict(spec, shape=shape), spec["precision"], spec["fc_weights"])
    return {}


def task_correct(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Compare the tuned engine with the naive one, which defines each op and sums in double.

    The first and the last image of the batch are the same image, and both results are compared. With rounded weights
    the naive net gets the tuned net's own dequantised weights, and what the rounding of weights and activations itself
    changes is a figure of its own: max|difference| to the fp32 result over max|fp32 result|.
    """
    import engines

    rounded = (spec["precision"], spec["fc_weights"]) != ("fp32", "fp32")
    tuned = _net(spec)
    images = _images(tuned, spec["batch"])
    result = tuned(images)[[0, -1]]
    plain = {"precision": "fp32", "fc_weights": "fp32"}
    naive = _net(spec, weights=tuned.state_dict() if rounded else spec["weights"], device="naive", **plain)
    reference = naive(images[:1])
    report = compare(result, np.concatenate([reference, reference]), TOLERANCES[spec["precision"]])
    report["reference"] = "fastalex naive backend (double accumulation)"
    if rounded:
        unquantised = _net(spec, weights=os.path.join(spec["folder"], engines.WEIGHTS), **plain)(images[:1])
        report["quantisation_error"] = float(np.max(np.abs(result[:1] - unquantised)) / np.max(np.abs(unquantised)))
    return report


def task_time(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Time the tuned engine: batch in, logits out, everything warm."""
    net = _net(spec)
    images = _images(net, spec["batch"])
    seconds = (0.1, 0.3, 3) if spec["quick"] else (1.0, 5.0, 10)
    report = summarize(time_calls(lambda: net(images), *seconds), spec["batch"])
    report["peak_rss_mib"] = peak_rss_mib()
    return report


TASKS = {"save": task_save, "quantise": task_quantise, "correct": task_correct, "time": task_time}

if __name__ == "__main__":
    wanted = json.loads(sys.argv[2])
    pin(wanted["cpus"])  # before fastalex is imported: its threads inherit this
    print(json.dumps(TASKS[sys.argv[1]](wanted)))
