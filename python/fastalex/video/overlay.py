"""Text on a frame: the classes that were found at the top left, the frames a second at the top right.

Pillow draws the letters, because OpenCV's have no accents and OpenCV need not be there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Optional, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LINES_A_FRAME = 24  # the height of a frame in lines of text
SMALLEST = 11  # pixels
BRIGHTNESS_BEHIND = 0.35  # of the picture under the text


def draw(frame: np.ndarray, lines: Sequence[str], fps: Optional[float] = None) -> None:
    """Write ``lines`` and the rate onto ``frame``, uint8 ``[H, W, 3]`` of any order of colors, in place."""
    size = max(SMALLEST, frame.shape[0] // LINES_A_FRAME)
    gap = size // 4
    top = gap
    for line in lines:
        top += _put(frame, line, size, top, gap) + gap
    if fps is not None:
        text = f"{fps:.1f} FPS"
        _put(frame, text, size, gap, frame.shape[1] - _letters(text, size).shape[1] - gap)


def _put(frame: np.ndarray, text: str, size: int, top: int, left: int) -> int:
    """White letters on what is made darker; what does not fit is cut off. Returns the height."""
    letters = _letters(text, size)
    left = max(left, 0)
    place = frame[top : top + letters.shape[0], left : left + letters.shape[1]]
    ink = letters[: place.shape[0], : place.shape[1], None]
    place[:] = np.rint(place * (1 - ink) * BRIGHTNESS_BEHIND + 255 * ink).astype(np.uint8)
    return letters.shape[0]


@lru_cache(maxsize=64)
def _letters(text: str, size: int) -> np.ndarray:
    """How much of each pixel is letter, float32 ``[height, width]`` from 0 to 1, with a border."""
    font = _font(size)
    try:
        box = font.getbbox(text)
    except UnicodeEncodeError:  # Pillow's old built-in font knows Latin-1 only
        text = text.encode("latin-1", "replace").decode("latin-1")
        box = font.getbbox(text)
    border = size // 4
    # The height is the same for every text, so that lines stand evenly.
    picture = Image.new("L", (int(box[2]) + 2 * border, int(font.getbbox("Ag")[3]) + 2 * border))
    ImageDraw.Draw(picture).text((border, border), text, fill=255, font=font)
    return np.asarray(picture, np.float32) / 255


@lru_cache(maxsize=8)
def _font(size: int) -> Any:
    try:
        return ImageFont.load_default(size)
    except (TypeError, OSError):  # before Pillow 10.1, or built without FreeType: one font of one size
        return ImageFont.load_default()
