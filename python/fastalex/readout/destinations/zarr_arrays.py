"""A Zarr array, in a folder of chunks."""

from __future__ import annotations

import os
from typing import Any, Sequence

import numpy as np

from .. import packages
from .base import Destination, chunk_shape, remove

_WHO = "a destination in Zarr"


class Zarr(Destination):
    """Rows of a Zarr array, with Zarr's own format and compression. Its library replaces each chunk at once."""

    suffix = ".zarr"

    def __init__(self, path: str, shape: Sequence[int], dtype: str, step: int) -> None:
        zarr = packages.needed("zarr", _WHO)
        chunks = chunk_shape(step, shape[1:], np.dtype(dtype).itemsize)
        self._array = zarr.open_array(path, mode="w", shape=tuple(shape), chunks=chunks, dtype=dtype)

    def _open(self, path: str) -> None:
        self._array = packages.needed("zarr", _WHO).open_array(path, mode="r+")

    def write(self, first: int, values: np.ndarray, names: Sequence[str]) -> None:
        """Store the rows of one chunk each."""
        self._array[first : first + len(values)] = values

    @classmethod
    def keep(cls, part: str, target: str, rows: int) -> None:
        """Cut off the unused rows, which replaces one small file, and rename the folder."""
        if os.path.isdir(part):
            array = packages.needed("zarr", _WHO).open_array(part, mode="r+")
            if rows < array.shape[0]:
                array.resize((rows, *array.shape[1:]))
            remove(target)
            os.rename(part, target)


def reader(path: str) -> Any:
    """Open a complete array."""
    return packages.needed("zarr", _WHO).open_array(path, mode="r")
