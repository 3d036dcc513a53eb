"""Images: profiles against PyTorch, OpenCV and literal loops; decoding against pictures that the tests build."""

from __future__ import annotations

import dataclasses
import os
import struct
import warnings
import zlib
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from fastalex import images, variants
from fastalex.errors import UserError
from fastalex.images import (
    MAX_PIXELS,
    PROFILES,
    decode,
    jpeg,
    linear_resize,
    listing,
    nearest_resize,
    open_image,
    preprocess,
    preprocessing,
    profiles,
    ten_crop,
)
from fastalex.images.decode import TooLargeError
from fastalex.networks.imagenet_labels import imagenet_labels, imagenet_wnids

pytestmark = pytest.mark.peers

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BGR_MEAN = (104.0069879317889, 116.66876761696767, 122.6789143406786)
CROPPERS = ("torchvision", "caffe", "paper-227", "paper-224", "thingsvision", "net2brain")


def photo(height, width, seed=0, channels=3):
    """A smooth picture with noise on it, uint8 [H, W, channels]: neither flat nor free of low frequencies."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [100 + 60 * np.sin(y / (5 + c)) + 40 * np.cos(x / (7 - c)) for c in range(channels)]
    return np.clip(np.stack(waves, -1) + rng.normal(0, 20, (height, width, channels)), 0, 255).astype(np.uint8)


def encoded(image, kind, **options):
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def column(values):
    return np.array(values, np.float32).reshape(3, 1, 1)


# --- profiles ---------------------------------------------------------------------------------------------------------


def torch_normalize(crop, mean, std):
    """ToTensor and Normalize, as torchvision writes them, on uint8 [H, W, 3]."""
    tensor = torch.from_numpy(np.array(crop)).permute(2, 0, 1).float() / 255
    return ((tensor - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)).numpy()


# 257 and 259 pixels: the rest beside the crop is 33 and 35, whose halves 16.5 and 17.5 round to even, 16 and 18
@pytest.mark.parametrize(("height", "width"), [(300, 451), (451, 300), (256, 257), (259, 256), (500, 375), (40, 31)])
def test_torchvision_is_pillow_and_torch_arithmetic(height, width):
    array = photo(height, width)
    short = min(height, width)
    new_height, new_width = int(256 * height / short), int(256 * width / short)
    resized = Image.fromarray(array).resize((new_width, new_height), Image.BILINEAR)
    top, left = round((new_height - 224) / 2.0), round((new_width - 224) / 2.0)
    want = torch_normalize(np.asarray(resized)[top : top + 224, left : left + 224], MEAN, STD)
    got = preprocess(array, "torchvision")
    assert got.shape == (1, 3, 224, 224) and got.dtype == np.float32 and got.flags.c_contiguous
    np.testing.assert_array_equal(got[0], want)


def test_torchvision_resampling_is_the_antialiased_one():
    """torch.nn.functional.interpolate is another implementation of the filter; Pillow rounds to 8 bits after each of
    its two passes (half a level each; the second pass averages the first's errors) and its weights have 22 bits."""
    array = photo(500, 375)
    tensor = torch.from_numpy(array).permute(2, 0, 1)[None].double()
    resized = torch.nn.functional.interpolate(tensor, (341, 256), mode="bilinear", antialias=True)[0]
    top, left = round((341 - 224) / 2), 16
    crop = resized[:, top : top + 224, left : left + 224].numpy()
    got = preprocess(array, "torchvision")[0] * column(STD) + column(MEAN)
    assert np.abs(got * 255.0 - crop).max() <= 0.5 + 0.5 + 0.01
    plain = torch.nn.functional.interpolate(tensor, (341, 256), mode="bilinear")[0]
    assert np.abs(plain[:, top : top + 224, left : left + 224].numpy() - crop).max() > 2  # the bound distinguishes them


@pytest.mark.parametrize(("height", "width", "out"), [(480, 640, 227), (50, 91, 227), (227, 227, 227), (1, 3, 224)])
def test_nearest_is_the_formula_of_jetson_inference(height, width, out):
    array = photo(height, width)
    want = np.zeros((out, out, 3), np.uint8)
    for y in range(out):
        for x in range(out):
            dx = int(np.float32(x) * (np.float32(width) / np.float32(out)))
            dy = int(np.float32(y) * (np.float32(height) / np.float32(out)))
            want[y, x] = array[dy, dx]
    np.testing.assert_array_equal(nearest_resize(array, out, out), want)
    bgr = want[..., ::-1].astype(np.float32).transpose(2, 0, 1) - column(BGR_MEAN)
    np.testing.assert_array_equal(preprocess(array, "jetson-inference", out)[0], bgr)
    scaled = want.astype(np.float32).transpose(2, 0, 1) * (np.float32(1) / np.float32(255))  # multiplied, not divided
    onnx = (scaled - column(MEAN)) / column(STD)
    np.testing.assert_array_equal(preprocess(array, "jetson-inference-onnx", out)[0], onnx)


def test_nearest_never_reads_outside():
    for old in (1, 2, 3, 223, 224, 225, 640, 1920, 4095):
        for new in (1, 2, 63, 131, 224, 227, 1000):
            rows = nearest_resize(np.arange(old).reshape(old, 1), new, 1)[:, 0]
            assert rows[0] == 0 and rows.max() <= old - 1 and (np.diff(rows) >= 0).all()


@pytest.mark.parametrize(
    ("old", "new"), [((480, 640), (256, 256)), ((37, 61), (227, 227)), ((512, 512), (256, 256)), ((1, 1), (8, 9))]
)
def test_linear_is_opencv(old, new):
    array = photo(*old)
    got = linear_resize(array, *new)
    want = cv2.resize(array.astype(np.float32), new[::-1], interpolation=cv2.INTER_LINEAR)
    assert got.dtype == np.float32 and got.shape == (*new, 3)
    # A float32 position below n is off by n * 2^-24 at most, in OpenCV; a weight's error times the largest step between
    # neighbors is the pixel's. On top: seven roundings of values below 256 in each implementation, 2^-24 relative.
    bound = (old[0] + old[1]) * 255 * 2.0**-24 + 2 * 7 * 256 * 2.0**-24
    assert np.abs(got.astype(np.float64) - want).max() <= bound
    assert want.max() > 50
    # OpenCV's 8-bit version works with 11-bit weights: 2^-12 relative in each of two passes, then rounds as we do
    eight = cv2.resize(array, new[::-1], interpolation=cv2.INTER_LINEAR).astype(int)
    assert np.abs(np.rint(got).astype(int) - eight).max() <= 1


@pytest.mark.parametrize(("profile", "side"), [("caffe", 256), ("caffe-cpp", 227)])
def test_caffe_warps_with_opencv_and_crops_at_14(profile, side):
    array = photo(333, 500)
    resized = cv2.resize(array[..., ::-1], (side, side), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    offset = {256: 14, 227: 0}[side]
    want = resized[offset : offset + 227, offset : offset + 227].transpose(2, 0, 1) - column(BGR_MEAN)
    got = preprocess(array, profile)
    assert got.shape == (1, 3, 227, 227)
    assert np.abs(got[0] - want).max() <= 1 + 1e-4  # a gray level of OpenCV's 11-bit weights, see above
    assert np.abs(got[0] - want).mean() < 0.2


def test_jetbot_is_its_preprocess_function():
    frame = photo(224, 224)  # BGR, as the camera delivers it
    x = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).transpose((2, 0, 1))
    tensor = torch.from_numpy(x).float()
    mean = torch.tensor(255.0 * np.array(MEAN)).float().view(3, 1, 1)
    std = torch.tensor(255.0 * np.array(STD)).float().view(3, 1, 1)
    np.testing.assert_array_equal(preprocess(frame, "jetbot", bgr=True)[0], ((tensor - mean) / std).numpy())
    np.testing.assert_array_equal(preprocess(frame[..., ::-1], "jetbot"), preprocess(frame, "jetbot", bgr=True))
    assert not np.array_equal(preprocess(frame, "jetbot"), preprocess(frame, "jetbot", bgr=True))


@pytest.mark.parametrize(("profile", "size"), [("paper-227", 227), ("paper-224", 224)])
def test_paper_crops_the_central_square(profile, size):
    array = photo(300, 407)
    resized = np.asarray(Image.fromarray(array).resize((347, 256), Image.BILINEAR))  # 407 * 256 / 300 = 347.3
    square = resized[:, 45 : 45 + 256]  # (347 - 256) // 2
    border = {227: 14, 224: 16}[size]
    crop = square[border : border + size, border : border + size].astype(np.float32).transpose(2, 0, 1)
    np.testing.assert_array_equal(preprocess(array, profile)[0], crop - column(BGR_MEAN[::-1]))
    mean = np.random.default_rng(1).uniform(90, 130, (3, 256, 256)).astype(np.float32)
    central = mean[:, border : border + size, border : border + size]
    np.testing.assert_array_equal(preprocess(array, profile, mean_image=mean)[0], crop - central)
    np.testing.assert_array_equal(preprocess(array, profile, mean_image=central)[0], crop - central)


def test_long_side_is_rounded_as_each_source_does():
    array = photo(300, 409)  # 409 * 256 / 300 = 349.01; 301 * 256 / 200 = 385.28; 399 * 256 / 200 = 510.72
    assert preprocessing._shorter_side((409, 300), 256, True) == (349, 256)
    assert preprocessing._shorter_side((399, 200), 256, True) == (511, 256)  # round(), cuda-convnet2
    assert preprocessing._shorter_side((399, 200), 256, False) == (510, 256)  # int(), torchvision
    assert preprocessing._shorter_side((200, 399), 256, False) == (256, 510)
    assert preprocess(array, "paper-224").shape == (1, 3, 224, 224)


def test_brainscore_and_net2brain():
    array = photo(300, 200)
    direct = np.asarray(Image.fromarray(array).resize((224, 224), Image.BILINEAR))
    np.testing.assert_array_equal(preprocess(array, "brainscore")[0], torch_normalize(direct, MEAN, STD))
    warped = np.asarray(Image.fromarray(array).resize((256, 256), Image.BILINEAR))[16:240, 16:240]
    np.testing.assert_array_equal(preprocess(array, "net2brain")[0], torch_normalize(warped, MEAN, STD))


def test_thingsvision_is_torchvision_but_for_the_orientation():
    row, other = PROFILES["thingsvision"], PROFILES["torchvision"]
    assert dataclasses.replace(row, name=other.name, source=other.source, upright=True) == other


def test_digits():
    gray = photo(8, 8, channels=1)
    big = np.asarray(Image.fromarray(np.repeat(gray, 3, 2)).resize((131, 131), Image.BILINEAR))
    want = torch_normalize(big, (0.5,) * 3, (0.5,) * 3)
    np.testing.assert_array_equal(preprocess(gray, "digits")[0], want)
    assert preprocess(np.zeros((8, 8), np.uint8), "digits").max() == -1
    assert preprocess(np.full((8, 8), 255, np.uint8), "digits").min() == 1


def test_mean_images():
    array = photo(256, 256)
    mean = np.random.default_rng(2).uniform(90, 130, (3, 256, 256))
    pixels = array[..., ::-1].transpose(2, 0, 1).astype(np.float32)
    want = (pixels - mean.astype(np.float32))[:, 14:241, 14:241]
    np.testing.assert_array_equal(preprocess(array, "caffe", mean_image=mean)[0], want)
    small = photo(227, 227)
    averages = mean[:, :227, :227].mean(axis=(1, 2))
    got = preprocess(small, "caffe-cpp", mean_image=mean[:, :227, :227])[0]
    plain = small[..., ::-1].transpose(2, 0, 1)
    np.testing.assert_allclose(got, plain - averages.reshape(3, 1, 1), atol=255 * 2.0**-23)
    for bad in (mean[:, :100], mean.transpose(1, 2, 0), mean * np.nan, mean.astype(complex), "mean.npy"):
        with pytest.raises(UserError, match="mean image"):
            preprocess(array, "caffe", mean_image=bad)
    with pytest.raises(UserError, match="takes no mean image"):
        preprocess(array, "torchvision", mean_image=mean)


@pytest.mark.parametrize("name", list(PROFILES))
def test_every_profile_and_size(name):
    row = PROFILES[name]
    array = photo(60, 83)
    assert row.name == name and row.source
    assert preprocess(array, name).shape == (1, 3, row.size, row.size)
    assert row.crops == (name in CROPPERS)
    for size in (1, 63, row.size - 1, row.size + 1, 299):
        assert row.side_for(size) == int(Fraction(row.side * size, row.size) + Fraction(1, 2)) >= size
        assert preprocess(array, name, size).shape == (1, 3, size, size)
    assert row.side_for(row.size) == row.side


def test_size_keeps_the_field_of_view():
    resized = Image.fromarray(photo(300, 300)).resize((146, 146), Image.BILINEAR)  # 256 * 128 / 224 = 146.3
    crop = np.asarray(resized)[9:137, 9:137]
    np.testing.assert_array_equal(preprocess(photo(300, 300), "torchvision", 128)[0], torch_normalize(crop, MEAN, STD))


def test_variants_name_profiles_of_their_size():
    for row in variants.VARIANTS.values():
        assert PROFILES[row.profile].size == row.input_size


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "227", 10**6])
def test_bad_size(size):
    with pytest.raises(UserError, match="size must be"):
        preprocess(photo(9, 9), "torchvision", size)


