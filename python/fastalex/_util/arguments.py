"""Checks of arguments that several rooms share."""

from __future__ import annotations

from typing import Any, Sequence

from ..errors import UserError


def one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    """:raises UserError: for a value that is not allowed."""
    if value not in allowed:
        raise UserError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def is_int(value: Any) -> bool:
    """Whether ``value`` is a whole number; True and False, which Python counts among them, are none here."""
    return isinstance(value, int) and not isinstance(value, bool)


def positive_int(name: str, value: Any) -> int:
    """``value``, if it is a whole number above 0.

    :raises UserError: if it is not.
    """
    if not is_int(value) or value < 1:
        raise UserError(f"{name} must be a whole number above 0, not {value!r}")
    return value


def at_least(name: str, value: Any, least: int) -> int:
    """``value``, if it is a whole number from ``least`` on.

    :raises UserError: if it is not.
    """
    if not is_int(value) or value < least:
        raise UserError(f"{name} must be a whole number from {least} on, not {value!r}")
    return value
