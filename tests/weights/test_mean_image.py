"""Mean images from files: what protobuf's own runtime and numpy write, through Python and every command."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from fastalex import AlexNet, images, weights
from fastalex.cli.main import main
from fastalex.errors import UserError
from fastalex.variants import get
from fastalex.weights import initial, mean_image
from tests.support import file_writers

SMALL = {"widths": (8, 16, 12, 12, 8, 24, 20), "num_classes": 7, "input_size": 67, "lrn": None}
SIDE = 76  # to which the profile "caffe" resizes for 67 pixels: round(256 * 67 / 227)
MEAN = np.random.default_rng(2).uniform(90, 130, (3, SIDE, SIDE)).astype(np.float32)
PICTURE = np.random.default_rng(8).integers(0, 256, (70, 91, 3), dtype=np.uint8)


def blob(array, packed=True, double=False, old=True):
    message = file_writers.caffe_messages(packed)["BlobProto"]()
    file_writers._set_blob(message, array, double, old)
    return message.SerializeToString()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A network, a folder of images, and its mean image in both formats."""
    folder = tmp_path_factory.mktemp("mean")
    row = get("caffenet", **SMALL)
    arrays = initial.random_weights(row, seed=4)
    arrays["fc8.weight"] = arrays["fc8.weight"] / np.float32(300)  # so that no probability is 1
    weights.save(folder / "net.safetensors", arrays, weights.metadata_for(row))
    (folder / "images" / "0").mkdir(parents=True)
    Image.fromarray(PICTURE).save(folder / "images" / "0" / "a.png")
    for index in range(1, 7):
        (folder / "images" / str(index)).mkdir()
        Image.fromarray(255 - PICTURE).save(folder / "images" / str(index) / "a.png")
    (folder / "mean.binaryproto").write_bytes(blob(MEAN))
    np.save(folder / "mean.npy", MEAN)
    return folder


def by_hand(picture):
    """Stretch to 76 x 76, blue first, subtract the mean of each pixel, cut the central 67 x 67."""
    resized = np.rint(images.linear_resize(picture, SIDE, SIDE))[..., ::-1].transpose(2, 0, 1)
    return (resized.astype(np.float32) - MEAN)[None, :, 4:71, 4:71]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("old", [True, False])
def test_what_protobuf_writes(tmp_path, packed, double, old):
    pytest.importorskip("google.protobuf")
    for array in (MEAN[:, :5, :7], MEAN[:1, :5, :7]):
        path = tmp_path / "m.binaryproto"
        path.write_bytes(blob(array, packed, double, old))
        got = mean_image.load(path)
        assert got.dtype == np.float32 and got.flags.c_contiguous
        np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "u1", "<i4"])
@pytest.mark.parametrize("form", ["C", "F", "batch"])
def test_what_numpy_writes(tmp_path, dtype, form):
    array = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(dtype)
    np.save(tmp_path / "m.npy", array[None] if form == "batch" else np.asarray(array, order=form))
    got = mean_image.load(str(tmp_path / "m.npy"))
    assert got.dtype == np.float32 and got.flags.c_contiguous
    np.testing.assert_array_equal(got, array.astype(float))


