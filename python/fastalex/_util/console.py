"""Console output of the commands: tables (by rich if it is installed), JSON, errors of one sentence, progress."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from io import StringIO
from typing import Any, Callable, Iterator, List, Optional, Sequence

from ..errors import one_line, printable

# Columns, more than any table has: output that is not for a terminal is not wrapped.
_UNLIMITED = 10000


class OutputError(Exception):
    """Standard output cannot be written to; the message is the reason."""


def write(text: str) -> None:
    r"""Write ``text`` and a newline to standard output, with what does not print escaped, save line breaks and tabs.

    Characters that its encoding lacks become ``\x..`` or ``\u....``.

    :raises BrokenPipeError: if the reader of a pipe is gone.
    :raises OutputError: if it cannot be written to for another reason.
    """
    _write_raw(printable(text, keep="\n\t"))


def _write_raw(text: str) -> None:
    """Write text as :func:`write` does, but as it is: JSON, which escapes by itself, and the colors of a table."""
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
    """Write ``value`` as one JSON document; NaN and infinity, which JSON lacks, become null."""
    _write_raw(json.dumps(jsonable(value), indent=2, allow_nan=False))


def write_json_line(value: Any) -> None:
    """Write ``value`` as JSON on one line; NaN and infinity become null."""
    _write_raw(json.dumps(jsonable(value), allow_nan=False))


def error(sentence: str) -> None:
    """Write the line ``fastalex: sentence`` to standard error, if that is open."""
    text = "fastalex: " + one_line(sentence)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stderr.flush()


def note(text: str) -> None:
    """Write a line about progress to standard error, if that is a terminal."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if sys.stderr.isatty():
            sys.stderr.write(printable(text) + "\n")
            sys.stderr.flush()


@contextlib.contextmanager
def progress(name: str, total: int, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Show progress on standard error if that is a terminal, as a bar if rich is installed.

    :param name: the title of the bar.
    :returns: a context manager of a function ``show(done, text="")``, which takes the number done, of ``total``, and a
        text to show beside it.
    """
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield lambda done, text="": None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield lambda done, text="": note(f"{name}: {done} of {total} {text}")
        return
    title, detail = (TextColumn(f"{{task.{key}}}", markup=False) for key in ("description", "fields[text]"))
    columns = (title, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), detail)
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, text="")
        yield lambda done, text="": bar.update(task, completed=done, text=text)


def discard_output() -> None:
    """Discard buffered output, so that flushing it when the interpreter exits cannot fail."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str] = ()) -> None:
    """Print a table; columns named in ``right`` are right-aligned. There is no header if all columns are unnamed."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    title = printable(title)
    text = _rich_table(title, columns, cells, right)
    _write_raw(_plain_table(title, columns, cells, right) if text is None else text)


def _plain_table(title: str, columns: Sequence[str], rows: List[List[str]], right: Sequence[str]) -> str:
    widths = [max(len(row[i]) for row in [list(columns), *rows]) for i in range(len(columns))]
    header = [list(columns), ["-" * width for width in widths]] if any(columns) else []
    lines = [title] if title else []
    for row in header + rows:
        cells = (
            cell.rjust(width) if name in right else cell.ljust(width) for name, cell, width in zip(columns, row, widths)
        )
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines) + "\n"


def _rich_table(title: str, columns: Sequence[str], rows: List[List[str]], right: Sequence[str]) -> Optional[str]:
    """Render the table by rich, in color on a terminal only; return None without rich."""
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
        # rich would read brackets in a str as markup, in a Text it does not.
        drawn.add_column(Text(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    page = StringIO()
    console = Console(file=page, force_terminal=terminal, width=None if terminal else _UNLIMITED)
    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(drawn)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()) + "\n"


def jsonable(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: NaN and infinity, which JSON lacks, become None."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