def test_bad_profiles():
    with pytest.raises(UserError, match="did you mean 'torchvision'"):
        preprocess(photo(9, 9), "torchvison")
    with pytest.raises(UserError, match="there are: torchvision, caffe"):
        preprocess(photo(9, 9), None)
    row = PROFILES["torchvision"]
    for change in ({"resize": "longer"}, {"resample": "cubic"}, {"center": "ceil"}, {"order": "GBR"}):
        with pytest.raises(UserError, match="must be one of"):
            dataclasses.replace(row, **change)
    for change in ({"size": 257}, {"size": 0}, {"std": (1, 0, 1)}, {"divisor": 0}):
        with pytest.raises(UserError):
            dataclasses.replace(row, **change)
    own = dataclasses.replace(row, name="own", size=200)
    assert profiles.get(own) is own and preprocess(photo(9, 9), own).shape == (1, 3, 200, 200)


def test_batches():
    arrays = [photo(50, 60, seed) for seed in range(3)]
    want = np.concatenate([preprocess(array, "torchvision") for array in arrays])
    for batch in (arrays, tuple(arrays), np.stack(arrays)):
        np.testing.assert_array_equal(preprocess(batch, "torchvision"), want)
    mixed = [arrays[0], Image.fromarray(arrays[1]), encoded(Image.fromarray(arrays[2]), "PNG")]
    np.testing.assert_array_equal(preprocess(mixed, "torchvision"), want)
    with pytest.raises(UserError, match="no images"):
        preprocess([], "torchvision")


