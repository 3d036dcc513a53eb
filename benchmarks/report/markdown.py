"""Numbers and tables as text, in Markdown and for a terminal."""

from __future__ import annotations

from typing import Iterable, Optional, Sequence


def digits(value: Optional[float]) -> str:
    """Three significant digits (all of them from 100 up) without an exponent; empty for None."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; all but the first ``left`` columns are aligned right."""
    lines = [list(head), ["---" if index < left else "---:" for index in range(len(head))]]
    lines += [list(row) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same for a terminal: columns padded with spaces, the first aligned left."""
    lines = [list(head)] + [list(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = (
        "  ".join(cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in pairs)
        for pairs in (list(enumerate(zip(line, widths))) for line in lines)
    )
    return "\n".join(line.rstrip() for line in padded) + "\n"
