"""JSON from files, with limits on what parsing it takes."""

from __future__ import annotations

import json
from typing import Any

MAX_DIGITS = 19  # of a whole number; enough for 2**63 - 1


def loads(text: str, characters: int, parts: int) -> Any:
    """Return the value of a JSON text of at most ``characters``, with at most ``parts`` lists, objects and commas.

    A list takes thirty times the memory of its text.

    :raises ValueError: if it is longer, has more parts, larger numbers, NaN or infinity, or is not valid; the message
        says so, as the second half of a sentence about the text.
    """
    if len(text) > characters:
        raise ValueError(f"has {len(text)} characters, more than {characters}")
    if sum(text.count(mark) for mark in "[{,") > parts:
        raise ValueError(f"has more than {parts} parts")
    try:
        return json.loads(text, parse_int=_int, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ValueError("is not valid") from None


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS + 1:  # and a sign
        raise ValueError
    return int(digits)


def _refuse(word: str) -> Any:
    raise ValueError
