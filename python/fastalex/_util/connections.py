"""Connections to web servers that another thread can cut, whatever they wait for."""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import string
import threading
import urllib.parse
import urllib.request
from typing import Any, Callable, List

Watch = Callable[[socket.socket], None]
REDIRECTS = (301, 302, 303, 307, 308)  # statuses


class Cut:
    """The sockets of one call, which another thread can shut down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: List[socket.socket] = []
        self._over = False

    def watch(self, connected: socket.socket) -> None:
        """Add a socket; shut it down at once if the time is over already."""
        with self._lock:
            self._sockets.append(connected)
        if self._over:
            self.now()

    def now(self) -> None:
        """Shut all sockets down, which ends a read that waits in the other thread."""
        self._over = True
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(each, socket.SHUT_RDWR)  # not that of TLS, which would talk to the peer


class _Plain(http.client.HTTPConnection):
    """A connection that tells its socket."""

    def __init__(self, watch: Watch, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._watch = watch
        self._create_connection = self._connected  # the hook of http.client, before TLS

    def _connected(self, *address: Any) -> socket.socket:
        connected = socket.create_connection(*address)
        self._watch(connected)
        return connected

    def connect(self) -> None:
        super().connect()
        self._watch(self.sock)  # with TLS it is another object


class _Secure(_Plain, http.client.HTTPSConnection):
    """A connection with TLS, whose certificate is verified, that tells its socket."""


class _Handler(urllib.request.AbstractHTTPHandler):
    """Opens http and https addresses over connections that tell their sockets."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(functools.partial(_Plain, self._watch), req)

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(functools.partial(_Secure, self._watch), req)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


def opener(cut: Cut) -> urllib.request.OpenerDirector:
    """Make an opener of http and https alone, through the proxies of the environment.

    It follows no redirect, and returns the responses of every status.
    """
    made = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), urllib.request.UnknownHandler(), _Handler(cut.watch)):
        made.add_handler(handler)
    return made


def redirected(address: str, target: str) -> str:
    """Return the address that the header ``Location: target`` of ``address`` leads to; headers are in Latin-1."""
    return urllib.parse.urljoin(address, urllib.parse.quote(target, safe=string.punctuation, encoding="iso-8859-1"))
