"""Frames of a GStreamer pipeline, through the program ``gst-launch-1.0`` and a pipe: no library is needed.

That is how a CSI camera is read on JetPack 4.6, whose OpenCV is built for another Python than fastalex needs, and with
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
STALLED_S = 10.0  # no byte for so long: the camera is gone, or another program has it
_ENDS_S = 2.0  # for the program to end by itself after its last frame


def available() -> bool:
    """Whether the program is there."""
    return shutil.which(PROGRAM) is not None


def csi_pipeline(sensor: int, width: int, height: int, rate: int) -> str:
    """The pipeline of a Jetson's CSI camera, up to where frames of 8-bit colors leave it.

    The elements are those of github.com/NVIDIA-AI-IOT/jetbot, ``jetbot/camera/opencv_gst_camera.py``.
    """
    return (
        "nvarguscamerasrc sensor-id=%d ! video/x-raw(memory:NVMM),width=%d,height=%d,format=NV12,framerate=%d/1 "
        "! nvvidconv ! video/x-raw,format=BGRx" % (sensor, width, height, rate)
    )


def without_sink(pipeline: str) -> str:
    """A pipeline written for OpenCV, without the ``appsink`` that only a program can read from."""
    steps = [step.strip() for step in pipeline.split("!")]
    if steps and steps[-1].split()[:1] in (["appsink"], ["fdsink"], ["fakesink"]):
        steps.pop()
    return " ! ".join(steps)


class GstPipe:
    """The frames that ``pipeline`` delivers, scaled to ``width`` x ``height``: an iterator of uint8 ``[H, W, 3]``, BGR.

    :param pipeline: its elements in the words of ``gst-launch-1.0``, without a sink.
    :raises UserError: at the first frame if there is no such program; when the pipeline fails, stalls, or ends in
        the middle of a frame.
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
            got, stalled = self._fill(memoryview(rows).cast("B"))
            if stalled:
                raise UserError(f"{PROGRAM} delivered no frame for {self._stalled_s:g} s")
            if got < rows.size:
                self._check_end(got)
                return
            self.frames += 1
            yield rows[:, : 3 * self.width].reshape(self.height, self.width, 3)

    def _fill(self, target: memoryview) -> Tuple[int, bool]:
        """How many bytes came before the pipe ended, and whether it stalled instead."""
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
        """The program's own words: its first line that says ERROR, or its last one."""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode("utf-8", "replace").splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line]
        return (errors or lines[-1:] or [f"exit code {code}"])[0]

    def stop(self) -> None:
        """End the program, and free the camera; whoever waits for a frame finds the end."""
        self._process.terminate()
        deadline = time.monotonic() + _ENDS_S
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """:meth:`stop`, and let go of the pipe."""
        self.stop()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()
