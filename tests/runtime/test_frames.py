"""Camera frames on the GPU: preprocessed as images are."""

from __future__ import annotations

import numpy as np
import pytest

from fastalex import AlexNet, DeviceArray, UserError, images
from fastalex.runtime import arrays, frames
from fastalex.runtime.device_spec import DeviceSpec
from tests.support.small_net import DIGITS, Foreign


def frame_of(height, width, seed=2):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3)).astype(np.float32)
    return np.rint(images.linear_resize(coarse, height, width)).astype(np.uint8)


@pytest.mark.parametrize("profile", ["torchvision", "caffe", "jetson-inference", "jetbot", "paper-227", "brainscore"])
@pytest.mark.parametrize("order", ["BGR", "RGB"])
@pytest.mark.parametrize("size", [(96, 128), (63, 63), (50, 41)])
def test_frames_are_preprocessed_as_images_are(net, cpu, profile, order, size):
    frame = frame_of(*size)
    expected = cpu.run_frame(frame, order, profile)
    np.testing.assert_array_equal(expected, cpu(images.preprocess(frame, profile, size=63, bgr=order == "BGR")))
    got = net.run_frame(frame, order, profile)
    assert got.shape == (1, 7)
    # A few pixels may round to the neighboring gray level; the random network does not damp the difference.
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


def test_frames_with_distant_rows_and_on_the_gpu(net):
    whole = frame_of(80, 120)
    part = whole[10:70, 20:90]
    expected = net.run_frame(np.ascontiguousarray(part))
    np.testing.assert_array_equal(net.run_frame(part), expected)
    np.testing.assert_array_equal(net.run_frame(part[:, ::-1][:, ::-1]), expected)
    np.testing.assert_array_equal(net.run_frame(whole[:, ::-1]), net.run_frame(whole[:, ::-1].copy()))
    np.testing.assert_array_equal(net.run_frame(part, softmax=True).sum(), pytest.approx(1, abs=1e-5))
    bytes_there = net.to_device(np.frombuffer(whole.tobytes(), np.float32))
    place = {"typestr": "|u1", "shape": part.shape, "strides": (360, 3, 1)}
    there = Foreign(bytes_there, data=(bytes_there.ptr + 10 * 360 + 20 * 3, True), **place)
    got = net.run_frame(there)
    assert isinstance(got, DeviceArray)
    np.testing.assert_array_equal(got.numpy(), expected)
    host = np.empty((1, 7), np.float32)
    assert net.run_frame(there, out=host) is host
    np.testing.assert_array_equal(host, expected)
    there.__cuda_array_interface__["strides"] = (360, 6, 1)
    with pytest.raises(UserError, match="pixels side by side"):
        net.run_frame(there)


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("frame", "options", "match"),
    [
        (np.zeros((4, 4), np.uint8), {}, r"\[H, W, 3\].*not \[4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), {}, r"one pixel.*not \[0, 4, 3\]"),
        (np.zeros((4, 4, 4), np.uint8), {}, r"\[H, W, 3\].*not \[4, 4, 4\]"),
        (np.zeros((4, 4, 3), np.float32), {}, "uint8"),
        (np.zeros((4, 4, 3), np.uint8), {"order": "bgr"}, "order.*'bgr'"),
        (np.zeros((4, 4, 3), np.uint8), {"profile": "caffee"}, "'caffee'.*mean 'caffe'"),
        (np.zeros((1, 2**20, 3), np.uint8), {}, "elongated"),
        ("x.png", {}, "not str"),
    ],
)
@pytest.mark.parametrize("which", ["net", "cpu"])
def test_a_wrong_frame_is_one_sentence(request, which, frame, options, match):
    with pytest.raises(UserError, match=match) as error:
        request.getfixturevalue(which).run_frame(frame, **options)
    assert "\n" not in str(error.value)


@pytest.mark.emulator
def test_frames_are_classified():
    frame = np.asarray(images.open_image(DIGITS[3]))[..., ::-1]
    for device in ("cpu", "emulated"):
        net = AlexNet(weights="digits", device=device)
        answers = net.classify_frame(frame, topk=3)
        assert len(answers) == 3
        assert answers[0].label == DIGITS[3].name.split("-")[1]
    with pytest.raises(UserError, match="topk"):
        net.classify_frame(frame, topk=0)


def test_the_geometry_of_a_frame_is_that_of_images():
    profile = images.profiles.get("paper-227")
    given = arrays.read(np.zeros((300, 400, 3), np.uint8), DeviceSpec("cpu"))
    spec = frames.spec(given, "BGR", profile, 227)
    assert (spec["resized_h"], spec["resized_w"], spec["crop_y"], spec["crop_x"]) == (256, 341, 14, 56)
    assert (spec["row_bytes"], spec["filter"], spec["swap"]) == (1200, 2, 1)
    assert spec["scale"] == [1.0, 1.0, 1.0]
    assert spec["shift"] == pytest.approx(profile.mean)
