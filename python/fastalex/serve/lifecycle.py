"""The life of a server in its process: signals, the end without losing a request, and word to systemd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from typing import Any, Dict, Iterator, Optional, Tuple

STOPPING = (signal.SIGTERM, signal.SIGINT)


class State:
    """What a server is doing.

    :ivar draining: whether new requests are turned away, because the server is stopping.
    :ivar in_flight: the number of requests that are being answered.
    :ivar tallies: model and whether requests were answered with 200 -> their number and seconds.
    :ivar last: model -> the time of its last answer, in seconds since the epoch.
    """

    def __init__(self) -> None:
        self.draining, self.in_flight = False, 0
        self.tallies: Dict[Tuple[str, bool], Tuple[int, float]] = {}
        self.last: Dict[str, float] = {}

    def note(self, model: str, good: bool, seconds: float) -> None:
        """Count a request for inference."""
        count, total = self.tallies.get((model, good), (0, 0.0))
        self.tallies[model, good] = (count + 1, total + seconds)
        if good:
            self.last[model] = time.time()


class Notifier:
    """Tells systemd, by the protocol of sd_notify(3), that the server is ready, alive or stopping.

    Without ``NOTIFY_SOCKET`` in the environment it does nothing.
    """

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        own = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        #: Seconds between signs of life, half of what systemd allows; None without a watchdog.
        self.interval: Optional[float] = int(microseconds) / 2e6 if microseconds.isdigit() and own else None

    def send(self, state: str) -> None:
        """Send ``state``, such as ``READY=1``."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(address)
            channel.sendall(state.encode())

    async def watchdog(self) -> None:
        """Send signs of life from the event loop, for as long as that runs."""
        while self.interval:
            self.send("WATCHDOG=1")
            await asyncio.sleep(self.interval)


@contextlib.contextmanager
def stopped_by_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> Iterator[None]:
    """Set ``stop`` at SIGTERM and Ctrl-C; a second Ctrl-C is an impatient user's, and ends the process at once."""

    def handle(number: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        stop.set()

    before = {number: signal.getsignal(number) for number in STOPPING}
    for number in STOPPING:
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
