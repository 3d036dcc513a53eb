"""The errors of the protocol: sentences for the client, with the HTTP status that the field uses for each."""

from __future__ import annotations

from typing import Any

from ..._util.arguments import brief
from ..errors import ServiceError

MALFORMED, TOO_LARGE, UNUSABLE = 400, 413, 422


def malformed(sentence: str) -> ServiceError:
    """Return the error of a request that breaks the protocol."""
    return ServiceError(MALFORMED, sentence)


def unusable(sentence: str) -> ServiceError:
    """Return the error of a well-formed request whose tensor the model cannot use."""
    return ServiceError(UNUSABLE, sentence)


def text(name: str, value: Any, longest: int = 256) -> str:
    """Return ``value`` if it is text of 1 to ``longest`` characters.

    :raises ServiceError: if it is not.
    """
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise malformed(f"{name} must be text of 1 to {longest} characters, not {brief(value)}")
    return value
