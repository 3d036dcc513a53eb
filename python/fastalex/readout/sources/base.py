"""What a source of images is: a list in a fixed order, of which any slice can be read."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import os
import time
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from ..._util.files import locked
from ...errors import UserError, printable
from .stores import File, Store

CATALOG = "readout.catalog.json"
MAX_BYTES = 256 << 20  # of an encoded image: that of the largest that is decoded, not compressed


class Item(NamedTuple):
    """One image: its ``name``, and its ``data``, as :meth:`fastalex.AlexNet.preprocess` takes it, or a UserError."""

    name: str
    data: Any


class Source:
    """A list of images in a fixed order; pickling it sends no image.

    * ``address``: as the user gave it; ``where``: the same, absolute;
    * ``sha256``: of the names of all images in their order, and of their sizes.
    """

    address: str
    where: str

    def prepare(self, folder: Optional[str] = None) -> None:
        """Count the images; whatever else is asked of a source comes after this.

        :param folder: keeps the count, for the next process that asks.
        :raises UserError: if a file is damaged or cannot be read.
        """

    @property
    def sha256(self) -> str:
        """The hash of the list of images, as 64 hexadecimal digits."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    def read(self, start: int, stop: int) -> List[Item]:
        """Return the images ``start`` to ``stop``.

        :raises UserError: if the source cannot be read. An image that cannot be decoded raises nothing yet.
        """
        raise NotImplementedError

    def alive(self) -> float:
        """Return the time, by :func:`time.monotonic`, of the last sign of life of the store that is being read."""
        return 0.0


class Digest:
    """A hash of names and sizes of images, in their order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, name: str, size: int) -> None:
        """Add an image."""
        self._digest.update(os.fsencode(name) + b"\0%d\0" % size)

    def hexdigest(self) -> str:
        """Return the hash so far."""
        return self._digest.hexdigest()


class Containers(Source):
    """A source of several files with many images each, one after the other.

    :param column: the name of what holds the images, in formats with names.
    """

    kind: str

    def __init__(self, store: Store, files: Sequence[File], column: Optional[str]) -> None:
        self.store, self.files, self.column = store, list(files), column
        self.address, self.where = store.address, store.where
        self._ends: List[int] = []  # the number of images in the files up to each
        self._sha256 = ""

    def scan(self, file: File) -> Tuple[int, str]:
        """Return the number of images of a file and the hash of their list."""
        raise NotImplementedError

    def part(self, file: File, first: int, last: int) -> List[Item]:
        """Return the images ``first`` to ``last`` of a file; their names start with that of the file."""
        raise NotImplementedError

    def prepare(self, folder: Optional[str] = None) -> None:
        """Count the images of each file, or take the numbers that another process left in ``folder``."""
        rows = self._scanned() if folder is None else self._catalog(folder)
        self._ends = list(itertools.accumulate(count for count, _ in rows))
        digest = hashlib.sha256()
        for file, (count, sha256) in zip(self.files, rows):
            digest.update(os.fsencode(file.name) + b"\0%d\0" % count + sha256.encode())
        self._sha256 = digest.hexdigest()
        if not len(self):
            raise UserError(f"there is no image in '{self.address}'")

    def _scanned(self) -> List[Tuple[int, str]]:
        return [self.scan(file) for file in self.files]

    def _catalog(self, folder: str) -> List[Tuple[int, str]]:
        """Of processes that start together, one counts, and the others wait for its numbers."""
        known = [self.kind, self.column, [list(file) for file in self.files]]
        path = os.path.join(folder, CATALOG)
        try:
            os.makedirs(folder, exist_ok=True)
            with open(path, "a+b") as stream, locked(stream):
                stream.seek(0)
                content = _json(stream.read())
                if content is not None and content["of"] == known:
                    return [(count, sha256) for count, sha256 in content["images"]]
                rows = self._scanned()
                stream.truncate(0)
                stream.write(json.dumps({"of": known, "images": rows}).encode())
                stream.flush()  # before the next process may read it
                return rows
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from None

    @property
    def sha256(self) -> str:
        """The hash of the list of images, as 64 hexadecimal digits."""
        return self._sha256

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, stop: int) -> List[Item]:
        """Return the images ``start`` to ``stop``, from as many files as they are in."""
        items: List[Item] = []
        while start < stop:
            index = bisect.bisect_right(self._ends, start)
            before = self._ends[index - 1] if index else 0
            end = min(stop, self._ends[index])
            items += self.part(self.files[index], start - before, end - before)
            start = end
        self.store.used = time.monotonic()
        return items

    def alive(self) -> float:
        """Return the time of the last sign of life of the store."""
        return self.store.used


def too_large(name: str, size: int) -> Optional[Item]:
    """Return an item without the image if that has more than :data:`MAX_BYTES`, which are not read."""
    if size <= MAX_BYTES:
        return None
    return Item(name, UserError(f"'{name}' has {size} bytes, more than {MAX_BYTES}; save it in another format"))


def line(name: str) -> str:
    """Return a name from a file as one line of text."""
    return printable(name)


def _json(content: bytes) -> Any:
    """Return a catalog, or None for one whose writer was stopped."""
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) and {"of", "images"} <= set(value) else None
