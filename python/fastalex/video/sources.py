"""Sources of frames: image files, video files, cameras, network streams, and GStreamer pipelines.

A source is named by one word of the command line (:func:`kind_of`). OpenCV reads everything but images; it is an
optional dependency, imported when the first such source is opened. GStreamer pipelines run in OpenCV if it was built
with GStreamer, otherwise in :mod:`fastalex.video.gstreamer`.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import stat
import threading
import time
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from .._util import console
from ..errors import UserError
from ..images import formats, listing
from . import gstreamer

VIDEO_SUFFIXES = (".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
EXACT_COUNTS = (".avi", ".m4v", ".mov", ".mp4")  # containers that store their number of frames
IMAGES, VIDEO, CAMERA, CSI, NETWORK, PIPELINE = "images", "video", "camera", "csi", "network", "pipeline"
LIVE = (CAMERA, CSI, NETWORK, PIPELINE)  # sources that do not wait while a frame is processed
_NETWORK = re.compile(r"(rtsps?|rtmp|https?|udp|tcp)://", re.I)
# What servers state for files of a kind that they do not know.
_UNKNOWN_TYPES = ("", "application/octet-stream", "binary/octet-stream", "text/plain")
_CSI = re.compile(r"csi://(\d+)$", re.I)

#: The size requested from a camera: github.com/dusty-nv/jetson-inference, examples/imagenet/imagenet.cpp.
DEFAULT_WIDTH, DEFAULT_HEIGHT = 1280, 720
DEFAULT_RATE = 30  # frames per second


class Size(NamedTuple):
    """The mode requested from a camera: pixels and frames per second; None leaves the choice to the camera."""

    width: Optional[int] = None
    height: Optional[int] = None
    rate: Optional[int] = None


class Frame(NamedTuple):
    """One picture: uint8 ``[H, W, 3]``, BGR; its number in the source, from 0; seconds since the first frame."""

    pixels: np.ndarray
    number: int
    time_s: float


def kind_of(word: str) -> Tuple[str, str]:
    """Return the kind of source that ``word`` names, and its path, address or pipeline.

    The prefixes ``file://``, ``v4l2://`` and ``csi://`` are those of jetson-inference.
    """
    for prefix in ("file://", "v4l2://"):
        if word.lower().startswith(prefix):
            word = word[len(prefix) :]
    if _CSI.match(word):
        return CSI, word
    if _NETWORK.match(word):
        return NETWORK, word
    if " ! " in word and not os.path.exists(word):
        return PIPELINE, word
    if word.startswith("/dev/video") or _is_device(word):
        return CAMERA, word
    return (VIDEO if word.lower().endswith(VIDEO_SUFFIXES) and not os.path.isdir(word) else IMAGES), word


def expanded(words: Sequence[str]) -> Iterator[Tuple[str, str, Optional[UserError]]]:
    """Yield (kind, path, error) of each source, with patterns and folders expanded to the files they stand for.

    Servers are asked whether an ``http://`` or ``https://`` address is an image.
    """
    for word in words:
        kind, path = kind_of(word)
        if kind == NETWORK and formats.is_url(path):
            yield _kind_of_url(path)
            continue
        if kind not in (IMAGES, VIDEO):
            yield kind, path, None
            continue
        matches = (
            [path] if os.path.lexists(path) or not glob.has_magic(path) else sorted(glob.glob(path, recursive=True))
        )
        if not matches:
            yield kind, path, UserError(f"no file matches '{path}'")
        for match in matches:
            if kind_of(match)[0] == VIDEO:
                yield VIDEO, match, None
                continue
            for file, error in listing.listed([match], console.error):
                yield IMAGES, file, error


def _kind_of_url(url: str) -> Tuple[str, str, Optional[UserError]]:
    """Tell an image on a web server from a network stream, such as that of a camera which sends JPEG after JPEG.

    What the server states decides, because cameras call their streams ``stream.jpg``, and images have addresses such as
    ``/photo?id=3``; the suffix decides if it states nothing useful. Without an answer in HTTP it is left to OpenCV.
    """
    from ..images import remote  # loads urllib, which other sources do not need

    parts = url.lower().partition("?")[0].partition("#")[0]
    if parts.endswith(VIDEO_SUFFIXES) or "@" in parts:  # OpenCV takes user:password@host, too
        return NETWORK, url, None
    named = parts.endswith(formats.SUFFIXES)
    try:
        media = remote.media_type(url)
    except UserError as error:
        decided = named or isinstance(error, remote.AnswerError)
        return (IMAGES, url, error) if decided else (NETWORK, url, None)
    is_image = media.startswith("image/") or remote.is_page(media) or (named and media in _UNKNOWN_TYPES)
    return IMAGES if is_image else NETWORK, url, None


def _is_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def opencv() -> Any:
    """Import ``cv2``, with its messages to the terminal turned off.

    :raises UserError: if it is not installed.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    try:
        import cv2
    except ModuleNotFoundError:
        raise UserError("videos and cameras need OpenCV: pip install 'fastalex[video]'") from None
    except ImportError as error:  # its windows need libraries that may be missing on a machine without a screen
        raise UserError(f"OpenCV cannot be loaded ({error}); pip install opencv-python-headless instead") from None
    return cv2


