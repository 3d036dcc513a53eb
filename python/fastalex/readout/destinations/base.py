"""What a destination is: where the rows of one layer go, one for each image."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import Any, Iterator, List, Sequence, Tuple

import numpy as np

from ...errors import UserError, printable

PART = ".part"  # suffix of what is incomplete
BUFFER_BYTES = 64 << 20  # for the rows of all layers that wait to be written together
CHUNK_BYTES = 1 << 20  # HDF5's cache of chunks holds one; Zarr's guide wants at least as much
MAX_ROWS = 512  # of a chunk: as many features are beside them in a chunk of float32
_SHOWN = 200  # characters of a library's reason


class Destination:
    """The rows of one layer in the incomplete file or folder ``path``, open for writing.

    ``suffix`` is that of the complete one. ``chunked``: rows are written many at a time, those of a chunk together.
    """

    suffix = ""
    chunked = True

    def __init__(self, path: str, shape: Sequence[int], dtype: str, step: int) -> None:
        """Make it, for ``shape[0]`` rows, of which ``step`` are written at a time."""
        raise NotImplementedError

    @classmethod
    def reopened(cls, path: str) -> Destination:
        """Open what an earlier process began."""
        opened = cls.__new__(cls)
        opened._open(path)
        return opened

    def _open(self, path: str) -> None:
        """Open what was made."""
        raise NotImplementedError

    def write(self, first: int, values: np.ndarray, names: Sequence[str]) -> None:
        """Store ``values`` ``[rows, ...]`` from row ``first`` on, a multiple of ``step`` where ``chunked``."""
        raise NotImplementedError

    def flush(self) -> None:
        """See that what was written survives the process."""

    def close(self) -> None:
        """Write no more."""

    @classmethod
    def keep(cls, part: str, target: str, rows: int) -> None:
        """Give a closed, incomplete one its final name, without what is behind its first ``rows`` rows.

        It may be called again after it was interrupted.
        """
        raise NotImplementedError


class Reader:
    """The rows of one layer that are complete: ``shape``, ``dtype``, and any slice of them."""

    shape: Tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return some rows, or a part of them, by numpy's basic indexing."""
        raise NotImplementedError


def rows_at_once(row_bytes: int, rows: int) -> int:
    """Return how many rows are written together: as many as :data:`BUFFER_BYTES` hold, a power of two.

    :param row_bytes: of all layers together.
    """
    fitting = max(1, min(MAX_ROWS, BUFFER_BYTES // max(1, row_bytes)))
    return min(1 << (fitting.bit_length() - 1), max(1, rows))


def chunk_shape(step: int, shape: Sequence[int], itemsize: int) -> Tuple[int, ...]:
    """Return the chunks of an array of rows: ``step`` rows of as many features as :data:`CHUNK_BYTES` hold.

    A unit of all images is then in one chunk for every ``step`` images, and all units of an image are in one for every
    so many features; whole rows would make the first read everything, and whole columns the second.
    """
    features = max(1, CHUNK_BYTES // (step * itemsize))
    chunk: List[int] = []
    for size in reversed(tuple(shape)):
        chunk.insert(0, max(1, min(size, features)))
        features //= chunk[0]
    return (step, *chunk)


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn the errors of a file system, or of a library that met one, into a sentence.

    :raises UserError: if the block raises OSError or what HDF5 makes of it.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path} cannot be written: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # libraries put it into their own, many words
        if any(mark % number in text for mark in ("errno = %d,", "[Errno %d]", "[errno %d]")):
            return os.strerror(number)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return printable(text[:_SHOWN]) or type(error).__name__


def allocate(path: str) -> None:
    """Allocate the disk space of a file of holes, so that a full disk is found now, and not by a write to a hole."""
    with open(path, "r+b") as stream:
        os.posix_fallocate(stream.fileno(), 0, os.path.getsize(path))


def remove(path: str) -> None:
    """Remove a file or a folder, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
