"""Atomic writing of files: a file appears complete or not at all. Locks between processes."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from typing import BinaryIO, Iterator, Optional, Union

from ..errors import UserError

LEFT_S = 60.0  # seconds without a change, after which a temporary file may be one that was left behind
GIT_LFS = b"version https://git-lfs.github.com/spec/v1"  # start of the text that stands for a file in Git LFS


@contextlib.contextmanager
def locked(file: BinaryIO) -> Iterator[None]:
    """Hold the lock of an open file, which one process at a time can have; wait for it first.

    Nothing is held on a file system without locks. A process that ends loses its locks.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    with contextlib.suppress(OSError):
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(file.fileno(), fcntl.LOCK_UN)


class Replacement:
    """A new version of the file ``path``, for writers that take a name: they write to :attr:`temporary` beside it.

    :param suffix: of the temporary name. Readers of the folder skip the default; some writers choose a format by it.
    :param tidy: first remove what processes that were killed have left of earlier versions.
    """

    def __init__(self, path: str | os.PathLike[str], suffix: str = ".tmp", tidy: bool = False) -> None:
        self._path = os.fspath(path)
        self._target = os.path.realpath(self._path)  # replace the target of a link, not the link
        folder, name = os.path.split(self._target)
        self.temporary = os.path.join(folder, f".{os.urandom(8).hex()}.{name}{suffix}")
        self._held: Optional[BinaryIO] = None
        if tidy:
            _remove_left(folder or ".", name + suffix)

    def hold(self) -> None:
        """Mark the temporary file, which must exist, as that of a living process until it is kept or dropped."""
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            self._held = open(self.temporary, "r+b")  # noqa: SIM115 - closed by keep and drop
            fcntl.flock(self._held.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)

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
            self._release()

    def drop(self) -> None:
        """Remove the temporary file, if there is one."""
        with contextlib.suppress(OSError):
            os.unlink(self.temporary)
        self._release()

    def _release(self) -> None:
        if self._held is not None:
            self._held.close()


def _remove_left(folder: str, name: str) -> None:
    """Remove the temporary files for ``name`` of dead processes: nobody holds them, or has changed them lately."""
    left = re.compile(r"\.[0-9a-f]{16}\." + re.escape(name))
    with contextlib.suppress(OSError, ImportError):
        import fcntl

        with os.scandir(folder) as entries:
            paths = [entry.path for entry in entries if left.fullmatch(entry.name)]
        for path in paths:
            with contextlib.suppress(OSError), open(path, "r+b", opener=_without_links) as file:
                status = os.fstat(file.fileno())
                is_own = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
                if is_own and time.time() - status.st_mtime > LEFT_S:
                    fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], tidy: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` for writing, and move it there if the block ends without an exception.

    :param tidy: as for :class:`Replacement`.
    :raises UserError: if the file cannot be written.
    """
    file = Replacement(path, tidy=tidy)
    with file.writing(), open(file.temporary, "xb") as stream:
        file.hold()
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