class Source:
    """An iterator over :class:`Frame` objects. :meth:`close` it, or use ``with``.

    A live source delivers its newest frame each time; :attr:`dropped` counts the frames that were skipped for it.

    :ivar reader: name of the program or library that reads the source.
    :ivar rate: of a video, in frames per second; 0 if unknown.
    """

    def __init__(self, name: str, kind: str, frames: Any, reader: str, rate: float = 0.0) -> None:
        self.name, self.kind, self.reader, self.rate = name, kind, reader, rate
        self._frames = frames
        self._newest = _Newest(iter(frames)) if kind in LIVE else None

    @property
    def dropped(self) -> int:
        """Number of frames that were skipped because a newer one was there."""
        return self._newest.dropped if self._newest else 0

    def __iter__(self) -> Iterator[Frame]:
        began = None
        for number, pixels in self._newest or enumerate(self._frames):
            now = time.monotonic()
            began = now if began is None else began
            time_s = number / self.rate if self.kind == VIDEO and self.rate > 0 else now - began
            yield Frame(pixels, number, time_s)

    def close(self) -> None:
        """Stop reading and release the source."""
        self._frames.stop()  # this also ends a pending read in the other thread
        if self._newest:
            self._newest.join()
        self._frames.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def open_source(kind: str, path: str, size: Size = Size()) -> Source:  # noqa: B008 (a NamedTuple is immutable)
    """Open a source that is not an image.

    :param kind: kind of source; it and ``path`` are the results of :func:`kind_of`.
    :param size: mode requested from a camera.
    :raises UserError: if the source cannot be opened; while iterating, if it stops unexpectedly.
    """
    if kind in (CSI, PIPELINE):
        return _gstreamer(kind, path, size)
    if kind == CAMERA:
        _check_device(path)
    elif kind == VIDEO and not os.path.isfile(path):
        raise UserError(f"there is no video '{path}'")
    cv2 = opencv()
    with _opencv_errors():
        capture = cv2.VideoCapture(_camera(path), cv2.CAP_V4L2) if kind == CAMERA else cv2.VideoCapture(path)
    if not capture.isOpened():
        raise UserError(
            {
                CAMERA: f"the camera '{path}' cannot be opened; it may be in use by another program or not a camera",
                VIDEO: f"the video '{path}' cannot be read; it is cut off, damaged or in an unknown format",
                NETWORK: f"nothing can be received from '{path}'",
            }[kind]
        )
    if kind == CAMERA:
        _request_mode(cv2, capture, size)
    rate = capture.get(cv2.CAP_PROP_FPS)
    return Source(path, kind, _Capture(cv2, capture, kind, path), "OpenCV", rate if 0 < rate < 1000 else 0.0)


def _gstreamer(kind: str, path: str, size: Size) -> Source:
    width, height = size.width or DEFAULT_WIDTH, size.height or DEFAULT_HEIGHT
    if kind == CSI:
        pipeline = gstreamer.csi_pipeline(int(path[len("csi://") :]), width, height, size.rate or DEFAULT_RATE)
    else:
        pipeline = gstreamer.without_sink(path)
    cv2 = _opencv_with_gstreamer()
    if cv2 is not None:
        whole = pipeline + " ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
        capture = cv2.VideoCapture(whole, cv2.CAP_GSTREAMER)
        if not capture.isOpened():
            raise UserError(f"GStreamer cannot start '{pipeline}'")
        return Source(path, kind, _Capture(cv2, capture, kind, path), "OpenCV with GStreamer")
    if not gstreamer.available():
        raise UserError(
            f"'{path}' needs GStreamer: install the package gstreamer1.0-tools, or an OpenCV that was built with it"
        )
    frames = gstreamer.GstPipe(pipeline, width, height)
    return Source(path, kind, _Piped(frames, kind, path), gstreamer.PROGRAM)