def test_elongated_picture_is_refused():
    with pytest.raises(UserError, match="too elongated"):
        preprocess(np.zeros((1, 400_000), np.uint8), "torchvision")
    assert preprocess(np.zeros((1, 400_000), np.uint8), "brainscore").shape == (1, 3, 224, 224)


# --- ten crops --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", CROPPERS)
def test_ten_crop_geometry(profile):
    """Each pixel of the picture codes its own place, so a view says where every one of its pixels came from."""
    row = PROFILES[profile]
    size, side = row.size, row.side
    y, x = np.mgrid[0:side, 0:side]
    array = np.stack([y, x, y ^ x], -1).astype(np.uint8)  # already side x side: no profile resamples it
    views = ten_crop(array, profile)
    assert views.shape == (10, 3, size, size) and views.dtype == np.float32 and views.flags.c_contiguous
    mean, std = column(row.mean), column(row.std)
    places = np.rint((views * std + mean) * row.divisor).astype(int)
    if row.order == "BGR":
        places = places[:, ::-1]
    rest, middle = side - size, (side - size) // 2
    corners = [(0, 0), (0, rest), (rest, 0), (rest, rest), (middle, middle)]
    for index in range(10):
        top, left = corners[index % 5]
        rows, columns = np.mgrid[top : top + size, left : left + size]
        if index >= 5:
            rows, columns = rows[:, ::-1], columns[:, ::-1]
        np.testing.assert_array_equal(places[index], [rows, columns, rows ^ columns])
    np.testing.assert_array_equal(views[4], preprocess(array, profile)[0])


