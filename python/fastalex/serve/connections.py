"""Connections within limits that uvicorn lacks.

These are their number, the time and length of a head, the end of a refused body, and the time to read an answer.

:func:`protocol_class` adds them to uvicorn's class of a connection, the one on httptools if that is installed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from http import HTTPStatus
from typing import Any, Callable, Dict, List, Optional, Tuple, Type

from .settings import Settings

KEEP_ALIVE_S = 30  # of a connection without a request; browsers and clients open another
MAX_HEAD_BYTES = 64 << 10  # of a request's first line and headers
MAX_PIPELINED = 8  # requests that a client sends before it has the answer to the first
LINGER_S = 2.0  # in which a client that is still sending may read why it was refused
LINGER_BYTES = 64 << 20


class Limits:
    """The connections of one server, counted in all and for each address.

    :param refused: called with the client's address, a status and a sentence when a connection is refused.
    """

    def __init__(self, settings: Settings, refused: Callable[[str, int, str], None]) -> None:
        self.settings, self.refused = settings, refused
        self._clients: Dict[str, int] = {}
        self._all = 0

    def enter(self, address: str) -> Optional[str]:
        """Count a connection; return why it is one too many, or None."""
        self._all += 1
        self._clients[address] = self._clients.get(address, 0) + 1
        if self._all > self.settings.max_connections:
            return "the server has too many connections; try again later"
        if self._clients[address] > self.settings.max_connections_per_client:
            return "this address has too many connections to the server; close some"
        return None

    def leave(self, address: str) -> None:
        """Count the end of a connection."""
        self._all -= 1
        self._clients[address] -= 1
        if not self._clients[address]:
            del self._clients[address]


class Lingering:
    """A transport that joins small writes, and closes gently on a client that is still sending.

    It ends its own side and drops what arrives. Closing at once would reset the connection, and the client would lose
    the answer that says why.
    """

    def __init__(self, transport: Any, sending: Callable[[], bool], loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._sending, self._loop = transport, sending, loop
        self.lingers = False
        self._left = LINGER_BYTES
        self._written: List[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether the connection is ending."""
        return self.lingers or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Write ``data``, together with what else is written in this turn of the event loop.

        uvicorn writes the head of an answer and its body apart; a system call for each takes 80 us more.
        """
        if self.lingers:
            return
        if not self._written:
            self._loop.call_soon(self._flush)
        self._written.append(data)

    def _flush(self) -> None:
        if self._written:
            data, self._written = b"".join(self._written), []
            self._transport.write(data)

    def close(self) -> None:
        """End the connection after what was written."""
        if self.lingers or self._transport.is_closing():
            return
        self._flush()
        if not self._sending():
            self._transport.close()
            return
        self.lingers = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(LINGER_S, self._transport.close)

    def drop(self, data: bytes) -> None:
        """Drop what a client sends after the answer, and close on one that does not end."""
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()


class _Limited:
    """What is added to uvicorn's class, of which it uses ``transport``, ``loop``, ``cycle`` and ``client``.

    With httptools also ``parser``, ``url`` and ``headers``.
    """

    limits: Limits
    transport: Any
    loop: asyncio.AbstractEventLoop
    cycle: Any
    client: Any
    parser: Any
    url: bytes
    headers: List[Tuple[bytes, bytes]]

    def connection_made(self, transport: Any) -> None:
        self._head_timer: Optional[asyncio.TimerHandle] = None
        self._head_bytes = 0
        self._in_head = False  # of a request, as httptools sees it; h11 has a limit of its own
        self._fed = b""  # what is being parsed
        self._plain_head: Optional[bytes] = None  # of a request that offers another protocol
        self._broken = False
        self._running: Any = None
        self._read_timer: Optional[asyncio.TimerHandle] = None
        self._unread = 0
        lingering = Lingering(transport, self._sending, self.loop)
        super().connection_made(lingering)  # type: ignore[misc]
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
        reason = self.limits.enter(self._address)
        if reason is not None:
            self._refuse(503, reason)
            return
        self._expect_head()

    def connection_lost(self, error: Optional[Exception]) -> None:
        self.limits.leave(self._address)
        self._forget_head()
        self._forget_unread()
        cycle = self._running or self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            task = cycle.scope.get("fastalex.task")
            if task is not None:
                task.cancel()  # nobody waits for the result
        super().connection_lost(error)  # type: ignore[misc]

    def data_received(self, data: bytes) -> None:
        if self.transport.lingers or self._broken:
            self.transport.drop(data)
            return
        if self._idle() or self._in_head:
            self._head_bytes += len(data)
        self._feed(data)
        if not (self._idle() or self._in_head):
            self._forget_head()
        elif not self.transport.is_closing():
            self._expect_head()
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, f"the head of a request may have {MAX_HEAD_BYTES} bytes")

    def _feed(self, data: bytes) -> None:
        self._fed = data
        super().data_received(data)  # type: ignore[misc]

    def _unsupported_upgrade_warning(self) -> None:
        """Read a request that offers another protocol, such as h2c of Java's client, as if it did not (httptools only).

        httptools has stopped after the head: it takes what follows, which is the body, for that protocol.
        """
        stopped = sys.exc_info()[1]
        if self._plain_head is not None and stopped is not None:
            head, self._plain_head = self._plain_head, None
            self.parser = type(self.parser)(self)
            self._feed(head + self._fed[stopped.args[0] :])

    def eof_received(self) -> bool:
        """Keep the connection for the answer, if the client has ended its side after a whole request."""
        if self._idle() or self.cycle.more_body or self.transport.lingers:
            return False
        self.cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        """Give the client its time to read some of an answer."""
        super().pause_writing()  # type: ignore[misc]
        self._expect_reading()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        self._forget_unread()
        super().resume_writing()  # type: ignore[misc]

    def _expect_reading(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self._read_timer = self.loop.call_later(self.limits.settings.body_timeout_s, self._unread_still)

    def _forget_unread(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _unread_still(self) -> None:
        """Drop a client that reads nothing, whose answer would stay in memory."""
        if self.transport.get_write_buffer_size() >= self._unread:
            self.transport.abort()
        else:
            self._expect_reading()

    def on_message_begin(self) -> None:
        """Note that a head begins, which may be that of the next request while one is answered (httptools only)."""
        self._in_head = True
        if not self._idle():
            self._head_bytes = 0
        super().on_message_begin()  # type: ignore[misc]

    def on_headers_complete(self) -> None:
        """Turn away a client that sends ever more requests without reading the answers (httptools only)."""
        if len(self.pipeline) >= MAX_PIPELINED:  # type: ignore[attr-defined]
            raise ValueError("too many requests in a row")
        if any(name == b"upgrade" for name, _ in self.headers) and self.parser.should_upgrade():
            self._plain_head = _without_upgrade(self.parser, self.url, self.headers)
            return
        self._in_head = False
        super().on_headers_complete()  # type: ignore[misc]

    def on_message_complete(self) -> None:
        """Go on, unless the request is only now read as one of HTTP (httptools only)."""
        if self._plain_head is None:
            super().on_message_complete()  # type: ignore[misc]

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Note which request is being answered: the newest is another, if the client sends several in a row."""
        self._running = cycle
        super()._start_asgi_task(cycle, app)  # type: ignore[misc]

    def send_400_response(self, _: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, "this is not a valid HTTP request")

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _sending(self) -> bool:
        """Whether the client may be sending: the rest of a body, or what is no request."""
        return self._broken or (self.cycle is not None and self.cycle.more_body)

    def _expect_head(self) -> None:
        """Give the client its time for a head, which begins with the connection or the first byte."""
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.settings.header_timeout_s, self._late)

    def _forget_head(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing() and self._idle():
            self._refuse(408, "the head of the request did not arrive in time; send it faster")

    def _refuse(self, status: int, sentence: str) -> None:
        """Answer without a request, and end the connection."""
        self.limits.refused(self._address, status, sentence)
        body = json.dumps({"error": sentence}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._broken = True
        self._forget_head()
        self.transport.write(head.encode() + body)
        self.transport.close()


def _without_upgrade(parser: Any, url: bytes, headers: List[Tuple[bytes, bytes]]) -> bytes:
    """Return the head of a request without its offer of another protocol."""
    lines = [b"%s %s HTTP/%s" % (parser.get_method(), url, parser.get_http_version().encode())]
    for name, value in headers:
        if name == b"connection":
            value = b"close" if b"close" in value.lower().replace(b" ", b"").split(b",") else b"keep-alive"
        if name != b"upgrade":
            lines.append(name + b": " + value)
    return b"\r\n".join((*lines, b"\r\n"))


def protocol_class(limits: Limits) -> Type[asyncio.Protocol]:
    """Return uvicorn's class of a connection within ``limits``."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Base
    except ImportError:
        from uvicorn.protocols.http.h11_impl import H11Protocol as Base
    return type("Connection", (_Limited, Base), {"limits": limits})
