"""Sources of images: folders, tar shards, HDF5, Parquet, on this machine or at any address that fsspec knows."""

from __future__ import annotations

from typing import Callable, Dict, Optional, Sequence, Type

from ...errors import UserError
from . import folder, hdf5, parquet, tar
from .base import CATALOG, Containers, Item, Source
from .stores import File, Remote, Store

__all__ = ["CATALOG", "Item", "Source", "open_source"]

_FORMATS: Dict[str, Type[Containers]] = {
    **dict.fromkeys(tar.SUFFIXES, tar.Tar),
    **dict.fromkeys(hdf5.SUFFIXES, hdf5.Hdf5),
    **dict.fromkeys(parquet.SUFFIXES, parquet.Parquet),
}
SUFFIXES = tuple(_FORMATS)


def _silent(sentence: str) -> None:
    """Tell nobody."""


def open_source(address: str, column: Optional[str] = None, tell: Callable[[str], None] = _silent) -> Source:
    """Find out what kind of source an address is; only :meth:`Source.prepare` counts the images.

    :param address: a folder of images, or of tar, HDF5 or Parquet files; one such file; a pattern such as
        ``shards/*.tar``; each also as an address with a scheme, such as ``s3://``, which fsspec reads.
    :param column: the column of a Parquet file, or the dataset of an HDF5 file, if several could hold the images.
    :param tell: is told how many files of a folder are left out because they are not images by their names.
    :raises UserError: if there is nothing of the kind, or a package is missing.
    """
    store: Store = Remote(address) if "://" in address else Store(address)
    if not (store.is_folder() or store.is_pattern()):
        if address.lower().endswith(SUFFIXES):
            return _containers(store, store.files(SUFFIXES), column)
        if isinstance(store, Remote):
            raise UserError(f"there is no folder, and no file of {', '.join(SUFFIXES)}, at '{address}'")
        return folder.Folder(address, tell)  # which says that it is none
    if isinstance(store, Remote):
        images = folder.images_of(store)
        return folder.RemoteFolder(store, images) if images else _containers(store, store.files(SUFFIXES), column)
    try:
        return folder.Folder(address, tell)
    except UserError:
        containers = store.files(SUFFIXES)
        if not containers:
            raise
    return _containers(store, containers, column)


def _containers(store: Store, files: Sequence[File], column: Optional[str]) -> Containers:
    kinds = {kind for file in files for suffix, kind in _FORMATS.items() if file.name.lower().endswith(suffix)}
    if not kinds:
        raise UserError(f"there is no image, and no file of {', '.join(SUFFIXES)}, at '{store.address}'")
    if len(kinds) > 1:
        names = " and ".join(sorted(kind.kind for kind in kinds))
        raise UserError(f"'{store.address}' has files of {names}; name those of one kind, by a pattern such as '*.tar'")
    return kinds.pop()(store, files, column)
