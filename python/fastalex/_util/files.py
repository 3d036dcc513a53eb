"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from typing import BinaryIO, Iterator, Union

from ..errors import UserError


class Replacement:
    """A file under the name ``temporary`` beside ``path``, until it is kept or dropped: for writers that take a name.

    :param suffix: of the name; one of its own keeps the file out of what reads the folder, but some writers go by it.
    """

    def __init__(self, path: str | os.PathLike[str], suffix: str = ".tmp") -> None:
        self._path = os.fspath(path)
        self._target = os.path.realpath(self._path)  # a link keeps pointing to the file that is replaced
        folder, name = os.path.split(self._target)
        self.temporary = os.path.join(folder, f".{os.urandom(8).hex()}.{name}{suffix}")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """The file is dropped if this block does not end.

        :raises UserError: if the file cannot be written.
        """
        try:
            yield
        except BaseException as error:
            self.drop()
            if isinstance(error, OSError):
                raise UserError(f"{self._path} cannot be written: {error.strerror or error}") from None
            raise

    def keep(self) -> None:
        """Give the file its name, now that it is written and closed.

        :raises UserError: if that cannot be.
        """
        with self.writing():
            with open(self.temporary, "rb") as stream:
                os.fsync(stream.fileno())
            os.replace(self.temporary, self._target)

    def drop(self) -> None:
        """Remove the file, if there is one."""
        with contextlib.suppress(OSError):
            os.unlink(self.temporary)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream to a temporary file beside ``path`` that takes its place when the block ends without an exception.

    :raises UserError: if the file cannot be written.
    """
    file = Replacement(path)
    with file.writing(), open(file.temporary, "xb") as stream:
        yield stream
    file.keep()


def write_atomically(path: str | os.PathLike[str], content: Union[str, bytes]) -> None:
    """Write a file, in a folder that is made if need be; a reader sees the old file or the new one.

    :raises UserError: if it cannot be written.
    """
    try:
        os.makedirs(os.path.dirname(os.path.realpath(path)), exist_ok=True)
    except OSError as error:
        raise UserError(f"{os.fspath(path)} cannot be written: {error.strerror or error}") from None
    with replacing(path) as stream:
        stream.write(content.encode("utf-8") if isinstance(content, str) else content)
