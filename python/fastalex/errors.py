"""The two exceptions of the library, and how text from files is made safe to show."""

from __future__ import annotations

from typing import Any

MAX_MESSAGE = 5000  # characters; the parts that come from files are cut far shorter where they are read


def printable(text: str, keep: str = "") -> str:
    """Escape the characters in ``text`` that a terminal would obey, or not show: control characters, bidi marks.

    :param keep: characters that are left as they are.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    """Return ``text`` as one printable line of at most :data:`MAX_MESSAGE` characters.

    Line breaks become spaces, and other characters that do not print are escaped.
    """
    line = printable(" ".join(part.strip() for part in text[: 2 * MAX_MESSAGE].splitlines()))
    return line if len(line) <= MAX_MESSAGE else line[:MAX_MESSAGE] + "..."


class _OneLineError(Exception):
    """An exception whose message is one printable line, whatever names from files are in it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*(one_line(str(part)) for part in arguments))


class UserError(_OneLineError, ValueError):
    """A usage error; its message is one sentence that says what to do. The command line prints it and exits with 2."""


class BackendError(_OneLineError, RuntimeError):
    """A backend that was asked for by name does not work on this machine; the message gives the reason."""
