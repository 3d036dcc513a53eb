"""Checks of arguments."""

from __future__ import annotations

from typing import Any, Sequence

from ..errors import UserError


def one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Check that ``value`` is one of ``allowed``; ``name`` is the argument's.

    :raises UserError: if it is not.
    """
    if value not in allowed:
        raise UserError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def is_int(value: Any) -> bool:
    """Whether ``value`` is an int other than True and False."""
    return isinstance(value, int) and not isinstance(value, bool)


def positive_int(name: str, value: Any) -> int:
    """Return ``value`` if it is a whole number above 0.

    :raises UserError: if it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{name} must be a whole number above 0, not {value!r}")
    return value


def at_least(name: str, value: Any, least: int) -> int:
    """Return ``value`` if it is a whole number of at least ``least``.

    :raises UserError: if it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name} must be a whole number from {least} on, not {value!r}")
    return value
