"""Clocks for work on a GPU, and the two ceilings of the GPU itself.

With PyTorch on the GPU, CUDA events stand around each call, and calls are queued without waiting in between. Without
it, the host's clock is stopped around a call and a wait, which adds the time of the wait (:data:`HOST` is noted with
the result). Cold means that twice the size of the L2 cache is overwritten before each call, outside its time.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from benchmarks.records import EVENTS, HOST

PROBE_BYTES = 1 << 30
PROBE_SIDE = 8192
PROBE_RUNS = 20
WARM_UP = 5
MOST_RUNS = 2000


class EventClock:
    """CUDA events of PyTorch on its current stream."""

    name = EVENTS

    def __init__(self, torch: Any, device: Any, l2_bytes: int) -> None:
        self.torch, self.device = torch, device
        self.buffer = torch.empty(2 * l2_bytes, dtype=torch.uint8, device=device)
        self.stream = torch.cuda.current_stream(device).cuda_stream

    def times(self, call: Callable[[], Any], runs: int, cold: bool) -> List[float]:
        """Milliseconds of each of ``runs`` calls."""
        pairs = [[self.torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(runs)]
        for before, after in pairs:
            if cold:
                self.buffer.zero_()
            before.record()
            call()
            after.record()
        self.wait()
        return [float(before.elapsed_time(after)) for before, after in pairs]

    def wait(self) -> None:
        self.torch.cuda.synchronize(self.device)


class HostClock:
    """The host's clock around a call and :meth:`wait`."""

    name = HOST
    stream = 0

    def __init__(
        self, wait: Callable[[], Any], flush: Callable[[], Any], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.wait, self.flush, self.clock = wait, flush, clock

    def times(self, call: Callable[[], Any], runs: int, cold: bool) -> List[float]:
        """Milliseconds of each of ``runs`` calls."""
        times_ms = []
        for _ in range(runs):
            if cold:
                self.flush()
            self.wait()
            before = self.clock()
            call()
            self.wait()
            times_ms.append((self.clock() - before) * 1e3)
        return times_ms


def measure(clock: Any, call: Callable[[], Any], seconds: float, least: int, cold: bool) -> List[float]:
    """Times of at least ``least`` calls, and of as many as fit into ``seconds``, after a warm-up."""
    clock.times(call, WARM_UP, cold)
    guess = float(np.median(clock.times(call, WARM_UP, cold)))
    runs = int(min(MOST_RUNS, max(least, seconds * 1e3 / max(guess, 1e-3))))
    return clock.times(call, runs, cold)


def latency(clock: Any, call: Callable[[], Any], runs: int, now: Callable[[], float] = time.perf_counter) -> float:
    """Median ms on the host's clock from a call on an idle GPU to its result."""
    times_ms = []
    for _ in range(runs):
        clock.wait()
        before = now()
        call()
        clock.wait()
        times_ms.append((now() - before) * 1e3)
    return float(np.median(times_ms))


def torch_reason() -> str:
    """Reason why PyTorch cannot use the GPU; empty if it can."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    return "" if torch.cuda.is_available() else f"torch {torch.__version__} sees no GPU"


def peaks(device: str) -> Optional[Dict[str, float]]:
    """Best GB/s of a copy in the GPU's memory, best TFLOPS of square matrix products in fp32 and fp16; by PyTorch.

    None where PyTorch cannot use the GPU.
    """
    if torch_reason():
        return None
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    clock = EventClock(torch, torch.device(device), 1)
    free = torch.cuda.mem_get_info(clock.device)[0]
    source = torch.zeros(min(PROBE_BYTES, free // 4), dtype=torch.uint8, device=clock.device)
    target = torch.empty_like(source)
    ms = min(clock.times(lambda: target.copy_(source), PROBE_RUNS, False))
    ceilings = {"gb_s": 2.0 * source.numel() / ms / 1e6}
    for name, dtype in (("fp32_tflops", torch.float32), ("fp16_tflops", torch.float16)):
        side = PROBE_SIDE if free > 4 << 30 else PROBE_SIDE // 4
        a = torch.randn(side, side, dtype=dtype, device=clock.device)
        ms = min(clock.times(lambda a=a: torch.mm(a, a), PROBE_RUNS, False))
        ceilings[name] = 2.0 * side**3 / ms / 1e9
    return ceilings
