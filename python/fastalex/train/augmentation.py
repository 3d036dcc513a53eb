"""From a decoded image to a training input: crop, reflection, color; and to an evaluation input."""

from __future__ import annotations

import math
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageEnhance

from .. import images
from ..images import profiles
from ..networks.architecture import Variant
from .color import Statistics
from .recipes import Recipe

# torchvision/transforms/transforms.py, RandomResizedCrop: share of the area, aspect ratio, tries
_AREA, _ASPECT, _TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10


class View(NamedTuple):
    """One of the inputs that a resized image holds: the crop from ``(top, left)`` on, mirrored if ``flip``."""

    top: int
    left: int
    flip: bool


def places(rest: int, crop: str) -> int:
    """Number of places of a crop along an axis with ``rest`` pixels to spare.

    ``paper``: 256 - 224 = 32 gives 32, whose square times two is the 2048 of section 4.1; ``inclusive``: 33, as
    ``randint(0, 33)`` of the released code gives.
    """
    return max(1, rest) if crop == "paper" else rest + 1


def views(height: int, width: int, size: int, crop: str, flip: bool) -> List[View]:
    """All inputs of ``size`` that an image of ``height`` x ``width`` holds under a recipe."""
    return [
        View(top, left, mirrored)
        for mirrored in ((False, True) if flip else (False,))
        for top in range(places(height - size, crop))
        for left in range(places(width - size, crop))
    ]


class Training:
    """``(source, place)`` -> float32 ``[3, size, size]``: what :class:`fastalex.train.data.Dataset` calls."""

    def __init__(self, row: Variant, recipe: Recipe, statistics: Optional[Statistics], seed: int, epoch: int) -> None:
        self.profile, self.size = profiles.get(row.profile), row.input_size
        self.rules, self.seed, self.epoch = recipe.augmentation, seed, epoch
        self.mean = images.Mean(self.profile, self.size, mean_image(row, recipe, statistics))
        ended = self.rules.color_end is not None and epoch >= self.rules.color_end
        self.color = None if ended or self.rules.color == "off" else statistics

    def __call__(self, source: Any, place: int) -> np.ndarray:
        # One stream for crop and flip, which a chunk of images shares, and one for the colors of this image.
        shared = self._stream(place // self.rules.chunk, 0)
        own = self._stream(place, 1)
        picture = images.open_image(source)
        if self.rules.jitter:
            picture = jittered(picture, self.rules.jitter, own)
        if self.rules.crop == "resized":
            canvas = resized_crop(picture, self.size, shared)
        else:
            canvas = images.canvas_of(picture, self.profile, self.size)
        view = self._view(canvas.shape, shared)
        out = np.empty((3, self.size, self.size), np.float32)
        images.normalize(out, canvas, view.top, view.left, self.profile, self.mean, mirror=view.flip)
        if self.color is not None:
            self._add_color(out, own)
        return out

    def _stream(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence((self.seed, self.epoch, *numbers)))

    def _view(self, shape: Sequence[int], stream: np.random.Generator) -> View:
        rests = [side - self.size for side in shape[:2]]
        flip = bool(stream.integers(2)) and self.rules.flip
        if self.rules.crop == "center":
            top, left = images.geometry((shape[1], shape[0]), self.profile, self.size).crop
            return View(top, left, flip)
        top, left = (int(stream.integers(places(rest, self.rules.crop))) for rest in rests)
        return View(top, left, flip)

    def _add_color(self, out: np.ndarray, stream: np.random.Generator) -> None:
        row = self.profile
        shift = self.color.shift(stream.standard_normal(3) * self.rules.color_sigma, self.rules.color)
        planes = shift[::-1] if row.order == "BGR" else shift
        out += (planes / (row.divisor * np.array(row.std))).astype(np.float32).reshape(3, 1, 1)
        if self.rules.color_rescale:
            out /= np.float32(1 + self.rules.color_sigma)


class Evaluation:
    """``(source, place)`` -> float32 ``[3, size, size]``: the central view."""

    def __init__(self, row: Variant, recipe: Recipe, statistics: Optional[Statistics]) -> None:
        self.row, self.mean = row, mean_image(row, recipe, statistics)

    def __call__(self, source: Any, place: int) -> np.ndarray:
        return images.preprocess(source, self.row.profile, self.row.input_size, mean_image=self.mean)[0]


def mean_image(row: Variant, recipe: Recipe, statistics: Optional[Statistics]) -> Optional[np.ndarray]:
    """The training set's mean, ``[3, side, side]`` in the order of the profile, if recipe and profile have one."""
    profile = profiles.get(row.profile)
    if not recipe.augmentation.mean_image or profile.mean_image is None or statistics is None:
        return None
    planes = statistics.mean
    return np.ascontiguousarray(planes[::-1] if profile.order == "BGR" else planes, np.float32)


def resized_crop(picture: Image.Image, size: int, stream: np.random.Generator) -> np.ndarray:
    """A random part of random area and shape, resized to ``size``: torchvision's ``RandomResizedCrop``."""
    width, height = picture.size
    for _ in range(_TRIES):
        area = width * height * stream.uniform(*_AREA)
        aspect = math.exp(stream.uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(stream.integers(width - w + 1)), int(stream.integers(height - h + 1))
            break
    else:  # the central part, as near to these shapes as it can be
        w = min(width, round(height * _ASPECT[1]))
        h = min(height, round(width / _ASPECT[0]))
        left, top = (width - w) // 2, (height - h) // 2
    box = (left, top, left + w, top + h)
    return np.asarray(picture.resize((size, size), Image.BILINEAR, box=box))


def jittered(picture: Image.Image, most: float, stream: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and hue changed by up to ``most``, in random order: torchvision's
    ``ColorJitter`` with four equal numbers."""
    enhancers: Tuple[Any, ...] = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    factors = stream.uniform(1 - most, 1 + most, 3)
    turn = stream.uniform(-most, most)
    for step in stream.permutation(4):
        if step < 3:
            picture = enhancers[step](picture).enhance(float(factors[step]))
            continue
        hue, saturation, value = picture.convert("HSV").split()
        turned = (np.asarray(hue).astype(np.int16) + round(turn * 255)) % 256
        picture = Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert("RGB")
    return picture
