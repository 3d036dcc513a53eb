"""Images to measure accuracy on, and others to calibrate int8 with.

Views of the two photographs that come with scikit-learn (china.jpg, flower.jpg) and this repository's digits.
``alexnet-digits`` is also measured on the digits that examples/train_digits.py holds out.
"""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Sequence

import numpy as np
from PIL import Image

from benchmarks import neighbors
from benchmarks.records import ROOT
from fastalex import AlexNet

TRAINED = "alexnet-digits"
CALIBRATION_IMAGES = 128
SEED = 0


def photographs() -> List[Image.Image]:
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


def views(picture: Image.Image) -> List[Image.Image]:
    """Twelve views of a picture: the whole, its quarters and its middle, each also mirrored."""
    w, h = picture.size
    boxes = [(0, 0, w, h), (w // 4, h // 4, 3 * w // 4, 3 * h // 4)]
    boxes += [(x, y, x + w // 2, y + h // 2) for x in (0, w // 2) for y in (0, h // 2)]
    cut = [picture.crop(box) for box in boxes]
    return cut + [view.transpose(Image.FLIP_LEFT_RIGHT) for view in cut]


def random_views(pictures: Sequence[Image.Image], count: int) -> List[Image.Image]:
    """Random crops, each side a fifth to four fifths of the picture's; none is one of :func:`views`."""
    random = np.random.RandomState(SEED)
    crops = []
    for index in range(count):
        picture = pictures[index % len(pictures)]
        sides = [int(side * random.uniform(0.2, 0.8)) for side in picture.size]
        left, top = (random.randint(0, whole - side) for whole, side in zip(picture.size, sides))
        crops.append(picture.crop((left, top, left + sides[0], top + sides[1])))
    return crops


def digit_files() -> List[str]:
    return [str(path) for path in sorted((ROOT / "examples" / "digits").glob("*.png"))]


class Data(NamedTuple):
    """Preprocessed float32 ``[N, 3, S, S]``; ``held`` and ``labels`` are None except for the trained network."""

    images: np.ndarray
    calibration: np.ndarray
    held: Optional[np.ndarray] = None
    labels: Optional[np.ndarray] = None


def data_for(net: AlexNet, quick: bool) -> Data:
    pictures = photographs()
    chosen: List[Any] = [view for picture in pictures for view in views(picture)] + list(digit_files())
    images = net.preprocess(chosen[:: 4 if quick else 1])
    count = CALIBRATION_IMAGES // 8 if quick else CALIBRATION_IMAGES
    if net.variant.name != TRAINED:
        return Data(images, net.preprocess(random_views(pictures, count)))
    train_digits = neighbors.load(neighbors.TRAIN_DIGITS)
    gray, labels = train_digits.load_images()
    training, held = train_digits.held_out_split(labels)
    training = np.random.RandomState(SEED).permutation(training)[:count]
    held = held[:: 8 if quick else 1]
    return Data(
        images,
        train_digits.prepare(gray[training], net.variant),
        train_digits.prepare(gray[held], net.variant),
        labels[held],
    )
