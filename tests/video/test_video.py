"""Videos, cameras and pipelines through ``fastalex classify``: input, display, output and messages."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fastalex import AlexNet, UserError, images
from fastalex.cli import classify_video, main
from fastalex.video import gstreamer, overlay, sinks, sources
from fastalex.weights.class_names import read_labels
from tests.support.videos import DIGITS, FRAME_COUNT, decoded, write_video

pytestmark = pytest.mark.peers

ROOT = Path(__file__).resolve().parents[2]


def run(capfd, *arguments):
    code = main.main(["classify", "--weights", "digits", "--device", "cpu", *map(str, arguments)])
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return code, out, err


def run_lines(capfd, *arguments):
    """Exit code, the description of the network, the other lines of JSON, and stderr."""
    code, out, err = run(capfd, "--headless", *arguments)
    first, *lines = [json.loads(line) for line in out.splitlines()]
    return code, first, lines, err


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "digits.avi")


# videos


def test_every_frame_of_a_video_is_classified_as_the_network_classifies_it(capfd, video):
    code, first, lines, err = run_lines(capfd, video, "--topk", 2)
    assert (code, err) == (0, "")
    assert (first["variant"], first["device"], first["profile"]) == ("alexnet-digits", "cpu", "digits")
    frames = decoded(video)
    assert [line["frame"] for line in lines] == list(range(len(frames))) == list(range(FRAME_COUNT))
    assert [line["time_s"] for line in lines] == pytest.approx([number / 10 for number in range(FRAME_COUNT)])
    net = AlexNet(weights="digits", device="cpu")
    for line, frame in zip(lines, frames):
        expected = net.classify(np.ascontiguousarray(frame[..., ::-1]), 2)
        got = [(row["label"], row["probability"], row["index"]) for row in line["predictions"]]
        assert got == [tuple(one) for one in expected]
        assert (line["height"], line["width"], line["source"], line["dropped"]) == (120, 160, str(video), 0)
        assert line["inference_ms"] > 0
    labels = [line["predictions"][0]["label"] for line in lines]
    assert labels == ["3"] * 6 + ["7"] * 6


def test_frames_threshold_and_topk(capfd, video):
    _, _, lines, _ = run_lines(capfd, video, "--frames", 3, "--threshold", 0.5, "--topk", 5)
    assert [len(line["predictions"]) for line in lines] == [1, 1, 1]
    _, _, lines, _ = run_lines(capfd, video, "--frames", 1, "--threshold", 1)
    assert lines[0]["predictions"] == []


def test_json_means_lines_too(capfd, video):
    code, out, _ = run(capfd, "--json", video, "--frames", 2)
    assert code == 0 and len(out.splitlines()) == 3


def test_smoothing_is_that_of_jetson_inference(capfd, video):
    """c/imageNet.cpp, applySmoothing, written out in float64; float32 rounds three times a frame."""
    net = AlexNet(weights="digits", device="cpu")
    mean, expected = None, []
    for frame in decoded(video):
        now = net.run_frame(frame, softmax=True)[0].astype(np.float64)
        mean = now if mean is None else mean + 0.25 * (now - mean)
        expected.append(mean)
    for weight in ("0.25", "4"):
        _, _, lines, _ = run_lines(capfd, video, "--smoothing", weight, "--topk", 10)
        for number, (line, exact) in enumerate(zip(lines, expected)):
            got = np.zeros(10)
            for row in line["predictions"]:
                got[row["index"]] = row["probability"]
            assert np.abs(got - exact).max() <= 3 * (number + 1) * 2.0**-24
            assert line["predictions"][0]["index"] == exact.argmax()
    for off in ("0", "1"):
        assert not classify_video.Smoothing(float(off)).on
    assert run(capfd, DIGITS[0], "--smoothing", 3)[2] == "fastalex: --smoothing works only for videos and cameras\n"


def test_a_video_that_ends_in_mid_frame(capfd, video, tmp_path):
    whole = video.read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    code, _, lines, err = run_lines(capfd, cut, video)
    before = [line for line in lines if line["source"] == str(cut)]
    count = len(before) - 1
    assert 3 <= count < FRAME_COUNT and [line["frame"] for line in before[:-1]] == list(range(count))
    error = before[-1]["error"]
    assert before[-1] == {"source": str(cut), "error": error}
    assert f"{count} of {FRAME_COUNT} frames" in error and str(cut) in error
    assert (code, err) == (2, f"fastalex: {error}\n")
    assert sum(line["source"] == str(video) for line in lines) == FRAME_COUNT  # other sources continue


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_what_is_no_video_is_one_sentence(capfd, tmp_path, suffix):
    path = tmp_path / ("x" + suffix)
    code, _, err = run(capfd, "--headless", path)
    assert code == 2 and err.count("\n") == 1 and f"no video '{path}'" in err
    path.write_bytes(b"no video" * 100)
    code, _, err = run(capfd, "--headless", path)
    assert code == 2 and err.count("\n") == 1 and "damaged" in err


def test_images_patterns_and_folders_in_a_stream(capfd, tmp_path):
    for number, path in enumerate(DIGITS[:3]):
        Image.open(path).resize((20 + number, 30)).save(tmp_path / (f"{number}.png"))  # of changing size
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n corrupt")
    empty = tmp_path / "empty"
    empty.mkdir()
    code, _, lines, err = run_lines(capfd, tmp_path / "*.png", empty, tmp_path / "*.gif")
    assert code == 2
    assert [line["source"] for line in lines[:3]] == [str(tmp_path / (f"{n}.png")) for n in range(3)]
    assert [line.get("width") for line in lines[:3]] == [20, None, 22]
    assert "1.png" in lines[1]["error"]
    assert "no image" in lines[3]["error"]
    assert lines[4]["error"] == f"no file matches '{tmp_path / '*.gif'}'"
    assert err.count("\n") == 3
    net = AlexNet(weights="digits", device="cpu")
    assert lines[2]["predictions"][0]["probability"] == net.classify(tmp_path / "2.png", 1)[0].probability


def test_patterns_without_a_stream(capfd, tmp_path):
    (tmp_path / "a[1].png").write_bytes(
        DIGITS[0].read_bytes()
    )  # an existing file name takes precedence over the pattern
    code, out, _ = run(capfd, "--json", tmp_path / "a[1].png", str(ROOT / "examples/digits/digit-4-*.png"))
    found = json.loads(out)["images"]
    assert code == 0 and [row["predictions"][0]["label"] for row in found] == ["0", "4", "4"]


# output


def test_a_video_is_written_with_its_overlay(capfd, video, tmp_path):
    out = tmp_path / "out.avi"
    code, said, err = run(capfd, video, "--output", out, "--topk", 1)
    assert (code, err) == (0, "")
    assert os.listdir(tmp_path) == ["out.avi"]
    assert [line.split(": ")[1].split(" ")[1] for line in said.splitlines()[1:]] == ["3", "7"]  # when the class changes
    written, original = decoded(out), decoded(video)
    assert len(written) == len(original) == FRAME_COUNT
    assert written[0].shape == original[0].shape
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    # JPEG changes a pixel by a few gray levels; the text box changes far more, and only at the top
    change = np.abs(np.int16(written[5]) - np.int16(original[5])).max(axis=2)
    assert change[:16, :60].max() > 100
    assert np.median(change[60:]) < 10


def test_pictures_are_written_with_their_overlay(capfd, video, tmp_path):
    folder = tmp_path / "frames"
    code, _, err = run(capfd, video, DIGITS[0], "--output", folder, "--frames", 2, "--topk", 1)
    assert (code, err) == (0, "")
    assert sorted(os.listdir(folder)) == ["000000-digits.png", "000001-digits.png", f"000002-{DIGITS[0].name}"]
    first = np.asarray(Image.open(folder / "000000-digits.png"))
    expected = decoded(video)[0][..., ::-1]
    np.testing.assert_array_equal(first[60:], expected[60:])
    assert (first[:20] != expected[:20]).any()


def test_frames_of_changing_size_fill_a_video_of_the_first_size(capfd, tmp_path):
    for number, side in enumerate((80, 64, 120)):
        Image.open(DIGITS[number]).resize((side, side)).save(tmp_path / (f"{number}.png"))
    out = tmp_path / "out.avi"
    code, _, _ = run(capfd, tmp_path / "*.png", "--output", out)
    assert code == 0
    assert [frame.shape for frame in decoded(out)] == [(80, 80, 3)] * 3


@pytest.mark.parametrize(
    ("output", "word"),
    [
        ("no/folder/out.mp4", "no/folder'"),
        ("out.webm", "not as .webm"),
        ("file/frames", "file/frames"),
    ],
)
def test_an_output_that_cannot_be_is_one_sentence(capfd, video, tmp_path, output, word):
    (tmp_path / "file").write_text("a file")
    code, _, err = run(capfd, video, "--output", tmp_path / output)
    assert code == 2 and word in err and err.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_an_output_that_fails_ends_the_run(capfd, video, tmp_path, monkeypatch):
    """One error for the run, not one per source, and no partial picture."""
    folder = tmp_path / "frames"
    save = Image.Image.save

    def full(self, stream, *words, **options):
        if len(os.listdir(folder)) > 2:
            stream.write(b"half")
            raise OSError(28, "No space left on device")
        save(self, stream, *words, **options)

    monkeypatch.setattr(Image.Image, "save", full)
    code, _, err = run(capfd, video, DIGITS[0], DIGITS[1], "--output", folder)
    assert code == 2 and err.count("\n") == 1 and "No space left on device" in err
    assert sorted(os.listdir(folder)) == ["000000-digits.png", "000001-digits.png"]


def test_a_video_that_cannot_get_its_name_is_one_sentence(capfd, video, tmp_path, monkeypatch):
    out = tmp_path / "out.avi"
    out.write_bytes(b"an older one")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    code, _, err = run(capfd, video, "--output", out)
    assert code == 2 and err.count("\n") == 1 and "out.avi" in err and "No space left" in err
    assert os.listdir(tmp_path) == ["out.avi"] and out.read_bytes() == b"an older one"


def test_a_window_needs_a_display_and_says_so(capfd, video, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    code, _, err = run(capfd, video)
    assert code == 2 and "add --headless, or --output FILE" in err and err.count("\n") == 1
    monkeypatch.setenv("DISPLAY", ":0")

    class Headless(cv2.error):
        pass

    def no_windows(*_):
        raise Headless("The function is not implemented")

    monkeypatch.setattr(cv2, "namedWindow", no_windows)
    code, _, err = run(capfd, video)
    assert code == 2 and "this OpenCV has no windows; pip install opencv-python" in err


def test_a_window_shows_frames_until_q(capfd, video, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    shown, keys = [], iter([-1, -1, ord("q")])
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    monkeypatch.setattr(cv2, "imshow", lambda title, frame: shown.append(frame.copy()))
    monkeypatch.setattr(cv2, "waitKey", lambda pause: next(keys))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    code, _, err = run(capfd, video)
    assert (code, err, len(shown)) == (0, "", 3)
    monkeypatch.setattr(cv2, "waitKey", lambda pause: -1)
    visible = iter([1.0, 0.0])  # closed with the mouse
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: next(visible))
    assert run(capfd, video)[0] == 0 and len(shown) == 5
    assert (shown[0][:20] != decoded(video)[0][:20]).any()


def test_without_opencv_it_is_one_sentence_and_images_still_work(capfd, video, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    code, _, err = run(capfd, "--headless", video)
    assert code == 2 and err == "fastalex: videos and cameras need OpenCV: pip install 'fastalex[video]'\n"
    code, _, lines, err = run_lines(capfd, DIGITS[0])
    assert (code, err, lines[0]["predictions"][0]["label"]) == (0, "", "0")


def test_a_pipe_that_nobody_reads_ends_it(video):
    import subprocess

    command = [sys.executable, "-m", "fastalex", "classify", "--weights", "digits", "--headless", str(video)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 141 and process.stderr.read() == b""


# the overlay


def test_the_overlay_keeps_the_rest_of_the_frame_and_its_text_in_the_frame():
    frame = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    for lines, fps in ((["98.31% 3"], 30.0), (["x" * 500, "déjà vu 犬"], None), ([], 1.0), ([], None)):
        drawn = frame.copy()
        overlay.draw(drawn, lines, fps)
        np.testing.assert_array_equal(drawn[60:], frame[60:])
        assert (drawn != frame).any() == bool(lines or fps)
    one, other = frame.copy(), frame.copy()
    overlay.draw(one, ["12.00% cat"])
    overlay.draw(other, ["21.00% dog"])
    assert (one != other).any()
    for shape in ((1, 1, 3), (3, 200, 3), (50, 4, 3)):  # smaller than a line of text
        overlay.draw(np.zeros(shape, np.uint8), ["98.31% 3", "more"], 30.0)


def test_labels_of_any_length_and_characters_are_drawn_in_a_line():
    frame = np.full((240, 640, 3), 128, np.uint8)
    for label in ("x" * 100_000, "\u0301" * 100_000, "cat\n" * 20, "\x1b[31m\u202e\0\t", "\U000e0001"):
        drawn = frame.copy()
        overlay.draw(drawn, ["98.31% " + label])
        assert (drawn != frame).any()
        np.testing.assert_array_equal(drawn[40:], frame[40:])
    assert overlay._letters.cache_info().currsize <= 64


def test_the_overlay_with_pillows_old_font(monkeypatch):
    from PIL import ImageFont

    def old(size=None):
        if size is not None:
            raise TypeError
        return ImageFont.load_default_imagefont() if hasattr(ImageFont, "load_default_imagefont") else kept()

    kept = ImageFont.load_default
    monkeypatch.setattr(ImageFont, "load_default", old)
    overlay._font.cache_clear()
    overlay._letters.cache_clear()
    frame = np.zeros((240, 320, 3), np.uint8)
    overlay.draw(frame, ["98.31% déjà vu 犬"], 30.0)
    assert frame.max() == 255
    overlay._font.cache_clear()
    overlay._letters.cache_clear()


# cameras and pipelines


@pytest.fixture
def fake_gst(tmp_path, monkeypatch):
    """gst-launch-1.0 on PATH; a function that configures it and returns a reader of its command line."""
    program = tmp_path / "bin" / gstreamer.PROGRAM
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{(ROOT / 'tests/support/fake_gst_launch.py').read_text()}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    log = tmp_path / "command"
    monkeypatch.setenv("FAKE_GST_LOG", str(log))

    def plan(frames=3, end="eos", pause=0.0):
        monkeypatch.setenv("FAKE_GST_FRAMES", str(frames))
        monkeypatch.setenv("FAKE_GST_END", end)
        monkeypatch.setenv("FAKE_GST_PAUSE", str(pause))
        return lambda: log.read_text()

    return plan


def expected_frame(number, height, width):
    y, x = np.mgrid[0:height, 0:width] % 256
    return np.stack((np.full_like(y, number % 256), y, x), -1).astype(np.uint8)


@pytest.mark.parametrize("width", [8, 9, 10, 11])  # rows with 0, 1, 2 and 3 bytes of padding
def test_frames_of_a_pipe_arrive_pixel_by_pixel(fake_gst, width):
    command = fake_gst(frames=3)
    pipe = gstreamer.GstPipe("videotestsrc num-buffers=3", width, 5)
    for number, frame in enumerate(pipe):
        np.testing.assert_array_equal(frame, expected_frame(number, 5, width))
    assert number == 2 and pipe.frames == 3
    pipe.close()
    assert "videotestsrc num-buffers=3 ! videoconvert ! videoscale ! video/x-raw,format=BGR" in command()


def test_a_csi_camera_through_the_pipe(capfd, fake_gst):
    """It is read without OpenCV; its end is an error, because a camera has none."""
    command = fake_gst(frames=4, pause=0.05)
    code, _, lines, err = run_lines(capfd, "csi://1", "--input-width", 61, "--input-height", 40, "--input-rate", 21)
    said = command()
    assert "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=61,height=40" in said
    assert "framerate=21/1 ! nvvidconv ! video/x-raw,format=BGRx ! videoconvert" in said
    frames, last = lines[:-1], lines[-1]
    assert all((line["width"], line["height"]) == (61, 40) for line in frames)
    assert len(frames) + frames[-1]["dropped"] == 4 == frames[-1]["frame"] + 1
    net = AlexNet(weights="digits", device="cpu")
    for line in frames:
        expected = net.classify_frame(expected_frame(line["frame"], 40, 61))
        assert line["predictions"][0]["probability"] == expected[0].probability
    assert re.search("'csi://1' stopped.* 4;", last["error"])
    assert code == 2 and err.count("\n") == 1


@pytest.mark.parametrize(
    ("end", "keyword"),
    [
        ("partial", "middle of frame 2"),
        ("error", "ERROR: from element /GstPipeline:pipeline0: no cameras"),
        ("stall", "no frame for 1 s"),
    ],
)
def test_a_pipeline_that_fails_is_one_sentence_and_the_rest_goes_on(capfd, fake_gst, monkeypatch, end, keyword):
    fake_gst(frames=2, end=end)
    monkeypatch.setattr(gstreamer.GstPipe.__init__, "__defaults__", (1.0,))
    word = "rtspsrc location=x ! decodebin ! appsink drop=true"
    began = time.monotonic()
    code, _, lines, err = run_lines(capfd, word, DIGITS[0], "--input-width", 16, "--input-height", 12)
    assert time.monotonic() - began < 20
    assert code == 2 and err.count("\n") == 1 and keyword in err
    assert lines[-1]["predictions"][0]["label"] == "0"


def test_a_pipeline_that_ends_is_no_mistake(capfd, fake_gst):
    fake_gst(frames=2)
    code, _, lines, err = run_lines(capfd, "videotestsrc num-buffers=2 ! fakesink", "--input-width", 16)
    assert (code, err) == (0, "") and lines[-1]["frame"] == 1 and lines[-1]["height"] == 720


def test_frames_ends_a_camera_and_its_program(capfd, fake_gst):
    fake_gst(frames=1000, pause=0.01)
    before = threading.active_count()
    code, _, lines, err = run_lines(capfd, "csi://0", "--frames", 3, "--input-width", 16, "--input-height", 8)
    assert (code, err, len(lines)) == (0, "", 3)
    assert threading.active_count() == before


def test_without_gstreamer_it_is_one_sentence(capfd, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run(capfd, "--headless", "csi://0")
    assert code == 2 and "gstreamer1.0-tools" in err and err.count("\n") == 1
    with pytest.raises(UserError, match=r"gst-launch-1\.0"):
        gstreamer.GstPipe("videotestsrc", 8, 8)
    with pytest.raises(UserError, match="No closing quotation"):
        gstreamer.GstPipe("filesrc location='x", 8, 8)


class PlayedCapture:
    """Stand-in for OpenCV's VideoCapture of a camera."""

    opened, frames, asked, pause = True, 4, {}, 0.02

    def __init__(self, path, api=0):
        assert api != cv2.CAP_V4L2 or path == 7
        self.path, self.count = path, 0

    def isOpened(self):  # noqa: N802
        return self.opened

    def set(self, key, value):
        self.asked[key] = value

    def get(self, key):
        return 0.0

    def read(self):
        time.sleep(self.pause)
        self.count += 1
        return (True, expected_frame(self.count - 1, 12, 16)) if self.count <= self.frames else (False, None)

    def release(self):
        pass