def test_ten_crop_corners_of_torchvision_are_those_of_the_whole_picture():
    array = np.zeros((256, 400, 3), np.uint8)
    array[:, :50] = 255
    assert ten_crop(array, "torchvision")[0].max() > 2 and ten_crop(array, "torchvision")[1].max() < 0
    assert ten_crop(array, "paper-224")[0].max() < 0  # outside the square


def test_ten_crop_mean_images():
    array = photo(256, 256)
    mean = np.random.default_rng(3).uniform(90, 130, (3, 256, 256)).astype(np.float32)
    pixels = array.transpose(2, 0, 1).astype(np.float32)
    views = ten_crop(array, "caffe", mean_image=mean)
    subtracted = pixels[::-1] - mean
    np.testing.assert_array_equal(views[1], subtracted[:, :227, 29:])  # the place's own mean ...
    np.testing.assert_array_equal(views[6], subtracted[:, :227, 29:][:, :, ::-1])  # ... mirrored with it
    views = ten_crop(array, "paper-224", mean_image=mean)
    central = mean[:, 16:240, 16:240]
    np.testing.assert_array_equal(views[3], pixels[:, 32:, 32:] - central)
    np.testing.assert_array_equal(views[8], pixels[:, 32:, 32:][:, :, ::-1] - central)


def test_ten_crop_needs_a_crop():
    for name in set(PROFILES) - set(CROPPERS):
        with pytest.raises(UserError, match="does not crop"):
            ten_crop(photo(9, 9), name)


# --- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("JPEG", {"quality": 95, "subsampling": 0})],
)
def test_formats_and_sources(tmp_path, kind, options):
    array = photo(37, 53)
    data = encoded(Image.fromarray(array), kind, **options)
    path = tmp_path / "photo with spaces é.bin"  # the content decides, not the suffix
    path.write_bytes(data)
    want = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    if kind != "JPEG":
        np.testing.assert_array_equal(want, array)
    for source in (path, str(path), os.fsencode(path).decode(), data, bytearray(data), memoryview(data)):
        image = open_image(source)
        assert image.mode == "RGB" and image.info == {}
        np.testing.assert_array_equal(np.asarray(image), want)
    np.testing.assert_array_equal(np.asarray(open_image(Image.open(BytesIO(data)))), want)
    path.unlink()
    assert image.getpixel((0, 0)) == tuple(want[0, 0])  # everything is read on opening


def test_arrays():
    array = photo(5, 7, channels=4)
    rgb = array[..., :3]
    for source, want in (
        (array, rgb),
        (rgb, rgb),
        (array[..., 0], np.repeat(array[..., :1], 3, 2)),
        (array[..., :1], np.repeat(array[..., :1], 3, 2)),
        (array[::-1, ::2], rgb[::-1, ::2]),
    ):
        np.testing.assert_array_equal(np.asarray(open_image(source)), want)
    np.testing.assert_array_equal(np.asarray(open_image(array, bgr=True)), rgb[..., ::-1])
    copy = rgb.copy()
    image = open_image(copy)
    copy[:] = 0
    np.testing.assert_array_equal(np.asarray(image), rgb)
    for bad in (rgb.astype(np.float32), rgb.astype(np.uint16), rgb > 9):
        with pytest.raises(UserError, match="must be uint8"):
            open_image(bad)
    for shape in ((0, 5, 3), (5, 0), (5, 7, 2), (5,), (), (1, 5, 7, 3), (3, 224, 224)):
        with pytest.raises(UserError, match="an image array must be"):
            open_image(np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match="bgr=True is for arrays"):
        open_image(Image.fromarray(rgb), bgr=True)
    for bad in (None, 3, [[1, 2]], torch.zeros(3, 4, 4)):
        with pytest.raises(UserError, match="an image is a path"):
            open_image(bad)


def exif_orientation(value):
    """A minimal EXIF block, written by hand: one directory with one entry, tag 0x0112, type SHORT."""
    return b"Exif\0\0" + b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, value, 0, 0)


# What a viewer does to the stored picture, from the tag's definition (where row 0 and column 0 of the stored picture
# lie): EXIF 2.3, section 4.6.4, Orientation
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True})])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind, options, orientation):
    stored = Image.fromarray(photo(24, 40))
    plain = np.asarray(Image.open(BytesIO(encoded(stored, kind, **options))).convert("RGB"))
    data = encoded(stored, kind, exif=exif_orientation(orientation), **options)
    image = open_image(data)
    np.testing.assert_array_equal(np.asarray(image), UPRIGHT[orientation](plain))
    np.testing.assert_array_equal(np.asarray(open_image(image)), np.asarray(image))  # rotated only once
    given_open = Image.open(BytesIO(data))
    np.testing.assert_array_equal(np.asarray(open_image(given_open)), np.asarray(image))
    assert (
        given_open.size == (40, 24) and given_open.getexif()[0x0112] == orientation
    )  # the caller's image is unchanged


