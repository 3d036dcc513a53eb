"""A stand-in for the engine of the service, which computes when a test says so, and remembers its calls."""

from __future__ import annotations

import asyncio
import threading

import numpy as np

from fastalex.serve.decoding import Decoders
from fastalex.serve.metrics import Metrics
from fastalex.serve.pipeline import Pipeline, Shared
from fastalex.serve.request import Request
from fastalex.serve.turns import Admission


class HeldEngine:
    """A pipeline over an engine that doubles its rows.

    ``calls`` has the rows of each call that began, ``outputs`` what it was to compute; ``errors`` are what the next
    calls raise, or None.
    """

    def __init__(self, max_batch=4, max_delay=0.0, per_client=100, total=1000, prepare=float, decoders=1):
        self.calls, self.outputs, self.errors = [], [], []
        self.metrics = Metrics()
        self.begun = threading.Semaphore(0)
        self._free = threading.Event()
        self._free.set()
        shared = Shared(Admission(per_client, total), Decoders(decoders))
        of_model = self.metrics.of_model("held")
        self.pipeline = Pipeline("held", prepare, self._compute, max_batch, max_delay, shared, of_model)

    def _compute(self, parts):
        rows = [row for part in parts for row in part.rows[part.first : part.last]]
        self.calls.append(rows)
        self.outputs.append(parts[0].request.outputs)
        self.begun.release()
        assert self._free.wait(20)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return [2 * np.array(rows, np.float64)]

    def hold(self):
        self._free.clear()

    def free(self):
        self._free.set()

    async def began(self):
        """Wait until the engine has begun another call."""
        assert await asyncio.get_running_loop().run_in_executor(None, self.begun.acquire, True, 20)

    async def ask(self, *rows, client="a", output="y", deadline=None, decoded=False):
        """Send rows as one request and return its results as a list."""
        rows = list(rows) if decoded else np.array(rows, np.float64)
        (results,) = await self.pipeline.answer(Request(rows, (output,), client, deadline, decoded))
        return results.tolist()

    def send(self, *rows, **options):
        """Send rows, and return the task that waits for the answer."""
        return asyncio.ensure_future(self.ask(*rows, **options))

    async def occupied(self, **options):
        """Hold the engine in a call of one row, and return its task."""
        self.hold()
        task = self.send(-1.0, client="first", **options)
        await self.began()
        return task

    async def queued(self, count):
        """Wait until ``count`` rows are accepted and not taken."""
        for _ in range(2000):
            if len(self.pipeline._batcher) == count:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"{len(self.pipeline._batcher)} rows wait, not {count}")
