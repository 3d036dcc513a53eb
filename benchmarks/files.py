"""Writing files: whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Optional, Union

from fastalex.errors import UserError


def write_atomically(path: Path, text: Union[str, bytes]) -> None:
    """Write to a temporary name in the same folder, then rename; a reader sees the old file or the new one.

    :raises UserError: if the folder cannot be written.
    """
    temporary: Optional[str] = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=str(path.parent), prefix=path.name + ".")
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8") if isinstance(text, str) else text)
        os.chmod(temporary, 0o644)  # mkstemp makes it private
        os.replace(temporary, str(path))
    except OSError as error:
        raise UserError("cannot write %s: %s" % (path, error.strerror or error)) from None
    finally:  # what has its name already is not there; Ctrl-C leaves nothing half written
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def replace_between(path: Path, name: str, text: str) -> None:
    """Put ``text`` between the lines ``<!-- begin name -->`` and ``<!-- end name -->`` of a document that has them."""
    start, end = ("<!-- %s %s -->" % (word, name) for word in ("begin", "end"))
    head, found, rest = path.read_text(encoding="utf-8").partition(start)
    if found:
        write_atomically(path, "%s%s\n\n%s\n%s%s" % (head, start, text, end, rest.partition(end)[2]))
