"""The way of a request through a model: accepted, prepared by the decoders, queued for the engine, answered."""

from __future__ import annotations

import time
import weakref
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Set

import numpy as np

from .batching import Batcher, Compute, Part, as_service_error
from .decoding import Decoders, Task
from .errors import ServiceError
from .metrics import ModelMetrics
from .request import Request, settle
from .turns import Admission

_AHEAD = 2  # batches of prepared images that may wait: one to take, one for the time that the engine computes it


class Shared(NamedTuple):
    """What all models of a server have in common: the bounds of clients, and the threads that decode."""

    admission: Admission
    decoders: Decoders


class Pipeline:
    """The queues and the thread of one model. Its coroutine may run on any event loop.

    :param prepare: makes of a row that a client sent the one that is computed; called on the decoders' threads.
    :param compute: as for :class:`.Batcher`, like ``max_batch`` and ``max_delay``.
    """

    def __init__(
        self,
        name: str,
        prepare: Callable[[Any], Any],
        compute: Compute,
        max_batch: int,
        max_delay: float,
        shared: Shared,
        metrics: ModelMetrics,
    ) -> None:
        self._prepare, self._compute, self._metrics = prepare, compute, metrics
        self._admission = shared.admission
        self._lane = shared.decoders.lane(_AHEAD * max_batch)
        self._batcher = Batcher(name, self._timed, max_batch, max_delay, self._observe, self._lane.give_room)
        self._accepted: Set[Request] = set()  # without an answer yet
        metrics.follow_queue(weakref.ref(self._batcher))

    async def answer(self, request: Request) -> List[np.ndarray]:
        """Return the results of a request, an array ``[request.count, ...]`` for each of its outputs.

        :raises ServiceError: 413, 429 and 503 if it is not accepted, 504 at its deadline, or what went wrong;
            :class:`.ClosedError` after :meth:`close`.
        """
        self._admission.enter(request.client, request.count)
        try:
            self._batcher.expect(request.count)
            self._accepted.add(request)
            if request.decoded:
                self._lane.put(request.client, [self._task(request, index) for index in range(request.count)])
            else:
                self._batcher.put(request, 0, request.count)
            return await request.answer()
        finally:
            self._accepted.discard(request)
            self._admission.leave(request.client, request.count)

    def _task(self, request: Request, index: int) -> Task:
        return lambda: self._decode(request, index)

    def _decode(self, request: Request, index: int) -> bool:
        """Prepare a row; return whether it is queued for the engine."""
        rows, began = request.rows, time.thread_time()
        if rows is None or not request.wanted:
            self._batcher.forget(1)
            return False
        try:
            rows[index] = self._prepare(rows[index])
        except Exception as error:  # noqa: BLE001 - of any kind: the thread must live on
            settle([request], _named(as_service_error(error), index, request.count))
            self._batcher.forget(1)
            return False
        self._metrics.decode_seconds.inc(time.thread_time() - began)
        self._batcher.put(request, index, index + 1)
        return True

    def _observe(self, parts: Sequence[Part], rows: int) -> None:
        now = time.monotonic()
        for part in parts:
            if part.first == 0:
                self._metrics.queue_seconds.observe(now - part.request.since)
        self._metrics.batch_images.observe(rows)

    def _timed(self, parts: Sequence[Part]) -> Sequence[np.ndarray]:
        began = time.perf_counter()
        results = self._compute(parts)
        self._metrics.engine_seconds.inc(time.perf_counter() - began)
        return results

    def close(self, timeout: Optional[float] = None) -> None:
        """Accept no more requests and wait for those accepted; those left after ``timeout`` seconds get an error."""
        if not self._batcher.close(timeout):
            settle(list(self._accepted), ServiceError(503, "the server stops before this was computed; try again", 1))
        self._lane.close()


def _named(error: ServiceError, index: int, count: int) -> ServiceError:
    """Add to the error of a row which of several it is."""
    if count == 1:
        return error
    return ServiceError(error.status, f"image {index + 1} of {count}: {error}", error.retry_after)
