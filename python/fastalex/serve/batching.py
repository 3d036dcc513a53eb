"""Dynamic batching: requests that wait for a model are joined to calls of its engine, clients served in turn."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from ..errors import BackendError
from .errors import ServiceError
from .request import Request, settle
from .turns import Turns


class ClosedError(ServiceError):
    """A request that came after its model was closed, and of which nothing was queued."""

    def __init__(self, name: str) -> None:
        super().__init__(503, f"model '{name}' is not available: it is being unloaded")


class Part(NamedTuple):
    """The rows ``[first, last)`` of a request, which a call computes."""

    request: Request
    rows: Any
    first: int
    last: int


#: Computes parts of requests with the same outputs: an array ``[rows of all parts, ...]`` for each output.
Compute = Callable[[Sequence[Part]], Sequence[np.ndarray]]


class _Work:
    """The rows of a request that wait, ``[first, last)``."""

    __slots__ = ("first", "last", "request")

    def __init__(self, request: Request, first: int, last: int) -> None:
        self.request, self.first, self.last = request, first, last


class Batcher:
    """One thread that computes what waits for a model, in calls of up to ``max_batch`` rows.

    A free thread begins at once, unless more is sure or likely to come: images that are being decoded, or the next
    requests of the clients who were answered just before. It waits for these up to ``max_delay`` seconds, and a client
    that is alone never waits.

    An error of a call goes to the requests in it, and the thread lives on.

    :param compute: called on the thread.
    :param observe: called on the thread with the parts of a call before it, and their rows.
    :param taken: called on the thread with the number of decoded images that wait no longer.
    """

    def __init__(
        self,
        name: str,
        compute: Compute,
        max_batch: int,
        max_delay: float,
        observe: Callable[[Sequence[Part], int], None],
        taken: Callable[[int], None],
    ) -> None:
        self._name, self._compute, self._observe, self._taken = name, compute, observe, taken
        self._max_batch, self._max_delay = max_batch, max_delay
        self._turns: Turns[_Work] = Turns()
        self._waiting = self._coming = 0  # rows: queued, and accepted but not queued yet
        self._wake_at = 1  # queued rows at which the thread wants to be woken
        self._last_rows, self._last_end = 0, 0.0
        self._decoded_taken = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"fastalex-{name}", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Return the number of rows that were accepted and not taken yet."""
        return self._waiting + self._coming

    def expect(self, rows: int) -> None:
        """Accept rows, which :meth:`put` or :meth:`forget` follows.

        :raises ClosedError: after :meth:`close`.
        """
        with self._changed:
            if self._closing:
                raise ClosedError(self._name)
            self._coming += rows

    def put(self, request: Request, first: int, last: int) -> None:
        """Queue the rows ``[first, last)`` of a request, which were expected."""
        with self._changed:
            self._turns.put(request.client, _Work(request, first, last))
            self._coming -= last - first
            self._waiting += last - first
            if self._waiting >= self._wake_at:
                self._changed.notify()

    def forget(self, rows: int) -> None:
        """Expect rows no longer."""
        with self._changed:
            self._coming -= rows
            self._changed.notify()

    def close(self, timeout: Optional[float] = None) -> bool:
        """Accept nothing more and compute what was accepted; return whether that took no longer than ``timeout``."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            parts = self._next()
            if parts is None:
                return
            if self._decoded_taken:
                self._taken(self._decoded_taken)
            if parts:
                self._call(parts)
            del parts  # an idle thread keeps no request alive

    def _next(self) -> Optional[List[Part]]:
        """Wait for work and take it; None at the end."""
        with self._changed:
            while not self._waiting:
                if self._closing and not self._coming:
                    return None
                self._wake_at = 1
                self._changed.wait()
            self._wait_for_more()
            return self._take()

    def _wait_for_more(self) -> None:
        start = now = time.monotonic()
        answered = self._last_rows if start - self._last_end < self._max_delay else 0
        while now - start < self._max_delay and not self._closing:
            target = min(self._max_batch, max(answered, self._waiting + self._coming))
            if self._waiting >= target:
                return
            self._wake_at = target
            self._changed.wait(self._max_delay - (now - start))
            now = time.monotonic()

    def _take(self) -> List[Part]:
        """Take a row of each client in turn until a call is full; all rows have the outputs of the first."""
        taken: Dict[_Work, int] = {}
        outputs, room = None, self._max_batch
        self._decoded_taken = 0
        while room and self._turns:
            work = self._turns.head()
            if not work.request.wanted:
                self._leave(work, work.last - work.first)
                self._turns.pop()
                continue
            if outputs is None:
                outputs = work.request.outputs
            elif work.request.outputs != outputs:
                self._turns.set_aside()
                continue
            taken.setdefault(work, work.first)
            self._leave(work, 1)
            work.first += 1
            room -= 1
            if work.first == work.last:
                self._turns.pop()
            else:
                self._turns.end_turn()
        self._turns.restore()
        parts = [Part(work.request, work.request.rows, first, work.first) for work, first in taken.items()]
        return [part for part in parts if part.rows is not None]  # a client may have gone meanwhile

    def _leave(self, work: _Work, rows: int) -> None:
        self._waiting -= rows
        if work.request.decoded:
            self._decoded_taken += rows

    def _call(self, parts: Sequence[Part]) -> None:
        rows = sum(part.last - part.first for part in parts)
        try:
            self._observe(parts, rows)
            results = self._compute(parts)
        except Exception as error:  # noqa: BLE001 - of any kind: the thread must live on
            settle(dict.fromkeys(part.request for part in parts), as_service_error(error))
        else:
            self._answer(parts, results)
        self._last_rows, self._last_end = rows, time.monotonic()

    def _answer(self, parts: Sequence[Part], results: Sequence[np.ndarray]) -> None:
        complete, row = [], 0
        for part in parts:
            end = row + part.last - part.first
            if part.request.fill(part.first, [result[row:end] for result in results]):
                complete.append(part.request)
            row = end
        settle(complete)


def as_service_error(error: Exception) -> ServiceError:
    """Return the error that a client is told of, with its status."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, MemoryError):
        return ServiceError(503, "there is not enough memory to compute this now; try again, or send fewer images", 1)
    if isinstance(error, BackendError):
        return ServiceError(500, f"the device failed: {error}")
    return ServiceError(500, f"the engine failed: {str(error) or type(error).__name__}")
