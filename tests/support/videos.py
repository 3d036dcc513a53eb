"""A short video of digits, and the frames of a video as OpenCV reads them."""

from __future__ import annotations

from pathlib import Path

import cv2

DIGITS = sorted((Path(__file__).resolve().parents[2] / "examples" / "digits").glob("*.png"))
SHOWN = [DIGITS[6], DIGITS[7], DIGITS[14], DIGITS[15]]  # two 3s, two 7s
FRAME_COUNT = 12


def digit(path, height=120, width=160):
    """A picture in BGR, as from a camera."""
    return cv2.resize(cv2.imread(str(path)), (width, height), interpolation=cv2.INTER_CUBIC)


def write_video(path, codec="MJPG", count=FRAME_COUNT):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (160, 120))
    assert writer.isOpened()
    for number in range(count):
        writer.write(digit(SHOWN[number * len(SHOWN) // count]))
    writer.release()
    return path


def decoded(path):
    capture, found = cv2.VideoCapture(str(path)), []
    while True:
        good, frame = capture.read()
        if not good:
            return found
        found.append(frame)