def test_a_camera_that_disappears(capfd, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", PlayedCapture)
    monkeypatch.setattr(sources, "_check_device", lambda path: None)
    words = ("--input-width", 640, "--input-height", 480, "--input-rate", 15)
    for word in ("/dev/video7", "v4l2:///dev/video7"):
        code, _, lines, err = run_lines(capfd, word, *words)
        assert lines[-2]["frame"] == 3
        error = lines[-1]["error"]
        assert re.search("'/dev/video7' stopped.* 4;", error)
        assert (code, err) == (2, f"fastalex: {error}\n")
    assert PlayedCapture.asked == {
        cv2.CAP_PROP_FRAME_WIDTH: 640,
        cv2.CAP_PROP_FRAME_HEIGHT: 480,
        cv2.CAP_PROP_FPS: 15,
    }
    monkeypatch.setattr(PlayedCapture, "opened", False)
    assert "may be in use" in run(capfd, "--headless", "/dev/video7")[2]


def test_a_slow_network_sees_the_newest_frame(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", PlayedCapture)
    monkeypatch.setattr(sources, "_check_device", lambda path: None)
    monkeypatch.setattr(PlayedCapture, "frames", 50)
    monkeypatch.setattr(PlayedCapture, "pause", 0.005)
    with sources.open_source(sources.CAMERA, "/dev/video7") as source:
        seen = []

        def look():
            for frame in source:
                seen.append(frame.number)
                time.sleep(0.03)

        with pytest.raises(UserError, match="/dev/video7.*stopped"):
            look()
    assert seen == sorted(set(seen)) and seen[-1] == 49
    assert len(seen) < 25 and len(seen) + source.dropped == 50


def test_a_camera_that_is_not_there_and_a_device_that_is_none(capfd):
    code, _, err = run(capfd, "--headless", "/dev/video77")
    assert code == 2 and "no camera '/dev/video77'" in err
    assert err.count("\n") == 1
    leader, follower = pty.openpty()
    try:
        name = os.ttyname(follower)
        assert stat.S_ISCHR(os.stat(name).st_mode)
        code, _, err = run(capfd, "--headless", name)
        assert code == 2 and "cannot be opened" in err and err.count("\n") == 1
    finally:
        os.close(leader)
        os.close(follower)


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("a.jpg", "images"),
        ("file://a.MP4", "video"),
        ("a.mkv", "video"),
        ("/dev/video0", "camera"),
        ("v4l2:///dev/video2", "camera"),
        ("csi://0", "csi"),
        ("rtsp://host:1234/x", "network"),
        ("https://host/x.mp4", "network"),
        ("v4l2src ! videoconvert ! appsink", "pipeline"),
        ("folder", "images"),
    ],
)
def test_what_a_word_means(word, kind):
    assert sources.kind_of(word)[0] == kind


