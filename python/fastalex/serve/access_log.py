"""The log: a line of JSON on standard error for each request and each event, at most 50 ms after it.

JSON escapes every control character, so that nothing a client sends can pass for a line of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from typing import Any, Dict, List

MAX_PATH = 200  # characters
_TOGETHER_S = 0.05  # lines of this time are written together, as each write lets other threads run
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Log:
    """Writes lines to ``stream`` (default: standard error); ``requests`` says whether requests are among them."""

    def __init__(self, stream: Any = None, requests: bool = True) -> None:
        self._stream, self.requests = stream, requests
        self._second, self._stamp = -1, ""
        self._lines: List[str] = []

    def request(self, scope: Any, status: int, seconds: float, sent: int, facts: Dict[str, Any]) -> None:
        """Write the line of a request.

        :param sent: bytes of the answer's body.
        :param facts: what the routes noted about it.
        """
        if not self.requests:
            return
        client = scope.get("client") or ("", 0)
        self.event(
            client=f"{client[0]}:{client[1]}",
            method=scope["method"][:20],
            path=scope["path"][:MAX_PATH],
            status=status,
            ms=round(1e3 * seconds, 3),
            bytes=sent,
            model=facts.get("model"),
            batch=facts.get("batch"),
        )

    def event(self, **fields: Any) -> None:
        """Write a line with these fields and the time."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        line = _encode({"time": f"{self._stamp}.{int((now - second) * 1e3):03d}Z", **fields}) + "\n"
        self._lines.append(line)
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_later(_TOGETHER_S, self.flush)
            except RuntimeError:  # no event loop
                self.flush()

    def flush(self) -> None:
        """Write the lines that wait."""
        lines, self._lines = self._lines, []
        stream = self._stream or sys.stderr
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a server outlives the reader of its log
            stream.write("".join(lines))
            stream.flush()
