"""Figure 4 of the paper, on the left: the five classes that the network thinks most probable."""

from __future__ import annotations

from typing import Any, List, Sequence

import numpy as np

from .._util.arguments import positive_int
from .inputs import check_finite

BATCH = 16  # images at once
COUNT = 5


def predictions(net: Any, images: Sequence[Any], count: int = COUNT, profile: Any = None) -> List[List[Any]]:
    """Return the ``count`` most probable classes of each image, the best first.

    :param images: a list of images as for :meth:`fastalex.AlexNet.classify`.
    :param count: at least 1; the network's classes if it has fewer.
    :returns: for each image a list of :class:`~fastalex.model.Prediction`.
    :raises UserError: for an image that cannot be read, or probabilities that are not finite.
    """
    count = min(positive_int("count", count), net.variant.num_classes)
    ranked: List[List[Any]] = []
    for start in range(0, len(images), BATCH):
        probabilities, indices = net.top_k(net.preprocess(list(images[start : start + BATCH]), profile), count)
        check_finite(np.asarray(probabilities), "the probabilities")
        ranked += net.label_top_k(probabilities, indices)
    return ranked
