"""A process that measures LPIPS of fastalex or of the package lpips: ``run.py measure.lpips_worker TASK NAME THREADS``.

TASK is "serve", or "memory" with a case as the last word. The convolutions are random, as published ones do not come
with either package; the heads are those of the package lpips 0.1. Where torchvision is not installed, the package gets
the whole AlexNet that it would build from the tests' stand-in. All pairs of two sets are compared by the package row by
row: one image with all others, in one call.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Callable, Dict, Sequence

import numpy as np

from benchmarks import neighbors

SIDE = 256
# Name -> images on each side, whether all pairs are compared, rounds, calls per burst.
CASES = {
    "batch 1": (1, False, 15, 5),
    "batch 16": (16, False, 8, 1),
    "50 x 50 matrix": (50, True, 2, 1),
}


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, SIDE, SIDE)).astype(np.float32)


def arrays() -> Dict[str, np.ndarray]:
    """Random convolutions, the same for both engines."""
    from fastalex import variants
    from fastalex.weights import initial

    layers = (layer for layer in variants.get("torchvision").layers() if layer.op == "conv")
    return initial.random_arrays({name: shape for layer in layers for name, shape in layer.param_shapes.items()})


class Fastalex:
    def __init__(self, threads: int) -> None:
        from fastalex import LPIPS

        self.make = lambda: LPIPS(weights=arrays(), device="cpu", threads=threads)

    def build(self) -> None:
        self.metric = self.make()

    def call(self, a: np.ndarray, b: np.ndarray, all_pairs: bool) -> Callable[[], np.ndarray]:
        if all_pairs:
            return lambda: self.metric.matrix(a, b)
        return lambda: self.metric(a, b).ravel()


class Package:
    def __init__(self, threads: int) -> None:
        import torch

        originals = neighbors.load(neighbors.ORIGINALS)
        torch.set_num_threads(threads)
        originals.lpips_package(originals.WHOLE)
        self.torch, self.originals = torch, originals

    def build(self) -> None:
        self.metric = self.originals.lpips(arrays())

    def call(self, a: np.ndarray, b: np.ndarray, all_pairs: bool) -> Callable[[], np.ndarray]:
        x, y = self.torch.from_numpy(a), self.torch.from_numpy(b)

        def pairs() -> np.ndarray:
            with self.torch.no_grad():
                return self.metric(x, y).numpy().ravel()

        def rows() -> np.ndarray:
            with self.torch.no_grad():
                return np.stack([self.metric(x[i : i + 1], y).numpy().ravel() for i in range(len(x))])

        return rows if all_pairs else pairs


MAKERS = {"fastalex": Fastalex, "lpips": Package}


def resident_mib(key: str = "VmRSS") -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(key + ":"))


def serve(name: str, threads: int) -> None:
    """Answers lines of JSON, ``{"case", "calls", "path"}``, with the seconds of each call; the last result goes to
    ``path``."""
    engine = MAKERS[name](threads)
    engine.build()
    calls = {}
    for line in sys.stdin:
        order = json.loads(line)
        case = order["case"]
        if case not in calls:
            count, all_pairs = CASES[case][:2]
            calls = {case: engine.call(images(count, 1), images(count, 2), all_pairs)}
        seconds = []
        for _ in range(order["calls"]):
            begin = time.perf_counter()
            result = calls[case]()
            seconds.append(time.perf_counter() - begin)
        if order.get("path"):
            np.save(order["path"], result)
        print(json.dumps(seconds), flush=True)


def memory(name: str, threads: int, case: str) -> Dict[str, float]:
    """MiB: after importing, the peak of the whole process, and the peak while it computes distances."""
    engine = MAKERS[name](threads)
    imported = resident_mib()
    engine.build()
    built = resident_mib("VmHWM")
    count, all_pairs = CASES[case][:2]
    call = engine.call(images(count, 1), images(count, 2), all_pairs)
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    for _ in range(1 if all_pairs else 2):
        call()
    running = resident_mib("VmHWM")
    return {"import_mib": imported, "peak_mib": max(built, running), "running_mib": running}


def main(words: Sequence[str]) -> int:
    task, name, threads = words[0], words[1], int(words[2])
    if task == "serve":
        serve(name, threads)
    else:
        print(json.dumps(memory(name, threads, words[3])))
    return 0
