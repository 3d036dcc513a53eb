"""Atomic writing of files: a file appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
from typing import BinaryIO, Iterator, Union

from ..errors import UserError

GIT_LFS = b"version https://git-lfs.github.com/spec/v1"  # start of the text that stands for a file in Git LFS


class Replacement:
    """A new version of the file ``path``, for writers that take a name: they write to :attr:`temporary` beside it.

    :param suffix: of the temporary name. Readers of the folder skip the default; some writers choose a format by it.
    """

    def __init__(self, path: str | os.PathLike[str], suffix: str = ".tmp") -> None:
        self._path = os.fspath(path)
        self._target = os.path.realpath(self._path)  # replace the target of a link, not the link
        folder, name = os.path.split(self._target)
        self.temporary = os.path.join(folder, f".{os.urandom(8).hex()}.{name}{suffix}")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Remove the temporary file if this block raises.

        :raises UserError: if the block raises OSError.
        """
        try:
            yield
        except BaseException as error:
            self.drop()
            if isinstance(error, OSError):
                raise UserError(f"{self._path} cannot be written: {error.strerror or error}") from None
            raise

    def keep(self) -> None:
        """Move the temporary file, written and closed, to ``path``.

        :raises UserError: if it cannot be moved.
        """
        with self.writing():
            with open(self.temporary, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(self.temporary, self._target)

    def drop(self) -> None:
        """Remove the temporary file, if there is one."""
        with contextlib.suppress(OSError):
            os.unlink(self.temporary)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` for writing, and move it there if the block ends without an exception.

    :raises UserError: if the file cannot be written.
    """
    file = Replacement(path)
    with file.writing(), open(file.temporary, "xb") as stream:
        yield stream
    file.keep()


def write_atomically(path: str | os.PathLike[str], content: Union[str, bytes]) -> None:
    """Write a file, and make its folder if need be; a reader sees the complete old file or the complete new one.

    :raises UserError: if it cannot be written.
    """
    try:
        os.makedirs(os.path.dirname(os.path.realpath(path)), exist_ok=True)
    except OSError as error:
        raise UserError(f"{os.fspath(path)} cannot be written: {error.strerror or error}") from None
    with replacing(path) as stream:
        stream.write(content.encode("utf-8") if isinstance(content, str) else content)
