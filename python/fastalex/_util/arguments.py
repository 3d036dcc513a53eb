"""Checks of arguments that several rooms share."""

from __future__ import annotations

from typing import Any, Sequence

from ..errors import UserError


def one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    """:raises UserError: for a value that is not allowed."""
    if value not in allowed:
        raise UserError("%s must be one of %s, not %r" % (name, ", ".join(allowed), value))
