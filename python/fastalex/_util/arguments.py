"""Checks of arguments."""

from __future__ import annotations

import math
import reprlib
from typing import Any, Sequence

from ..errors import UserError

_SHOWN = 80  # characters of a value in a message
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxlong = _repr.maxother = _SHOWN


def brief(value: Any) -> str:
    """Return the start of the representation of ``value``, which may be of any size and depth."""
    try:
        return _repr.repr(value)
    except ValueError:  # a number of thousands of digits
        return f"a {type(value).__name__}"


def short_text(name: str, value: Any, longest: int) -> str:
    """Return ``value`` if it is text of at most ``longest`` characters that all print.

    :raises UserError: if it is not.
    """
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise UserError(f"{name} must be text of at most {longest} printable characters, not {brief(value)}")
    return value


def finite(name: str, value: Any) -> float:
    """Return ``value`` if it is a finite number, and a float can hold it.

    :raises UserError: if it is not.
    """
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return value
    except OverflowError:
        pass
    raise UserError(f"{name} must be a finite number, not {brief(value)}")


def boolean(name: str, value: Any) -> bool:
    """Return ``value`` if it is True or False.

    :raises UserError: if it is not.
    """
    if not isinstance(value, bool):
        raise UserError(f"{name} must be True or False, not {brief(value)}")
    return value


def one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Check that ``value`` is one of ``allowed``; ``name`` is the argument's.

    :raises UserError: if it is not.
    """
    if not isinstance(value, str) or value not in allowed:
        raise UserError(f"{name} must be one of {', '.join(allowed)}, not {brief(value)}")


def is_int(value: Any) -> bool:
    """Whether ``value`` is an int other than True and False."""
    return isinstance(value, int) and not isinstance(value, bool)


def positive_int(name: str, value: Any) -> int:
    """Return ``value`` if it is a whole number above 0.

    :raises UserError: if it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{name} must be a whole number above 0, not {brief(value)}")
    return value


def at_least(name: str, value: Any, least: int) -> int:
    """Return ``value`` if it is a whole number of at least ``least``.

    :raises UserError: if it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name} must be a whole number from {least} on, not {brief(value)}")
    return value