@pytest.mark.parametrize("profile", list(PROFILES))
@pytest.mark.parametrize("kind", ["path", "bytes", "file", "PIL", "converted PIL"])
def test_tools_that_ignore_the_exif_orientation_have_profiles_that_do(tmp_path, profile, kind):
    """Brain-Score's load_image (brainscore_vision/model_helpers/activations/pytorch.py, line 123), thingsvision's
    ImageDataset (thingsvision/utils/data/dataset.py, line 123) and Net2Brain's load_image_data
    (net2brain/architectures/netsetbase.py, line 275) read ``Image.open(path).convert("RGB")`` and no more."""
    path = tmp_path / "turned.png"
    path.write_bytes(encoded(Image.fromarray(photo(240, 400)), "PNG", exif=exif_orientation(6)))
    source = {
        "path": lambda: str(path),
        "bytes": path.read_bytes,
        "file": lambda: BytesIO(path.read_bytes()),
        "PIL": lambda: Image.open(path),
        "converted PIL": lambda: Image.open(path).convert("RGB"),  # keeps the EXIF data
    }[kind]()
    stored = np.asarray(Image.open(path).convert("RGB"))
    ignores = profile in ("brainscore", "thingsvision", "net2brain")
    expected = stored if ignores else UPRIGHT[6](stored)
    np.testing.assert_array_equal(preprocess(source, profile), preprocess(expected, profile))
    assert PROFILES[profile].upright != ignores


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0garbage", exif_orientation(9), exif_orientation(6)[:-9]],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore")  # Pillow warns of some of these, through the user's own filters
def test_damaged_exif_is_no_exif(kind, exif):
    image = Image.fromarray(photo(24, 40))
    assert open_image(encoded(image, kind, exif=exif)).size == (40, 24)


def test_gray_palette_and_bilevel():
    gray = photo(9, 11, channels=1)[..., 0]
    np.testing.assert_array_equal(np.asarray(open_image(encoded(Image.fromarray(gray), "PNG")))[..., 2], gray)
    np.testing.assert_array_equal(np.asarray(open_image(encoded(Image.fromarray(gray), "JPEG"))).std(-1), 0)
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    for data in (encoded(palette, "PNG"), encoded(palette, "PNG", transparency=1)):
        assert np.asarray(open_image(data)).tolist() == [[[10, 20, 30], [200, 100, 50]]]
    bits = Image.fromarray(gray > 100)
    np.testing.assert_array_equal(np.asarray(open_image(encoded(bits, "PNG")))[..., 0], (gray > 100) * 255)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_alpha_is_dropped_not_composited(kind, options):
    array = photo(9, 11, channels=4)
    array[::2, :, 3] = 0
    data = encoded(Image.fromarray(array, "RGBA"), kind, **options)
    np.testing.assert_array_equal(np.asarray(open_image(data)), array[..., :3])


def test_alpha_modes_of_pil_images():
    array = photo(9, 11, channels=4)
    rgba = Image.fromarray(array, "RGBA")
    np.testing.assert_array_equal(np.asarray(open_image(rgba)), array[..., :3])
    luma = np.asarray(rgba.convert("L"))
    np.testing.assert_array_equal(np.asarray(open_image(rgba.convert("LA")))[..., 0], luma)
    opaque = Image.fromarray(array[..., :3]).convert("RGBA")
    np.testing.assert_array_equal(np.asarray(open_image(opaque.convert("RGBa"))), array[..., :3])
    assert np.abs(np.asarray(open_image(opaque.convert("YCbCr"))).astype(int) - array[..., :3]).max() <= 4
    assert open_image(opaque.convert("HSV")).mode == "RGB"


def test_cmyk():
    cmyk = photo(16, 16, channels=4)
    c, m, y, k = (cmyk[..., i].astype(float) for i in range(4))
    want = np.stack([(255 - c) * (255 - k), (255 - m) * (255 - k), (255 - y) * (255 - k)], -1) / 255
    got = np.asarray(open_image(Image.fromarray(cmyk, "CMYK"))).astype(float)
    assert np.abs(got - want).max() <= 1 and want.max() > 100  # Pillow divides by 255 in integers
    flat = Image.new("CMYK", (16, 16), (40, 80, 120, 60))
    red, green, blue = np.asarray(open_image(encoded(flat, "JPEG", quality=100)))[8, 8].astype(float)
    for got, ink in ((red, 40), (green, 80), (blue, 120)):
        assert abs(got - (255 - ink) * (255 - 60) / 255) <= 3  # 8-bit DCT of a flat picture


