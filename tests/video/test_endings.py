"""Runs that write a video or pictures and end early: what was written is complete, has its name, and can be played."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from fastalex import AlexNet, UserError
from fastalex.cli import main
from fastalex.video import room, sinks
from tests.support.videos import DIGITS, FRAME_COUNT, decoded, write_video

pytestmark = pytest.mark.peers

COMMAND = ["classify", "--weights", "digits", "--device", "cpu"]
CONTAINERS = ["out.mp4", "out.avi", "out.mkv"]
OUTPUTS = [*CONTAINERS, "pictures"]
HEIGHT, WIDTH = 120, 160
AT = 6  # the frame at which something happens, counted from 1
UNTIL_FULL = 300_000  # bytes of video before the limits of these tests: FFmpeg writes 256 KiB at a time


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "digits.avi")


def shapes(path):
    """Those of the frames that can be read from a video or a folder of pictures, where nothing else may be."""
    if path.suffix:
        assert os.listdir(path.parent) == [path.name]
        return [frame.shape for frame in decoded(path)]
    names = sorted(os.listdir(path))
    assert names == [f"{number:06}-digits.png" for number in range(len(names))]
    return [cv2.imread(str(path / name)).shape for name in names]


def at_a_frame(monkeypatch, happens):
    """Let ``happens`` be called before the frame AT is classified."""
    count, compute = [0], AlexNet.classify_frame

    def classify_frame(self, *arguments):
        count[0] += 1
        if count[0] == AT:
            happens()
        return compute(self, *arguments)

    monkeypatch.setattr(AlexNet, "classify_frame", classify_frame)


# The run ends


PROGRAM = f"""
import os, sys
from fastalex import AlexNet
from fastalex.cli.main import main

number, *words = sys.argv[1:]
outputs, frames, compute = words[-{len(OUTPUTS)}:], [], AlexNet.classify_frame

def classify_frame(self, *arguments):
    frames.append(1)
    if len(frames) % {AT} == 0:
        os.kill(os.getpid(), int(number))
        os.kill(os.getpid(), int(number))
    return compute(self, *arguments)

AlexNet.classify_frame = classify_frame
for output in outputs:
    print(main([*words[:-{len(OUTPUTS)}], "--output", output]), file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_completes_the_output(video, tmp_path, name, code):
    """Sent twice, as timeout and closing terminals do; the exit code is 128 and its number."""
    outputs = [tmp_path / str(number) / output for number, output in enumerate(OUTPUTS)]
    for output in outputs:
        output.parent.mkdir()
    words = [str(int(getattr(signal, name))), *COMMAND, "--headless", str(video), *map(str, outputs)]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr.decode()) == (0, f"{code}\n" * len(outputs))
    for output in outputs:
        assert shapes(output) == [(HEIGHT, WIDTH, 3)] * (AT - 1)


def test_timeout_completes_the_video(video, tmp_path):
    """GNU timeout's SIGTERM, in the middle of whatever the command does."""
    out = tmp_path / "out.mp4"
    words = [sys.executable, "-m", "fastalex", *COMMAND, "--headless", *[str(video)] * 200, "--output", str(out)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for _ in range(20):  # it cannot finish meanwhile: the pipe is too small for the lines of all frames
            assert process.stdout.readline()
        process.terminate()
        lines, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, b"")
    # the signal may have come between the line of a frame and its picture
    printed = 20 + lines.count(b"\n") - 1
    assert len(shapes(out)) in (printed - 1, printed)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize(("reader", "code", "says"), [("gone", 141, ""), ("full", 2, "No space left on device")])
def test_an_output_that_nobody_takes_completes_the_video(
    capfd, video, tmp_path, monkeypatch, output, reader, code, says
):
    """EPIPE, and ENOSPC of the lines of JSON: the frames before them are there."""
    out = tmp_path / output

    def change():
        if reader == "full":
            target = os.open("/dev/full", os.O_WRONLY)
        else:
            source, target = os.pipe()
            os.close(source)
        os.dup2(target, 1)
        os.close(target)

    at_a_frame(monkeypatch, change)
    monkeypatch.setattr(sys, "stdout", os.fdopen(1, "w", closefd=False))
    assert main.main([*COMMAND, "--headless", str(video), "--output", str(out)]) == code
    err = capfd.readouterr()[1]
    assert says in err and err.count("\n") == bool(says)
    assert shapes(out) == [(HEIGHT, WIDTH, 3)] * (AT - 1)


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt(), 130), (MemoryError(), 2)])
def test_whatever_ends_the_run_the_video_is_complete(capfd, video, tmp_path, monkeypatch, raised, code):
    def fail():
        raise raised

    at_a_frame(monkeypatch, fail)
    assert main.main([*COMMAND, str(video), "--output", str(tmp_path / "out.avi")]) == code
    assert len(shapes(tmp_path / "out.avi")) == AT - 1
    assert capfd.readouterr()[1].count("\n") == (code == 2)


# The disk is full


