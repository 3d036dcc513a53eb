"""A folder of Parquet files, as pyarrow, pandas, Spark and Hugging Face's datasets read it.

Each file has as many rows as are written at once, in the columns ``image`` (its name) and ``activations`` (a list of
fixed length, the row in C order). The shape of a row is in the metadata of the schema.
"""

from __future__ import annotations

import json
import os
from typing import Any, List, Sequence, Tuple

import numpy as np

from .. import packages
from .base import Destination, Reader, remove

_WHO = "a destination in Parquet"


class Parquet(Destination):
    """Rows of one folder of files, each written under another name first."""

    suffix = ".parquet"

    def __init__(self, path: str, shape: Sequence[int], dtype: str, step: int) -> None:
        packages.needed("pyarrow.parquet", _WHO)
        remove(path)
        os.makedirs(path)
        self._path, self._shape, self._dtype = path, tuple(shape[1:]), dtype

    def _open(self, path: str) -> None:
        before = reader(path)
        self._path, self._shape, self._dtype = path, before.shape[1:], before.dtype.name

    def write(self, first: int, values: np.ndarray, names: Sequence[str]) -> None:
        """Store the rows of one file."""
        pyarrow, parquet = packages.needed("pyarrow", _WHO), packages.needed("pyarrow.parquet", _WHO)
        flat = pyarrow.array(np.ascontiguousarray(values).reshape(-1))
        images = [name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for name in names]
        columns = {
            "image": pyarrow.array(images, pyarrow.string()),
            "activations": pyarrow.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:]))),
        }
        facts = {"fastalex": json.dumps({"shape": self._shape, "dtype": self._dtype})}
        target = os.path.join(self._path, _name(first))
        temporary = os.path.join(self._path, "." + _name(first))
        parquet.write_table(pyarrow.table(columns).replace_schema_metadata(facts), temporary)
        os.replace(temporary, target)

    @classmethod
    def keep(cls, part: str, target: str, rows: int) -> None:
        """Rename the folder."""
        if os.path.isdir(part):
            for name in os.listdir(part):
                if name.startswith("."):  # of a process that was killed
                    os.unlink(os.path.join(part, name))
            remove(target)
            os.rename(part, target)


class _Files(Reader):
    """The rows of a folder of files."""

    def __init__(self, path: str) -> None:
        self._parquet = packages.needed("pyarrow.parquet", _WHO)
        names = sorted(name for name in os.listdir(path) if name.endswith(".parquet") and not name.startswith("."))
        if not names:
            raise ValueError("there are no rows in it")
        self._files: List[Tuple[int, int, str]] = []
        for name in names:
            first, file = int(name[len("part-") : -len(".parquet")]), os.path.join(path, name)
            self._files.append((first, first + self._parquet.read_metadata(file).num_rows, file))
        schema = self._parquet.read_schema(self._files[0][2])
        facts = json.loads((schema.metadata or {})[b"fastalex"])
        self.dtype = np.dtype(facts["dtype"])
        self.shape = (self._files[-1][1], *facts["shape"])

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, *rest = index if isinstance(index, tuple) else (index,)
        if rows is Ellipsis:
            rows, rest = slice(None), [Ellipsis, *rest]
        if not isinstance(rows, slice):
            row = range(self.shape[0])[rows]
            index = (slice(row, row + 1), *rest)
            return self[index][0]
        chosen = range(self.shape[0])[rows]
        start, stop = (min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1]) + 1) if chosen else (0, 0)
        index = (slice(None), *rest)
        parts = [np.empty((0, *self.shape[1:]), self.dtype)[index]]
        for first, last, file in self._files:
            if first < stop and last > start:
                column = self._parquet.read_table(file, columns=["activations"]).column(0).combine_chunks()
                values = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, *self.shape[1:])
                index = (slice(max(0, start - first), stop - first), *rest)
                parts.append(values[index].copy())  # so that not the whole rows are kept
        return np.concatenate(parts)[:: chosen.step]


def _name(first: int) -> str:
    return f"part-{first:012d}.parquet"


def reader(path: str) -> Any:
    """Open a complete folder."""
    return _Files(path)
