"""Sinks for frames with an overlay: a window, a video file, or a folder of pictures.

Every sink has the methods of :class:`Window`.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any, Optional

import numpy as np
from PIL import Image

from .._util import console
from .._util.files import Replacement, replacing
from ..errors import UserError
from .room import Room
from .sources import DEFAULT_RATE, VIDEO_SUFFIXES, opencv

#: Suffix -> a codec that every build of OpenCV can write into such a file.
CODECS = {".avi": "MJPG", ".mkv": "MJPG", ".mp4": "mp4v"}
_STEM = 80  # longest part of a source's name in the names of its pictures; a source may be a whole pipeline
# Bytes that the end of a video may need: FFmpeg's buffers, frames that are still in the encoder or in a buffer of the
# container, and an entry of the index for each frame. Encoded frames are smaller than the pixels they come from.
_BUFFERED, _FRAMES_AHEAD, _INDEX_ENTRY = 1 << 20, 4, 64
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
        """Close the sink; ``whole`` says that no error ended the run."""
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
        self._backend = ""
        self._room: Optional[Room] = None
        self._size = (0, 0)
        self._rate = 0.0
        self._source, self._began, self._written = "", 0, 0

    def put(self, frame: np.ndarray, time_s: float, rate: float, name: str) -> bool:
        """Write one frame; return True.

        :raises UserError: if there is no room for it; :meth:`close` then completes the video with those before it.
        """
        if self._writer is None:
            self._start(frame, rate or DEFAULT_RATE)
        if name != self._source:
            self._source, self._began = name, self._written
        shape = (frame.shape[1], frame.shape[0])
        if shape != self._size:
            frame = self._cv2.resize(frame, self._size)
        due = self._began + round(time_s * self._rate) + 1
        for _ in range(max(1, due - self._written)):
            self._check_room()
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
        self._writer, self._backend = writer, writer.getBackendName()

    def _check_room(self) -> None:
        width, height = self._size
        try:
            self._room = self._room or Room(self._file.temporary)
            self._room.ensure(_BUFFERED + _FRAMES_AHEAD * 3 * width * height + _INDEX_ENTRY * self._written)
        except OSError as error:
            what = f"ends after {self._written} frames" if self._written else "cannot be written"
            raise UserError(f"the video '{self._path}' {what}: {error.strerror}") from None

    def close(self, whole: bool) -> None:
        """Complete the video, also one that the user or an error stopped. Without frames there is none.

        :raises UserError: if frames are missing in the file.
        """
        if self._writer is not None:
            self._writer.release()
        with self._file.writing():
            if self._room is not None:
                with contextlib.suppress(OSError):  # the video is written; only spare blocks stay
                    self._room.close()
        if self._written:
            self._keep()
            return
        self._file.drop()
        if whole:
            console.error(f"there were no frames, so '{self._path}' is not written")

    def _keep(self) -> None:
        """Read the video back, because OpenCV's writer does not report errors, and give the file its name."""
        capture = self._cv2.VideoCapture(self._file.temporary)
        # FFmpeg writes this number, or the duration that it comes from, last, and nothing after an error.
        stated = capture.get(self._cv2.CAP_PROP_FRAME_COUNT) if self._backend == "FFMPEG" else None
        if not capture.grab():
            self._file.drop()
            raise UserError(f"the video '{self._path}' cannot be written; the disk may be full")
        self._file.keep()
        if stated == self._written:
            return
        found = 1
        while capture.grab():  # every frame, which takes a while: the file has its name already
            found += 1
        if found < self._written:
            raise UserError(
                f"the video '{self._path}' has only {found} of {self._written} frames; the disk may be full, or the "
                "encoder failed"
            )


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
