"""A folder of image files, with the folders below it, sorted by path."""

from __future__ import annotations

import os
from typing import Callable, List, Sequence

from ...images import listing
from ...images.formats import SUFFIXES
from .base import Digest, Item, Source, too_large
from .stores import File, Remote


class Folder(Source):
    """The images in a folder of this machine.

    :raises UserError: if it is not a folder, cannot be read, or has no images.
    """

    def __init__(self, address: str, tell: Callable[[str], None]) -> None:
        self.address, self.where = address, os.path.abspath(address)
        self._names = [os.path.relpath(path, address) for path in listing.below(address, tell)]

    @property
    def sha256(self) -> str:
        """The hash of the list of images, as 64 hexadecimal digits."""
        digest = Digest()
        for name in self._names:
            digest.add(name, _size(os.path.join(self.address, name)))
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._names)

    def read(self, start: int, stop: int) -> List[Item]:
        """Return names and paths; the files are read where they are decoded, side by side."""
        return [Item(name, os.path.join(self.address, name)) for name in self._names[start:stop]]


def _size(path: str) -> int:
    """Return the size of a file, -1 for a link to nothing: it is left out later, like any image that cannot be read."""
    try:
        return os.path.getsize(path)
    except OSError:
        return -1


class RemoteFolder(Source):
    """The images of a folder at an address, or those that a pattern matches."""

    def __init__(self, store: Remote, files: Sequence[File]) -> None:
        self.address = self.where = store.address
        self._store, self._files = store, list(files)

    @property
    def sha256(self) -> str:
        """The hash of the list of images, as 64 hexadecimal digits."""
        digest = Digest()
        for file in self._files:
            digest.add(file.name, file.size)
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._files)

    def read(self, start: int, stop: int) -> List[Item]:
        """Return the contents of the files."""
        files = self._files[start:stop]
        refused = [too_large(file.name, file.size) for file in files]
        contents = iter(self._store.contents([file for file, item in zip(files, refused) if item is None]))
        return [item or Item(file.name, next(contents)) for file, item in zip(files, refused)]

    def alive(self) -> float:
        """Return the time of the last sign of life of the store."""
        return self._store.used


def images_of(store: Remote) -> List[File]:
    """List the images of a folder at an address."""
    return [file for file in store.files(SUFFIXES) if listing.is_image(os.path.basename(file.name))]
