"""The error of a file that is not what it should be."""

from __future__ import annotations


class FormatError(Exception):
    """What is wrong with the file, as the second half of a sentence."""