@pytest.mark.parametrize("name", ["mean.binaryproto", "mean.npy"])
def test_a_network_subtracts_it(files, name, tmp_path):
    net = AlexNet(weights=files / "net.safetensors", device="cpu", mean_image=files / name)
    np.testing.assert_array_equal(net.preprocess(PICTURE), by_hand(PICTURE))
    np.testing.assert_array_equal(net.run_frame(PICTURE, "RGB"), net(by_hand(PICTURE)))
    plain = AlexNet(weights=files / "net.safetensors", device="cpu")
    assert plain.mean_image is None and not np.allclose(plain.preprocess(PICTURE), by_hand(PICTURE))
    net.save(tmp_path / "again.npz")
    for other in (AlexNet(weights=tmp_path / "again.npz", device="cpu"), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(other.preprocess(PICTURE), by_hand(PICTURE))
    zero = AlexNet(weights=tmp_path / "again.npz", device="cpu", mean_image=np.zeros_like(MEAN))
    np.testing.assert_allclose(zero.preprocess(PICTURE)[0], by_hand(PICTURE)[0] + MEAN[:, 4:71, 4:71], atol=1e-4)


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_every_command_takes_it(files, tmp_path, capsys):
    given = ["--mean", files / "mean.binaryproto"]
    file, photos = files / "net.safetensors", files / "images"
    net = AlexNet(weights=file, device="cpu")
    want = net.predict_proba(by_hand(PICTURE))[0]
    assert abs(want - net.predict_proba(net.preprocess(PICTURE))[0]).max() > 1e-3  # the mean matters

    def best(*arguments):
        code, out, err = run(capsys, "classify", photos / "0" / "a.png", "--topk", "1", "--json", *arguments)
        assert (code, err) == (0, "")
        return json.loads(out)["images"][0]["predictions"][0]["probability"]

    assert best("--weights", file, *given) == pytest.approx(want.max(), rel=1e-6)

    code, _, err = run(
        capsys, "readout", photos / "0", "--out", tmp_path / "out", "--weights", file, "--layers", "prob", *given
    )
    assert (code, err) == (0, "")
    np.testing.assert_allclose(np.load(tmp_path / "out" / "prob.npy")[0], want, rtol=1e-5)
    code, _, err = run(
        capsys, "readout", photos / "0", "--out", tmp_path / "out", "--weights", file, "--layers", "prob"
    )
    assert code == 2 and "other settings" in err  # results with and without a mean do not mix

    first, others = (net.predict_proba(by_hand(picture))[0].argmax() for picture in (PICTURE, 255 - PICTURE))
    top1 = (int(first == 0) + int(others > 0)) / 7  # the folder of each class has one image
    code, out, err = run(capsys, "evaluate", photos, "--weights", file, "--json", *given)
    assert (code, err) == (0, "") and json.loads(out)["top1"] == pytest.approx(top1)

    code, _, err = run(capsys, "convert", file, tmp_path / "c.safetensors", *given)
    assert (code, err) == (0, "")
    np.testing.assert_array_equal(weights.load(tmp_path / "c.safetensors").mean_image(), MEAN)
    assert best("--weights", tmp_path / "c.safetensors") == pytest.approx(want.max(), rel=1e-6)

    code, _, err = run(
        capsys, "quantize", file, tmp_path / "q.npz", "--calibrate", photos / "0", "--method", "max", *given
    )
    assert (code, err) == (0, "")
    quantized = weights.load(tmp_path / "q.npz")
    np.testing.assert_array_equal(quantized.mean_image(), MEAN)
    assert quantized.calibration().scales["conv1"] == pytest.approx(np.abs(by_hand(PICTURE)).max() / 127)


def header(shape, descr="<f4", version=1):
    text = str({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.npy", MEAN.transpose(1, 2, 0), r"\[76, 76, 3\].*\[C, H, W\].*transpose\(2, 0, 1\)"),
        ("m.npy", MEAN[0], r"\[76, 76\]"),
        ("m.npy", MEAN.mean((1, 2)), r"shape is \[3\]"),
        ("m.npy", np.repeat(MEAN[None], 2, 0), r"\[2, 3, 76, 76\]"),
        ("m.npy", MEAN[:, :0], r"\[3, 0, 76\]"),
        ("m.npy", np.array([{"a": 1}], object), "plain numbers"),
        ("m.npy", MEAN.astype(complex), "plain numbers"),
        ("m.npy", MEAN > 100, "numbers, not bool"),
        ("m.npy", b"", "empty"),
        ("m.npy", b"hello", "npy header"),
        ("m.npy", header((3, 10**9, 10**9)) + b"\0" * 64, "too large|needs"),
        ("m.npy", header((3, 8, 8)) + b"\0" * 64, "16 values"),
        ("m.npy", header((3, -8, 8)) + b"\0" * 64, "whole number"),
        ("m.npy", header((3, 8, 8)) + b"\0" * 63, "divide"),
        ("m.npy", header("[" * 500)[:300], "npy header"),
        ("m.npy", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 70000, "header"),
        ("m.binaryproto", b"", "empty"),
        ("m.binaryproto", b"\x08\x01", "no values"),
        ("m.binaryproto", b"<!DOCTYPE html>", "cannot be used"),
        ("m.binaryproto", b"\x2a\xff\xff\xff\xff\x0f", "claims"),
        ("m.binaryproto", b"\x08\x01\x10\x03\x18\xff\xff\xff\xff\x07\x20\x05\x2a\x04abcd", "too large|needs"),
        ("m.binaryproto", b"\x08\x00" * 500001, "more than 500000 fields"),
        ("m.mat", b"MATLAB", r"\.binaryproto or \.npy"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, name, content, words):
    path = tmp_path / name
    if isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        mean_image.load(path)
    assert str(path) in str(error.value) and len(str(error.value)) < 400 and "\n" not in str(error.value)


def test_pickles_are_not_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.save(tmp_path / "m.npy", np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(UserError, match="plain numbers"):
        mean_image.load(tmp_path / "m.npy")
    assert not (tmp_path / "ran").exists()


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    for path, words in (
        (tmp_path / "none.npy", "there is no mean image"),
        (tmp_path, "is not a file"),
        ("a\0.npy", "null"),
    ):
        with pytest.raises(UserError, match=words):
            mean_image.load(path)
    with open(tmp_path / "large.npy", "wb") as stream:
        stream.truncate(mean_image.MAX_BYTES + 1)
    with pytest.raises(UserError, match="more than the"):
        mean_image.load(tmp_path / "large.npy")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (MEAN[:, :70, :70], r"\[3, 76, 76\] or \[3, 67, 67\], not float32 \[3, 70, 70\]"),
        (MEAN[:1], r"\[3, 76, 76\]"),
        (MEAN / 255, "scale of 0 to 255"),
        (MEAN * 255, "scale of 0 to 255"),
        (MEAN - 120, "scale of 0 to 255"),
        (MEAN * np.nan, "not finite"),
    ],
)
def test_a_mean_that_does_not_suit_is_one_sentence(files, tmp_path, capsys, values, words):
    np.save(tmp_path / "m.npy", values)
    given = ["--mean", tmp_path / "m.npy"]
    for each in (values, tmp_path / "m.npy"):
        with pytest.raises(UserError, match=words):
            AlexNet(weights=files / "net.safetensors", device="cpu", mean_image=each)
    file, photos = files / "net.safetensors", files / "images"
    for command in (
        ("classify", photos / "0" / "a.png", "--weights", file),
        ("readout", photos, "--out", tmp_path / "out", "--weights", file, "--layers", "prob"),
        ("evaluate", photos, "--weights", file),
        ("convert", file, tmp_path / "out.npz"),
        ("quantize", file, tmp_path / "out.npz", "--calibrate", photos),
    ):
        code, out, err = run(capsys, *command, *given)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("fastalex: the mean image ")
    assert not (tmp_path / "out.npz").exists()


def test_a_profile_without_a_mean_image_refuses_it(files, tmp_path, capsys):
    with pytest.raises(UserError, match=r"torchvision takes no mean image \(these do: caffe, "):
        AlexNet("torchvision", weights="random", device="cpu", mean_image=MEAN)
    command = (
        "readout",
        files / "images",
        "--out",
        tmp_path / "out",
        "--weights",
        files / "net.safetensors",
        "--layers",
        "prob",
    )
    code, _, err = run(capsys, *command, "--mean", files / "mean.npy", "--profile", "brainscore")
    assert code == 2 and "brainscore takes no mean image" in err and err.count("\n") == 1


@pytest.mark.parametrize("suffix", [".binaryproto", ".npy"])
@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:6b0da\nsize 786446\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><head></head></html>\n", "web page"),
    ],
)
def test_what_is_in_the_place_of_a_mean_image_is_named(tmp_path, suffix, content, match):
    path = tmp_path / ("mean" + suffix)
    path.write_bytes(content)
    with pytest.raises(UserError, match=match):
        mean_image.load(path)
