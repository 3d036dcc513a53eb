"""A request on its way through the server: its images, its deadline and its answer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

from .errors import ServiceError


class Request:
    """The images of one request, and the rows of its answer.

    Made and awaited on an event loop; other threads compute it.

    :ivar rows: what is computed, a row an image; None once nobody waits for the answer, which frees the memory.
    :ivar decoded: the rows are images that the server decodes, rather than a client's tensor.
    :param outputs: the names of the results. Only requests with the same ones share a call.
    :param client: the address that counts for fairness.
    :param deadline: by :func:`time.monotonic`, or None.
    """

    __slots__ = (
        "_future",
        "_left",
        "_results",
        "client",
        "count",
        "deadline",
        "decoded",
        "loop",
        "outputs",
        "rows",
        "since",
    )

    def __init__(
        self,
        rows: Sequence[Any],
        outputs: Tuple[str, ...],
        client: str,
        deadline: Optional[float] = None,
        decoded: bool = False,
    ) -> None:
        self.rows: Any = rows
        self.count = self._left = len(rows)
        self.outputs, self.client, self.deadline = outputs, client, deadline
        self.decoded = decoded
        self.since = time.monotonic()
        self.loop = asyncio.get_running_loop()
        self._future: asyncio.Future[List[np.ndarray]] = self.loop.create_future()
        self._results: List[np.ndarray] = []
        if deadline is not None and deadline <= self.since:
            raise too_late()

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for the answer, and the deadline has not passed."""
        return self.rows is not None and (self.deadline is None or time.monotonic() < self.deadline)

    async def answer(self) -> List[np.ndarray]:
        """Wait for the results, an array ``[count, ...]`` for each of the outputs.

        :raises ServiceError: 504 at the deadline, or what went wrong.
        """
        timer = None
        if self.deadline is not None:
            timer = self.loop.call_later(max(0.0, self.deadline - time.monotonic()), self._expire)
        try:
            return await self._future
        finally:
            self.rows = None
            if timer is not None:
                timer.cancel()

    def _expire(self) -> None:
        self.settle(too_late())

    def fill(self, first: int, results: Sequence[np.ndarray]) -> bool:
        """Keep the results of the rows from ``first`` on, and return whether these were the last.

        On the thread of the model.
        """
        rows = len(results[0])
        self._left -= rows
        if rows == self.count:
            self._results = list(results)
            return True
        if not self._results:
            self._results = [np.empty((self.count, *result.shape[1:]), result.dtype) for result in results]
        for whole, result in zip(self._results, results):
            whole[first : first + rows] = result
        return self._left == 0

    def settle(self, error: Optional[Exception] = None) -> None:
        """Answer with the results, or with ``error``. On the loop."""
        self.rows = None
        if self._future.done():  # at its deadline, or the client has gone
            return
        if error is None:
            self._future.set_result(self._results)
        else:
            self._future.set_exception(error)


def settle(requests: Iterable[Request], error: Optional[Exception] = None) -> None:
    """Answer ``requests`` from another thread, with one message to each of their loops."""
    by_loop: Dict[asyncio.AbstractEventLoop, List[Request]] = {}
    for request in requests:
        by_loop.setdefault(request.loop, []).append(request)
    for loop, some in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed, and with it all connections
            loop.call_soon_threadsafe(_settle, some, error)


def _settle(requests: List[Request], error: Optional[Exception]) -> None:
    for request in requests:
        request.settle(error)


def too_late() -> ServiceError:
    """Return the error of a deadline that has passed."""
    return ServiceError(504, "the deadline passed before the answer was computed; allow more time, or send less")