@pytest.fixture
def limit():
    """A function that limits the size of files: the write fails half-way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def noise(number):
    return np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def written_until_full(out, count=200, sink=None, first=0):
    """A sink, the number of frames that it took, and what it said to the next one."""
    sink = sink or sinks.open_sink(str(out))
    for number in range(first, count):
        try:
            sink.put(noise(number), number / 10, 10, "noise")
        except UserError as error:
            return sink, number, str(error)
    return sink, count, ""


def end_of(container):
    """Bytes that the sink keeps for the end of a video."""
    return sinks._BUFFERED + sinks._FRAMES_AHEAD * 3 * WIDTH * HEIGHT + UNTIL_FULL


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_video_ends_where_the_disk_is_full(tmp_path, limit, container):
    """With an index, and with the time of its frames."""
    out = tmp_path / container
    limit(end_of(container))
    sink, count, said = written_until_full(out)
    sink.close(False)
    assert 10 < count < 200
    assert said == f"the video '{out}' ends after {count} frames: {os.strerror(errno.EFBIG)}"
    assert len(shapes(out)) == count
    capture = cv2.VideoCapture(str(out))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == count
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    assert os.stat(out).st_blocks * 512 < os.path.getsize(out) + room._CHUNK / 2, "the blocks ahead are given back"


def test_a_full_disk_is_an_error_of_one_sentence(capfd, video, tmp_path, limit):
    out = tmp_path / "out.avi"
    limit(end_of(out))
    code = main.main([*COMMAND, *[str(video)] * 20, "--output", str(out)])
    limit(resource.RLIM_INFINITY)
    err = capfd.readouterr()[1]
    count = len(shapes(out))
    assert 10 < count < 20 * FRAME_COUNT
    assert (code, err) == (2, f"fastalex: the video '{out}' ends after {count} frames: {os.strerror(errno.EFBIG)}\n")


def test_without_room_for_one_frame_there_is_no_video(tmp_path, limit):
    out = tmp_path / "out.mp4"
    limit(100_000)
    sink, count, said = written_until_full(out)
    sink.close(False)
    assert (count, said) == (0, f"the video '{out}' cannot be written: {os.strerror(errno.EFBIG)}")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_write_that_failed_unseen_is_an_error(tmp_path, limit, monkeypatch, container):
    """FFmpeg lost the rest. What can be played is kept and counted; an MP4 file without its index cannot."""
    out = tmp_path / container
    monkeypatch.setattr(room.Room, "ensure", lambda *_: None)
    limit(UNTIL_FULL)
    sink, count, said = written_until_full(out)
    assert (count, said) == (200, "")
    with pytest.raises(UserError, match="the disk may be full") as failed:
        sink.close(True)
    if out.suffix == ".mp4":
        assert f"'{out}' cannot be written" in str(failed.value) and os.listdir(tmp_path) == []
    else:
        found = len(shapes(out))
        assert 10 < found < count
        assert f"'{out}' has only {found} of {count} frames" in str(failed.value)


def test_an_encoder_that_fails_is_an_error(capfd, video, tmp_path, monkeypatch):
    create = cv2.VideoWriter

    class Failing:
        def __init__(self, *arguments):
            self.writer, self.count = create(*arguments), 0

        def write(self, frame):
            self.count += 1
            if self.count <= 5:
                self.writer.write(frame)

        def __getattr__(self, name):
            return getattr(self.writer, name)

    monkeypatch.setattr(cv2, "VideoWriter", Failing)
    code = main.main([*COMMAND, str(video), "--output", str(tmp_path / "out.mkv")])
    err = capfd.readouterr()[1]
    assert code == 2 and f"has only 5 of {FRAME_COUNT} frames" in err and err.count("\n") == 1
    assert len(shapes(tmp_path / "out.mkv")) == 5


def test_file_systems_that_cannot_allocate_ahead(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    found = room.Room(str(path))
    found._allocate = lambda *_: ctypes_error(errno.EOPNOTSUPP)
    found.ensure(1)
    free = os.statvfs(path)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        found.ensure(2 * free.f_blocks * free.f_frsize)
    found.close()
    assert path.read_bytes() == b"x"


def test_room_that_cannot_be_given_back_leaves_the_video(tmp_path, monkeypatch):
    def failing(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "videos").mkdir()
    out = tmp_path / "videos" / "out.avi"
    sink, count, _ = written_until_full(out, 3)
    monkeypatch.setattr(room.os, "ftruncate", failing)
    sink.close(True)
    assert len(shapes(out)) == count == 3


def ctypes_error(code):
    import ctypes

    ctypes.set_errno(code)
    return -1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB, mounted in a folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.mount
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("rival", [False, True])
def test_a_disk_that_is_really_full(small_disk, container, rival):
    """Also one that another program fills in the meantime: the room for the end was allocated before."""
    out = small_disk / "videos" / container
    out.parent.mkdir()
    sink, count, said = written_until_full(out, 10 if rival else 1000)
    if rival:
        with pytest.raises(OSError, match="No space left"):
            (small_disk / "rival").write_bytes(bytes(3 << 20))
        assert os.statvfs(small_disk).f_bavail == 0
        sink, count, said = written_until_full(out, 1000, sink, count)
    assert said == f"the video '{out}' ends after {count} frames: No space left on device"
    sink.close(False)
    assert count > 10 and len(shapes(out)) == count


@pytest.mark.mount
def test_pictures_on_a_disk_that_is_really_full(small_disk):
    folder = small_disk / "pictures"
    sink, count, said = written_until_full(folder)
    sink.close(False)
    assert 10 < count < 200 and "No space left on device" in said
    names = sorted(os.listdir(folder))
    assert len(names) == count
    for number, name in enumerate(names):
        np.testing.assert_array_equal(cv2.imread(str(folder / name)), noise(number))


def test_the_room_of_a_picture_that_failed_is_not_taken(capfd, tmp_path, limit):
    """No part of a picture is left, and the pictures before it are complete."""
    cv2.imwrite(str(tmp_path / "plain.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "noise.png"), noise(0))
    limit(40_000)
    words = [str(tmp_path / "plain.png"), str(tmp_path / "noise.png"), str(DIGITS[0])]
    code = main.main([*COMMAND, *words, "--output", str(tmp_path / "pictures")])
    err = capfd.readouterr()[1]
    assert code == 2 and os.strerror(errno.EFBIG) in err and err.count("\n") == 1
    assert os.listdir(tmp_path / "pictures") == ["000000-plain.png"]
