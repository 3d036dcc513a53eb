"""The mean image of a training set, and the principal components of its colors: one pass, a batch at a time.

Krizhevsky et al. 2012, sections 2 and 4.1. All sums are of whole numbers, so the result does not depend on the order.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Tuple

import numpy as np

from .. import images
from ..errors import UserError
from ..images import profiles
from ..networks.architecture import Variant


class Statistics(NamedTuple):
    """Of a training set. ``mean``: float32 ``[3, side, side]``, RGB, 0 to 255. ``eigenvalues`` ``[3]``, largest first,
    and ``eigenvectors`` ``[3, 3]`` (one a column, of red, green, blue) of the covariance of its pixels, 0 to 1."""

    mean: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    images: int

    def shift(self, alphas: np.ndarray, mode: str) -> np.ndarray:
        """What is added to red, green and blue (0 to 255) for the random numbers ``alphas`` ``[3]``.

        ``eigenvalues``: as section 4.1 prints it, ``[p1, p2, p3] [a1 l1, a2 l2, a3 l3]``. ``deviations``: with the
        roots of the eigenvalues, as the released code has it (``color_stdevs`` in ``convdata.py``).
        """
        sizes = self.eigenvalues if mode == "eigenvalues" else np.sqrt(self.eigenvalues)
        return 255.0 * (self.eigenvectors @ (alphas * sizes))


class Gatherer:
    """Sums over resized images; ``add`` takes what :class:`Canvas` makes."""

    def __init__(self, side: int) -> None:
        self.total = np.zeros((side, side, 3), np.int64)
        self.products = np.zeros((3, 3), np.int64)
        self.count = np.zeros((), np.int64)

    def arrays(self) -> Tuple[np.ndarray, ...]:
        """The sums; those of several gatherers may be added up."""
        return self.total, self.products, self.count

    def add(self, canvas: np.ndarray) -> None:
        """:param canvas: uint8 ``[side, side, 3]``."""
        pixels = canvas.reshape(-1, 3).astype(np.float64)
        self.products += (pixels.T @ pixels).astype(np.int64)  # whole numbers below 2**53: exact
        self.total += canvas
        self.count += 1

    def result(self) -> Statistics:
        """:raises UserError: if no image was added."""
        if not self.count:
            raise UserError("none of the training images can be read, so they have no mean")
        pixels = self.total.shape[0] * self.total.shape[1] * self.count
        means = self.total.sum((0, 1)) / pixels
        covariance = (self.products / pixels - np.outer(means, means)) / 255.0**2
        values, vectors = np.linalg.eigh(covariance)
        vectors = vectors[:, ::-1]
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), range(3)])  # of the two signs always the same
        mean = (self.total / self.count).transpose(2, 0, 1).astype(np.float32)
        return Statistics(mean, np.maximum(values[::-1], 0), vectors, int(self.count))


class Canvas:
    """``(source, place)`` -> uint8 ``[side, side, 3]``: the middle of the resized image that crops come from."""

    def __init__(self, row: Variant) -> None:
        self.profile, self.size = profiles.get(row.profile), row.input_size
        self.side = self.profile.side_for(self.size)

    def __call__(self, source: Any, place: int) -> np.ndarray:
        canvas = images.canvas_of(images.open_image(source), self.profile, self.size)
        top, left = ((canvas.shape[axis] - self.side) // 2 for axis in (0, 1))
        return np.ascontiguousarray(canvas[top : top + self.side, left : left + self.side])


def save(stream: Any, statistics: Statistics, key: str) -> None:
    np.savez(stream, key=np.array(key), **statistics._asdict())


def load(path: str, key: str) -> Optional[Statistics]:
    """What :func:`save` wrote for the same ``key``, or None."""
    try:
        with np.load(path, allow_pickle=False) as found:
            if str(found["key"]) != key:
                return None
            parts: Tuple[Any, ...] = tuple(found[name] for name in Statistics._fields)
    except (OSError, ValueError, KeyError):
        return None
    return Statistics(*parts[:3], int(parts[3]))
