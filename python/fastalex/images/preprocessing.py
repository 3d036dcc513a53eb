"""Preprocessing: images are resized, cropped and normalized to the network's input.

The conventions are the rows of :mod:`fastalex.images.profiles`; this code has no constants of its own.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, Iterable, List, NamedTuple, Optional, Tuple, Union

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
    channels: int = 3,
) -> np.ndarray:
    """Prepare one image or several as the network's input, float32 ``[N, channels, size, size]``, C-contiguous.

    >>> from fastalex.images import preprocess
    >>> preprocess("examples/digits/digit-7-sample-0007.png", "torchvision").shape
    (1, 3, 224, 224)

    :param images: an image, as for :func:`open_image`; or several, a list, a tuple or a uint8 array ``[N, H, W, C]``.
    :param profile: a name in :data:`PROFILES`, or a :class:`Profile`.
    :param size: side of the input in pixels; default: the profile's. The side that the profile resizes to is scaled in
        proportion and rounded to nearest (torchvision's 256 for 224 becomes 146 for 128), so that the same part of the
        image is seen.
    :param bgr: the channels of arrays are blue, green, red.
    :param mean_image: a mean for each pixel instead of the profile's channel means (see :class:`Profile`):
        ``[channels, side, side]`` or ``[channels, size, size]`` on a scale of 0 to 255, the planes in the profile's
        order.
    :param channels: 3, or 1 for the gray values that :class:`Profile` describes.
    :raises UserError: for an unknown profile, a bad image, size, mean or number of channels, or an image too elongated
        to be resized.
    """
    row, size = _row_and_size(profile, size)
    sources = as_list(images)
    if not sources:
        raise UserError("there are no images to preprocess; give at least one")
    mean = Mean(row, size, mean_image, channels)
    batch = np.empty((len(sources), channels, size, size), np.float32)
    for index, (out, source) in enumerate(zip(batch, sources)):
        try:
            canvas = canvas_of(_open(source, bgr, channels, row), row, size)
        except UserError as error:
            if len(sources) == 1 or isinstance(source, (str, os.PathLike)):  # whose name the sentence has
                raise
            raise UserError(f"image {index} of the {len(sources)} given: {error}") from None
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
    channels: int = 3,
) -> np.ndarray:
    """Cut ten views out of one image, float32 ``[10, channels, size, size]``; their predictions are then averaged.

    The views are the four corners (top left, top right, bottom left, bottom right), the center, and the mirror images
    of these five in the same order: Krizhevsky et al. 2012, section 4.1. The corners are those of the resized image, or
    of its central square if the profile cuts one. The parameters are those of :func:`preprocess`.

    :raises UserError: as :func:`preprocess` does, and for a profile that does not crop, whose ten views would be two.
    """
    row, size = _row_and_size(profile, size)
    if not row.crops:
        croppers = ", ".join(name for name, other in PROFILES.items() if other.crops)
        raise UserError(f"profile {row.name} does not crop, so it has no ten views (these do: {croppers})")
    mean = Mean(row, size, mean_image, channels)
    canvas = canvas_of(_open(image, bgr, channels, row), row, size)
    bottom, right = canvas.shape[0] - size, canvas.shape[1] - size
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), _center(canvas.shape, size, row)]
    views = np.empty((10, channels, size, size), np.float32)
    for index, (top, left) in enumerate(corners):
        normalize(views[index], canvas, top, left, row, mean)
        normalize(views[index + 5], canvas, top, left, row, mean, mirror=True)
    return views


def uncropped(image: Source, profile: Union[str, Profile], channels: int = 3) -> np.ndarray:
    """Resize and normalize one image without cropping it, float32 ``[channels, H, W]``.

    :raises UserError: as :func:`preprocess` does.
    """
    row = profiles.get(profile)
    canvas = canvas_of(_open(image, False, channels, row), row, row.size)
    out = np.empty((channels, *canvas.shape[:2]), np.float32)
    normalize(out, canvas, 0, 0, row, Mean(row, row.size, None, channels))
    return out


def _row_and_size(profile: Union[str, Profile], size: Optional[int]) -> Tuple[Profile, int]:
    row = profiles.get(profile)
    if size is None:
        return row, row.size
    if not (is_int(size) or isinstance(size, np.integer)) or not 1 <= size <= 16384:
        raise UserError(f"size must be a whole number of pixels from 1 to 16384, not {size!r}")
    return row, int(size)


def as_list(images: Any) -> List[Source]:
    """Return images as a list: one image, or several in a list, a tuple or a uint8 array ``[N, H, W, C]``."""
    several = isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)
    return list(images) if several else [images]


def _open(source: Source, bgr: bool, channels: int, row: Profile) -> Image.Image:
    """Open an image as the profile ``row`` turns it, in RGB for three channels, in gray values for one."""
    image = open_image(source, bgr=bgr, upright=row.upright)
    return image.convert("L") if channels == 1 else image


class Geometry(NamedTuple):
    """The resizing and cropping of an image, in pixels.

    The image is resized to ``height`` x ``width``. Crops come from its part of size ``canvas`` (height, width) that
    starts at ``origin`` (top, left): the central square, or all of it. ``crop`` (top, left) is the start of the central
    crop in the resized image.
    """

    height: int
    width: int
    origin: Tuple[int, int]
    canvas: Tuple[int, int]
    crop: Tuple[int, int]


def geometry(image_size: Tuple[int, int], row: Profile, size: int) -> Geometry:
    """Compute how an image of ``image_size`` (width, height) is resized and cropped to ``size`` x ``size`` pixels.

    :raises UserError: for an image too elongated to be resized.
    """
    side = row.side_for(size)
    width, height = (side, side) if row.resize == "stretch" else _shorter_side(image_size, side, row.square)
    if width * height > max(MAX_PIXELS, side * side):
        raise UserError(
            "an image of %d x %d pixels is too elongated for profile %s: with a shorter side of %d it would have "
            "%d x %d" % (*image_size, row.name, side, width, height)
        )
    origin = ((height - side) // 2, (width - side) // 2) if row.square else (0, 0)
    canvas = (side, side) if row.square else (height, width)
    top, left = _center(canvas, size, row)
    return Geometry(height, width, origin, canvas, (origin[0] + top, origin[1] + left))


def canvas_of(image: Image.Image, row: Profile, size: int) -> np.ndarray:
    """Resize an image to the canvas for its crops, uint8 ``[H, W, 3]``, both sides at least ``size``.

    The pixels of a gray image (mode ``L``) are ``[H, W, 1]``.
    """
    target = geometry(image.size, row, size)
    if row.resample == "antialias":
        pixels = np.atleast_3d(np.asarray(image.resize((target.width, target.height), Image.Resampling.BILINEAR)))
    else:
        pixels = _resampled(np.atleast_3d(np.asarray(image)), target, row)
    (top, left), (height, width) = target.origin, target.canvas
    return pixels[top : top + height, left : left + width]


def _resampled(pixels: np.ndarray, target: Geometry, row: Profile) -> np.ndarray:
    """Resize uint8 ``[H, W, C]`` to ``target``, without Pillow, whose images are copies."""
    if row.resample == "nearest":
        return nearest_resize(pixels, target.height, target.width)
    if pixels.shape[:2] == (target.height, target.width):
        return pixels
    resized: np.ndarray = np.rint(linear_resize(pixels, target.height, target.width))
    return resized.astype(np.uint8)


def prepare_frame(frame: np.ndarray, profile: Union[str, Profile], size: int, bgr: bool) -> np.ndarray:
    """Preprocess one camera frame, uint8 ``[H, W, 3]``, to the same bits as :func:`preprocess`, but faster.

    Only the pixels that the network sees are reordered and normalized, by a table of the 256 values of a pixel.
    """
    row = profiles.get(profile)
    target = geometry((frame.shape[1], frame.shape[0]), row, size)
    if row.resample == "antialias":
        picture = Image.fromarray(np.ascontiguousarray(frame))
        pixels = np.asarray(picture.resize((target.width, target.height), Image.Resampling.BILINEAR))
    else:
        pixels = _resampled(frame, target, row)
    top, left = target.crop
    crop = pixels[top : top + size, left : left + size]
    batch = np.empty((1, 3, size, size), np.float32)
    for plane, values in enumerate(_normalized_values(row)):
        batch[0, plane] = values[crop[..., 2 - plane if bgr == (row.order == "RGB") else plane]]
    return batch


@lru_cache(maxsize=32)
def _normalized_values(row: Profile) -> np.ndarray:
    """Normalize the values 0 to 255 of a pixel for each plane, float32 ``[3, 256]``."""
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    out = np.empty((3, 16, 16), np.float32)
    normalize(out, np.repeat(values, 3, axis=2), 0, 0, row, Mean(row, row.size, None))
    return out.reshape(3, 256)


def _shorter_side(size: Tuple[int, int], side: int, nearest: bool) -> Tuple[int, int]:
    """Scale (width, height) so that the shorter side is ``side``; the longer is rounded to nearest or truncated."""
    shorter = min(size)
    width, height = ((2 * side * n + shorter) // (2 * shorter) if nearest else side * n // shorter for n in size)
    return width, height


def _center(sides: Tuple[int, ...], size: int, row: Profile) -> Tuple[int, int]:
    """Return (top, left) of the central crop of an image of ``sides`` (height, width, ...)."""
    rows, columns = sides[0] - size, sides[1] - size
    if row.center == "half-even":
        return round(rows / 2), round(columns / 2)
    return rows // 2, columns // 2


class Mean:
    """The mean that is subtracted from a crop, float32: channel means ``[C, 1, 1]`` or a mean image ``[C, H, W]``.

    ``follows_crop``: the mean image has the size of the canvas, and each crop uses the part under it.

    :param channels: the number C of planes, 1 or 3.
    :raises UserError: for another number of planes, or if the profile takes no mean image, or it is of another shape or
        not finite.
    """

    def __init__(self, row: Profile, size: int, image: Optional[np.ndarray], channels: int = 3) -> None:
        self.size = size
        self.values = np.array(row.mean_and_std(channels)[0], np.float32).reshape(channels, 1, 1)
        self.follows_crop = False
        if image is None:
            return
        side = row.side_for(size)
        values = np.asarray(image)
        if row.mean_image is None:
            takers = ", ".join(name for name, other in PROFILES.items() if other.mean_image)
            raise UserError(f"profile {row.name} takes no mean image (these do: {takers})")
        shapes = dict.fromkeys((channels, length, length) for length in (side, size))
        if values.shape not in shapes or values.dtype.kind not in "fiu":
            allowed = " or ".join(str(list(shape)) for shape in shapes)
            raise UserError(
                f"the mean image for profile {row.name} must be numbers of shape {allowed}, "
                f"not {values.dtype} {list(values.shape)}"
            )
        values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise UserError("the mean image has values that are not finite")
        if row.mean_image == "average":
            values = values.mean(axis=(1, 2), dtype=np.float64).astype(np.float32).reshape(channels, 1, 1)
        elif values.shape[1] != size and row.mean_image == "center":
            border = (side - size) // 2
            values = values[:, border : border + size, border : border + size]
        else:
            self.follows_crop = values.shape[1] != size
        self.values = values

    def at(self, top: int, left: int) -> np.ndarray:
        """Return the mean for the crop that starts at (top, left) of the canvas."""
        if self.follows_crop:
            return self.values[:, top : top + self.size, left : left + self.size]
        return self.values


def normalize(
    out: np.ndarray, canvas: np.ndarray, top: int, left: int, row: Profile, mean: Mean, mirror: bool = False
) -> None:
    """Normalize one crop of ``canvas`` into ``out`` [C, H, W], in float32 and in torchvision's order of steps."""
    channels, height, width = out.shape
    crop = canvas[top : top + height, left : left + width]
    planes = crop[..., ::-1] if row.order == "BGR" else crop
    values = mean.at(top, left)
    if mirror:
        planes = planes[:, ::-1]
        # A mean of the whole canvas is mirrored with it; a mean of the crop's own size is not.
        values = values[:, :, ::-1] if mean.follows_crop else values
    scale = np.float32(row.divisor)
    if row.reciprocal:
        np.multiply(planes.transpose(2, 0, 1), np.float32(1) / scale, out=out, dtype=np.float32)
    else:
        np.divide(planes.transpose(2, 0, 1), scale, out=out, dtype=np.float32)
    out -= values
    out /= np.array(row.mean_and_std(channels)[1], np.float32).reshape(channels, 1, 1)


def nearest_resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Stretch ``pixels`` [H, W, ...] to [height, width, ...] as jetson-inference does, by pixel ``int(x * scale)``.

    ``scale`` is the old side over the new one; the product is computed in float32 and truncated
    (``c/tensorConvert.cu``), so that a pixel comes from the upper left of the area it covers, not from the middle.
    """
    rows, columns = (
        (np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new))).astype(np.intp)
        for old, new in zip(pixels.shape[:2], (height, width))
    )
    resized: np.ndarray = pixels[rows[:, None], columns]
    return resized


def linear_resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize ``pixels`` [H, W, C] to float32 [height, width, C] by interpolation between 2 x 2 pixels, at any scale.

    This is OpenCV's INTER_LINEAR, which Caffe uses: pixel centers are at half-integers, positions beyond the outermost
    centers are clamped to them, and shrinking does not average over more pixels (Pillow's filter widens instead).
    """
    top, bottom, down = _neighbors(pixels.shape[0], height)
    left, right, along = _neighbors(pixels.shape[1], width)
    down, along = down[:, None, None], along[None, :, None]
    upper: np.ndarray = pixels[top[:, None], left] * (1 - along) + pixels[top[:, None], right] * along
    lower: np.ndarray = pixels[bottom[:, None], left] * (1 - along) + pixels[bottom[:, None], right] * along
    resized: np.ndarray = upper * (1 - down) + lower * down
    return resized


def _neighbors(old: int, new: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each of ``new`` pixels, the two of ``old`` around it and the float32 weight of the second."""
    centers = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    first = np.floor(centers).astype(np.intp)
    weights: np.ndarray = centers - first
    return first, np.minimum(first + 1, old - 1), weights.astype(np.float32)
