"""Maps and filters as PNG files: all units of a layer side by side in one picture, a pixel a value."""

from __future__ import annotations

import io
import math
from typing import Sequence, Tuple

import numpy as np
from PIL import Image

Color = Tuple[int, int, int]

#: From zero to the largest value, and from zero to the smallest: zeros are black, so that they can be seen.
WARM: Sequence[Tuple[float, Color]] = (
    (0.0, (10, 10, 14)),
    (0.4, (122, 38, 20)),
    (0.75, (238, 122, 43)),
    (1.0, (255, 243, 214)),
)
COLD: Sequence[Tuple[float, Color]] = (
    (0.0, (10, 10, 14)),
    (0.4, (18, 64, 107)),
    (0.75, (61, 139, 212)),
    (1.0, (214, 234, 255)),
)
LEVELS = 127  # of either sign; a palette has 256 places
NOT_FINITE: Color = (255, 0, 255)  # NaN and infinity, in the last place of the palette


def columns(count: int) -> int:
    """Return the number of units in a row of the sprite of ``count`` units."""
    return max(1, math.ceil(math.sqrt(count)))


def colored(maps: np.ndarray, each: bool = False) -> bytes:
    """Return the sprite of ``maps`` ``[units, H, W]`` as a PNG file.

    Zero is black, positive values go to a warm white and negative ones to a cold white at the largest absolute value.

    :param each: scale each map by its own largest value, rather than all by one.
    """
    finite = np.isfinite(maps)
    values = np.where(finite, maps, 0)
    largest = np.abs(values).max(axis=(1, 2) if each else None, keepdims=True, initial=0)
    scaled = values / np.where(largest > 0, largest, 1)
    places = np.where(finite, LEVELS + np.rint(scaled * LEVELS), 255).astype(np.uint8)
    image = Image.fromarray(_tiled(places, LEVELS), "P")
    image.putpalette(_palette().tobytes())
    return encoded(image)


def pictures(tiles: np.ndarray) -> bytes:
    """Return the sprite of small pictures, uint8 ``[units, H, W, 3]``, as a PNG file."""
    planes = [_tiled(plane, LEVELS) for plane in tiles.transpose(3, 0, 1, 2)]
    return encoded(Image.fromarray(np.dstack(planes)))


def encoded(image: Image.Image) -> bytes:
    """Return ``image`` as a PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=False, compress_level=4)
    return stream.getvalue()


def _tiled(maps: np.ndarray, empty: int) -> np.ndarray:
    """Lay ``maps`` ``[units, H, W]`` out in rows of :func:`columns`, without gaps; ``empty`` fills the last row."""
    count, height, width = maps.shape
    across = columns(count)
    down = -(-count // across)
    padded = np.full((down * across, height, width), empty, np.uint8)
    padded[:count] = maps
    rows: np.ndarray = padded.reshape(down, across, height, width).swapaxes(1, 2)
    return rows.reshape(down * height, across * width)


def _palette() -> np.ndarray:
    """Return the colors uint8 ``[256, 3]``: the most negative value first, zero at :data:`LEVELS`."""
    levels = np.linspace(0, 1, LEVELS + 1)
    warm, cold = (
        np.stack(
            [np.interp(levels, [at for at, _ in anchors], [color[i] for _, color in anchors]) for i in range(3)], 1
        )
        for anchors in (WARM, COLD)
    )
    colors: np.ndarray = np.concatenate([cold[:0:-1], warm, [NOT_FINITE]]).round().astype(np.uint8)
    return colors
