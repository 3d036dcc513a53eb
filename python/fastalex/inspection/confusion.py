"""The confusion matrix: how often the images of each class are taken for each class."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

from ..train import data
from ..train import evaluate as scoring
from .inputs import Report, silent

BATCH = 32


class Confusion(NamedTuple):
    """What :func:`confusion` counts.

    * ``counts``: int64 ``[classes, classes]``, at ``[true, predicted]``. ``labels``: the names of the classes.
    * ``scores``: ``images``, ``bad``, ``top1`` and ``top5``. ``left_out``: image -> the sentence why it is not counted.
    """

    counts: np.ndarray
    labels: List[str]
    scores: Dict[str, Any]
    left_out: Dict[str, str]

    def shown(self) -> List[int]:
        """Return the classes that occur: those with images, and those that images are taken for."""
        return [int(number) for number in np.flatnonzero(self.counts.any(axis=0) | self.counts.any(axis=1))]

    def pairs(self, count: int) -> List[Tuple[str, str, int, float]]:
        """Return the most frequent mistakes: class, class it is taken for, images, and their share of the class.

        Of equal numbers the lower class is first.
        """
        wrong = self.counts.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        places = [divmod(int(place), len(wrong)) for place in order if wrong.flat[place]]
        totals = self.counts.sum(axis=1)
        return [
            (self.labels[true], self.labels[found], int(wrong[true, found]), float(wrong[true, found] / totals[true]))
            for true, found in places
        ]


def table(net: Any) -> np.ndarray:
    """Return zeros to count in, int64 ``[classes, classes]``."""
    return np.zeros((net.variant.num_classes,) * 2, np.int64)


def labels(net: Any) -> List[str]:
    """Return the names of the classes, or their numbers as text for a network without names."""
    return list(net.labels or map(str, range(net.variant.num_classes)))


def confusion(
    net: Any,
    folder: str,
    ten_crop: bool = False,
    batch: int = BATCH,
    bad_limit: int = 100,
    report: Report = silent,
) -> Confusion:
    """Classify labeled images, and count which classes are taken for which.

    :param folder: with a folder of images for each class, or tar shards, as for :func:`fastalex.train.data.find`.
    :param ten_crop: average the probabilities of ten views.
    :param bad_limit: number of images that cannot be read to accept.
    :param report: called after each batch with the number of images done and their number.
    :raises UserError: for a folder without classes or images, classes that the network does not have, or too many
        images that cannot be read.
    """
    images = data.find(folder)
    bad, counts, total = data.BadImages(None, bad_limit), table(net), len(images.samples)
    scores = scoring.evaluate(net, images, ten_crop, batch, bad, lambda done: report(done, total), counts)
    return Confusion(counts, labels(net), scores, dict(bad.seen))