def test_opencv_with_gstreamer_is_preferred(monkeypatch):
    seen = []

    class Gst(PlayedCapture):
        def __init__(self, pipeline, api):
            super().__init__(pipeline)
            seen.append((pipeline, api))

    monkeypatch.setattr(
        cv2, "getBuildInformation", lambda: "  Video I/O:\n    GStreamer:                   YES (1.20.3)\n"
    )
    monkeypatch.setattr(cv2, "VideoCapture", Gst)
    with sources.open_source("csi", "csi://0") as source:
        assert source.reader == "OpenCV with GStreamer"
        assert next(iter(source)).pixels.shape == (12, 16, 3)
    ((pipeline, api),) = seen
    assert api == cv2.CAP_GSTREAMER and pipeline.startswith("nvarguscamerasrc sensor-id=0 ! ")
    assert "width=1280,height=720" in pipeline and pipeline.endswith("appsink drop=true max-buffers=1 sync=false")
    assert "format=BGR !" in pipeline


# jetson-inference


def jetson_reference(frame, side, onnx):
    """gpuTensorMean<uchar3, true> and gpuTensorNormMean<uchar3, false> of jetson-inference's c/tensorConvert.cu.

    Thread by thread in float32, on a frame of red, green, blue; c/imageNet.cpp has the constants. nvcc fuses
    ``px * multiplier + 0``, which rounds once, like the product.
    """
    height, width = frame.shape[:2]
    scale_x, scale_y = np.float32(width) / np.float32(side), np.float32(height) / np.float32(side)
    columns = [int(np.float32(x) * scale_x) for x in range(side)]
    output = np.empty((3, side, side), np.float32)
    mean_bgr = [np.float32(v) for v in (104.0069879317889, 116.66876761696767, 122.6789143406786)]
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    multiplier = np.float32(1) / np.float32(255)
    for y in range(side):
        px = frame[int(np.float32(y) * scale_y), columns].astype(np.float32)
        for c in range(3):
            if onnx:
                output[c, y] = (px[:, c] * multiplier - mean[c]) / deviation[c]
            else:
                output[c, y] = px[:, 2 - c] - mean_bgr[c]
    return output


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (480, 640), (1080, 1920), (616, 816), (227, 227), (61, 97)])
def test_the_preprocessing_is_jetson_inferences_bit_for_bit(height, width):
    frame = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    bgr = np.ascontiguousarray(frame[..., ::-1])  # as OpenCV and the pipe deliver it
    for profile, side, onnx in (("jetson-inference", 227, False), ("jetson-inference-onnx", 224, True)):
        expected = jetson_reference(frame, side, onnx).view(np.uint32)
        for got in (images.preprocess(frame, profile)[0], images.prepare_frame(bgr, profile, side, True)[0]):
            np.testing.assert_array_equal(got.view(np.uint32), expected)


