"""Correlations of two vectors whose entries have weights: how often each is there.

A bootstrap sample of stimuli has the pair of stimuli i and j as often as it has i times as often as it has j. So no
sample is ever written out, and each is sorted as the whole is.
"""

from __future__ import annotations

from typing import Any, Callable, Dict

import numpy as np

Similarity = Callable[[np.ndarray], float]  # weights, int64 -> the correlation, NaN if it is not defined


def pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    """Return Pearson's correlation."""
    if _is_constant(x, weights) or _is_constant(y, weights):
        return float("nan")
    total = weights.sum()
    dx, dy = (values - (weights @ values) / total for values in (x, y))
    return _cosine(dx, dy, weights)


def _cosine(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    wx = weights * x
    lengths = np.sqrt(wx @ x) * np.sqrt((weights * y) @ y)
    return float(wx @ y / lengths) if lengths > 0 else float("nan")


def _is_constant(x: np.ndarray, weights: np.ndarray) -> bool:
    there = x[weights > 0]
    return bool(there.size == 0 or there.min() == there.max())


class _Order:
    """The order of a vector, with the groups of its equal entries."""

    def __init__(self, *keys: np.ndarray) -> None:
        self.order = np.lexsort(keys[::-1])
        changes = np.zeros(len(self.order), bool)
        for key in keys:
            in_order = key[self.order]
            changes[1:] |= in_order[1:] != in_order[:-1]
        changes[0] = True
        self._starts = np.flatnonzero(changes)
        self._group = np.cumsum(changes) - 1

    def totals(self, weights: np.ndarray) -> np.ndarray:
        """Return the sum of the weights of each group."""
        return np.asarray(np.add.reduceat(weights[self.order], self._starts))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return the value of its group for each entry of the vector."""
        result = np.empty(len(self.order), values.dtype)
        result[self.order] = values[self._group]
        return result

    def ties(self, weights: np.ndarray) -> int:
        """Return the number of pairs of equal entries."""
        return _pairs(self.totals(weights)).sum()

    def numbers(self) -> np.ndarray:
        """Return the number of its group for each entry, in the order of values."""
        return self.spread(np.arange(len(self._starts)))


def _pairs(totals: Any) -> Any:
    return totals * (totals - 1) // 2


def _of_pearson(x: np.ndarray, y: np.ndarray) -> Similarity:
    return lambda weights: pearson(x, y, weights)


def _of_cosine(x: np.ndarray, y: np.ndarray) -> Similarity:
    return lambda weights: _cosine(x, y, weights)


def _of_spearman(x: np.ndarray, y: np.ndarray) -> Similarity:
    """Return Pearson's correlation of ranks, equal entries having the mean of theirs."""
    orders = (_Order(x), _Order(y))

    def ranks(order: _Order, weights: np.ndarray) -> np.ndarray:
        totals = order.totals(weights)
        return order.spread(np.cumsum(totals) - (totals - 1) / 2)

    return lambda weights: pearson(ranks(orders[0], weights), ranks(orders[1], weights), weights)


def _of_tau_a(x: np.ndarray, y: np.ndarray) -> Similarity:
    """Return Kendall's tau-a: concordant pairs less discordant ones, of all pairs (Kendall, Biometrika 30, 1938).

    Discordant pairs are counted as Knight does (J. Am. Stat. Assoc. 61, 1966): in the order of x, those out of the
    order of y.
    """
    of_x, of_y, of_both = _Order(x), _Order(y), _Order(x, y)
    y_in_order = of_y.numbers()[of_both.order]

    def tau(weights: np.ndarray) -> float:
        every = int(_pairs(weights.sum()))
        tied = of_x.ties(weights) + of_y.ties(weights) - of_both.ties(weights)
        discordant = inversions(y_in_order, weights[of_both.order])
        return float((every - int(tied) - 2 * discordant) / every) if every else float("nan")

    return tau


def inversions(numbers: np.ndarray, weights: np.ndarray) -> int:
    """Return the weight of all pairs of entries of which the earlier is larger: the product of the two weights.

    Two numbers are told apart by the highest bit in which they differ. Bit by bit, among numbers that are equal above
    it, each 0 is counted with the 1s before it.

    :param numbers: int64 from 0 on. ``weights``: int64.
    """
    there = weights > 0
    numbers, weights = numbers[there], weights[there]
    total = 0
    for bit in range(int(numbers.max(initial=0)).bit_length() - 1, -1, -1):
        above, ones = numbers >> (bit + 1), (numbers >> bit) & 1
        before = np.cumsum(weights * ones)
        starts = np.flatnonzero(np.concatenate([[True], above[1:] != above[:-1]]))
        earlier = np.concatenate([[0], before])[starts]  # the 1s of groups before
        sizes = np.diff(np.append(starts, len(numbers)))
        total += int((weights * (1 - ones) * (before - np.repeat(earlier, sizes))).sum())
        order = np.argsort(numbers >> bit, kind="stable")
        numbers, weights = numbers[order], weights[order]
    return total


#: Method -> what makes its similarity of two vectors.
METHODS: Dict[str, Callable[[np.ndarray, np.ndarray], Similarity]] = {
    "pearson": _of_pearson,
    "spearman": _of_spearman,
    "tau-a": _of_tau_a,
    "cosine": _of_cosine,
}


def pair_weights(counts: np.ndarray) -> np.ndarray:
    """Return how often a sample has each pair i < j, int64, of how often it has each stimulus.

    A stimulus that was drawn several times makes pairs with itself, which are left out.
    """
    return np.concatenate([counts[row] * counts[row + 1 :] for row in range(len(counts) - 1)])
