"""The error of a damaged or unsupported file."""

from __future__ import annotations


class FormatError(Exception):
    """A file cannot be read or written. The message says why, as the second half of a sentence about the file."""
