"""The files of the page itself, and the headers that keep others out of it."""

from __future__ import annotations

import os
from typing import Dict, Tuple

FOLDER = os.path.join(os.path.dirname(__file__), "page")
PAGE = "index.html"
MEDIA_TYPES: Dict[str, str] = {
    PAGE: "text/html; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}

#: Nothing but the server's own files and pictures that the script has made; no script or style within the HTML.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Dict[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def read(name: str) -> Tuple[bytes, str]:
    """Return a file of the page and its media type; ``name`` is a key of :data:`MEDIA_TYPES`."""
    with open(os.path.join(FOLDER, name), "rb") as stream:
        return stream.read(), MEDIA_TYPES[name]
