"""Destinations of read-outs: .npy files, Zarr and HDF5 in chunks by feature, Parquet."""

from __future__ import annotations

import os
from typing import Any, Dict, Type

from ...errors import UserError
from . import hdf5, npy, parquet, zarr_arrays
from .base import PART, Destination, chunk_shape, remove, rows_at_once, writing

__all__ = ["FORMATS", "PART", "Destination", "chunk_shape", "file_of", "reader", "remove", "rows_at_once", "writing"]

#: The name of a format -> its destination.
FORMATS: Dict[str, Type[Destination]] = {
    "npy": npy.Npy,
    "zarr": zarr_arrays.Zarr,
    "hdf5": hdf5.Hdf5,
    "parquet": parquet.Parquet,
}
_READERS = {".npy": npy.reader, ".zarr": zarr_arrays.reader, ".h5": hdf5.reader, ".parquet": parquet.reader}


def file_of(layer: str, kind: Type[Destination]) -> str:
    """Return the name of a layer's file or folder."""
    return layer.replace(":", "-") + kind.suffix


def reader(path: str) -> Any:
    """Open the complete file or folder of a layer: an object with ``shape``, ``dtype`` and numpy's basic indexing.

    :raises UserError: if it cannot be read, or a package is missing.
    """
    kind = os.path.splitext(path)[1]
    try:
        return _READERS[kind](path)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"cannot read '{path}': {getattr(error, 'strerror', None) or error}") from None