def png16(values, color):
    """A 16-bit PNG written by hand; ``values`` [H, W, channels], color type 0 (gray), 2 (RGB) or 4 (gray, alpha)."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bits():
    values = np.arange(65536).reshape(256, 256, 1)
    got = np.asarray(open_image(png16(values, 0)))
    want = np.array([int(Fraction(value, 257) + Fraction(1, 2)) for value in range(65536)]).reshape(256, 256)
    for channel in range(3):
        np.testing.assert_array_equal(got[..., channel], want)
    for mode in ("I;16", "I;16B"):
        image = Image.frombytes(mode, (256, 256), values.astype({"I;16": "<u2", "I;16B": ">u2"}[mode]).tobytes())
        np.testing.assert_array_equal(np.asarray(open_image(image))[..., 0], want)
    graymap = b"P5 256 256 65535\n" + values.astype(">u2").tobytes()
    np.testing.assert_array_equal(np.asarray(open_image(Image.open(BytesIO(graymap))))[..., 0], want)
    color = np.random.default_rng(0).integers(0, 65536, (8, 9, 3))
    np.testing.assert_array_equal(np.asarray(open_image(png16(color, 2))), color >> 8)
    np.testing.assert_array_equal(np.asarray(open_image(png16(color[..., :2], 4)))[..., 0], color[..., 0] >> 8)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_thirty_two_bits_are_refused(mode):
    with pytest.raises(UserError, match="32-bit"):
        open_image(Image.new(mode, (4, 4)))


# --- files that cannot be opened --------------------------------------------------------------------------------------


def refusal(source, *words):
    with pytest.raises(UserError) as caught:
        open_image(source)
    message = str(caught.value)
    assert type(caught.value) in (UserError, TooLargeError) and "\n" not in message
    for word in words:
        assert word in message
    return message


def test_bad_files_are_one_sentence_with_the_name(tmp_path):
    data = encoded(Image.fromarray(photo(40, 40)), "PNG")
    files = {
        "empty.jpg": (b"", "is empty"),
        "text.png": (b"hello, world", "is not a JPEG, PNG"),
        "pointer.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:6b0da\n", "git lfs pull"),
        "vector.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a"),
        "cut.png": (data[: len(data) // 2], "truncated"),
        "magic.png": (data[:8], "truncated or corrupt"),
        "magic.jpg": (b"\xff\xd8\xff", "truncated or corrupt"),
        "magic.webp": (b"RIFF\0\0\0\0WEBPVP8 ", "truncated or corrupt"),
        "cut.gif": (encoded(Image.new("L", (4, 4)), "GIF")[:9], "truncated or corrupt"),
        "cut.tif": (encoded(Image.new("L", (4, 4)), "TIFF")[:40], "truncated or corrupt"),
        "magic.ppm": (b"P6", "truncated or corrupt"),
        "magic.jp2": (b"\0\0\0\x0cjP  \r\n\x87\n", "truncated or corrupt"),
        "magic.bmp": (b"BM", "truncated or corrupt"),
    }
    for name, (content, word) in files.items():
        (tmp_path / name).write_bytes(content)
        refusal(tmp_path / name, name, word)
        refusal(str(tmp_path / name), name, word)
        refusal(content, "bytes", word)
    refusal(tmp_path / "absent.jpg", "absent.jpg", "No such file")
    refusal(tmp_path, tmp_path.name, "is not a file")
    refusal(tmp_path / "text.png" / "x.jpg", "x.jpg")
    refusal("", "cannot read ''")
    refusal("nul\0byte.jpg", "cannot read")
    refusal(str(tmp_path / "x") * 200, "cannot read")
    refusal(str(tmp_path / "odd\udcff.jpg"), "odd\\udcff.jpg")  # a name that is not UTF-8 can still be printed
    if os.path.exists("/dev/zero"):
        refusal("/dev/zero", "is not a file")


def test_unreadable_pil_images():
    data = encoded(Image.fromarray(photo(40, 40)), "PNG")
    refusal(Image.open(BytesIO(data[: len(data) // 2])), "the PIL image")
    closed = Image.open(BytesIO(data))
    closed.close()
    refusal(closed, "the PIL image")
    refusal(Image.new("RGB", (0, 4)), "no pixels")


def png_header(width, height):
    good = encoded(Image.new("L", (1, 1)), "PNG")
    header = b"IHDR" + struct.pack(">II", width, height) + good[24:29]
    return good[:12] + header + struct.pack(">I", zlib.crc32(header)) + good[33:]


def bombs():
    jpeg = bytearray(encoded(Image.new("L", (8, 8)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 40000, 40000)
    bmp = bytearray(encoded(Image.new("L", (8, 8)), "BMP"))
    bmp[18:26] = struct.pack("<ii", 40000, 40000)
    pictures = {"jpeg": jpeg, "bmp": bmp}
    for side in (9999, 16383):  # Pillow warns of the first and raises at the second
        lossless = bytearray(encoded(Image.new("RGB", (8, 8)), "WEBP", lossless=True))
        lossless[21:25] = struct.pack("<I", (side - 1) << 14 | (side - 1))
        lossy = bytearray(encoded(Image.new("RGB", (8, 8)), "WEBP"))
        lossy[26:30] = struct.pack("<HH", side, side)
        extended = bytearray(encoded(Image.new("RGB", (8, 8)), "WEBP", exif=exif_orientation(1)))
        extended[24:30] = (struct.pack("<I", side - 1)[:3]) * 2
        kinds = [bytes(data[12:16]) for data in (lossless, lossy, extended)]
        assert kinds == [b"VP8L", b"VP8 ", b"VP8X"]
        pictures.update({f"{kind} {side}": data for kind, data in zip("abc", (lossless, lossy, extended))})
    return {name: bytes(data) for name, data in pictures.items()}


@pytest.mark.parametrize("strict", [False, True])
def test_bombs(strict, tmp_path):
    """Just over the limit, where Pillow would warn; far over, where it would raise; sizes that overflow."""
    before = (Image.MAX_IMAGE_PIXELS, list(warnings.filters))
    side = int(MAX_PIXELS**0.5) + 1
    pictures = {"%d x %d" % size: png_header(*size) for size in ((side, side), (1, MAX_PIXELS + 1), (65535, 65535))}
    pictures.update(bombs())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("error" if strict else "always")
        for name, data in pictures.items():
            (tmp_path / name).write_bytes(data)
            message = refusal(tmp_path / name, name, f"limit of {MAX_PIXELS}")
            assert "pixels" in message
        for size in ((2**31 - 1, 2**31 - 1), (0, 5)):
            refusal(png_header(*size))
    assert not seen
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


DENSE = {  # kind -> options for a picture of one color, of some thousand bytes at most
    "WEBP": {"lossless": True, "method": 0},
    "PNG": {},
    "TIFF": {"compression": "group4"},
    "GIF": {},
}


@pytest.mark.parametrize("kind", DENSE)
def test_a_few_bytes_that_stand_for_many_pixels_are_refused(kind, monkeypatch):
    """Decoding them would take up to 1.3 gigabytes; a picture of this size with a photograph's bytes is read."""
    side = int(decode.DENSE_PIXELS**0.5) + 1
    data = encoded(Image.new("RGB" if kind == "WEBP" else "1", (side, side), 0), kind, **DENSE[kind])
    monkeypatch.setattr(decode, "_decoded", lambda image, *_: image)  # what would decode
    message = refusal(data, "the image given as bytes", f"limit of {decode.MAX_PIXELS_A_BYTE} a byte")
    assert f"in {len(data)} bytes" in message
    if kind != "WEBP":  # whose header states the bytes
        assert open_image(data + bytes(side * side // decode.MAX_PIXELS_A_BYTE)).size == (side, side)


def with_scans(data, count):
    """The progressive JPEG with its last scan so many times more."""
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * (count + 1) + data[-2:]


def test_a_progressive_jpeg_has_so_many_scans_as_its_size_allows():
    """A scan of 30 bytes goes over the whole picture, so that a megabyte takes minutes."""
    data = encoded(Image.new("L", (2000, 2000), 77), "JPEG", quality=1, progressive=True, optimize=True)
    most = decode.MAX_SCANNED // 2000**2 - data.count(b"\xff\xda")
    assert open_image(with_scans(data, 20)).size == (2000, 2000)
    refusal(with_scans(data, most + 1), "the image given as bytes", "scans of 2000 x 2000 pixels")
    small = encoded(Image.fromarray(photo(24, 17)), "JPEG", progressive=True)
    assert open_image(with_scans(small, most + 1)).size == (17, 24)


def of_separate_scans(side, count):
    """A JPEG that is sequential, with scans of one component each, of which decoders take what is missing as zeros."""
    data = encoded(Image.new("RGB", (side, side), 77), "JPEG", quality=1)
    scans = (b"\xff\xda\0\x08\1" + bytes((1 + index % 3,)) + b"\0\0\x3f\0\0\0" for index in range(count))
    return data[: data.rindex(b"\xff\xda")] + b"".join(scans) + b"\xff\xd9"


def test_a_sequential_jpeg_has_so_many_scans_as_its_size_allows():
    """One of 8 kilobytes with 700 scans took more than a second."""
    most = decode.MAX_SCANNED // 4096**2
    refusal(of_separate_scans(4096, most + 1), "the image given as bytes", f"more than {most} scans of 4096 x 4096")
    monochrome = of_separate_scans(64, most + 1)
    assert open_image(monochrome).size == (64, 64)
    assert jpeg.has_more_scans(BytesIO(monochrome), most)
    assert not jpeg.has_more_scans(BytesIO(monochrome), most + 1)


@pytest.mark.parametrize("shift", [*range(14), 100])
def test_scans_are_counted_across_blocks(shift):
    """A marker, or what belongs to it, may lie across the border of two; so may a segment that is passed over."""
    data = of_separate_scans(64, 5)
    filled = jpeg._BLOCK - data.index(b"\xff\xda") - 24 + shift
    comments = b"".join(
        b"\xff\xfe" + struct.pack(">H", size + 2) + b"\xff\xda" * (size // 2) + bytes(size % 2)
        for size in (filled // 2, filled - filled // 2)
    )
    data = data[:2] + comments + data[2:]
    assert [jpeg.has_more_scans(BytesIO(data), most) for most in (4, 5)] == [True, False]


@pytest.mark.parametrize("whole", ["baseline", "progressive"])
def test_scans_of_other_images_do_not_count(whole):
    """That of a preview in EXIF, and those of what follows the image."""
    preview = of_separate_scans(16, 30)
    data = encoded(Image.fromarray(photo(24, 17)), "JPEG", exif=b"Exif\0\0" + preview, progressive=whole != "baseline")
    assert preview in data
    own = 0 if whole == "baseline" else data.count(b"\xff\xda") - 30
    assert not jpeg.has_more_scans(BytesIO(data + preview), own)
    assert not own or jpeg.has_more_scans(BytesIO(data), own - 1)


def test_a_jpeg_with_terabytes_of_nothing_behind_it(tmp_path):
    """Of a sparse file no more is read than the decoder needs."""
    path = tmp_path / "large.jpg"
    path.write_bytes(encoded(Image.fromarray(photo(24, 17)), "JPEG", progressive=True))
    os.truncate(path, 8 << 40)
    assert open_image(path).size == (17, 24)


def test_a_row_that_pillow_has_no_memory_for_is_one_sentence():
    """Pillow raises MemoryError for a row of 2^31 bits and more."""
    size = struct.pack(">IIBBBBB", 80_000_000, 1, 16, 4, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", size), (b"IDAT", bytes(800_000)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    refusal(data, "the image given as bytes", "it needs more memory than there is")


def test_limit_is_exact_and_adjustable():
    data = encoded(Image.fromarray(photo(20, 30)), "PNG")
    assert open_image(data, max_pixels=600).size == (30, 20)
    with pytest.raises(UserError, match="30 x 20 pixels, more than the limit of 599"):
        open_image(data, max_pixels=599)


SAMPLES = {
    "jpeg": encoded(Image.fromarray(photo(24, 17)), "JPEG", exif=exif_orientation(6)),
    "progressive": encoded(Image.fromarray(photo(24, 17)), "JPEG", progressive=True),
    "png": encoded(Image.fromarray(photo(24, 17, channels=4)), "PNG", exif=exif_orientation(3)),
    "png16": png16(photo(9, 7, channels=1).astype(int) * 256, 0),
    "palette": encoded(Image.fromarray(photo(24, 17)).quantize(16), "PNG", transparency=0),
    "webp": encoded(Image.fromarray(photo(24, 17)), "WEBP", exif=exif_orientation(8)),
    "webp-lossless": encoded(Image.fromarray(photo(24, 17, channels=4)), "WEBP", lossless=True),
    "bmp": encoded(Image.fromarray(photo(9, 7)), "BMP"),
}


@pytest.mark.parametrize("name", list(SAMPLES))
@pytest.mark.filterwarnings("ignore")  # of damaged EXIF data, by Pillow
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    cut=st.one_of(st.none(), st.floats(0, 1)),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=6),
    fix_crc=st.booleans(),
)
def test_damaged_bytes_decode_or_are_refused(name, cut, flips, fix_crc):
    data = bytearray(SAMPLES[name])
    for place, mask in flips:
        data[int(place * (len(data) - 1))] ^= mask
    if fix_crc and name.startswith("p"):
        data = with_right_checksums(data)  # lets damage pass the checksum
    if cut is not None:
        data = data[: int(cut * len(data))]
    try:
        # a small limit keeps a damaged header from making the test decode a hundred megapixels
        image = open_image(bytes(data), max_pixels=10_000)
    except UserError as error:
        assert "\n" not in str(error) and str(error).count("the image given as bytes") == 1
    else:
        assert image.mode == "RGB" and np.asarray(image).size == 3 * image.size[0] * image.size[1] > 0


def with_right_checksums(data):
    """The same PNG with the checksum of every readable chunk recomputed."""
    data, at = bytearray(data), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            break
        struct.pack_into(">I", data, at + 8 + length, zlib.crc32(data[at + 4 : at + 8 + length]))
        at += 12 + length
    return data


@pytest.mark.parametrize("name", list(SAMPLES))
@pytest.mark.filterwarnings("ignore")
def test_every_truncation_decodes_or_is_refused(name):
    data = SAMPLES[name]
    whole = open_image(data)
    for length in range(len(data)):
        try:
            image = open_image(data[:length])
        except UserError:
            continue
        assert length > len(data) * 3 / 4  # only data after the pixels may be missing
        assert sorted(image.size) == sorted(whole.size)


# --- labels -----------------------------------------------------------------------------------------------------------


def test_imagenet_labels():
    labels, wnids = imagenet_labels(), imagenet_wnids()
    assert len(labels) == len(wnids) == 1000
    assert (labels[0], wnids[0]) == ("tench, Tinca tinca", "n01440764")
    assert (labels[281], wnids[281]) == ("tabby, tabby cat", "n02123045")
    assert (labels[999], wnids[999]) == ("toilet tissue, toilet paper, bathroom tissue", "n15075141")
    assert wnids == sorted(set(wnids)) and all(len(wnid) == 9 and wnid[0] == "n" for wnid in wnids)
    assert all(label and label == label.strip() for label in labels)
    labels[0] = "spoiled"
    assert imagenet_labels()[0] == "tench, Tinca tinca"


def test_imagenet_labels_name_their_source():
    head = (Path(images.__file__).parents[1] / "data" / "imagenet_labels.txt").read_text(encoding="utf-8")[:600]
    assert "github.com/onnx/models" in head and "Apache-2.0" in head


# Formats, open files, folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "JPEG"])
def test_formats_are_read_as_pillow_reads_them(tmp_path, kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data = encoded(Image.fromarray(photo(40, 50)), kind)
    want = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    path = tmp_path / "picture"
    path.write_bytes(data)
    for source in (path, data, BytesIO(data)):
        np.testing.assert_array_equal(np.asarray(open_image(source)), want)


@pytest.mark.parametrize("mode", ["1", "L", "I;16"])
def test_gray_tiffs(mode):
    values = np.arange(0, 65536, 7, dtype=np.uint16)[: 64 * 64].reshape(64, 64)
    if mode == "I;16":
        image, want = Image.fromarray(values), np.rint(values / 257)
    else:
        image = Image.fromarray((values >> 8).astype(np.uint8)).convert(mode)
        want = np.asarray(image.convert("L"))
    got = np.asarray(open_image(encoded(image, "TIFF")))
    np.testing.assert_array_equal(got, np.repeat(want[..., None], 3, axis=2))


def test_open_files_are_read_from_their_start_and_stay_open(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(photo(20, 30)), "PNG"))
    with open(path, "rb") as stream:
        stream.read(5)
        first, second = open_image(stream), open_image(stream)
        assert not stream.closed
    np.testing.assert_array_equal(np.asarray(first), np.asarray(Image.open(path)))
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))
    with open(path, encoding="latin-1") as text:
        refusal(text, "a.png", "open as text")
    refusal(BytesIO(), "open file", "empty")


def test_palette_transparency_brings_no_warning():
    image = Image.fromarray(np.arange(2500, dtype=np.uint8).reshape(50, 50)).convert("P")
    stream = BytesIO()
    image.save(stream, "PNG", transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = open_image(stream.getvalue())
    np.testing.assert_array_equal(np.asarray(got), np.asarray(image.convert("RGB")))


def test_a_bad_image_of_several_is_named_by_its_place():
    good = photo(20, 20)
    with pytest.raises(UserError, match="image 1 of the 3"):
        preprocess([good, b"not an image", good], "torchvision")


def test_folders_follow_links_and_leave_companions_out(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "data" / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("real/a.tif", "data/b.PNG", "data/._b.PNG", "data/notes.txt", "data/.ipynb_checkpoints/b.PNG"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "back").symlink_to(tmp_path / "data")
    deep = []
    paths = listing.below(str(tmp_path / "data"), deep.append)
    names = [Path(path).relative_to(tmp_path).as_posix() for path in paths]
    assert names == ["data/b.PNG", "data/linked/a.tif"]
    assert "1 of 4" in deep[0]
    said = []
    for folder in ("data", "real"):
        assert len(list(listing.listed([str(tmp_path / folder)], said.append))) == 1
    assert len(said) == 1
    assert "1 of 3" in said[0]
    assert "1 .txt" in said[0]
