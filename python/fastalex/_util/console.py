"""What the command line prints: tables (with rich where it is installed), JSON, and one-sentence complaints."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from io import StringIO
from typing import Any, Callable, Iterator, List, Optional, Sequence

# Wider than any table: output that is piped is not wrapped.
_UNLIMITED = 10000


class OutputError(Exception):
    """Standard output cannot be written; the message is the reason."""


def write(text: str) -> None:
    """``text`` and a line end on standard output; what its encoding lacks is written as ``\\x..`` or ``\\u....``.

    :raises BrokenPipeError: if nobody reads any more.
    :raises OutputError: if it cannot be written for another reason.
    """
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:  # ValueError: the file object is closed
        raise OutputError(getattr(error, "strerror", None) or str(error)) from None


def write_json(value: Any) -> None:
    """``value`` as one JSON document. Numbers that JSON does not have (NaN, infinity) become null."""
    write(json.dumps(_jsonable(value), indent=2, allow_nan=False))


def write_json_line(value: Any) -> None:
    """``value`` as JSON on one line, as :func:`write_json` writes its numbers."""
    write(json.dumps(_jsonable(value), allow_nan=False))


def error(sentence: str) -> None:
    """One line ``fastalex: sentence`` on standard error; nowhere if that is closed."""
    text = "fastalex: " + " ".join(printable(sentence, keep="\n\t").split())
    with contextlib.suppress(OSError, ValueError, AttributeError):
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stderr.flush()


def note(text: str) -> None:
    """One line about progress on standard error, if somebody watches."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if sys.stderr.isatty():
            sys.stderr.write(printable(text) + "\n")
            sys.stderr.flush()


@contextlib.contextmanager
def progress(name: str, total: int, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """What is called with the number done, of ``total``, and a text to show beside it: a bar on a terminal, by rich
    where it is installed."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield lambda done, text="": None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield lambda done, text="": note(f"{name}: {done} of {total} {text}")
        return
    said = [TextColumn(f"{{task.{key}}}", markup=False) for key in ("description", "fields[text]")]
    columns = (said[0], BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), said[1])
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, text="")
        yield lambda done, text="": bar.update(task, completed=done, text=text)


def discard_output() -> None:
    """Let what is still buffered for standard output go nowhere, so that the interpreter's end does not stumble."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """Print a table; the columns named in ``right`` are aligned to the right. Columns without a name have no head."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    title = printable(title)
    text = _rich_table(title, columns, cells, right)
    write(_plain_table(title, columns, cells, right) if text is None else text)


def printable(text: str, keep: str = "") -> str:
    """``text`` with control characters escaped: a file name or a label must not steer the terminal."""
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


def _plain_table(title: str, columns: Sequence[str], rows: List[List[str]], right: Sequence[str]) -> str:
    widths = [max(len(row[i]) for row in [list(columns), *rows]) for i in range(len(columns))]
    head = [list(columns), ["-" * width for width in widths]] if any(columns) else []
    lines = [title] if title else []
    for row in head + rows:
        cells = (
            cell.rjust(width) if name in right else cell.ljust(width) for name, cell, width in zip(columns, row, widths)
        )
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines) + "\n"


def _rich_table(title: str, columns: Sequence[str], rows: List[List[str]], right: Sequence[str]) -> Optional[str]:
    """The table as rich draws it, in color on a terminal only; None without rich."""
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return None
    terminal = bool(sys.stdout and sys.stdout.isatty())
    unicode_ok = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "").startswith("utf")
    drawn = Table(
        box=box.SIMPLE_HEAD if unicode_ok else box.ASCII2,
        show_header=any(columns),
        show_edge=not unicode_ok,
        pad_edge=True,
    )
    for name in columns:
        # Text, not str: brackets in a cell are no markup.
        drawn.add_column(Text(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    page = StringIO()
    console = Console(file=page, force_terminal=terminal, width=None if terminal else _UNLIMITED)
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(drawn)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()) + "\n"


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
