"""Make docs/overlay.png: the last frame of a small video, as `fastalex classify VIDEO --output` writes it.

    python -m tools.make_overlay [FILE]

The video shows a handwritten digit of examples/digits on a drawn background. Needs OpenCV (pip install '.[video]').
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fastalex.cli.main import main as fastalex

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "examples" / "digits"
WIDTH, HEIGHT, RATE = 480, 360, 25
SHOWN = ("digit-3-sample-0003.png",) * 10


def frame(path: Path, shift: int) -> np.ndarray:
    """A digit on a background of waves, uint8 ``[H, W, 3]``, blue, green, red."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [30 + 20 * np.sin((x + shift) / 40 + c) + 15 * np.cos(y / (25 + 5 * c)) for c in range(3)]
    side = HEIGHT - 40
    digit = np.asarray(Image.open(path).convert("L").resize((side, side), Image.BICUBIC), np.float64) / 255
    picture = np.stack(waves, -1)
    left = (WIDTH - side) // 2
    place = picture[20 : 20 + side, left : left + side]
    place += digit[..., None] * (250 - place)
    return picture.clip(0, 255).astype(np.uint8)


def main(output: Path) -> int:
    with tempfile.TemporaryDirectory() as folder:
        video, frames = os.path.join(folder, "digits.avi"), os.path.join(folder, "frames")
        writer = cv2.VideoWriter(video, cv2.VideoWriter_fourcc(*"MJPG"), RATE, (WIDTH, HEIGHT))
        for number, name in enumerate(SHOWN):
            writer.write(frame(DIGITS / name, 4 * number))
        writer.release()
        code = fastalex(["classify", video, "--weights", "digits", "--topk", "3", "--output", frames])
        if code == 0:
            shutil.copyfile(os.path.join(frames, sorted(os.listdir(frames))[-1]), str(output))
        return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "overlay.png"))
