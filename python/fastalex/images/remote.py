"""Images at ``http://`` and ``https://`` addresses, read within limits of size, time and redirects.

The time limit is for everything together: the name of the host, the connections, and a body that drips byte by byte.
The parts have no common timeout in Python, so they run in a thread whose connection is cut when the time is over.
"""

from __future__ import annotations

import http.client
import socket
import string
import threading
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Callable, List, NoReturn, Tuple, TypeVar

from .._util import connections
from .._version import __version__
from ..errors import UserError, printable
from . import formats

MAX_BYTES = 32 << 20
MAX_SECONDS = 10.0  # for everything together
MAX_REDIRECTS = 3
_CHUNK = 1 << 16  # bytes
_SHOWN = 200  # characters of an address or of a reason
_SCHEMES = ("http", "https")
_STREAMS = ("multipart/", "video/", "audio/")  # types of bodies that may never end
_PAGES = ("text/html", "application/xhtml+xml")

Result = TypeVar("Result")


class AnswerError(UserError):
    """The server answered, and there is no image at the address."""


class _Problem(Exception):  # noqa: N818 (half a sentence, not an error of its own)
    """Why an address cannot be read; ``answered``: because of what the server said."""

    def __init__(self, reason: str, answered: bool = True) -> None:
        super().__init__(reason)
        self.answered = answered


def fetch(url: str) -> bytes:
    """Return the file at an address, of at most :data:`MAX_BYTES` bytes.

    :raises UserError: if it cannot be had within :data:`MAX_SECONDS` and :data:`MAX_REDIRECTS`, is too large, or is a
        web page or a stream.
    """
    return _within(url, _body)


def media_type(url: str) -> str:
    """Return the media type that the server states for an address, such as ``image/jpeg``, without reading the file.

    :returns: in lower case, without parameters; empty if the server states none.
    :raises UserError: as :func:`fetch` does; an :class:`AnswerError` if the server answers with an error.
    """
    return _within(url, _type_of)


def is_page(media: str) -> bool:
    """Whether a media type is that of a web page."""
    return media in _PAGES


def name_of(url: str) -> str:
    """Return an address for messages: cut short, without control characters, in quotes."""
    return f"'{printable(url[:_SHOWN])}'"


# Time ---------------------------------------------------------------------------------------------------------------


def _within(url: str, work: Callable[[Any], Result]) -> Result:
    """Open ``url`` and return ``work(response)``, both within :data:`MAX_SECONDS`."""
    cut = connections.Cut()
    results: List[Result] = []
    problems: List[_Problem] = []

    def run() -> None:
        try:
            with _open(url, connections.opener(cut)) as response:
                results.append(work(response))
        except _Problem as problem:
            problems.append(problem)
        except Exception as error:  # noqa: BLE001 (sockets, TLS, http.client and urllib raise a dozen kinds)
            problems.append(_Problem(_reason(error), answered=False))

    thread = threading.Thread(target=run, name="fastalex-remote-image", daemon=True)
    thread.start()
    try:
        thread.join(MAX_SECONDS)
        late = thread.is_alive()  # seen before the cut, after which what has arrived looks like the end of the file
    finally:
        cut.now()
    if late:
        _refuse(url, _Problem(f"it took more than {MAX_SECONDS:g} s", answered=False))
    if problems:
        _refuse(url, problems[0])
    return results[0]


def _refuse(url: str, problem: _Problem) -> NoReturn:
    kind = AnswerError if problem.answered else UserError
    raise kind(f"cannot read {name_of(url)}: {problem}")


def _reason(error: BaseException) -> str:
    """Say in half a sentence why a connection failed."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, socket.gaierror):
        return "its host cannot be found; check the address and the network"
    if isinstance(cause, socket.timeout):
        return f"there was no answer within {MAX_SECONDS:g} s"
    if isinstance(cause, http.client.IncompleteRead):
        return "the connection broke off before the end of the file"
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return printable(" ".join(str(text).split())[:_SHOWN])


# HTTP ---------------------------------------------------------------------------------------------------------------


def _open(url: str, opener: urllib.request.OpenerDirector) -> Any:
    """Request ``url``, follow its redirects, and return the response of status 200."""
    address = urllib.parse.quote(url, safe=string.punctuation)  # a space, or letters beyond ASCII
    headers = {"User-Agent": f"fastalex/{__version__}", "Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"}
    for _ in range(MAX_REDIRECTS + 1):
        _check(address)
        response = opener.open(urllib.request.Request(address, headers=headers), timeout=MAX_SECONDS)
        if response.status == 200:
            return response
        with response:
            target = response.headers.get("Location")
            if response.status not in connections.REDIRECTS or not target:
                raise _Problem(
                    f"the server answers {response.status} {printable(str(response.reason)[:_SHOWN])}".rstrip()
                )
        address = _redirected(address, target)
    raise _Problem(f"it redirects more than {MAX_REDIRECTS} times")


def _check(address: str) -> Tuple[str, str]:
    """Return scheme and host of an address that may be opened."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme.lower() not in _SCHEMES or not parts.hostname:
        raise _Problem("it is no address of a file on a web server", answered=False)
    if "@" in parts.netloc:
        raise _Problem("addresses with a user name or a password are not taken; download the image", answered=False)
    return parts.scheme.lower(), parts.hostname


def _redirected(address: str, target: str) -> str:
    """Return the address that a redirect leads to, if it may be followed."""
    new = connections.redirected(address, target)
    scheme = urllib.parse.urlsplit(new).scheme.lower()
    if scheme not in _SCHEMES:
        raise _Problem(f"it redirects to {name_of(new)}, which is neither http nor https")
    if (urllib.parse.urlsplit(address).scheme.lower(), scheme) == ("https", "http"):
        raise _Problem(f"it redirects from https to {name_of(new)}, where others could read and change the image")
    return new


def _type_of(response: Any) -> str:
    return str(response.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def _body(response: Any) -> bytes:
    """Read the file of a response, unless it is too large, cut short, or another thing than an image."""
    media, length = _type_of(response), response.length
    if media.startswith(_STREAMS):
        raise _Problem(f"it is a stream ({printable(media[:_SHOWN])}), not an image")
    content = bytearray()
    if length is None or length <= MAX_BYTES:
        for chunk in iter(lambda: response.read(_CHUNK), b""):
            content += chunk
            if len(content) > MAX_BYTES:
                break
    if len(content) > MAX_BYTES or (length or 0) > MAX_BYTES:
        raise _Problem(
            f"it has more than the {MAX_BYTES >> 20} MB that an image may have; download it and make it smaller"
        )
    if length is not None and len(content) < length:
        raise _Problem(f"the connection broke off after {len(content)} of {length} bytes", answered=False)
    start = bytes(content[:512])
    if formats.recognize(start[: formats.HEAD]) is None and (is_page(media) or _looks_like_page(start)):
        raise _Problem("it is a web page, not an image; give the address of the image itself")
    return bytes(content)


def _looks_like_page(start: bytes) -> bool:
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html"))
