"""Bodies of requests, within limits: the bytes of one, the bytes of all together, and the time to arrive."""

from __future__ import annotations

import asyncio
from typing import Any, Dict

from .errors import ServiceError
from .messages import client_of, facts, header, whole_header
from .settings import Settings

_AGAIN_S = 1  # Retry-After while other bodies take the room


class Room:
    """The memory for the bodies of all requests.

    A client address may take half of it with several requests, and all with one.

    :ivar used: bytes that are taken.
    """

    def __init__(self, total: int) -> None:
        self._total, self.used = total, 0
        self._clients: Dict[str, int] = {}

    def take(self, scope: Any, count: int) -> None:
        """Take ``count`` bytes for a request.

        :raises ServiceError: 503 if there are not so many.
        """
        client, noted = client_of(scope), facts(scope)
        used, own = self._clients.get(client, 0), noted.get("held", 0)
        if self.used + count > self._total or (used > own and 2 * (used + count) > self._total):
            raise ServiceError(503, "other requests take the memory for bodies; send again in a while", _AGAIN_S)
        self.used += count
        self._clients[client] = used + count
        noted["held"] = own + count

    def give_back(self, scope: Any) -> None:
        """Give back all that a request took."""
        count = facts(scope).pop("held", 0)
        if not count:
            return
        client = client_of(scope)
        self.used -= count
        self._clients[client] -= count
        if not self._clients[client]:
            del self._clients[client]


async def read_body(scope: Any, receive: Any, settings: Settings) -> bytes:
    """Return the body of a request, of which no more than ``max_body_bytes`` are ever kept.

    :raises ServiceError: if it is longer, is compressed, or does not arrive within ``body_timeout_s``.
    """
    announced = whole_header(scope, b"content-length")
    if announced is not None and announced > settings.max_body_bytes:
        raise _too_large(settings)
    if header(scope, b"content-encoding") not in (None, "identity"):
        raise ServiceError(415, "compressed bodies are not served; send the body without Content-Encoding")
    late = _Late(settings.body_timeout_s)
    try:
        body = await _whole(scope, receive, settings)
    except asyncio.CancelledError:
        if late.happened:
            raise ServiceError(408, "the body of the request did not arrive in time; send it faster") from None
        raise
    finally:
        late.timer.cancel()
    facts(scope)["read"] = True
    return body


class _Late:
    """A timer that cancels the task which made it."""

    def __init__(self, seconds: float) -> None:
        self.happened = False
        self._task = asyncio.current_task()
        self.timer = asyncio.get_running_loop().call_later(seconds, self._cancel)

    def _cancel(self) -> None:
        self.happened = True
        if self._task is not None:
            self._task.cancel()


async def _whole(scope: Any, receive: Any, settings: Settings) -> bytes:
    room: Room = facts(scope)["room"]
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ServiceError(400, "the client ended the connection before the request was whole")
        part: bytes = message.get("body", b"")
        if len(body) + len(part) > settings.max_body_bytes:
            raise _too_large(settings)
        room.take(scope, len(part))
        if not body and not message.get("more_body"):  # the usual case is not copied
            return part
        body += part
        if not message.get("more_body"):
            return bytes(body)


def _too_large(settings: Settings) -> ServiceError:
    return ServiceError(413, f"the body is longer than {settings.max_body_bytes} bytes, the limit of this server")
