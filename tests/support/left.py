"""What a process that was killed leaves beside the file that it was writing."""

from __future__ import annotations

import os
import time
from pathlib import Path

from fastalex._util import files


def beside(path):
    """Make such a temporary file for ``path``, old enough to be removed, and return its path."""
    left = Path(path).with_name(f".0123456789abcdef.{Path(path).name}.tmp")
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"half")
    old = time.time() - files.LEFT_S - 10
    os.utime(left, (old, old))
    return left
