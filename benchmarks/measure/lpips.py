"""LPIPS beside the package lpips: the same weights, images and CPUs.

Each of the two lives in a process of its own (lpips_worker.py) and sleeps while the other is timed; they take turns in
shuffled order, one burst of calls at a time. Timing starts after the results have been compared. Memory is the
resident size of fresh processes, one for each case: its peak from start to end, its peak while distances are computed
(Linux's clear_refs sets the peak back once the metric is made), and what of both importing the packages takes.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from benchmarks.measure import machine, processes, timing
from benchmarks.measure.errors import EngineError, WrongResultError
from benchmarks.measure.lpips_worker import CASES, MAKERS, SIDE

ENGINES = tuple(MAKERS)
QUICK = ("batch 1", "batch 16")
# Both sum up in float32, fastalex by Winograd's algorithm: its roundings are some ten times float32's own.
TOLERANCE = 1e-4  # relative to the largest distance


class Process:
    """A worker process with one engine, which answers requests for bursts."""

    def __init__(self, name: str, threads: int) -> None:
        self.process = subprocess.Popen(
            processes.command("measure.lpips_worker", "serve", name, str(threads)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=processes.environment(threads),
            universal_newlines=True,
        )

    def __call__(self, case: str, calls: int, path: str = "") -> List[float]:
        self.process.stdin.write(json.dumps({"case": case, "calls": calls, "path": path}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise EngineError(f"a measuring process ended with code {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure_times(cases: Sequence[str], threads: int, quick: bool, folder: Path) -> List[Dict[str, Any]]:
    order = random.Random(2018)
    rows = []
    live = {name: Process(name, threads) for name in ENGINES}
    try:
        for case in cases:
            _, _, rounds, burst = CASES[case]
            paths = {name: folder / (f"{name}-{case.replace(' ', '-')}.npy") for name in ENGINES}
            for name in ENGINES:  # warm-up, which also gives the results
                live[name](case, 1, str(paths[name]))
            difference = compare(*(np.load(str(paths[name])) for name in ENGINES))
            times: Dict[str, List[float]] = {name: [] for name in ENGINES}
            for _ in range(max(2, rounds // 4) if quick else rounds):
                for name in order.sample(ENGINES, len(ENGINES)):
                    time.sleep(0.1)  # until the threads of the other engine sleep
                    times[name] += live[name](case, burst)
            for name in ENGINES:
                row = timing.summarize([1e3 * seconds for seconds in times[name]], CASES[case][0])
                rows.append(dict(row, engine=name, case=case, threads=threads, difference=difference))
                print(f"{name}, {case}: {row['median_ms']:.1f} ms", file=sys.stderr)
    finally:
        for process in live.values():
            process.close()
    return rows


def compare(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference relative to the largest distance. :raises WrongResultError: if it exceeds rounding."""
    difference = float(np.abs(mine - theirs).max() / np.abs(theirs).max())
    if mine.shape != theirs.shape or not difference <= TOLERANCE or np.abs(theirs).max() < 1e-4:
        raise WrongResultError(f"the results differ by {difference:.2e} of the largest")
    return difference


def measure_memory(cases: Sequence[str], threads: int) -> List[Dict[str, Any]]:
    rows = []
    for case in cases:
        for name in ENGINES:
            command = processes.command("measure.lpips_worker", "memory", name, str(threads), case)
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=processes.environment(threads))
            rows.append(dict(json.loads(done.stdout.decode()), engine=name, case=case, threads=threads))
            print(
                "{engine}, {case}: peak {peak_mib:.0f} MiB, import {import_mib:.0f}".format(**rows[-1]), file=sys.stderr
            )
    return rows


def record(times: List[Dict[str, Any]], memories: List[Dict[str, Any]], quick: bool) -> Dict[str, Any]:
    import torch

    versions = {"torch": torch.__version__, "lpips": "0.1.4"}
    head = machine.short_record("lpips", quick, {"cores": len(timing.available_cpus())}, versions)
    return dict(head, side=SIDE, times=times, memory=memories)
