"""Computations that take longer than a request should: each is done once, and says how far it is."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Callable, NamedTuple, Tuple

from starlette.concurrency import run_in_threadpool

from ..errors import ServiceError

Report = Callable[[int, int], None]  # done, total

WAIT_S = 0.4  # that a request waits for a result before it says how far it is: shorter than a bar is worth
MAX_WAITING = 16  # jobs that are not done
MAX_KEPT = 256  # results


class Progress(NamedTuple):
    """The state of a job that is not done: ``done`` of ``total`` parts, both 0 while it waits for others."""

    done: int
    total: int


class _Job:
    def __init__(self, closed: threading.Event) -> None:
        self.progress, self._closed = Progress(0, 0), closed
        self.future: Future[Any] = Future()

    def report(self, done: int, total: int) -> None:
        if self._closed.is_set():  # the work ends here, however much of it is left
            raise ServiceError(503, "the server is stopping; ask again when it is back", 5)
        self.progress = Progress(done, total)


class Jobs:
    """Jobs by name, one after another on a thread of their own, so that the service keeps a processor."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[Tuple[Any, ...], _Job] = OrderedDict()
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._pool = ThreadPoolExecutor(1, "fastalex-page")

    async def result(self, key: Tuple[Any, ...], work: Callable[[Report], Any], wait_s: float = WAIT_S) -> Any:
        """Return the result of the job ``key``, or its :class:`Progress`; start it if it is new.

        A job that failed is forgotten, so that it is tried again.

        :param work: computes the result; it is given a function that takes the parts done and their number.
        :raises ServiceError: if too many jobs wait, or what ``work`` raised.
        """
        job = self._started(key, work)
        await run_in_threadpool(wait, [job.future], wait_s)
        if not job.future.done():
            return job.progress
        if job.future.exception() is not None:
            with self._lock:
                if self._jobs.get(key) is job:
                    del self._jobs[key]
        return job.future.result()

    def close(self) -> None:
        """Drop the jobs that wait, and end the one that runs when it next reports."""
        self._closed.set()
        with self._lock:
            for job in self._jobs.values():
                job.future.cancel()
        self._pool.shutdown(wait=False)

    def _started(self, key: Tuple[Any, ...], work: Callable[[Report], Any]) -> _Job:
        with self._lock:
            if key in self._jobs:
                self._jobs.move_to_end(key)
                return self._jobs[key]
            waiting = sum(not job.future.done() for job in self._jobs.values())
            if waiting >= MAX_WAITING:
                raise ServiceError(503, f"{waiting} computations are waiting already; try again when some are done", 5)
            job = _Job(self._closed)
            job.future = self._pool.submit(work, job.report)
            self._jobs[key] = job
            done = [name for name, one in self._jobs.items() if one.future.done()]
            for name in done[: max(0, len(self._jobs) - MAX_KEPT)]:
                del self._jobs[name]
            return job
