"""Stimuli in HDF5: a dataset of uint8 images, ``[N, H, W, 3]`` or ``[N, H, W]``, or of encoded files."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Iterator, List, Optional, Tuple

from ...errors import UserError
from ...weights.graph import shown
from .. import packages
from .base import Containers, Digest, Item, line
from .stores import File

SUFFIXES = (".h5", ".hdf5")


class Hdf5(Containers):
    """Images of one dataset in each file; row r of ``stimuli.h5`` has the name ``stimuli.h5/r``."""

    kind = "hdf5"

    def scan(self, file: File) -> Tuple[int, str]:
        """Count the images; the dataset's name, type and shape stand for their sizes."""
        with self._dataset(file) as dataset:
            digest = Digest()
            digest.add(f"{dataset.name} {dataset.dtype} {dataset.shape}", file.size)
            return len(dataset), digest.hexdigest()

    def part(self, file: File, first: int, last: int) -> List[Item]:
        """Return some images of a file, as arrays or as the bytes of files."""
        with self._dataset(file) as dataset:
            rows = dataset[first:last]
            encoded = dataset.ndim == 1
        data = [bytes(row) for row in rows] if encoded else list(rows)
        return [Item(f"{file.name}/{row}", item) for row, item in zip(range(first, last), data)]

    @contextlib.contextmanager
    def _dataset(self, file: File) -> Iterator[Any]:
        h5py = packages.needed("h5py", "a source in HDF5")
        try:
            with self.store.opened(file) as stream, h5py.File(stream, "r") as opened:
                yield _find(h5py, opened, file, self.column)
        except (OSError, RuntimeError, KeyError) as error:
            reason = shown(" ".join(str(error).split()), 200)
            raise UserError(f"cannot read '{file.path}', it is truncated, damaged or no HDF5 file: {reason}") from None
        self.store.used = time.monotonic()


def _find(h5py: Any, opened: Any, file: File, column: Optional[str]) -> Any:
    """Return the dataset called ``column``, or the one whose type and shape are those of images."""
    found = []

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and (name == column or (column is None and _suits(h5py, item))):
            found.append(item)

    opened.visititems(look)
    if len(found) == 1 and _suits(h5py, found[0]):
        return found[0]
    wanted = "of uint8 images [N, H, W, 3] or of encoded files as variable-length uint8"
    if len(found) > 1:
        names = ", ".join(line(shown(item.name)) for item in found[:5])
        raise UserError(f"'{file.path}' has {len(found)} datasets of images ({names}); choose one: --column NAME")
    if column is None:
        raise UserError(f"'{file.path}' has no dataset {wanted}")
    raise UserError(f"'{file.path}' has no dataset '{shown(column)}' {wanted}")


def _suits(h5py: Any, item: Any) -> bool:
    if item.ndim == 1:
        inner = h5py.check_vlen_dtype(item.dtype)
        is_opaque = item.dtype.kind == "V" and item.dtype.names is None  # a table has fields
        return is_opaque or (inner is not None and inner == "uint8")
    return bool(item.dtype == "uint8" and (item.ndim == 3 or (item.ndim == 4 and item.shape[3] in (1, 3, 4))))
