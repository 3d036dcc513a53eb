"""Parquet files with a column of images: the bytes of files, alone or in Hugging Face's struct of bytes and path."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ...errors import UserError
from ...weights.graph import shown
from .. import packages
from .base import Containers, Digest, Item, line
from .stores import File, Store

SUFFIXES = (".parquet",)


class Parquet(Containers):
    """Images of one column; row r of ``train.parquet`` is ``train.parquet/r``, or ``train.parquet/r/PATH`` with a path.

    One row group is held in memory.
    """

    kind = "parquet"

    def __init__(self, store: Store, files: Sequence[File], column: Optional[str]) -> None:
        super().__init__(store, files, column)
        self._group: Optional[Tuple[File, int, int, Any]] = None  # first row, last row, column

    def __getstate__(self) -> Dict[str, Any]:
        return dict(self.__dict__, _group=None)

    def scan(self, file: File) -> Tuple[int, str]:
        """Count the images by the file's footer, which has no sizes of single ones."""
        with self._opened(file) as opened:
            digest = Digest()
            digest.add(_column(opened, file, self.column), file.size)
            return int(opened.metadata.num_rows), digest.hexdigest()

    def part(self, file: File, first: int, last: int) -> List[Item]:
        """Return some images of a file."""
        items: List[Item] = []
        while first < last:
            start, stop, column = self._group_of(file, first)
            end = min(last, stop)
            rows = column.slice(first - start, end - first).to_pylist()
            items += [_item(f"{file.name}/{row}", value) for row, value in zip(range(first, end), rows)]
            first = end
        return items

    def _group_of(self, file: File, row: int) -> Tuple[int, int, Any]:
        """Return the row group that has ``row``: its first row, the one after its last, and the column."""
        if self._group is None or self._group[0] != file or not self._group[1] <= row < self._group[2]:
            self._group = None  # before the next takes memory
            with self._opened(file) as opened:
                name, start = _column(opened, file, self.column), 0
                for index in range(opened.num_row_groups):
                    stop = start + opened.metadata.row_group(index).num_rows
                    if row < stop:
                        break
                    start = stop
                column = opened.read_row_group(index, columns=[name]).column(0)  # in several pieces above 2 GB
                self._group = (file, start, stop, column)
        return self._group[1:]

    @contextlib.contextmanager
    def _opened(self, file: File) -> Iterator[Any]:
        parquet = packages.needed("pyarrow.parquet", "a source in Parquet")
        errors = (packages.needed("pyarrow", "a source in Parquet").ArrowException, OSError, EOFError)
        with self.store.opened(file) as stream:
            try:
                yield parquet.ParquetFile(stream)
            except errors as error:
                reason = shown(" ".join(str(error).split()), 200)
                raise UserError(f"cannot read '{file.path}', it is truncated or no Parquet file: {reason}") from None
        self.store.used = time.monotonic()


def _item(name: str, value: Any) -> Item:
    """Make an item of a cell; an empty one has no bytes, and is left out for it."""
    if isinstance(value, dict):
        path = value.get("path")
        name = f"{name}/{line(path)}" if isinstance(path, str) and path else name
        value = value.get("bytes")
    return Item(name, value if isinstance(value, bytes) else b"")


def _column(opened: Any, file: File, column: Optional[str]) -> str:
    """Return the name of the column of images: ``column``, or the one that can be."""
    schema = opened.schema_arrow
    suited = [field.name for field in schema if _suits(field.type)]
    if column is not None:
        if column not in suited:
            raise UserError(f"'{file.path}' has no column '{shown(column)}' of bytes, or of a struct with bytes")
        return column
    if len(suited) == 1:
        return str(suited[0])
    if suited:
        names = ", ".join(line(shown(name)) for name in suited[:5])
        raise UserError(f"'{file.path}' has {len(suited)} columns of bytes ({names}); choose one: --column NAME")
    raise UserError(f"'{file.path}' has no column of bytes, or of a struct with bytes")


def _suits(kind: Any) -> bool:
    types = packages.needed("pyarrow.types", "a source in Parquet")
    if types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        return any(field.name == "bytes" and _suits(field.type) for field in fields)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))