def test_network_alexnet_is_bvlc_alexnet_with_its_preprocessing(capfd, tmp_path, monkeypatch):
    """The options of imagenet, with a file in the folder of published weights."""
    from fastalex.cli.classify import as_jetson_inference
    from fastalex.weights import registry

    asked = []
    monkeypatch.setattr(registry, "locate", lambda name: asked.append(name) or "/w/bvlc_alexnet.caffemodel")

    def parsed(*words):
        options = main._parser().parse_args(["classify", "x.jpg", *words])
        as_jetson_inference(options)
        return options.weights, options.profile, options.topk, options.threshold

    assert parsed("--network", "alexnet") == ("/w/bvlc_alexnet.caffemodel", "jetson-inference", 1, 0.01)
    assert parsed("--network=AlexNet", "--topK=3", "--threshold=0.2")[2:] == (3, 0.2)
    assert asked == ["bvlc_alexnet"] * 2
    assert parsed("--network", "alexnet", "--model", "my.ONNX")[:2] == ("my.ONNX", "jetson-inference-onnx")
    assert parsed("--network", "alexnet", "--model", "my.pth.tar")[1] == "jetson-inference-onnx"
    assert parsed("--network", "alexnet", "--model", "my.caffemodel")[1] == "jetson-inference"
    assert parsed("--network", "alexnet", "--model", "my.caffemodel", "--profile", "caffe")[1] == "caffe"
    assert parsed("--weights", "digits") == ("digits", None, 5, 0.0)
    code, _, err = run(capfd, "x.jpg", "--network", "googlenet")
    assert code == 2 and "--network supports only alexnet" in err


def test_the_labels_of_jetson_inference(tmp_path):
    path = tmp_path / "ilsvrc12_synset_words.txt"
    path.write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\nnot a synset\nn1 x\n")
    assert read_labels(str(path), 4) == ["tench, Tinca tinca", "goldfish", "not a synset", "n1 x"]


def test_a_sink_without_frames_leaves_no_file(capfd, tmp_path):
    sink = sinks.open_sink(str(tmp_path / "out.mp4"))
    sink.close(True)
    assert os.listdir(tmp_path) == [] and "there were no frames" in capfd.readouterr()[1]
