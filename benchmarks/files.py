"""Writing files: whole, or not at all; and a part of a document."""

from __future__ import annotations

from pathlib import Path

from fastalex._util.files import write_atomically

__all__ = ["replace_between", "write_atomically"]


def replace_between(path: Path, name: str, text: str) -> None:
    """Put ``text`` between the lines ``<!-- begin name -->`` and ``<!-- end name -->`` of a document that has them."""
    start, end = ("<!-- %s %s -->" % (word, name) for word in ("begin", "end"))
    head, found, rest = path.read_text(encoding="utf-8").partition(start)
    if found:
        write_atomically(path, "%s%s\n\n%s\n%s%s" % (head, start, text, end, rest.partition(end)[2]))
