"""One file from one address of a web server, in one answer, whatever the server does."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Callable, Iterator, NamedTuple, Optional, Tuple

from .._util import connections
from .._version import __version__
from ..errors import printable

TIMEOUT_S = 30.0  # seconds without a byte
STALL_S = 60.0  # seconds in which at least LEAST_BYTES must arrive
LEAST_BYTES = 256 << 10
MAX_SECONDS = 12 * 3600.0  # for one address
MAX_BYTES = 2 << 30  # limit for a file whose size is not registered
MAX_REDIRECTS = 10
_CHUNK = 1 << 20  # bytes
_SHOWN = 200  # characters of what a server says
_WHOLE, _PART, _NOT_SATISFIABLE = 200, 206, 416  # statuses
_LENGTH = re.compile(r"[0-9]{1,15}")
_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15}|\*)")
_TAG = re.compile(r'"[\x21\x23-\x7e]{0,200}"')  # RFC 9110, 8.8.3; a weak one cannot be used (13.1.5)


class UnreachableError(Exception):
    """An address does not provide the file; the message is the reason."""


class BrokenOffError(Exception):
    """The connection ended before the file did; the message is the reason."""


class Answer(NamedTuple):
    """The answer of a server: it sends the file from byte ``start`` on.

    ``total`` is the number of bytes of the whole file, None if it does not say; ``tag`` the entity tag or empty.
    """

    start: int
    total: Optional[int]
    tag: str
    response: Any
    watch: Watch


class Watch:
    """Cuts a connection that is too slow: below :data:`LEAST_BYTES` in :data:`STALL_S`, or at the ``deadline``."""

    def __init__(self, deadline: float) -> None:
        self.cut = connections.Cut()
        self.count = 0  # bytes that have arrived
        self.reason = ""  # why it was cut, for a message
        self._deadline = deadline
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fastalex-download", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        count, since = 0, time.monotonic()
        while not self._over.wait(min(1.0, STALL_S / 10)):
            now = time.monotonic()
            if now >= self._deadline:
                self.reason = f"it took more than {MAX_SECONDS / 3600:g} hours"
            elif now - since >= STALL_S:
                if self.count - count < LEAST_BYTES:
                    self.reason = f"it sent only {self.count - count} bytes within {STALL_S:g} s"
                count, since = self.count, now
            if self.reason:
                self.cut.now()
                return


@contextlib.contextmanager
def answer(url: str, have: int, tag: str, size: Optional[int], deadline: float) -> Iterator[Answer]:
    """Ask for the file at ``url`` from byte ``have`` on, if it still has the entity tag ``tag``, or else whole.

    :param size: the registered number of bytes, if it is known.
    :param deadline: of :func:`time.monotonic`.
    :raises UnreachableError: if the server cannot be reached, or sends anything but a file of this size.
    """
    with Watch(deadline) as watch:
        try:
            response, start = _open(url, have, tag, watch)
        except UnreachableError:
            raise
        except Exception as error:  # noqa: BLE001 (sockets, TLS, http.client and urllib raise a dozen kinds)
            raise UnreachableError(watch.reason or _reason(error)) from None
        with contextlib.closing(response):
            total = _total(response, start, size)
            yield Answer(start, total, _tag_of(response), response, watch)


def copy(answer: Answer, write: Callable[[bytes], None]) -> int:
    """Pass what the server sends to ``write``; return the number of bytes of the file that there are then.

    :raises BrokenOffError: if the connection breaks off, or is too slow.
    :raises UnreachableError: if the server sends more than the file has.
    """
    done, limit, watch = answer.start, MAX_BYTES if answer.total is None else answer.total, answer.watch
    while True:
        try:
            chunk = answer.response.read1(_CHUNK)
        except Exception as error:  # noqa: BLE001 (as above)
            raise BrokenOffError(f"{watch.reason or _reason(error)} after {done} bytes") from None
        if watch.reason:
            raise BrokenOffError(f"{watch.reason} after {done} bytes")
        if not chunk:
            break
        done += len(chunk)
        watch.count += len(chunk)
        if done > limit:
            raise UnreachableError(f"it sends more than the {limit} bytes of the file")
        write(chunk)
    if answer.total is not None and done < answer.total:
        raise BrokenOffError(f"the connection broke off after {done} of {answer.total} bytes")
    return done


def _open(url: str, have: int, tag: str, watch: Watch) -> Tuple[Any, int]:
    """Return the response, and the byte from which it sends the file."""
    response = _request(url, have, tag, watch)
    if have and response.status == _PART:
        match = _RANGE.fullmatch(_header(response, "Content-Range"))
        if match and int(match.group(1)) == have:
            return response, have
    if have and response.status in (_PART, _NOT_SATISFIABLE):  # another part, or there is nothing after byte `have`
        response.close()
        response = _request(url, 0, "", watch)
    if response.status == _WHOLE:
        return response, 0
    response.close()
    if response.status == _PART:
        raise UnreachableError("it sends another part of the file than it is asked for")
    raise UnreachableError(f"{response.status} {_clean(str(response.reason))}".rstrip())


def _request(url: str, have: int, tag: str, watch: Watch) -> Any:
    """Request ``url`` from byte ``have`` on, follow its redirects, and return the response."""
    headers = {"User-Agent": "fastalex/" + __version__, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _TAG.fullmatch(tag):
            headers["If-Range"] = tag
    opener, address = connections.opener(watch.cut), url
    for _ in range(MAX_REDIRECTS + 1):
        response = opener.open(urllib.request.Request(address, headers=headers), timeout=TIMEOUT_S)
        target = response.headers.get("Location")
        if response.status not in connections.REDIRECTS or not target:
            return response
        response.close()
        address = connections.redirected(address, target)
        if urllib.parse.urlsplit(address).scheme.lower() not in ("http", "https"):
            raise UnreachableError(f"it redirects to {_clean(address)}, which is neither http nor https")
    raise UnreachableError(f"it redirects more than {MAX_REDIRECTS} times")


def _total(response: Any, start: int, size: Optional[int]) -> Optional[int]:
    """Return the number of bytes of the whole file, or None if it is neither registered nor stated.

    :raises UnreachableError: if the server states no valid length, or that of another file.
    """
    total = None
    text = _header(response, "Content-Length")
    if text:
        if not _LENGTH.fullmatch(text):
            raise UnreachableError(f"the length that it states, '{_clean(text)}', is not a number of bytes")
        total = start + int(text)
    match = _RANGE.fullmatch(_header(response, "Content-Range")) if start else None
    if match:
        _, last, whole = match.groups()
        ends = {int(last) + 1, *({total} if total is not None else ()), *(() if whole == "*" else {int(whole)})}
        if len(ends) > 1:
            raise UnreachableError(f"its range '{_clean(match.group())}' is not the rest of the file")
        total = int(last) + 1
    if size is not None and total is not None and total != size:
        raise UnreachableError(f"it has a file of {total} bytes, the registered one has {size}")
    if total is not None and total > MAX_BYTES:
        raise UnreachableError(f"it has a file of {total} bytes, which is more than weights take")
    return total if size is None else size


def _header(response: Any, name: str) -> str:
    """Return a header; if it is there more than once, its values, which may be equal, joined by commas."""
    return ", ".join(dict.fromkeys(str(value).strip() for value in response.headers.get_all(name, ())))


def _tag_of(response: Any) -> str:
    tag = _header(response, "ETag")
    return tag if _TAG.fullmatch(tag) else ""


def _reason(error: BaseException) -> str:
    """Say in half a sentence why a connection failed."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, (TimeoutError, socket.timeout)) or "timed out" in str(cause):
        return f"no answer within {TIMEOUT_S:g} s"
    return _clean(str(getattr(cause, "strerror", None) or cause or type(cause).__name__))


def _clean(text: str) -> str:
    """Return what a server says, or what was said about it, as a short piece of one line."""
    return printable(" ".join(text.split())[:_SHOWN])
