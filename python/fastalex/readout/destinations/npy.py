"""A ``.npy`` file, mapped into memory."""

from __future__ import annotations

import os
from typing import Any, Sequence

import numpy as np

from .base import Destination, allocate, remove

_COPY_BYTES = 1 << 24


class Npy(Destination):
    """Rows of a ``.npy`` file, in C order."""

    suffix, chunked = ".npy", False

    def __init__(self, path: str, shape: Sequence[int], dtype: str, step: int) -> None:
        self._array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=tuple(shape))
        allocate(path)  # a write to a hole of a mapped file on a full disk would kill the process

    @classmethod
    def reopened(cls, path: str) -> Npy:
        """Open what an earlier process began."""
        opened = cls.__new__(cls)
        opened._array = np.lib.format.open_memmap(path, mode="r+")
        return opened

    def write(self, first: int, values: np.ndarray, names: Sequence[str]) -> None:
        """Store rows."""
        self._array[first : first + len(values)] = values

    def flush(self) -> None:
        """Write the rows to the disk."""
        self._array.flush()

    def close(self) -> None:
        """Unmap the file."""
        del self._array

    @classmethod
    def keep(cls, part: str, target: str, rows: int) -> None:
        """Rename the file, or copy it without the unused rows at its end."""
        if os.path.isfile(part):
            array = np.lib.format.open_memmap(part, mode="r")
            if rows < len(array):
                shorter = target + ".short"
                _copy(array, shorter, rows)
                os.replace(shorter, target)
                remove(part)
            else:
                os.replace(part, target)


def reader(path: str) -> Any:
    """Map a complete file."""
    return np.lib.format.open_memmap(path, mode="r")


def _copy(array: np.ndarray, path: str, count: int) -> None:
    """Copy the first ``count`` rows to the file ``path``, a few megabytes at a time."""
    copy = np.lib.format.open_memmap(path, mode="w+", dtype=array.dtype, shape=(count, *array.shape[1:]))
    step = max(1, _COPY_BYTES // max(1, array[:1].nbytes))
    for start in range(0, count, step):
        copy[start : start + step] = array[start : min(start + step, count)]
    copy.flush()
