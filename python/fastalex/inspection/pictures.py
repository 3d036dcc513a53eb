"""Pictures as arrays: what a network sees of an image, tiles side by side, heat over a picture."""

from __future__ import annotations

import math
from typing import Any, Optional, Tuple

import numpy as np

from .. import images
from .._util.arguments import positive_int
from ..images import profiles

WHITE = 255

#: Five of the 256 colors of matplotlib's viridis, at equal distances. It is read without red-green vision, and in gray.
VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


def input_picture(net: Any, image: Any, profile: Any = None) -> np.ndarray:
    """Return the part of an image that the network sees, resized and cropped: uint8 ``[S, S, 3]``, RGB.

    :param image: as for :func:`fastalex.images.open_image`.
    :raises UserError: if it cannot be read.
    """
    row = profiles.get(net.variant.profile if profile is None else profile)
    picture = images.open_image(image, upright=row.upright)
    size = net.variant.input_size
    target = images.geometry(picture.size, row, size)
    top, left = target.crop[0] - target.origin[0], target.crop[1] - target.origin[1]
    seen = images.canvas_of(picture.convert("L") if net.variant.channels == 1 else picture, row, size)
    return np.array(np.broadcast_to(seen[top : top + size, left : left + size], (size, size, 3)))


def grid_shape(count: int, columns: Optional[int] = None) -> Tuple[int, int]:
    """Return (rows, columns) of a grid of ``count`` tiles, by default nearly square and wide rather than high."""
    columns = positive_int("columns", columns) if columns is not None else max(1, math.ceil(math.sqrt(count)))
    return max(1, math.ceil(count / columns)), columns


def tiles(cells: np.ndarray, columns: Optional[int] = None, gap: int = 1, background: float = WHITE) -> np.ndarray:
    """Put pictures side by side, row by row, ``gap`` pixels apart.

    :param cells: ``[N, h, w]`` or ``[N, h, w, 3]``, of any type.
    :returns: ``[rows * (h + gap) - gap, columns * (w + gap) - gap]`` or the same with 3 channels; tiles that are
        missing in the last row have the value ``background``, as the gaps do.
    """
    count, height, width = cells.shape[:3]
    rows, columns = grid_shape(count, columns)
    page = np.full((rows, height + gap, columns, width + gap, *cells.shape[3:]), background, cells.dtype)
    for index in range(count):
        page[index // columns, :height, index % columns, :width] = cells[index]
    page = page.reshape(rows * (height + gap), columns * (width + gap), *cells.shape[3:])
    return np.asarray(page[: len(page) - gap, : page.shape[1] - gap])


def enlarged(picture: np.ndarray, side: int, smooth: bool = False) -> np.ndarray:
    """Resize a uint8 picture so that its longer side is ``side``: whole squares, or interpolated if ``smooth``."""
    from PIL import Image

    height, width = picture.shape[:2]
    scale = positive_int("side", side) / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, how))


def gray_levels(values: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """Spread ``values`` from ``low`` (black) to ``high`` (white) over uint8; all are black if those are equal."""
    span = np.asarray(high, np.float64) - low
    share = np.divide(values - np.asarray(low, np.float64), span, out=np.zeros(values.shape), where=span > 0)
    levels: np.ndarray = np.rint(255 * share.clip(0, 1)).astype(np.uint8)
    return levels


def colored(heat: np.ndarray) -> np.ndarray:
    """Color values of 0 to 1 from dark blue over green to yellow: ``[h, w]`` -> uint8 ``[h, w, 3]``."""
    stops = np.linspace(0, 1, len(VIRIDIS))
    planes = [np.interp(heat, stops, plane) for plane in np.array(VIRIDIS, np.float64).T]
    colors: np.ndarray = np.rint(np.stack(planes, -1)).astype(np.uint8)
    return colors


def overlay(picture: np.ndarray, heat: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """Lay a heat map over a picture in gray, so that the colors are those of the map alone.

    :param picture: uint8 ``[H, W, 3]``.
    :param heat: values of 0 to 1, ``[h, w]`` of any size; stretched over the picture and interpolated.
    :param strength: the share of the map in the result, 0 to 1.
    :returns: uint8 ``[H, W, 3]``.
    """
    gray = picture.mean(axis=2, keepdims=True)
    hot = colored(stretched(heat, picture.shape[:2]))
    mixed: np.ndarray = np.rint((1 - strength) * gray + strength * hot).astype(np.uint8)
    return mixed


def stretched(heat: np.ndarray, shape: Tuple[int, ...]) -> np.ndarray:
    """Stretch a map ``[h, w]`` to ``shape`` (height, width), with interpolation between the centers of its places."""
    smooth = images.linear_resize(np.asarray(heat, np.float32)[..., None], shape[0], shape[1])
    return np.asarray(smooth[..., 0].clip(0, 1))
