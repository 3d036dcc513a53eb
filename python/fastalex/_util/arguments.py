"""Checks of arguments that several rooms share."""

from __future__ import annotations

from typing import Any, Sequence

from ..errors import UserError


def one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    """:raises UserError: for a value that is not allowed."""
    if value not in allowed:
        raise UserError("%s must be one of %s, not %r" % (name, ", ".join(allowed), value))


def positive_int(name: str, value: Any) -> int:
    """``value`` itself.

    :raises UserError: for what is no whole number above 0.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError("%s must be a whole number above 0, not %r" % (name, value))
    return value