def _opencv_with_gstreamer() -> Any:
    """Return ``cv2`` if it is installed and was built with GStreamer, otherwise None."""
    try:
        cv2 = opencv()
    except UserError:
        return None
    return cv2 if re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) else None


def _camera(path: str) -> Union[int, str]:
    """Return the number of ``/dev/video0`` or of a link to it, because some builds of OpenCV do not take the path."""
    match = re.match(r"/dev/video(\d+)$", os.path.realpath(path))
    return int(match.group(1)) if match else path


def _check_device(path: str) -> None:
    if not os.path.exists(path):
        cameras = ", ".join(sorted(glob.glob("/dev/video*")))
        raise UserError(f"there is no camera '{path}' ({'there are: ' + cameras if cameras else 'there is none'})")
    if not os.access(path, os.R_OK | os.W_OK):
        raise UserError(
            f"you have no permission to use the camera '{path}'; add yourself to its group, usually 'video'"
        )


def _request_mode(cv2: Any, capture: Any, size: Size) -> None:
    """Request ``size`` from a camera. It falls back to the nearest mode it supports, so the frame size may differ."""
    properties = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
    for key, value in zip(properties, size):
        if value:
            capture.set(key, value)


@contextlib.contextmanager
def _opencv_errors() -> Iterator[None]:
    """Turn OpenCV's exceptions into a :class:`UserError`; some builds raise them for sources that cannot be opened."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (cv2.error, which cannot be named before cv2 is imported)
        raise UserError(f"OpenCV failed: {' '.join(str(error).split())}") from None


class _Capture:
    """An iterator over the frames of an OpenCV capture, which raises an error if it ends too early."""

    def __init__(self, cv2: Any, capture: Any, kind: str, name: str) -> None:
        self._cv2, self._capture, self._kind, self._name = cv2, capture, kind, name
        self._stopped = False

    def __iter__(self) -> Iterator[np.ndarray]:
        count = 0
        while not self._stopped:
            good, pixels = self._capture.read()
            if not good:
                self._check_end(count)
                return
            count += 1
            yield pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)

    def _check_end(self, count: int) -> None:
        if self._kind in (CAMERA, CSI):
            raise _gone(self._name, count)
        if self._kind != VIDEO:
            return
        total = self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT)
        # Other containers store only a duration, which OpenCV multiplies by the rate.
        margin = 0 if self._name.lower().endswith(EXACT_COUNTS) else self._capture.get(self._cv2.CAP_PROP_FPS) / 2
        if count < total - margin:
            raise UserError(
                f"the video '{self._name}' ends after {count} of {total:.0f} frames; it is cut off or damaged"
            )

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._capture.release()


class _Piped:
    """An iterator over the frames of a :class:`~fastalex.video.gstreamer.GstPipe`; the end of a camera is an error."""

    def __init__(self, pipe: gstreamer.GstPipe, kind: str, name: str) -> None:
        self._pipe, self._kind, self._name = pipe, kind, name

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from self._pipe
        if self._kind == CSI:
            raise _gone(self._name, self._pipe.frames)

    def stop(self) -> None:
        self._pipe.stop()

    def close(self) -> None:
        self._pipe.close()


def _gone(name: str, count: int) -> UserError:
    return UserError(f"the camera '{name}' stopped delivering frames after {count}; is it still connected?")


class _Newest:
    """An iterator over (number, pixels) that reads in its own thread and keeps only the newest frame."""

    def __init__(self, frames: Iterator[np.ndarray]) -> None:
        self.dropped = 0
        self._frames = frames
        self._ready = threading.Condition()
        self._waiting: List[Tuple[int, np.ndarray]] = []
        self._error: Optional[BaseException] = None
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="fastalex-frames", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        error: Optional[BaseException] = None
        try:
            for number, pixels in enumerate(self._frames):
                with self._ready:
                    self.dropped += len(self._waiting)
                    self._waiting[:] = [(number, pixels)]
                    self._ready.notify()
        except BaseException as raised:  # noqa: BLE001 (it is raised again by __iter__)
            error = raised
        with self._ready:
            self._error, self._ended = error, True
            self._ready.notify()

    def __iter__(self) -> Iterator[Tuple[int, np.ndarray]]:
        while True:
            with self._ready:
                while not self._waiting and not self._ended:
                    self._ready.wait()
                if not self._waiting:
                    break
                newest = self._waiting.pop()
            yield newest
        if self._error is not None:
            raise self._error

    def join(self) -> None:
        self._thread.join(timeout=gstreamer.STALLED_S)
