"""Occlusion: how probable a class remains while a gray patch covers one place of the image after another.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2.
"""

from __future__ import annotations

from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from .._util.arguments import positive_int
from ..errors import UserError
from .inputs import Report, check_finite, class_of, one, silent

PLACES = 13  # a side: as many as conv5 of the paper's network has, 169 in all
GRAY = 128  # of the patch
SHARE = 5  # the patch is a fifth of the picture wide, so that patches at neighboring places overlap
BATCH = 16


class Occlusion(NamedTuple):
    """What :func:`occlusion` finds.

    * ``probability``: float32 ``[places, places]``, the class's while the patch is at this place.
    * ``whole``: its probability without a patch.
    * ``index``: the class. ``patch``: the side of the patch in pixels of the input.
    """

    probability: np.ndarray
    whole: float
    index: int  # type: ignore[assignment]  # hides tuple.index
    patch: int

    @property
    def heat(self) -> np.ndarray:
        """The share of the probability that a patch at each place takes away, 0 to 1."""
        if self.whole <= 0:
            return np.zeros_like(self.probability)
        heat: np.ndarray = (1 - self.probability / np.float32(self.whole)).clip(0, 1)
        return heat


def occlusion(
    net: Any,
    image: Any,
    index: Optional[int] = None,
    places: int = PLACES,
    patch: Optional[int] = None,
    profile: Any = None,
    batch: int = BATCH,
    report: Report = silent,
) -> Occlusion:
    """Measure the probability of a class with a gray patch at ``places`` x ``places`` places of an image.

    The centers of the patches lie evenly over the input, and a patch ends at the input's edge.

    :param index: the class; default: the most probable one of the whole image.
    :param patch: side of the patch in pixels; default: a fifth of the input's.
    :param batch: images at once, which bounds the memory.
    :param report: called after each batch with the number of places done and their number.
    :raises UserError: for an image that cannot be read, a class that does not exist, more places than pixels, a patch
        larger than the input, or probabilities that are not finite.
    """
    x, size = one(net, image, profile), net.variant.input_size
    if positive_int("places", places) > size:
        raise UserError(f"places must be at most {size}, the pixels of a side, not {places}")
    side = max(1, round(size / SHARE)) if patch is None else positive_int("patch", patch)
    if side > size:
        raise UserError(f"patch must be at most {size}, the side of the input, not {side}")
    positive_int("batch", batch)
    gray = net.preprocess(np.full((size, size, 3), GRAY, np.uint8), profile)[0]
    scores = _probabilities(net, x)[0]
    chosen = class_of(net, index, scores)
    found: List[np.ndarray] = []
    for covered in _covered(x[0], gray, places, side, batch):
        found.append(_probabilities(net, covered)[:, chosen])
        report(min(len(found) * batch, places * places), places * places)
    return Occlusion(np.concatenate(found).reshape(places, places), float(scores[chosen]), chosen, side)


def spans(size: int, places: int, side: int) -> List[Tuple[int, int]]:
    """Return the first and the end pixel of the patch at each of ``places`` along an input of ``size`` pixels."""
    starts = [round((place + 0.5) * size / places - side / 2) for place in range(places)]
    return [(max(0, start), min(size, start + side)) for start in starts]


def _covered(x: np.ndarray, gray: np.ndarray, places: int, side: int, batch: int) -> Iterator[np.ndarray]:
    """Yield batches of ``x`` with patches of ``gray``, place by place in rows."""
    along = spans(x.shape[1], places, side)
    boxes = [(rows, columns) for rows in along for columns in along]
    for start in range(0, len(boxes), batch):
        part = boxes[start : start + batch]
        covered = np.repeat(x[None], len(part), axis=0)
        for picture, ((top, bottom), (left, right)) in zip(covered, part):
            picture[:, top:bottom, left:right] = gray[:, top:bottom, left:right]
        yield covered


def _probabilities(net: Any, x: np.ndarray) -> np.ndarray:
    return check_finite(np.asarray(net.predict_proba(x)), "the probabilities")
