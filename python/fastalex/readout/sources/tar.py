"""Tar shards, as WebDataset writes them: the members that are images by their names, in the order of the file."""

from __future__ import annotations

import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..._util.tar_members import DamagedError, members
from ...errors import UserError
from ...images import listing
from .base import Containers, Digest, Item, line, too_large
from .stores import File, Store

SUFFIXES = (".tar",)


class _Index(NamedTuple):
    """The images of one file, in 16 bytes each and their names."""

    offsets: np.ndarray  # int64 [images]
    sizes: np.ndarray  # int64 [images]
    names: List[str]


class Tar(Containers):
    """Images in tar files. The headers of one file at a time are held in memory."""

    kind = "tar"

    def __init__(self, store: Store, files: Sequence[File], column: Optional[str]) -> None:
        if column is not None:
            raise UserError("--column is for HDF5 and Parquet; the images of a tar file are found by their suffixes")
        super().__init__(store, files, column)
        self._current: Optional[Tuple[File, _Index]] = None

    def __getstate__(self) -> Dict[str, Any]:
        return dict(self.__dict__, _current=None)

    def scan(self, file: File) -> Tuple[int, str]:
        """Count the images, and check that the file is whole."""
        count, digest = 0, Digest()
        for name, _, size in _members(self.store.copy_of(file), file):
            digest.add(name, size)
            count += 1
        return count, digest.hexdigest()

    def part(self, file: File, first: int, last: int) -> List[Item]:
        """Return some images of a file."""
        path = self.store.copy_of(file)
        if self._current is None or self._current[0] != file:
            self._current = None  # before the next takes memory
            self._current = (file, _index(path, file))
        index = self._current[1]
        items = []
        try:
            with open(path, "rb") as stream:
                for row in range(first, last):
                    name, size = f"{file.name}/{index.names[row]}", int(index.sizes[row])
                    refused = too_large(name, size)
                    items.append(refused or Item(name, os.pread(stream.fileno(), size, int(index.offsets[row]))))
        except (OSError, IndexError) as error:
            reason = getattr(error, "strerror", None) or "it was changed meanwhile"
            raise UserError(f"cannot read '{file.path}': {reason}") from None
        return items


def _index(path: str, file: File) -> _Index:
    rows = list(_members(path, file))
    offsets = np.array([offset for _, offset, _ in rows], np.int64)
    return _Index(offsets, np.array([size for *_, size in rows], np.int64), [name for name, *_ in rows])


def _members(path: str, file: File) -> Iterator[Tuple[str, int, int]]:
    """Yield name, offset and size of the images of a tar file.

    :raises UserError: if it is none, is compressed, or ends before its end mark: then images are missing.
    """
    try:
        with open(path, "rb") as stream:
            for _, member in members(stream):
                if member.isreg() and listing.is_image(os.path.basename(member.name)):
                    yield line(member.name), member.offset_data, member.size
    except DamagedError as error:
        if not error.after:
            why = "it is compressed, or no tar file; shards must be plain .tar files"
            raise UserError(f"cannot read '{file.path}': {why}") from None
        after = f"after '{line(error.after)}', in {file.size} bytes"
        raise UserError(f"'{file.path}' is truncated or damaged {after}; copy it again") from error
    except OSError as error:
        raise UserError(f"cannot read '{file.path}': {error.strerror or error}") from None
