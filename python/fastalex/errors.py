"""The two exceptions of the library."""

from __future__ import annotations


class UserError(ValueError):
    """A usage error; its message is one sentence that says what to do. The command line prints it and exits with 2."""


class BackendError(RuntimeError):
    """A backend that was asked for by name does not work on this machine; the message gives the reason."""
