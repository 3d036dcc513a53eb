"""The mean image of a training set and the principal components of its colors, computed in one pass.

Krizhevsky et al. 2012, sections 2 and 4.1. All sums are integers, so the result does not depend on their order.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Tuple

import numpy as np

from .. import images
from ..errors import UserError
from ..images import profiles
from ..networks.architecture import Variant


class Statistics(NamedTuple):
    """Statistics of a training set.

    :ivar mean: mean image, float32 ``[3, side, side]``, RGB, 0 to 255.
    :ivar eigenvalues: of the covariance of the pixels, which are scaled to 0 to 1: ``[3]``, largest first.
    :ivar eigenvectors: the matching eigenvectors, ``[3, 3]``, one per column; the rows are red, green, blue.
    :ivar images: number of images.
    """

    mean: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    images: int

    def shift(self, alphas: np.ndarray, mode: str) -> np.ndarray:
        """Return the change of red, green and blue (0 to 255), ``[3]``, for the random numbers ``alphas`` ``[3]``.

        ``eigenvalues``: the formula in section 4.1, ``[p1, p2, p3] [a1 l1, a2 l2, a3 l3]``. ``deviations``: with the
        square roots of the eigenvalues, as in the released code (``color_stdevs`` in ``convdata.py``).
        """
        sizes = self.eigenvalues if mode == "eigenvalues" else np.sqrt(self.eigenvalues)
        change: np.ndarray = 255.0 * (self.eigenvectors @ (alphas * sizes))
        return change


class Gatherer:
    """Sums over the images of a training set, which :class:`Canvas` prepares."""

    def __init__(self, side: int) -> None:
        self.total = np.zeros((side, side, 3), np.int64)
        self.products = np.zeros((3, 3), np.int64)
        self.count = np.zeros((), np.int64)

    def arrays(self) -> Tuple[np.ndarray, ...]:
        """Return the sums; those of several gatherers may be added."""
        return self.total, self.products, self.count

    def add(self, canvas: np.ndarray) -> None:
        """Add one image, uint8 ``[side, side, 3]``."""
        pixels = canvas.reshape(-1, 3).astype(np.float64)
        self.products += (pixels.T @ pixels).astype(np.int64)  # exact: integers below 2**53
        self.total += canvas
        self.count += 1

    def result(self) -> Statistics:
        """Compute the statistics of the images added so far.

        :raises UserError: if there are none.
        """
        if not self.count:
            raise UserError("none of the training images can be read, so they have no mean")
        pixels = self.total.shape[0] * self.total.shape[1] * self.count
        means = self.total.sum((0, 1)) / pixels
        covariance = (self.products / pixels - np.outer(means, means)) / 255.0**2
        values, vectors = np.linalg.eigh(covariance)
        vectors = vectors[:, ::-1]
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), range(3)])  # a unique sign
        mean = (self.total / self.count).transpose(2, 0, 1).astype(np.float32)
        return Statistics(mean, np.maximum(values[::-1], 0), vectors, int(self.count))


class Canvas:
    """A callable for :class:`fastalex.train.data.Dataset` that returns the center of the resized image, without a crop.

    ``(source, position)`` -> uint8 ``[side, side, 3]``.
    """

    def __init__(self, row: Variant) -> None:
        self.profile, self.size = profiles.get(row.profile), row.input_size
        self.side = self.profile.side_for(self.size)

    def __call__(self, source: Any, position: int) -> np.ndarray:
        """Return the center of the image ``source``."""
        canvas = images.canvas_of(images.open_image(source), self.profile, self.size)
        top, left = ((canvas.shape[axis] - self.side) // 2 for axis in (0, 1))
        return np.ascontiguousarray(canvas[top : top + self.side, left : left + self.side])


def save(stream: Any, statistics: Statistics, key: str) -> None:
    """Write ``statistics`` and the ``key`` of the training set to ``stream``."""
    np.savez(stream, key=np.array(key), **statistics._asdict())


def load(path: str, key: str) -> Optional[Statistics]:
    """Read statistics written by :func:`save` with the same ``key``; return None if there are none, or damaged ones."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) != key:
                return None
            mean, eigenvalues, eigenvectors, count = (file[name] for name in Statistics._fields)
        sides = mean.shape[1:]
        if mean.shape != (3, *sides[:1] * 2) or eigenvalues.shape != (3,) or eigenvectors.shape != (3, 3):
            return None
        return Statistics(mean.astype(np.float32), eigenvalues.astype(float), eigenvectors.astype(float), int(count))
    except Exception:  # noqa: BLE001 - zipfile, zlib and numpy raise a dozen kinds on damaged bytes
        return None
