"""A process that makes one call for a profiler: ``run.py measure.profile_worker SPEC``.

SPEC is a JSON object: variant, precision, fc_weights, batch, device. It prints which kernels serve which layers, in the
order of their launches, and tells the driver what to count: kernels that are launched one by one, not as a graph.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
from typing import Any, Iterator, Mapping, Sequence

from benchmarks.measure import timing

WARM_UP = 2


@contextlib.contextmanager
def counting() -> Iterator[None]:
    """Between the driver's marks; without a driver (an emulated library) there are none."""
    try:
        driver: Any = ctypes.CDLL("libcuda.so.1")
    except OSError:
        driver = None
    if driver:
        driver.cuProfilerStart()
    yield
    if driver:
        driver.cuProfilerStop()


def run(spec: Mapping[str, Any]) -> None:
    from fastalex import AlexNet

    net = AlexNet(spec["variant"], device=spec["device"], precision=spec["precision"], fc_weights=spec["fc_weights"])
    for step in net.kernels(spec["batch"])["steps"]:
        names = ", ".join(kernel["name"] for kernel in step["kernels"])
        print(f"{' + '.join(step['layers'])}: {step['candidate']}, split {step['split']}: {names}")
    size = net.variant.input_size
    images = timing.random_images([net.variant.channels, size, size], spec["batch"])
    for _ in range(WARM_UP):
        net.profile(images)
    with counting():
        net.profile(images)


def main(words: Sequence[str]) -> int:
    run(json.loads(words[0]))
    return 0
