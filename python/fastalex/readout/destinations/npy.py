"""A ``.npy`` file. It is not mapped into memory, where its pages would look like those of the process."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO, Sequence

import numpy as np

from .base import Destination, allocate

_TEXT = 10  # bytes of version 1.0's header before its text: a mark, the version, the length in two bytes


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
        """Cut off the unused rows, and rename the file. The header comes first, so that it can always be read."""
        if os.path.isfile(part):
            array = reader(part)
            size = array.offset + rows * array[:1].nbytes
            with open(part, "r+b") as stream:
                if rows < len(array):
                    stream.write(_header((rows, *array.shape[1:]), array.dtype, array.offset))
                    stream.flush()
                    os.fsync(stream.fileno())
                stream.truncate(size)
                os.fsync(stream.fileno())
            os.replace(part, target)


def reader(path: str) -> Any:
    """Map a complete file."""
    return np.lib.format.open_memmap(path, mode="r")


def _header(shape: Sequence[int], dtype: np.dtype, size: int) -> bytes:
    """Return numpy's header, with as many spaces in it as make it ``size`` bytes long."""
    content = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(content, facts)
    start, text = content.getvalue()[:_TEXT], content.getvalue()[_TEXT:].rstrip()
    length = size - _TEXT
    return start[:-2] + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n"


def _make(path: str, shape: Sequence[int], dtype: np.dtype) -> None:
    """Make a file of zeros, which takes no room yet."""
    np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=tuple(shape))
