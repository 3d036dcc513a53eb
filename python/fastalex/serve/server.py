"""The server: the application on a socket, by uvicorn's connections, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import threading
import time
from email.utils import formatdate
from typing import Any, Callable, Dict, Optional

from ..errors import UserError
from .app import Front
from .connections import KEEP_ALIVE_S, Limits, protocol_class
from .lifecycle import Notifier, stopped_by_signals
from .settings import Settings

BACKLOG = 1024  # connections that the system keeps for a server that is busy
_POLL_S = 0.02
_DATE_S = 1.0
_OTHER_FILES = 256  # besides connections: weights, libraries, devices


def bind(settings: Settings) -> socket.socket:
    """Return the socket of the server, which is bound and does not listen yet.

    :raises UserError: if the address does not exist here or is in use.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, number)
    except (OSError, UnicodeError) as error:
        raise UserError(f"the host '{host}' is not known here ({_reason(error)}); try --host 127.0.0.1") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise UserError(f"the host '{host}' is no address of this machine; try --host 127.0.0.1") from None
        raise _port_error(error, host, port) from None
    return bound


def _port_error(error: OSError, host: str, port: int) -> UserError:
    return UserError(f"port {port} of {host} cannot be used ({_reason(error)}); try another --port")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def run(front: Front, settings: Settings, bound: socket.socket, ready: Callable[[], None]) -> bool:
    """Serve until SIGTERM or Ctrl-C, then answer what was accepted.

    :param ready: called when connections are taken.
    :returns: whether every request was answered within ``drain_s``.
    :raises UserError: if another server listens on the port by now.
    """
    _allow_files(settings.max_connections + _OTHER_FILES)
    return asyncio.run(Server(front, settings, bound).serve(ready))


def _allow_files(count: int) -> None:
    """Let this process have ``count`` open files, as far as the system allows it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Server:
    """A server on a bound socket."""

    def __init__(self, front: Front, settings: Settings, bound: socket.socket) -> None:
        self._front, self._settings, self._bound = front, settings, bound
        self._stop: Optional[asyncio.Event] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None

    def stop(self) -> None:
        """Stop the server, from any thread."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    async def serve(self, ready: Callable[[], None] = lambda: None) -> bool:
        """Serve until :meth:`stop`, or a signal in the main thread; see :func:`run`."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        in_main = threading.current_thread() is threading.main_thread()
        with stopped_by_signals(self._loop, self._stop) if in_main else contextlib.nullcontext():
            return await self._serve(ready)

    async def _serve(self, ready: Callable[[], None]) -> bool:
        assert self._loop is not None and self._stop is not None
        self._loop.set_exception_handler(self._fault)
        notifier = Notifier()
        state = self._state()
        port = self._bound.getsockname()[1]
        try:
            listener = await self._loop.create_server(self._connections(state), sock=self._bound, backlog=BACKLOG)
        except OSError as error:  # another that was bound to the port at the same time listens already
            raise _port_error(error, self._settings.host, port) from None
        chores = [asyncio.ensure_future(chore) for chore in (_dates(state), notifier.watchdog())]
        try:
            notifier.send("READY=1")
            ready()
            await self._stop.wait()
            notifier.send("STOPPING=1")
            return await self._drain(listener, state)
        finally:
            for chore in chores:
                chore.cancel()
            listener.close()
            self._front.log.flush()

    def _fault(self, _: Any, context: Dict[str, Any]) -> None:
        """Log what went wrong outside requests, such as a connection that could not be taken."""
        error = context.get("exception")
        self._front.log.event(event="fault", error=f"{context.get('message', '')}: {error!r}"[:500])

    def _state(self) -> Any:
        from uvicorn.server import ServerState

        return ServerState()

    def _connections(self, state: Any) -> Callable[[], asyncio.Protocol]:
        from uvicorn import Config

        for name in ("uvicorn.error", "python_multipart.multipart"):
            logging.getLogger(name).disabled = True  # the server has its own log
        log = self._front.log
        limits = Limits(
            self._settings,
            lambda client, status, sentence: log.event(client=client, event="refused", status=status, error=sentence),
        )
        kind: Any = protocol_class(limits)
        config = Config(
            self._front,
            http=kind,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        config.load()
        return lambda: kind(config=config, server_state=state, app_state={})

    async def _drain(self, listener: Any, state: Any) -> bool:
        """Answer what was accepted and turn away what comes now, until nothing is left or the time is over."""
        self._front.state.draining = True
        end = time.monotonic() + self._settings.drain_s
        while self._front.state.in_flight and time.monotonic() < end:
            await asyncio.sleep(_POLL_S)
        whole = not self._front.state.in_flight
        listener.close()
        for connection in list(state.connections):
            connection.shutdown()
        while state.connections and time.monotonic() < end:  # the last answers are on their way
            await asyncio.sleep(_POLL_S)
        for connection in list(state.connections):
            connection.transport.abort()
        self._front.log.event(event="stopped", unanswered=self._front.state.in_flight)
        return whole


async def _dates(state: Any) -> None:
    """Keep the date that answers have."""
    while True:
        state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        await asyncio.sleep(_DATE_S)
