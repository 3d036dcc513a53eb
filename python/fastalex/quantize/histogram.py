"""Histograms of the magnitudes of activations, and the choice of a threshold in a histogram."""

from __future__ import annotations

import math

import numpy as np

from ..errors import UserError

PERCENTILE = 99.99  # default of the method percentile


class Histogram:
    """Counts of magnitudes above zero in equal bins from 0 to :attr:`limit`; a bin includes its upper edge.

    The limit is a power of two. For a larger value it is doubled, and bins are joined in pairs, until the value fits.
    The counts therefore do not depend on the order of the values, and at least half of the bins are below the largest.
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
        """Return the upper edge of bin ``index``, or the largest value if that is smaller."""
        return min(self.limit * (index + 1) / self.BINS, self.largest)


def threshold(histogram: Histogram, qmax: int, method: str, percentile: float = PERCENTILE) -> float:
    """Choose the magnitude that becomes the largest quantized value, ``qmax``; 0 if all values were zero."""
    if method == "max" or histogram.largest == 0:
        return histogram.largest
    if method == "percentile":
        below = np.cumsum(histogram.counts)
        return histogram.edge(int(np.searchsorted(below, below[-1] * (percentile / 100))))
    divergences = _divergences(histogram.counts, qmax)
    # The largest of equal ones, since by this measure it costs nothing to join the only two bins in use.
    return histogram.edge(int(np.flatnonzero(divergences <= divergences.min() + 1e-12)[-1]))


def _divergences(counts: np.ndarray, qmax: int) -> np.ndarray:
    """Return the divergence of the quantized histogram from the true one, for a threshold at the end of each bin.

    P is the histogram up to the threshold, with the counts beyond it added to its last bin. Q has, in each bin where P
    is not zero, the mean over such bins of the same quantized value, without the counts beyond the threshold. Of n
    bins, bin j has the quantized value nearest to ``qmax (j + 0.5) / n``. The divergence is infinite where the last bin
    is empty (P may have counts there, Q has none), and for fewer bins than quantized values.

    All thresholds are computed together from running sums: for sum P log P only the last bin differs, and sum P log Q
    is one product for each quantized value.
    """
    total = float(counts.sum())
    mass = np.concatenate(([0.0], np.cumsum(counts)))
    used = np.concatenate(([0], np.cumsum(counts > 0)))
    entropy = np.concatenate(([0.0], np.cumsum(_xlogx(counts))))
    ends = np.flatnonzero(counts)
    ends = ends[ends >= min(qmax, ends[-1])]
    divergences = np.full(len(counts), np.inf)
    for part in np.array_split(ends, max(1, len(ends) * qmax // (1 << 20))):
        n = part[:, None] + 1
        # The first bin of value k is the first with qmax (j + 0.5) / n >= k - 0.5.
        starts = np.ceil(n * (np.arange(qmax + 1) - 0.5) / qmax - 0.5).astype(np.int64)
        starts = np.concatenate((np.maximum(starts, 0), n), axis=1)
        masses, bins = np.diff(mass[starts], axis=1), np.diff(used[starts], axis=1)
        last, within = counts[part].astype(float), mass[part + 1]
        beyond = total - within
        p_log_p = (entropy[part] + _xlogx(last + beyond)) / total - math.log(total)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(masses > 0, np.log(masses / bins / within[:, None]), 0.0)
        p_log_q = ((masses * logs).sum(axis=1) + beyond * logs[:, -1]) / total
        divergences[part] = p_log_p - p_log_q
    return divergences


def _xlogx(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    return values * np.log(np.where(values > 0, values, 1.0))
