"""The text overlay of a frame: predicted classes at the top left, frames per second at the top right.

The text is drawn by Pillow, because OpenCV's fonts have no accented letters and OpenCV may not be installed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Optional, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import printable

LINES_A_FRAME = 24  # the height of a frame in lines of text
SMALLEST = 11  # font size in pixels
LONGEST = 200  # characters of a line; a frame of any shape is hardly wider
BRIGHTNESS_BEHIND = 0.35  # factor for the picture behind the text


def draw(frame: np.ndarray, lines: Sequence[str], fps: Optional[float] = None) -> None:
    """Draw ``lines`` and the rate on ``frame`` in place, uint8 ``[H, W, 3]`` in any color order.

    Of a line the first :data:`LONGEST` characters are drawn, those that do not print as escapes.
    """
    size = max(SMALLEST, frame.shape[0] // LINES_A_FRAME)
    gap = size // 4
    top = gap
    for line in lines:
        top += _put(frame, printable(line[:LONGEST]), size, top, gap) + gap
    if fps is not None:
        text = f"{fps:.1f} FPS"
        _put(frame, text, size, gap, frame.shape[1] - _letters(text, size).shape[1] - gap)


def _put(frame: np.ndarray, text: str, size: int, top: int, left: int) -> int:
    """Draw white text on a darkened box, clipped to the frame; return the height of the box."""
    letters = _letters(text, size)
    height = int(letters.shape[0])
    left = max(left, 0)
    box = frame[top : top + height, left : left + letters.shape[1]]
    ink = letters[: box.shape[0], : box.shape[1], None]
    box[:] = np.rint(box * (1 - ink) * BRIGHTNESS_BEHIND + 255 * ink).astype(np.uint8)
    return height


@lru_cache(maxsize=64)
def _letters(text: str, size: int) -> np.ndarray:
    """Render ``text`` with a border as coverage per pixel, float32 ``[height, width]`` from 0 to 1."""
    font = _font(size)
    try:
        box = font.getbbox(text)
    except UnicodeEncodeError:  # Pillow's old built-in font knows Latin-1 only
        text = text.encode("latin-1", "replace").decode("latin-1")
        box = font.getbbox(text)
    border = size // 4
    # The height is the same for every text, so that lines are evenly spaced.
    picture = Image.new("L", (int(box[2]) + 2 * border, int(font.getbbox("Ag")[3]) + 2 * border))
    ImageDraw.Draw(picture).text((border, border), text, fill=255, font=font)
    return np.asarray(picture, np.float32) / 255


@lru_cache(maxsize=8)
def _font(size: int) -> Any:
    try:
        return ImageFont.load_default(size)
    except (TypeError, OSError):  # before Pillow 10.1, or built without FreeType: a single font of a fixed size
        return ImageFont.load_default()
