"""Preprocessing of images for training (random crop, reflection, color) and for evaluation."""

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

# torchvision/transforms/transforms.py, RandomResizedCrop: fraction of the area, aspect ratio, number of tries
_AREA, _ASPECT, _TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10


class View(NamedTuple):
    """A crop of a resized image: from ``(top, left)`` on, mirrored if ``flip``."""

    top: int
    left: int
    flip: bool


def crop_positions(rest: int, crop: str) -> int:
    """Return the number of positions of a crop along an axis that is ``rest`` pixels larger.

    ``paper``: 256 - 224 = 32 gives 32, whose square times two is the 2048 of section 4.1; ``inclusive``: 33, as in
    ``randint(0, 33)`` of the released code.
    """
    return max(1, rest) if crop == "paper" else rest + 1


def views(height: int, width: int, size: int, crop: str, flip: bool) -> List[View]:
    """List all views of ``size`` of an image of ``height`` x ``width`` under a recipe."""
    return [
        View(top, left, mirrored)
        for mirrored in ((False, True) if flip else (False,))
        for top in range(crop_positions(height - size, crop))
        for left in range(crop_positions(width - size, crop))
    ]


class Training:
    """A callable for :class:`fastalex.train.data.Dataset`: ``(source, position)`` -> float32 ``[3, size, size]``.

    The random numbers depend on ``seed``, ``epoch`` and the position of the image in the epoch.
    """

    def __init__(self, row: Variant, recipe: Recipe, statistics: Optional[Statistics], seed: int, epoch: int) -> None:
        self.profile, self.size = profiles.get(row.profile), row.input_size
        self.rules, self.seed, self.epoch = recipe.augmentation, seed, epoch
        self.mean = images.Mean(self.profile, self.size, mean_image(row, recipe, statistics))
        ended = self.rules.color_end is not None and epoch >= self.rules.color_end
        self.color = None if ended or self.rules.color == "off" else statistics

    def __call__(self, source: Any, position: int) -> np.ndarray:
        """Return the input for the image ``source`` at ``position`` in the epoch."""
        # One stream for crop and flip, shared by a chunk of images, and one for the colors of this image.
        shared = self._stream(position // self.rules.chunk, 0)
        own = self._stream(position, 1)
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
            self._add_color(self.color, out, own)
        return out

    def _stream(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence((self.seed, self.epoch, *numbers)))

    def _view(self, shape: Sequence[int], stream: np.random.Generator) -> View:
        rests = [side - self.size for side in shape[:2]]
        flip = bool(stream.integers(2)) and self.rules.flip
        if self.rules.crop == "center":
            top, left = images.geometry((shape[1], shape[0]), self.profile, self.size).crop
            return View(top, left, flip)
        top, left = (int(stream.integers(crop_positions(rest, self.rules.crop))) for rest in rests)
        return View(top, left, flip)

    def _add_color(self, color: Statistics, out: np.ndarray, stream: np.random.Generator) -> None:
        row = self.profile
        shift = color.shift(stream.standard_normal(3) * self.rules.color_sigma, self.rules.color)
        planes = shift[::-1] if row.order == "BGR" else shift
        out += (planes / (row.divisor * np.array(row.std))).astype(np.float32).reshape(3, 1, 1)
        if self.rules.color_rescale:
            out /= np.float32(1 + self.rules.color_sigma)


class Evaluation:
    """A callable for :class:`fastalex.train.data.Dataset`: ``(source, position)`` -> the central view, float32."""

    def __init__(self, row: Variant, recipe: Recipe, statistics: Optional[Statistics]) -> None:
        self.row, self.mean = row, mean_image(row, recipe, statistics)

    def __call__(self, source: Any, position: int) -> np.ndarray:
        """Return the input for the image ``source``."""
        view: np.ndarray = images.preprocess(source, self.row.profile, self.row.input_size, mean_image=self.mean)[0]
        return view


def mean_image(row: Variant, recipe: Recipe, statistics: Optional[Statistics]) -> Optional[np.ndarray]:
    """Return the mean of the training set, float32 ``[3, side, side]`` in the color order of the profile.

    None if the recipe or the profile does not use one.
    """
    profile = profiles.get(row.profile)
    if not recipe.augmentation.mean_image or profile.mean_image is None or statistics is None:
        return None
    planes = statistics.mean
    return np.ascontiguousarray(planes[::-1] if profile.order == "BGR" else planes, np.float32)


def resized_crop(picture: Image.Image, size: int, stream: np.random.Generator) -> np.ndarray:
    """Crop a random area with a random aspect ratio, and resize it to ``size``: torchvision's ``RandomResizedCrop``."""
    width, height = picture.size
    for _ in range(_TRIES):
        area = width * height * stream.uniform(*_AREA)
        aspect = math.exp(stream.uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(stream.integers(width - w + 1)), int(stream.integers(height - h + 1))
            break
    else:  # the largest central crop within the range of aspect ratios
        w = min(width, round(height * _ASPECT[1]))
        h = min(height, round(width / _ASPECT[0]))
        left, top = (width - w) // 2, (height - h) // 2
    box = (left, top, left + w, top + h)
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box=box))


def jittered(picture: Image.Image, limit: float, stream: np.random.Generator) -> Image.Image:
    """Change brightness, contrast, saturation and hue by up to ``limit``, in random order.

    This is torchvision's ``ColorJitter`` with four equal arguments.
    """
    enhancers: Tuple[Any, ...] = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    factors = stream.uniform(1 - limit, 1 + limit, 3)
    turn = stream.uniform(-limit, limit)
    for change in stream.permutation(4):
        if change < 3:
            picture = enhancers[change](picture).enhance(float(factors[change]))
            continue
        hue, saturation, value = picture.convert("HSV").split()
        turned = (np.asarray(hue).astype(np.int16) + round(turn * 255)) % 256
        picture = Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert("RGB")
    return picture
