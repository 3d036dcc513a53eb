"""The dissimilarities of all pairs of stimuli, in blocks of stimuli.

Each metric is a distance of prepared rows: ``1 - r`` is half the squared Euclidean distance of rows that have a mean of
0 and a length of 1. The squared distance is ``|a|^2 + |b|^2 - 2 a.b`` in double precision, by one matrix product, and
the sum of squared differences where that loses digits that float32 has.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, Iterator, Optional, Tuple, Union

import numpy as np

from .._util import arguments
from ..errors import UserError
from .activations import Activations

#: Metric -> its formula.
METRICS: Dict[str, str] = {
    "pearson": "1 - r, of Pearson's correlation r",
    "spearman": "1 - rho, of Spearman's rank correlation rho",
    "cosine": "1 - cos, of the angle between two rows",
    "euclidean": "the Euclidean distance",
    "sqeuclidean": "the squared Euclidean distance",
}
MEMORY = 512 << 20  # bytes of blocks
_HELD, _TAKEN = 5 / 8, 1 / 8  # of it: the rows of a block; those it is compared with, and twice as much to prepare them
# A product of F terms rounds by F * 2^-53 of the lengths at most (Higham, Accuracy and Stability, 2002, section 3.1).
# A squared distance below F * 2^-29 of them may lose some of the 24 bits that float32 has.
_NEAR = 2.0**-29
_TOO_LARGE = "the activations are so large that their squares overflow; scale them down"


def compute(
    activations: Union[Activations, np.ndarray],
    metric: str = "pearson",
    condensed: bool = False,
    memory: int = MEMORY,
    report: Optional[Callable[[int], None]] = None,
) -> np.ndarray:
    """Compute the RDM of all rows.

    Beside the result, which takes 4 N^2 bytes for N stimuli, or half of them condensed, it holds about ``memory``, and
    the chunks that are being read. The rows are read about ``N / (2 R)`` times, and at least once, R being the rows
    that 5/8 of ``memory`` holds in float64; Euclidean distances take a pass more.

    :param activations: ``[N, ...]``, an array or :class:`Activations`.
    :param metric: one of :data:`METRICS`.
    :param condensed: return only the pairs i < j, in the order of ``scipy.spatial.distance.squareform``.
    :param memory: bytes for blocks of rows; at least two rows are held.
    :param report: called with the number of pairs done.
    :returns: float32 ``[N, N]``, symmetric with zeros on its diagonal; or ``[N (N - 1) / 2]``.
    :raises UserError: for an unknown metric, fewer than 3 stimuli, a row that is not finite or has no such
        dissimilarity, or a result larger than this machine's memory.
    """
    arguments.one_of("metric", metric, tuple(METRICS))
    arguments.positive_int("memory", memory)
    if not isinstance(activations, Activations):
        activations = Activations(np.asarray(activations))
    count = activations.count
    if count < 3:
        raise UserError(f"an RDM needs at least 3 stimuli, and {activations.where} has {count}")
    result = _Result(count, condensed)
    prepare = _Preparation(activations, metric, memory)
    done = 0
    for start, stop, first, last, values in _tiles(prepare):
        result.put(start, first, _finished(values, metric))
        done += (stop - start) * (last - first) if first > start else (last - first) * (last - first - 1) // 2
        if report is not None:
            report(done)
    return result.values


class _Result:
    """The matrix, or its upper triangle."""

    def __init__(self, count: int, condensed: bool) -> None:
        self._count, self._condensed = count, condensed
        size = count * (count - 1) // 2 if condensed else count * count
        try:
            if 4 * size > _physical_memory():
                raise MemoryError
            self.values = np.zeros(size if condensed else (count, count), np.float32)
        except MemoryError:
            better = "fewer stimuli" if condensed else "--condensed, which takes half of that, or fewer stimuli"
            raise UserError(
                f"an RDM of {count} stimuli takes {4e-9 * size:.1f} GB, more than there is; use {better}"
            ) from None

    def put(self, start: int, first: int, tile: np.ndarray) -> None:
        """Store the dissimilarities of the stimuli from ``start`` on to those from ``first`` on."""
        rows, columns = tile.shape
        if self._condensed:
            for row in range(rows):
                skip = row + 1 if first == start else 0
                i, j = start + row, first + skip
                at = i * (2 * self._count - i - 1) // 2 + j - i - 1
                self.values[at : at + columns - skip] = tile[row, skip:]
            return
        if first == start:
            tile = np.triu(tile, 1)
            tile = tile + tile.T
        self.values[start : start + rows, first : first + columns] = tile
        self.values[first : first + columns, start : start + rows] = tile.T


def _physical_memory() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError):
        return float("inf")


class _Preparation:
    """Reads rows, and makes of them those whose distance is the metric."""

    def __init__(self, activations: Activations, metric: str, memory: int) -> None:
        self.activations, self._metric = activations, metric
        row_bytes = 8 * activations.features
        self.taken = max(1, int(memory * _TAKEN) // row_bytes)
        if self.taken > activations.chunk_rows:
            self.taken -= self.taken % activations.chunk_rows  # whole chunks, each read once
        self.held = max(1, int(memory * _HELD) // (self.taken * row_bytes)) * self.taken
        self._mean = self._means() if metric in ("euclidean", "sqeuclidean") else None

    def __call__(self, start: int, stop: int) -> np.ndarray:
        """Return the prepared rows ``start`` to ``stop``, float64."""
        rows = self.activations.rows(start, stop)
        if self._mean is not None:
            rows -= self._mean
            return rows
        zero = rows.min(axis=1) == (0 if self._metric == "cosine" else rows.max(axis=1))
        if self._metric == "cosine":
            zero &= rows.max(axis=1) == 0
        if zero.any():
            what = "only zeros" if self._metric == "cosine" else "one value everywhere"
            raise UserError(
                f"{self.activations.row(start + int(np.argmax(zero)))} has {what}, so its {self._metric} dissimilarity "
                "is not defined; leave that stimulus out, or use euclidean"
            )
        if self._metric == "spearman":
            for row in rows:
                row[:] = ranks(row)
        if self._metric != "cosine":
            rows -= rows.mean(axis=1, keepdims=True)
        rows /= np.abs(rows).max(axis=1, keepdims=True)  # so that no square overflows, or becomes 0
        rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
        return rows

    def _means(self) -> np.ndarray:
        """Return the mean of each feature: distances do not change with it, and their rounding errors do."""
        total = np.zeros(self.activations.features)
        for start in range(0, self.activations.count, self.taken):
            total += self.activations.rows(start, min(start + self.taken, self.activations.count)).sum(axis=0)
        return total / self.activations.count


def _tiles(prepare: _Preparation) -> Iterator[Tuple[int, int, int, int, np.ndarray]]:
    """Yield ``start, stop, first, last`` and the squared distances of those rows, each pair once.

    A block of rows is held, and compared with itself and with all rows behind it.
    """
    count, step = prepare.activations.count, prepare.taken
    for start in range(0, count, prepare.held):
        stop = min(start + prepare.held, count)
        block = np.empty((stop - start, prepare.activations.features))
        for first in range(start, count, step):
            last = min(first + step, count)
            rows = prepare(first, last)
            if first < stop:
                block[first - start : last - start] = rows
                if first > start:
                    yield start, first, first, last, squared_distances(block[: first - start], rows)
                yield first, last, first, last, squared_distances(rows, rows)
            else:
                yield start, stop, first, last, squared_distances(block, rows)


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distance of each row of ``a`` to each of ``b``, exact to float32's precision."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)
        squared = lengths - 2 * (a @ b.T)
    if not np.isfinite(squared).all():
        raise UserError(_TOO_LARGE)
    near = squared <= lengths * (a.shape[1] * _NEAR)
    for row in np.flatnonzero(near.any(axis=1)):
        difference = b[near[row]] - a[row]
        squared[row, near[row]] = np.einsum("ij,ij->i", difference, difference)
    return np.asarray(squared)


def _finished(squared: np.ndarray, metric: str) -> Any:
    if metric == "sqeuclidean":
        if squared.max() > np.finfo(np.float32).max:
            raise UserError(_TOO_LARGE)
        return squared
    return np.sqrt(squared) if metric == "euclidean" else squared / 2


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values from 1, equal ones having the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse.reshape(-1)])
