"""An HDF5 file with one dataset, in chunks.

All chunks have their place when the file is made, and the file is closed once before anything is stored. So a process
that is killed later was writing values, and never the tables by which HDF5 finds them.
"""

from __future__ import annotations

import os
from typing import Any, Sequence

import numpy as np

from .. import packages
from .base import Destination, allocate, chunk_shape, remove

DATASET = "activations"
_WHO = "a destination in HDF5"


class Hdf5(Destination):
    """Rows of the dataset ``activations``, not compressed."""

    suffix = ".h5"

    def __init__(self, path: str, shape: Sequence[int], dtype: str, step: int) -> None:
        h5py = packages.needed("h5py", _WHO)
        with h5py.File(path, "w") as file:
            settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            settings.set_chunk(chunk_shape(step, shape[1:], np.dtype(dtype).itemsize))
            settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            kind, space = h5py.h5t.py_create(np.dtype(dtype)), h5py.h5s.create_simple(tuple(shape))
            h5py.h5d.create(file.id, DATASET.encode(), kind, space, settings)
        allocate(path)
        self._open(path)

    def _open(self, path: str) -> None:
        self._file = packages.needed("h5py", _WHO).File(path, "r+")
        self._dataset = self._file[DATASET]

    def write(self, first: int, values: np.ndarray, names: Sequence[str]) -> None:
        """Store the rows of one chunk each."""
        self._dataset[first : first + len(values)] = values

    def flush(self) -> None:
        """Write the rows to the disk."""
        self._file.flush()
        os.fsync(self._file.id.get_vfd_handle())  # HDF5 leaves them to the system

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @classmethod
    def keep(cls, part: str, target: str, rows: int) -> None:
        """Rename the file, or copy it without the unused rows at its end."""
        if not os.path.isfile(part):
            return
        with packages.needed("h5py", _WHO).File(part, "r") as file:
            dataset = file[DATASET]
            step, whole = dataset.chunks[0], rows == len(dataset)
            if not whole:
                shorter = cls(target + ".short", (rows, *dataset.shape[1:]), dataset.dtype.name, min(step, rows))
                for first in range(0, rows, step):
                    shorter.write(first, dataset[first : min(first + step, rows)], ())
                shorter.flush()
                shorter.close()
        os.replace(part if whole else target + ".short", target)
        remove(part)


def reader(path: str) -> Any:
    """Open a complete dataset, which keeps its file open."""
    h5py = packages.needed("h5py", _WHO)
    dataset = h5py.File(path, "r")[DATASET]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"'{DATASET}' is no dataset in it")
    return dataset
