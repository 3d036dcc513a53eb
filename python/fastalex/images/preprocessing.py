"""Preprocessing: an opened picture resized, cropped and normalized to the network's input.

The conventions are the rows of :mod:`fastalex.images.profiles`; the code here has no constant of its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Iterable, NamedTuple, Optional, Tuple, Union

import numpy as np
from PIL import Image

from .._util.arguments import is_int
from ..errors import UserError
from . import profiles
from .decode import MAX_PIXELS, Source, open_image
from .profiles import PROFILES, Profile


def preprocess(
    images: Union[Source, Iterable[Source]],
    profile: Union[str, Profile],
    size: Optional[int] = None,
    *,
    bgr: bool = False,
    mean_image: Optional[np.ndarray] = None,
) -> np.ndarray:
    """The network's input, float32 ``[N, 3, size, size]``, C-contiguous, for one image or a list of them.

    Each image is anything that :func:`open_image` takes; a list, a tuple and a uint8 array ``[N, H, W, C]`` are N
    images. ``profile`` is a name in :data:`PROFILES` or a :class:`Profile`.
    ``size`` overrides the profile's input size; the side it resizes to is scaled in proportion and rounded to nearest
    (torchvision's 256 for 224 becomes 146 for 128), so the same share of the picture is seen.
    ``bgr``: arrays are blue, green, red.
    ``mean_image``: a per-pixel mean, ``[3, side, side]`` or ``[3, size, size]`` with the planes in the profile's own
    order, on a 0 to 255 scale; it takes the place of the profile's channel means (see :class:`Profile`).

    :raises UserError: for an unknown profile, a bad image, size or mean, or a picture too elongated to be resized.
    """
    row, size = _row_and_size(profile, size)
    sources = list(images) if _is_batch(images) else [images]
    if not sources:
        raise UserError("there are no images to preprocess; give at least one")
    mean = Mean(row, size, mean_image)
    batch = np.empty((len(sources), 3, size, size), np.float32)
    for out, source in zip(batch, sources):
        canvas = canvas_of(open_image(source, bgr=bgr), row, size)
        top, left = _center(canvas.shape, size, row)
        normalize(out, canvas, top, left, row, mean)
    return batch


def ten_crop(
    image: Source,
    profile: Union[str, Profile],
    size: Optional[int] = None,
    *,
    bgr: bool = False,
    mean_image: Optional[np.ndarray] = None,
) -> np.ndarray:
    """Ten views of one image, float32 ``[10, 3, size, size]``, whose predictions are to be averaged.

    The four corners (top left, top right, bottom left, bottom right), the center, and the mirror images of these five
    in the same order: Krizhevsky et al. 2012, section 4.1. Corners are those of the resized picture, or of its
    central square where the profile cuts one. Arguments and errors as for :func:`preprocess`.

    :raises UserError: also for a profile that does not crop, whose ten views would be two.
    """
    row, size = _row_and_size(profile, size)
    if not row.crops:
        croppers = ", ".join(name for name, other in PROFILES.items() if other.crops)
        raise UserError(f"profile {row.name} does not crop, so it has no ten views (these do: {croppers})")
    mean = Mean(row, size, mean_image)
    canvas = canvas_of(open_image(image, bgr=bgr), row, size)
    bottom, right = canvas.shape[0] - size, canvas.shape[1] - size
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), _center(canvas.shape, size, row)]
    views = np.empty((10, 3, size, size), np.float32)
    for index, (top, left) in enumerate(corners):
        normalize(views[index], canvas, top, left, row, mean)
        normalize(views[index + 5], canvas, top, left, row, mean, mirror=True)
    return views


def _row_and_size(profile: Union[str, Profile], size: Optional[int]) -> Tuple[Profile, int]:
    row = profiles.get(profile)
    if size is None:
        return row, row.size
    if not (is_int(size) or isinstance(size, np.integer)) or not 1 <= size <= 16384:
        raise UserError(f"size must be a whole number of pixels from 1 to 16384, not {size!r}")
    return row, int(size)


def _is_batch(images: Any) -> bool:
    return isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)


class Geometry(NamedTuple):
    """A picture is resized to ``height`` x ``width``. Of that, ``kept`` (height, width) from ``origin`` on is what
    crops are taken from: the central square, or all of it. ``crop`` is where the central one starts, in the resized
    picture. Places are (top, left)."""

    height: int
    width: int
    origin: Tuple[int, int]
    kept: Tuple[int, int]
    crop: Tuple[int, int]


def geometry(image_size: Tuple[int, int], row: Profile, size: int) -> Geometry:
    """How ``row`` makes an input of ``size`` pixels from a picture of ``image_size`` (width, height).

    :raises UserError: for a picture too elongated to be resized.
    """
    side = row.side_for(size)
    width, height = (side, side) if row.resize == "stretch" else _shorter_side(image_size, side, row.square)
    if width * height > max(MAX_PIXELS, side * side):
        raise UserError(
            "an image of %d x %d pixels is too elongated for profile %s: with a shorter side of %d it would have "
            "%d x %d" % (*image_size, row.name, side, width, height)
        )
    origin = ((height - side) // 2, (width - side) // 2) if row.square else (0, 0)
    kept = (side, side) if row.square else (height, width)
    top, left = _center(kept, size, row)
    return Geometry(height, width, origin, kept, (origin[0] + top, origin[1] + left))


def canvas_of(image: Image.Image, row: Profile, size: int) -> np.ndarray:
    """The resized picture that crops are taken from, uint8 RGB ``[H, W, 3]``, both sides at least ``size``."""
    place = geometry(image.size, row, size)
    if row.resample == "antialias":
        pixels = np.asarray(image.resize((place.width, place.height), Image.BILINEAR))
    else:
        pixels = _resampled(np.asarray(image), place, row)
    top, left = place.origin
    return pixels[top : top + place.kept[0], left : left + place.kept[1]]


def _resampled(pixels: np.ndarray, place: Geometry, row: Profile) -> np.ndarray:
    """uint8 ``[H, W, 3]`` resized as ``place`` says, without Pillow, whose pictures are copies."""
    if row.resample == "nearest":
        return nearest_resize(pixels, place.height, place.width)
    if pixels.shape[:2] == (place.height, place.width):
        return pixels
    return np.rint(linear_resize(pixels, place.height, place.width)).astype(np.uint8)


def prepare_frame(frame: np.ndarray, profile: Union[str, Profile], size: int, bgr: bool) -> np.ndarray:
    """:func:`preprocess` of one uint8 array ``[H, W, 3]``, to the bit, for a camera's frames one after the other.

    Only the pixels that the network sees are put in order and normalized, through a table of the 256 values.
    """
    row = profiles.get(profile)
    place = geometry((frame.shape[1], frame.shape[0]), row, size)
    if row.resample == "antialias":
        picture = Image.fromarray(np.ascontiguousarray(frame))
        pixels = np.asarray(picture.resize((place.width, place.height), Image.BILINEAR))
    else:
        pixels = _resampled(frame, place, row)
    top, left = place.crop
    crop = pixels[top : top + size, left : left + size]
    batch = np.empty((1, 3, size, size), np.float32)
    for plane, values in enumerate(_levels(row)):
        batch[0, plane] = values[crop[..., 2 - plane if bgr == (row.order == "RGB") else plane]]
    return batch


@lru_cache(maxsize=32)
def _levels(row: Profile) -> np.ndarray:
    """What each value of a pixel becomes in each plane, float32 ``[3, 256]``."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    out = np.empty((3, 16, 16), np.float32)
    normalize(out, np.repeat(levels, 3, axis=2), 0, 0, row, Mean(row, row.size, None))
    return out.reshape(3, 256)


def _shorter_side(size: Tuple[int, int], side: int, nearest: bool) -> Tuple[int, int]:
    """(width, height) whose shorter side is ``side``; the longer is rounded to nearest or truncated."""
    shorter = min(size)
    width, height = ((2 * side * n + shorter) // (2 * shorter) if nearest else side * n // shorter for n in size)
    return width, height


def _center(sides: Tuple[int, ...], size: int, row: Profile) -> Tuple[int, int]:
    """(top, left) of the central crop of a picture of ``sides`` (height, width, ...)."""
    rests = (sides[0] - size, sides[1] - size)
    if row.center == "half-even":
        return round(rests[0] / 2), round(rests[1] / 2)
    return rests[0] // 2, rests[1] // 2


class Mean:
    """What is subtracted from a crop, float32: channel means ``[3, 1, 1]`` or a caller's mean image ``[3, H, W]``."""

    def __init__(self, row: Profile, size: int, image: Optional[np.ndarray]) -> None:
        self.size = size
        self.values = np.array(row.mean, np.float32).reshape(3, 1, 1)
        self.follows_crop = False
        if image is None:
            return
        side = row.side_for(size)
        values = np.asarray(image)
        if row.mean_image is None:
            raise UserError(f"profile {row.name} takes no mean image")
        if values.shape not in ((3, side, side), (3, size, size)) or values.dtype.kind not in "fiu":
            raise UserError(
                "the mean image for profile %s must be numbers of shape [3, %d, %d] or [3, %d, %d], not %s %s"
                % (row.name, side, side, size, size, values.dtype, list(values.shape))
            )
        values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise UserError("the mean image has values that are not finite")
        if row.mean_image == "average":
            values = values.mean(axis=(1, 2), dtype=np.float64).astype(np.float32).reshape(3, 1, 1)
        elif values.shape[1] != size and row.mean_image == "center":
            border = (side - size) // 2
            values = values[:, border : border + size, border : border + size]
        else:
            self.follows_crop = values.shape[1] != size
        self.values = values

    def at(self, top: int, left: int) -> np.ndarray:
        if self.follows_crop:
            return self.values[:, top : top + self.size, left : left + self.size]
        return self.values


def normalize(
    out: np.ndarray, canvas: np.ndarray, top: int, left: int, row: Profile, mean: Mean, mirror: bool = False
) -> None:
    """Write one crop of ``canvas`` to ``out`` [3, size, size], in float32 and in the order of torchvision's steps."""
    size = out.shape[-1]
    crop = canvas[top : top + size, left : left + size]
    planes = crop[..., ::-1] if row.order == "BGR" else crop
    values = mean.at(top, left)
    if mirror:
        planes = planes[:, ::-1]
        # A mean that belongs to the place in the picture is mirrored with it; one that belongs to the view is not.
        values = values[:, :, ::-1] if mean.follows_crop else values
    scale = np.float32(row.divisor)
    if row.reciprocal:
        np.multiply(planes.transpose(2, 0, 1), np.float32(1) / scale, out=out, dtype=np.float32)
    else:
        np.divide(planes.transpose(2, 0, 1), scale, out=out, dtype=np.float32)
    out -= values
    out /= np.array(row.std, np.float32).reshape(3, 1, 1)


def nearest_resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """``pixels`` [H, W, ...] stretched to [height, width, ...] as jetson-inference does: ``int(x * scale)``.

    ``scale`` is the old side over the new one and the product is taken in float32, then truncated
    (``c/tensorConvert.cu``); so the pixel comes from the left and upper end of each step, not from its middle.
    """
    rows, columns = (
        (np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new))).astype(np.intp)
        for old, new in zip(pixels.shape[:2], (height, width))
    )
    return pixels[rows[:, None], columns]


def linear_resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """``pixels`` [H, W, C] resized to float32 [height, width, C] from two by two neighbors, at any scale.

    OpenCV's INTER_LINEAR, which Caffe uses: pixel centers lie at half-integers, positions beyond the outermost
    centers are clamped to them, and nothing is averaged over when shrinking (Pillow's filter widens instead).
    """
    top, bottom, down = _neighbors(pixels.shape[0], height)
    left, right, along = _neighbors(pixels.shape[1], width)
    down, along = down[:, None, None], along[None, :, None]
    upper = pixels[top[:, None], left] * (1 - along) + pixels[top[:, None], right] * along
    lower = pixels[bottom[:, None], left] * (1 - along) + pixels[bottom[:, None], right] * along
    return upper * (1 - down) + lower * down


def _neighbors(old: int, new: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of ``new`` pixels: the two of ``old`` around it, and the float32 weight of the second."""
    centers = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    first = np.floor(centers).astype(np.intp)
    return first, np.minimum(first + 1, old - 1), (centers - first).astype(np.float32)
