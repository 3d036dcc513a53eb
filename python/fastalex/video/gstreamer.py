"""Frames of a GStreamer pipeline, read from the program ``gst-launch-1.0`` through a pipe, without any library.

A CSI camera is read this way on JetPack 4.6, whose OpenCV is built for a Python that is too old for fastalex, and with
any OpenCV from the Python package index, which is built without GStreamer.
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from typing import Iterator, List, Tuple

import numpy as np

from ..errors import UserError

PROGRAM = "gst-launch-1.0"
STALLED_S = 10.0  # timeout of a read: the camera is disconnected, or in use by another program
_ENDS_S = 2.0  # time for the program to exit by itself after its last frame


def available() -> bool:
    """Return whether the program is installed."""
    return shutil.which(PROGRAM) is not None


def csi_pipeline(sensor: int, width: int, height: int, rate: int) -> str:
    """Return the pipeline of a Jetson's CSI camera that delivers frames in 8-bit colors, without a sink.

    The elements are those of github.com/NVIDIA-AI-IOT/jetbot, ``jetbot/camera/opencv_gst_camera.py``.
    """
    return (
        f"nvarguscamerasrc sensor-id={sensor} "
        f"! video/x-raw(memory:NVMM),width={width},height={height},format=NV12,framerate={rate}/1 "
        "! nvvidconv ! video/x-raw,format=BGRx"
    )


def without_sink(pipeline: str) -> str:
    """Return ``pipeline`` without its sink, such as the ``appsink`` of pipelines written for OpenCV."""
    steps = [step.strip() for step in pipeline.split("!")]
    if steps and steps[-1].split()[:1] in (["appsink"], ["fdsink"], ["fakesink"]):
        steps.pop()
    return " ! ".join(steps)


class GstPipe:
    """An iterator over the frames of ``pipeline``, scaled to ``width`` x ``height``: uint8 ``[H, W, 3]``, BGR.

    :param pipeline: elements in the syntax of ``gst-launch-1.0``, without a sink.
    :raises UserError: if the program cannot be run; while iterating, if the pipeline fails, stalls, or ends in the
        middle of a frame.
    """

    def __init__(self, pipeline: str, width: int, height: int, stalled_s: float = STALLED_S) -> None:
        self.width, self.height = width, height
        self.frames = 0
        self._stalled_s = stalled_s
        # gst-plugins-base, gst-libs/gst/video/video-info.c: a row of BGR is padded to a multiple of four bytes.
        self._row_bytes = (3 * width + 3) // 4 * 4
        caps = f"video/x-raw,format=BGR,width={width},height={height}"
        command = [PROGRAM, "-q", *self._words(pipeline), "!", "videoconvert", "!", "videoscale", "!", caps]
        command += ["!", "fdsink", "fd=1", "sync=false"]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the program runs)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
            )
        except OSError as error:
            self._errors.close()
            raise UserError(
                f"{PROGRAM} cannot be run ({error.strerror}); install the package gstreamer1.0-tools"
            ) from None

    @staticmethod
    def _words(pipeline: str) -> List[str]:
        try:
            return shlex.split(pipeline)
        except ValueError as error:
            raise UserError(f"the pipeline '{pipeline}' cannot be read: {error}") from None

    def __iter__(self) -> Iterator[np.ndarray]:
        while True:
            rows = np.empty((self.height, self._row_bytes), np.uint8)
            got, stalled = self._fill(rows.data.cast("B"))
            if stalled:
                raise UserError(f"{PROGRAM} delivered no frame for {self._stalled_s:g} s")
            if got < rows.size:
                self._check_end(got)
                return
            self.frames += 1
            yield rows[:, : 3 * self.width].reshape(self.height, self.width, 3)

    def _fill(self, target: memoryview) -> Tuple[int, bool]:
        """Read from the pipe until ``target`` is full; return the number of bytes, and whether the pipe stalled."""
        assert self._process.stdout is not None
        handle, done = self._process.stdout.fileno(), 0
        while done < len(target):
            if not select.select([handle], [], [], self._stalled_s)[0]:
                return done, True
            count = os.readv(handle, [target[done:]])
            if not count:
                break
            done += count
        return done, False

    def _check_end(self, partial: int) -> None:
        try:
            code = self._process.wait(_ENDS_S)
        except subprocess.TimeoutExpired:
            code = 0
        if code:
            raise UserError(f"{PROGRAM} failed after {self.frames} frames: {self._reason(code)}")
        if partial:
            raise UserError(f"{PROGRAM} ended in the middle of frame {self.frames}")

    def _reason(self, code: int) -> str:
        """Return the program's own message: the first line with ERROR in it, otherwise the last line."""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line]
        return (errors or lines[-1:] or [f"exit code {code}"])[0]

    def stop(self) -> None:
        """Terminate the program and release the camera. An iterator that waits for a frame ends."""
        self._process.terminate()
        deadline = time.monotonic() + _ENDS_S
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Stop the program and close the pipe."""
        self.stop()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()
