"""The share of zeros in the result of every layer: behind a ReLU most units say nothing about most images."""

from __future__ import annotations

from typing import Any, Dict, Sequence

import numpy as np

from ..errors import UserError
from .inputs import computed

BATCH = 4  # images at once; the results of all layers are in memory


def zeros(net: Any, images: Sequence[Any], profile: Any = None) -> Dict[str, float]:
    """Return the share of zeros in the result of each layer, over all ``images`` together.

    Zeros of either sign count; NaN and infinity do not.

    :param images: a list of one or more images as for :meth:`fastalex.AlexNet.preprocess`.
    :returns: name of the layer -> 0 to 1, in the order of the layers.
    :raises UserError: for an empty list, or an image that cannot be read.
    """
    if not len(images):
        raise UserError("there are no images to count zeros on; give at least one")
    names = list(computed(net.variant))
    found, total = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for start in range(0, len(images), BATCH):
        results = net.taps(net.preprocess(list(images[start : start + BATCH]), profile), names)
        for name, values in results.items():
            found[name] += values.size - int(np.count_nonzero(np.asarray(values)))
            total[name] += values.size
    return {name: found[name] / total[name] for name in names}
