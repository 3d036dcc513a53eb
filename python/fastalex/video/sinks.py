"""Sinks for frames with an overlay: a window, a video file, or a folder of pictures.

Every sink has the methods of :class:`Window`.
"""

from __future__ import annotations

import os
import re
from typing import Any, Optional

import numpy as np
from PIL import Image

from .._util import console
from .._util.files import Replacement, replacing
from ..errors import UserError
from .sources import DEFAULT_RATE, VIDEO_SUFFIXES, opencv

#: Suffix -> a codec that every build of OpenCV can write into such a file.
CODECS = {".avi": "MJPG", ".mkv": "MJPG", ".mp4": "mp4v"}
_STEM = 80  # longest part of a source's name in the names of its pictures; a source may be a whole pipeline
_QUIT = (ord("q"), ord("Q"), 27)  # 27: escape


def open_sink(output: Optional[str]) -> Any:
    """Open a video file or a folder for pictures, depending on the suffix of ``output``; a window if it is None.

    :raises UserError: if the sink cannot be opened.
    """
    if output is None:
        return Window()
    suffix = os.path.splitext(output)[1].lower()
    if suffix in CODECS:
        return VideoFile(output, CODECS[suffix])
    if suffix in VIDEO_SUFFIXES:
        raise UserError(f"a video can be written as {', '.join(CODECS)}, not as {suffix}")
    return Pictures(output)


class Window:
    """An OpenCV window. The user stops the run with q, Escape, or by closing the window."""

    def __init__(self, title: str = "fastalex") -> None:
        self._cv2, self._title = opencv(), title
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UserError("there is no display for a window; add --headless, or --output FILE")
        try:
            self._cv2.namedWindow(title, self._cv2.WINDOW_NORMAL)
        except self._cv2.error:
            raise UserError(
                "this OpenCV has no windows; pip install opencv-python, or add --headless or --output FILE"
            ) from None

    def put(self, frame: np.ndarray, time_s: float, rate: float, name: str) -> bool:
        """Output one frame; return False if the user wants to stop.

        :param frame: uint8 ``[H, W, 3]``, BGR.
        :param time_s: seconds since the first frame of the source.
        :param rate: frames per second of the source, 0 if unknown.
        :param name: of the source.
        """
        self._cv2.imshow(self._title, frame)
        if self._cv2.waitKey(1) & 0xFF in _QUIT:
            return False
        visible: float = self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE)
        return visible >= 1  # 0: the window was closed

    def close(self, whole: bool) -> None:
        """Close the sink; ``whole`` says that all frames were output."""
        self._cv2.destroyAllWindows()


class VideoFile:
    """A video file with the size of its first frame. It appears under its name only when it is complete.

    Frames keep their time: one that is shown for longer is written several times.
    """

    def __init__(self, path: str, codec: str) -> None:
        self._cv2, self._path, self._codec = opencv(), path, codec
        folder = os.path.dirname(os.path.realpath(path))
        if not os.path.isdir(folder):
            raise UserError(f"there is no folder '{folder}' for the video")
        self._file = Replacement(path, os.path.splitext(path)[1], tidy=True)
        self._writer: Any = None
        self._size = (0, 0)
        self._rate = 0.0
        self._source, self._began, self._written = "", 0, 0

    def put(self, frame: np.ndarray, time_s: float, rate: float, name: str) -> bool:
        """Write one frame; return True."""
        if self._writer is None:
            self._start(frame, rate or DEFAULT_RATE)
        if name != self._source:
            self._source, self._began = name, self._written
        shape = (frame.shape[1], frame.shape[0])
        if shape != self._size:
            frame = self._cv2.resize(frame, self._size)
        due = self._began + round(time_s * self._rate) + 1
        for _ in range(max(1, due - self._written)):
            self._writer.write(frame)
            self._written += 1
        return True

    def _start(self, frame: np.ndarray, rate: float) -> None:
        self._size, self._rate = (frame.shape[1], frame.shape[0]), rate
        writer = self._cv2.VideoWriter(
            self._file.temporary, self._cv2.VideoWriter_fourcc(*self._codec), rate, self._size
        )
        if not writer.isOpened():
            raise UserError(f"the video '{self._path}' cannot be written")
        self._file.hold()
        self._writer = writer

    def close(self, whole: bool) -> None:
        """Keep the video if it is ``whole``, which includes one that the user stopped; otherwise delete it."""
        if self._writer is not None:
            self._writer.release()
        if whole and self._writer is not None:
            if not os.path.getsize(self._file.temporary):
                self._file.drop()
                raise UserError(f"the video '{self._path}' cannot be written; the disk may be full")
            self._file.keep()
            return
        self._file.drop()
        if whole:
            console.error(f"there were no frames, so '{self._path}' is not written")


class Pictures:
    """Numbered PNG files in a folder, which is created if necessary."""

    def __init__(self, folder: str) -> None:
        self._folder, self._count = folder, 0
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise UserError(f"the folder '{folder}' cannot be created: {error.strerror}") from None

    def put(self, frame: np.ndarray, time_s: float, rate: float, name: str) -> bool:
        """Write one frame; return True."""
        stem = re.sub(r"[^\w.-]+", "-", os.path.splitext(os.path.basename(name))[0])[:_STEM] or "frame"
        path = os.path.join(self._folder, f"{self._count:06}-{stem}.png")
        with replacing(path) as stream:
            Image.fromarray(np.ascontiguousarray(frame[..., ::-1])).save(stream, "PNG", compress_level=1)
        self._count += 1
        return True

    def close(self, whole: bool) -> None:
        """Do nothing: each picture is complete when it is written."""
