"""What a killed run leaves beside its video is removed by the next one, and nothing that another one is writing."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from fastalex._util import files
from fastalex.video import sinks

pytest.importorskip("cv2")
FRAME = np.zeros((48, 64, 3), np.uint8)


def aged(path):
    old = time.time() - files.LEFT_S - 10
    os.utime(path, (old, old))


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_the_next_video_removes_what_a_killed_one_left(tmp_path, suffix):
    path = str(tmp_path / ("out" + suffix))
    left = tmp_path / f".0123456789abcdef.out{suffix}{suffix}"
    left.write_bytes(b"half a video")
    aged(left)
    running = sinks.open_sink(path)
    assert not left.exists()
    running.put(FRAME, 0.0, 10.0, "a")
    (writing,) = tmp_path.iterdir()
    aged(writing)  # as if its source had been silent for long
    sink = sinks.open_sink(path)
    assert writing.exists()
    for each in (sink, running):
        each.put(FRAME, 0.1, 10.0, "a")
        each.close(True)
    assert os.listdir(tmp_path) == ["out" + suffix]
    assert os.path.getsize(path) > 0
