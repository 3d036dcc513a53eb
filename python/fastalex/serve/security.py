"""Who may ask what: the token, the Host and the Origin of a request.

A browser sends requests for any page that its user looks at. A page of elsewhere that makes its own name point to this
machine (DNS rebinding) shows in the Host; one that simply sends here shows in the Origin.
"""

from __future__ import annotations

import hmac
from typing import Any, Optional, Sequence, Tuple

from starlette.responses import Response

from .errors import ServiceError
from .messages import header
from .settings import Settings

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
ANY = "*"  # as --allowed-host: any name will do, because something in front checks it
PUBLIC = ("/v2/health/live", "/v2/health/ready")  # probes of Kubernetes and the like have no token
ALLOWED_HEADERS = "authorization, content-type, inference-header-content-length, x-request-timeout-ms"
EXPOSED_HEADERS = "inference-header-content-length, retry-after, x-shape"
PREFLIGHT_S = "600"


class Guard:
    """The checks of one server.

    :param public: paths that need no token; one that ends in ``/``, save ``/`` itself, stands for all below it.
    """

    def __init__(self, settings: Settings, public: Sequence[str] = ()) -> None:
        self._token = settings.token.encode() if settings.token else None
        self._control = settings.allow_control
        self._hosts = {_plain(name) for name in (*LOCAL_NAMES, settings.host, *settings.allowed_hosts)}
        self._origins = {origin.rstrip("/").lower() for origin in settings.allowed_origins}
        self._public = frozenset((*PUBLIC, *public))
        self._public_folders = tuple(path for path in self._public if path.endswith("/") and path != "/")

    def check(self, scope: Any) -> None:
        """Check a request.

        :raises ServiceError: 400 for no Host, 403 for another Host or Origin, 401 for a missing or wrong token.
        """
        host = self._host(scope)
        origin = header(scope, b"origin")
        if origin is not None and not self._same(origin, host) and not self.allows(origin):
            raise ServiceError(403, "pages of this origin may not use the server; it is started with --allowed-origin")
        if self._token is not None and not self._is_public(scope["path"]):
            self._check_token(header(scope, b"authorization"))

    def _host(self, scope: Any) -> str:
        values = [value for key, value in scope["headers"] if key == b"host"]
        if not values and scope["http_version"] == "1.0":
            return ""  # no browser of today
        if len(values) != 1:
            raise ServiceError(400, "a request has exactly one Host")
        host: str = values[0].decode("latin-1").lower()
        name = _plain(host)
        local = scope.get("server")
        if name not in self._hosts and ANY not in self._hosts and not (local and name == _plain(local[0])):
            raise ServiceError(403, "the server is not known by this Host; it is started with --allowed-host for it")
        return host

    def _is_public(self, path: str) -> bool:
        return path in self._public or path.startswith(self._public_folders)

    def _check_token(self, authorization: Optional[str]) -> None:
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or self._token is None:
            raise ServiceError(401, "this server wants its token: -H 'Authorization: Bearer TOKEN'")
        if not hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token):
            raise ServiceError(401, "the token is not the one of this server")

    @staticmethod
    def _same(origin: str, host: str) -> bool:
        return origin.lower().partition("://")[2] == host != ""

    def allows(self, origin: Optional[str]) -> bool:
        """Whether pages of ``origin``, another than the server's own, may use it."""
        return origin is not None and origin.lower() in self._origins

    def check_control(self) -> None:
        """Check that the server may be changed; the token and the Origin are checked for each request anyway.

        :raises ServiceError: 403 if not.
        """
        if not self._control or self._token is None:
            raise ServiceError(
                403, "models are fixed; the server is started with --allow-control and a token to change them"
            )

    def preflight(self, scope: Any) -> Optional[Response]:
        """Answer the question of a browser whether a page of another origin may send a request; None if it is none."""
        origin = header(scope, b"origin")
        if scope["method"] != "OPTIONS" or header(scope, b"access-control-request-method") is None:
            return None
        self._host(scope)
        if origin is None or not self.allows(origin):
            raise ServiceError(403, "pages of this origin may not use the server; it is started with --allowed-origin")
        headers = {
            "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers": ALLOWED_HEADERS,
            "access-control-max-age": PREFLIGHT_S,
        }
        return Response(status_code=204, headers=headers)

    def cors(self, scope: Any) -> Sequence[Tuple[bytes, bytes]]:
        """Return the headers that let a page of an allowed origin read the answer."""
        origin = header(scope, b"origin") if self._origins else None
        if origin is None or not self.allows(origin):
            return ()
        return (
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", EXPOSED_HEADERS.encode()),
            (b"vary", b"origin"),
        )


def _plain(host: str) -> str:
    """Return a host in lower case without its port and the brackets of IPv6."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
