"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from typing import BinaryIO, Iterator

from ..errors import UserError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream to a temporary file beside ``path`` that takes its place when the block ends without an exception.

    :raises UserError: if the file cannot be written.
    """
    name = os.fspath(path)
    target = os.path.realpath(name)  # a link keeps pointing to the file that is replaced
    temporary = "%s.%s.tmp" % (target, os.urandom(8).hex())
    try:
        with open(temporary, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise UserError("%s cannot be written: %s" % (name, error.strerror or error)) from None
        raise
