"""Requests and answers of HTTP as the routes use them: headers, JSON, errors."""

from __future__ import annotations

import json
import time
from typing import Any, Dict, Optional, Tuple

from starlette.exceptions import HTTPException
from starlette.responses import Response

from .._util.console import jsonable
from ..errors import BackendError, UserError, one_line
from .errors import ServiceError
from .settings import Settings

JSON = "application/json"
BINARY = "application/octet-stream"

_LONGEST_NUMBER = 15  # digits of a number in a header
_AGAIN_S = 1  # Retry-After where memory was short
_FACTS = "fastalex"
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def facts(scope: Any) -> Dict[str, Any]:
    """Return what is noted about a request.

    The log and the metrics want ``model`` and ``batch``; ``read`` says that the body was read, ``held`` how much of
    ``room`` it takes.
    """
    noted: Dict[str, Any] = scope.setdefault(_FACTS, {})
    return noted


def header(scope: Any, name: bytes) -> Optional[str]:
    """Return the first header ``name``, in lower case, of a request; None if it has no such header."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


def whole_header(scope: Any, name: bytes) -> Optional[int]:
    """Return the header ``name`` as a whole number from 0 on; None if it is missing.

    :raises ServiceError: if it is not such a number.
    """
    text = header(scope, name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_NUMBER:
        raise ServiceError(400, f"the header {name.decode()} must be a whole number from 0 on")
    return int(text)


def has_body(scope: Any) -> bool:
    """Whether a request announces a body."""
    return any(
        (key == b"content-length" and value != b"0") or key == b"transfer-encoding" for key, value in scope["headers"]
    )


def client_of(scope: Any) -> str:
    """Return the address of the client."""
    client = scope.get("client")
    return client[0] if client else ""


def deadline_of(scope: Any, settings: Settings, timeout_us: Optional[int] = None) -> float:
    """Return the deadline of a request, which ``X-Request-Timeout-Ms`` or ``timeout_us`` may bring forward.

    :returns: seconds of ``time.monotonic()``.
    """
    seconds = settings.request_timeout_s
    milliseconds = whole_header(scope, b"x-request-timeout-ms")
    if milliseconds is not None:
        seconds = min(seconds, milliseconds / 1e3)
    if timeout_us is not None:
        seconds = min(seconds, timeout_us / 1e6)
    return time.monotonic() + seconds


def json_response(value: Any, status: int = 200, headers: Optional[Dict[str, str]] = None) -> Response:
    """Return ``value`` as JSON; NaN and infinity, which JSON lacks, become null."""
    try:
        text = _encode(value)
    except ValueError:
        text = _encode(jsonable(value))
    return Response(text, status, headers, JSON)


def describe(error: BaseException) -> Tuple[int, str, Optional[int]]:
    """Return status, sentence and seconds of Retry-After for an error."""
    if isinstance(error, ServiceError):
        return error.status, str(error), error.retry_after
    if isinstance(error, HTTPException):
        return (
            error.status_code,
            {404: "there is no such route; GET / names them"}.get(error.status_code, one_line(str(error.detail))),
            None,
        )
    if isinstance(error, UserError):
        return 422, str(error), None
    if isinstance(error, MemoryError):
        return 503, "the server has too little memory for this request; try fewer or smaller images", _AGAIN_S
    if isinstance(error, BackendError):
        return 503, str(error), None
    return 500, "the server failed at this request; its log has the reason", None


def error_response(error: BaseException) -> Response:
    """Return the answer to a request that failed: ``{"error": "one sentence"}``."""
    status, sentence, retry_after = describe(error)
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, HTTPException) and error.headers:
        headers.update(error.headers)
        if status == 405 and "Allow" in error.headers:
            sentence = f"this route takes {error.headers['Allow']} only"
    return json_response({"error": sentence}, status, headers)
