"""The one exception that means: what you gave does not work, and here is what to do."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake that the caller can mend; the message is one sentence. The command line prints it and exits with 2."""


class BackendError(RuntimeError):
    """A backend was asked for by name and cannot be had; the message carries the stored reason."""
