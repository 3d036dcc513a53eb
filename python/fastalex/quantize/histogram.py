"""Histograms of activations' magnitudes, and the threshold that a method of calibration chooses in one."""

from __future__ import annotations

import math

import numpy as np

from ..errors import UserError

PERCENTILE = 99.99


class Histogram:
    """Counts of magnitudes, in equal bins from 0 to :attr:`limit`, each with its upper edge; zeros are not counted.

    The limit is a power of two: where a value is above it, it doubles until the value is not, and bins are joined in
    pairs. So the counts do not depend on what came first, and half of the bins or more are below the largest value.
    """

    BINS = 8192

    def __init__(self) -> None:
        self.limit = 0.0
        self.largest = 0.0
        self.counts = np.zeros(self.BINS, np.int64)

    def add(self, values: np.ndarray) -> None:
        """Count the magnitudes of float32 ``values`` of any shape.

        :raises UserError: for NaN and infinity.
        """
        magnitudes = np.abs(values).reshape(-1)
        largest = float(magnitudes.max(initial=0.0))
        if not math.isfinite(largest):
            raise UserError("NaN or infinity")
        if largest == 0:
            return
        self.largest = max(self.largest, largest)
        fraction, exponent = math.frexp(largest)
        limit = math.ldexp(1.0, exponent - (fraction == 0.5))
        self.limit = self.limit or limit
        while self.limit < limit:
            self.counts = np.concatenate((self.counts.reshape(-1, 2).sum(1), np.zeros(self.BINS // 2, np.int64)))
            self.limit *= 2
        scaled = magnitudes[magnitudes > 0].astype(np.float64) * (self.BINS / self.limit)
        self.counts += np.bincount(np.ceil(scaled).astype(np.int64) - 1, minlength=self.BINS)

    def edge(self, index: int) -> float:
        """The upper edge of bin ``index``, or the largest value where that is below it."""
        return min(self.limit * (index + 1) / self.BINS, self.largest)


def threshold(histogram: Histogram, levels: int, method: str, percentile: float = PERCENTILE) -> float:
    """The magnitude of level ``levels``, the largest one; 0 where all values were zero."""
    if method == "max" or histogram.largest == 0:
        return histogram.largest
    if method == "percentile":
        below = np.cumsum(histogram.counts)
        return histogram.edge(int(np.searchsorted(below, below[-1] * (percentile / 100))))
    divergences = _divergences(histogram.counts, levels)
    # Of equals the largest: joining the only two bins in use with each other loses nothing, by this measure.
    return histogram.edge(int(np.flatnonzero(divergences <= divergences.min() + 1e-12)[-1]))


def _divergences(counts: np.ndarray, levels: int) -> np.ndarray:
    """For a threshold at the upper edge of each bin, the divergence of the quantized histogram from the true one.

    P is the histogram up to the threshold, with what lies beyond in its last bin. Q has, in each bin where P has
    something, the mean over such bins of the same level, without what lies beyond. Of n bins, bin j has the level
    nearest to ``levels (j + 0.5) / n``. Infinite where the last bin is empty (it may hold what lies beyond, and Q has
    nothing there), and for fewer bins than levels, of which nothing could be said.

    All thresholds at once, from running sums: sum P log P has changed in its last bin alone, and sum P log Q is one
    product for each level.
    """
    total = float(counts.sum())
    mass = np.concatenate(([0.0], np.cumsum(counts)))
    used = np.concatenate(([0], np.cumsum(counts > 0)))
    entropy = np.concatenate(([0.0], np.cumsum(_xlogx(counts))))
    ends = np.flatnonzero(counts)
    ends = ends[ends >= min(levels, ends[-1])]
    found = np.full(len(counts), np.inf)
    for some in np.array_split(ends, max(1, len(ends) * levels // (1 << 20))):
        n = some[:, None] + 1
        # The first bin of level k is the first with levels (j + 0.5) / n >= k - 0.5.
        starts = np.ceil(n * (np.arange(levels + 1) - 0.5) / levels - 0.5).astype(np.int64)
        starts = np.concatenate((np.maximum(starts, 0), n), axis=1)
        masses, bins = np.diff(mass[starts], axis=1), np.diff(used[starts], axis=1)
        own, kept = counts[some].astype(float), mass[some + 1]
        beyond = total - kept
        p_log_p = (entropy[some] + _xlogx(own + beyond)) / total - math.log(total)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(masses > 0, np.log(masses / bins / kept[:, None]), 0.0)
        p_log_q = ((masses * logs).sum(axis=1) + beyond * logs[:, -1]) / total
        found[some] = p_log_p - p_log_q
    return found


def _xlogx(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    return values * np.log(np.where(values > 0, values, 1.0))
