"""A ``.npy`` file. It is not mapped into memory, where its pages would look like those of the process."""

from __future__ import annotations

import os
from typing import Any, BinaryIO, Sequence

import numpy as np

from .base import Destination, allocate, remove

_COPY_BYTES = 1 << 24


class Npy(Destination):
    """Rows of a ``.npy`` file, in C order."""

    suffix, chunked = ".npy", False

    def __init__(self, path: str, shape: Sequence[int], dtype: str, step: int) -> None:
        _make(path, shape, np.dtype(dtype))
        allocate(path)
        self._open(path)

    def _open(self, path: str) -> None:
        array = reader(path)
        self._offset, self._row_bytes = array.offset, array[:1].nbytes
        self._file: BinaryIO = open(path, "r+b")  # noqa: SIM115 - closed by close

    @classmethod
    def reopened(cls, path: str) -> Npy:
        """Open what an earlier process began."""
        opened = cls.__new__(cls)
        opened._open(path)
        return opened

    def write(self, first: int, values: np.ndarray, names: Sequence[str]) -> None:
        """Store rows."""
        self._file.seek(self._offset + first * self._row_bytes)
        self._file.write(np.ascontiguousarray(values).data)
        self._file.flush()

    def flush(self) -> None:
        """Write the rows to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @classmethod
    def keep(cls, part: str, target: str, rows: int) -> None:
        """Rename the file, or copy it without the unused rows at its end."""
        if os.path.isfile(part):
            array = reader(part)
            if rows < len(array):
                _make(target + ".short", (rows, *array.shape[1:]), array.dtype)
                _copy(part, array.offset, target + ".short", rows * array[:1].nbytes)
                os.replace(target + ".short", target)
                remove(part)
            else:
                os.replace(part, target)


def reader(path: str) -> Any:
    """Map a complete file."""
    return np.lib.format.open_memmap(path, mode="r")


def _make(path: str, shape: Sequence[int], dtype: np.dtype) -> None:
    """Make a file of zeros, which takes no room yet."""
    np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=tuple(shape))


def _copy(path: str, offset: int, target: str, count: int) -> None:
    """Copy ``count`` bytes of values, a few megabytes at a time."""
    start = reader(target).offset
    with open(path, "rb") as source, open(target, "r+b") as copy:
        source.seek(offset)
        copy.seek(start)
        for done in range(0, count, _COPY_BYTES):
            copy.write(source.read(min(_COPY_BYTES, count - done)))
        copy.flush()
        os.fsync(copy.fileno())
