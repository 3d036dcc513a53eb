"""The user's cache folder."""

from __future__ import annotations

import os


def folder() -> str:
    """``$XDG_CACHE_HOME/fastalex``, or ``~/.cache/fastalex``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the specification of the variable: relative paths are ignored
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "fastalex")
