"""Threads that a stalled read cannot keep the process from ending, and waiting for their results."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future, wait
from typing import Any, Callable, Optional, Tuple

from ..errors import UserError

STALL_S = 120.0  # without a sign of life from a store, after which a read-out ends
_LOOK_S = 0.5

Task = Optional[Tuple["Future[Any]", Callable[..., Any], Tuple[Any, ...]]]


class Pool:
    """A number of daemon threads; those of :mod:`concurrent.futures` are waited for when the interpreter ends."""

    def __init__(self, threads: int) -> None:
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._count = threads
        for _ in range(threads):
            threading.Thread(target=self._work, name="fastalex-readout", daemon=True).start()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have a thread call ``function``, and return the future of its result."""
        future: Future[Any] = Future()
        self._tasks.put((future, function, arguments))
        return future

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: Any) -> None:
        for _ in range(self._count):
            self._tasks.put(None)

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            if task is None:
                return
            future, function, arguments = task
            try:
                future.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001 (raised by future.result in the thread that asks)
                future.set_exception(error)
            del task, future, function, arguments  # of a thread that waits, which would keep a batch


def result(future: Future[Any], store: str, alive: Callable[[], float]) -> Any:
    """Wait for a result.

    :param store: what is read, for the message.
    :param alive: returns the time of the last sign of life, by :func:`time.monotonic`.
    :raises UserError: if there was none for :data:`STALL_S`.
    """
    began = time.monotonic()
    while not future.done():
        wait([future], _LOOK_S)
        if not future.done() and time.monotonic() - max(began, alive()) > STALL_S:
            raise UserError(
                f"'{store}' gave nothing for {STALL_S:g} s; what was done is kept, and the same command goes on with it"
            )
    return future.result()
