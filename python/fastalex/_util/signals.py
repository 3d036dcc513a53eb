"""Signals that ask the process to end: Ctrl-C, and those of ``kill``, ``timeout``, service managers and terminals."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import Any, Callable, Iterator, List, Optional, Sequence

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_S = 1.0  # a later Ctrl-C is one more wish of the user; an earlier one may be the same, forwarded by torchrun


class Stopped(KeyboardInterrupt):
    """A request to end the process; like Ctrl-C's exception, but it knows the ``number`` of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Hold:
    """The signal that came during :func:`held`: its ``number``, or None."""

    def __init__(self) -> None:
        self.number: Optional[int] = None
        self._since = 0.0

    def note(self, number: int) -> None:
        """Take note of a signal.

        :raises Stopped: if it is Ctrl-C once more, from a user who does not want to wait.
        """
        if self.number is None:
            self.number, self._since = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._since > AGAIN_S:
            raise Stopped(number)

    def check(self) -> None:
        """Raise the exception of the signal that came, if one did.

        :raises Stopped: the exception.
        """
        if self.number is not None:
            raise Stopped(self.number)


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code of a process that a signal ended, as shells count: 128 and the number of the signal."""
    return 128 + getattr(stop, "number", signal.SIGINT)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise :class:`Stopped`, where they would end the process at once.

    Only the first raises it: ``timeout`` and a closed terminal send several, which must not disturb the cleaning up.
    """
    first: List[int] = []

    def stop(number: int) -> None:
        if not first:
            first.append(number)
            raise Stopped(number)

    with _handling((signal.SIGTERM, signal.SIGHUP), stop, lambda handler: handler == signal.SIG_DFL):
        yield


@contextlib.contextmanager
def held() -> Iterator[Hold]:
    """Note the signals in a :class:`Hold` for work that must not end in the middle, which asks it when it may end."""
    hold = Hold()
    # SIG_IGN: nohup, or a job in the background of a script. None: a handler that is not of Python.
    ignored = (signal.SIG_IGN, None)
    with _handling(ENDING, hold.note, lambda handler: handler not in ignored):
        yield hold


@contextlib.contextmanager
def _handling(numbers: Sequence[int], handle: Callable[[int], None], replaces: Callable[[Any], bool]) -> Iterator[None]:
    """Handle the signals whose handler ``replaces`` accepts; none outside the main thread, as Python demands."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in numbers if main}
    before = {number: handler for number, handler in before.items() if replaces(handler)}
    try:
        for number in before:
            signal.signal(number, lambda number, _: handle(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
