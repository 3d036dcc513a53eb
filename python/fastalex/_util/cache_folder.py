"""The user's cache folder."""

from __future__ import annotations

import os


def folder() -> str:
    """Return the path ``$XDG_CACHE_HOME/fastalex``, or ``~/.cache/fastalex``; the folder need not exist."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification: relative paths are invalid
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "fastalex")
