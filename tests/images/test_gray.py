"""Networks of one channel: gray values, computed here with Pillow and numpy alone."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fastalex import AlexNet, quantize
from fastalex.cli.main import main
from fastalex.errors import UserError
from fastalex.extractor import Extractor
from fastalex.images import PROFILES, preprocess, ten_crop
from fastalex.runtime import frames
from fastalex.train import data, evaluate
from fastalex.variants import get
from fastalex.weights import initial
from tests.support.small_net import PLACE

SMALL = {"widths": (8, 16, 12, 12, 8, 24, 20), "num_classes": 7, "input_size": 67, "channels": 1}
PICTURE = np.random.default_rng(8).integers(0, 256, (70, 91, 3), dtype=np.uint8)
PICTURE[:, :, 0] //= 3  # so that the order of the channels matters


def gray_of(rgb):
    return Image.fromarray(rgb).convert("L")


def torchvision_by_hand(rgb, size=67):
    """Resize(77), CenterCrop(67) of the luma, minus the mean of the three means, over that of the deviations."""
    gray, side = gray_of(rgb), round(256 * size / 224)
    width, height = gray.size
    wide = gray.resize((side * width // min(gray.size), side * height // min(gray.size)), Image.BILINEAR)
    pixels = np.asarray(wide, np.float32) / np.float32(255)
    top, left = (round((length - size) / 2) for length in pixels.shape)
    crop = pixels[top : top + size, left : left + size]
    mean, std = np.mean((0.485, 0.456, 0.406)), np.mean((0.229, 0.224, 0.225))
    return ((crop - np.float32(mean)) / np.float32(std))[None, None]


@pytest.fixture(scope="module")
def net():
    return AlexNet(
        "torchvision", weights=initial.random_weights(get("torchvision", **SMALL), seed=4), device="cpu", **SMALL
    )


def test_gray_is_pillows_luma_with_the_averages_of_the_profile(net):
    want = torchvision_by_hand(PICTURE)
    np.testing.assert_allclose(net.preprocess(PICTURE), want, rtol=0, atol=2e-7 * np.abs(want).max())
    luma = PICTURE.astype(int) @ (299, 587, 114) / 1000
    assert np.abs(np.asarray(gray_of(PICTURE)) - luma).max() <= 0.51  # Pillow's weights have 16 bits


@pytest.mark.parametrize("name", ["caffe", "caffe-cpp", "jetson-inference", "paper-227", "digits", "jetbot"])
def test_every_kind_of_resizing(name):
    """The three planes of a gray picture are equal before their normalization, which is undone here."""
    row = PROFILES[name]
    gray = np.asarray(gray_of(PICTURE))
    color = preprocess(np.repeat(gray[..., None], 3, axis=2), row, 63)[0]
    plane = color[0].astype(float) * row.std[0] + row.mean[0]
    got = preprocess(PICTURE, row, 63, channels=1)
    assert got.shape == (1, 1, 63, 63) and got.dtype == np.float32 and got.flags.c_contiguous
    want = (plane - np.mean(row.mean)) / np.mean(row.std)
    np.testing.assert_allclose(got[0, 0], want, atol=4e-5 / np.mean(row.std))


def test_arrays_of_one_plane_and_pictures_of_16_bits_keep_their_values():
    gray = PICTURE[..., 1]
    white = dataclasses.replace(PROFILES["digits"], mean=(0, 0, 0), std=(1, 1, 1), divisor=1.0)
    for source in (gray, gray[..., None], Image.fromarray(gray.astype(np.uint16) * 257)):
        square = preprocess(source, dataclasses.replace(white, resample="nearest"), 70, channels=1)
        assert set(np.unique(square)) <= set(np.unique(gray))
        np.testing.assert_array_equal(square[0, 0, :, 0], gray[:, 0])


def test_everything_that_takes_images_runs(net, tmp_path):
    x = torchvision_by_hand(PICTURE)
    path = tmp_path / "picture.png"
    Image.fromarray(PICTURE).save(path)
    want = net.predict_proba(net.preprocess(PICTURE))
    np.testing.assert_allclose(want, net.predict_proba(x), atol=1e-6)
    for image in (str(path), PICTURE, PICTURE[None], [path]):
        np.testing.assert_array_equal(net.predict_proba(image), want)
        answer = net.classify(image)
        best = answer[0] if isinstance(image, list) or getattr(image, "ndim", 3) == 4 else answer
        assert best[0].index == want.argmax()
    assert net.taps(path, ["conv5"])["conv5"].shape == (1, 8, 3, 3)
    np.testing.assert_array_equal(net.run_frame(PICTURE, "RGB", softmax=True), want)
    np.testing.assert_array_equal(net.run_frame(PICTURE[..., ::-1], softmax=True), want)
    assert net.classify_frame(PICTURE, "RGB")[0].index == want.argmax()
    np.testing.assert_array_equal(next(iter(Extractor(net).batches(str(tmp_path)))), net.preprocess(PICTURE))


def test_ten_crops_and_evaluation(net, tmp_path):
    views = ten_crop(PICTURE, "torchvision", 67, channels=1)
    assert views.shape == (10, 1, 67, 67)
    np.testing.assert_array_equal(views[4:5], net.preprocess(PICTURE))
    np.testing.assert_array_equal(views[9], views[4][..., ::-1])
    best = int(net.predict_proba(views).mean(0).argmax())
    for index in range(7):
        (tmp_path / str(index)).mkdir()
    Image.fromarray(PICTURE).save(tmp_path / str(best) / "a.png")
    for index in set(range(7)) - {best}:
        Image.fromarray(PICTURE).save(tmp_path / str(index) / "a.png")
    scores = evaluate.evaluate(net, data.find(str(tmp_path)), ten_crop=True)
    assert scores["images"] == 7 and scores["top1"] == pytest.approx(1 / 7)


def test_the_commands(net, tmp_path, capsys):
    weights, folder = str(tmp_path / "gray.safetensors"), tmp_path / "images"
    net.save(weights)
    folder.mkdir()
    Image.fromarray(PICTURE).save(folder / "a.png")
    want = net.preprocess(PICTURE)
    assert main(["classify", "--weights", weights, "--topk", "1", str(folder)]) == 0
    assert f"{net.predict_proba(want).max() * 100:.2f}" in capsys.readouterr().out
    assert main(["classify", "--weights", weights, "--headless", str(folder)]) == 0
    assert f'"index": {net(want).argmax()}' in capsys.readouterr().out
    assert (
        main(["readout", str(folder), "--out", str(tmp_path / "out"), "--weights", weights, "--layers", "conv1"]) == 0
    )
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "conv1.npy"), net.taps(want, ["conv1"])["conv1"])
    small = str(tmp_path / "int8.safetensors")
    assert main(["quantize", weights, small, "--calibrate", str(folder), "--method", "max"]) == 0
    scale = AlexNet(weights=small, device="cpu").calibration.scales["conv1"]
    assert scale == pytest.approx(np.abs(want).max() / 127)


def test_calibration_takes_arrays_of_several_images(net):
    several = np.stack([PICTURE, 255 - PICTURE])
    got = quantize.calibrate(net, [several], "max")
    assert got.images == 2
    assert got.scales == quantize.calibrate(net, [net.preprocess(several)], "max").scales
    assert got.scales["conv1"] == pytest.approx(np.abs(net.preprocess(several)).max() / 127)


def test_a_mean_image_of_one_plane():
    row = {**SMALL, "profile": "caffe", "input_size": 227}
    mean = np.random.default_rng(2).uniform(90, 130, (1, 256, 256)).astype(np.float32)
    got = preprocess(np.asarray(Image.fromarray(PICTURE).resize((256, 256))), "caffe", mean_image=mean, channels=1)
    gray = np.asarray(Image.fromarray(PICTURE).resize((256, 256)).convert("L"), np.float32)
    np.testing.assert_array_equal(got[0, 0], (gray - mean[0])[14:241, 14:241])
    average = preprocess(PICTURE, "caffe-cpp", mean_image=mean[:, :227, :227], channels=1)
    plain = preprocess(PICTURE, dataclasses.replace(PROFILES["caffe-cpp"], mean=(0, 0, 0)), channels=1)
    np.testing.assert_allclose(average, plain - mean[:, :227, :227].mean(dtype=float), atol=2e-5)
    for planes, channels in ((np.repeat(mean, 3, axis=0), 1), (mean, 3)):
        with pytest.raises(UserError, match=rf"\[{channels}, 256, 256\] or \[{channels}, 227, 227\]"):
            preprocess(PICTURE, "caffe", mean_image=planes, channels=channels)
    net = AlexNet("alexnet2012", weights="random", device="cpu", mean_image=mean, **row)
    np.testing.assert_array_equal(net.run_frame(PICTURE, "RGB"), net(net.preprocess(PICTURE)))


@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_channels_are_refused(channels, tmp_path):
    net = AlexNet("torchvision", weights="random", device="cpu", **{**SMALL, "channels": channels})
    net.trained = True
    for call in (net.classify, net.preprocess, net.predict_proba, net.run_frame, net.classify_frame):
        with pytest.raises(UserError, match=f"1 or 3 channels, and this network takes {channels}"):
            call(PICTURE)
    batch = np.full((1, channels, 67, 67), 200, np.float32)
    assert len(net.classify(batch)) == 1  # prepared by the caller
    with pytest.raises(UserError, match="1 or 3"):
        ten_crop(PICTURE, "torchvision", channels=channels)


def test_a_gpu_leaves_the_gray_of_frames_to_the_host():
    row = PROFILES["torchvision"]
    view, spec = frames.read(PICTURE, "RGB", row, 67, PLACE, None, channels=1)
    assert spec is None and view.host is not None
    np.testing.assert_array_equal(view.host, preprocess(PICTURE, row, 67, channels=1))
    assert frames.read(PICTURE, "RGB", row, 67, PLACE, None)[1] is not None
    interface = {"shape": (70, 91, 3), "typestr": "|u1", "data": (1 << 20, False), "version": 3, "strides": None}
    frame = SimpleNamespace(__cuda_array_interface__=interface)
    for options, words in (({"channels": 1}, "channels is 1"), ({"mean_image": np.ones((3, 67, 67))}, "a mean image")):
        with pytest.raises(UserError, match=f"on the host, because .*{words}: give a numpy frame"):
            frames.read(frame, "RGB", row, 67, PLACE, 0, **options)
