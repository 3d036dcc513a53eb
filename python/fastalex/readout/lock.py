"""The lock of a folder of results: one process at a time writes there, and a dead one holds nothing."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Iterator

from ..errors import UserError, printable

LOCK = "readout.lock"
_SHOWN = 100  # characters of what the owner of a lock wrote into it


@contextlib.contextmanager
def exclusive(folder: str) -> Iterator[bool]:
    """Make ``folder`` if need be, and hold its lock; False if its file system has no locks, and nothing is held.

    The lock is the kernel's, on a file: it ends with the process, however that ends. The file is removed.

    :raises UserError: if another process holds it, or the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield False
        return
    handle, held = _acquire(folder, fcntl)
    try:
        yield held
    finally:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, LOCK))  # whoever has opened it finds that it is gone
        os.close(handle)


def _acquire(folder: str, fcntl: object) -> tuple[int, bool]:
    path = os.path.join(folder, LOCK)
    while True:
        try:
            os.makedirs(folder, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[attr-defined]
        except BlockingIOError:
            owner = os.pread(handle, _SHOWN, 0).decode("utf-8", "replace")
            os.close(handle)
            by = f" ({printable(owner)})" if owner else ""
            raise UserError(
                f"another process{by} writes to '{folder}'; wait for its end, or choose another destination"
            ) from None
        except OSError:  # a network file system without locks
            return handle, False
        if _is(handle, path):
            with contextlib.suppress(OSError):  # on a full disk it has no name
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            return handle, True
        os.close(handle)  # its owner has removed it since it was opened


def _is(handle: int, path: str) -> bool:
    """Whether ``path`` still names the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False
