"""Filters, maps and the picture that a network sees: pixels where they belong, in the right color."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastalex import AlexNet, UserError
from fastalex.images import profiles
from fastalex.inspection import filters, maps, pictures, top5

DIGITS = sorted((Path(__file__).resolve().parents[2] / "examples" / "digits").glob("*.png"))
NARROW = {"num_classes": 5, "widths": (32, 16, 8, 16, 8, 16, 12)}


@pytest.fixture(scope="module")
def digits():
    return AlexNet(weights="digits", device="cpu")


def with_conv1(variant, change):
    """Return a narrow network whose conv1 has the weights that ``change`` makes of zeros ``[K, 3, 11, 11]``."""
    net = AlexNet(variant, device="cpu", **NARROW)
    arrays = net.state_dict()
    name = next(iter(arrays))
    arrays[name] = np.zeros_like(arrays[name])
    change(arrays[name])
    return AlexNet(variant, weights=arrays, device="cpu", **NARROW)


# filters


@pytest.mark.parametrize(("variant", "red"), [("alexnet2012", 0), ("torchvision", 0), ("caffenet", 2)])
def test_filters_have_the_colors_of_the_planes_that_they_read(variant, red):
    def change(weights):
        weights[1, red, 4, 5], weights[1, red, 0, 0] = 2.0, -1.0

    blocks = filters.filters(with_conv1(variant, change))
    assert [block.shape for block in blocks] == (
        [(32, 11, 11, 3)] if variant == "torchvision" else [(16, 11, 11, 3)] * 2
    )
    assert blocks[0][1, 4, 5].tolist() == [255, 128, 128] and blocks[0][1, 0, 0].tolist() == [64, 128, 128]
    assert np.all(blocks[0][0] == 128), "a filter of zeros is gray"


def test_filters_are_scaled_by_themselves_or_together():
    def change(weights):
        weights[0, 0, 0, 0], weights[31, 0, 0, 0] = 1.0, 4.0

    net = with_conv1("alexnet2012", change)
    assert [filters.filters(net, scale)[0][0, 0, 0, 0] for scale in filters.SCALES] == [255, 159]
    with pytest.raises(UserError, match="scale must be one of filter, all"):
        filters.filters(net, "none")


def test_the_columns_of_a_network_are_apart():
    def change(weights):
        weights[16:, :, 0, 0] = 1.0  # the second column's

    grid = filters.filter_grid(with_conv1("alexnet2012", change))
    bar = np.flatnonzero((grid == 255).all(axis=(1, 2)))
    assert grid.shape == (2 * 11 + 3 + 5, 16 * 12 - 1, 3) and bar.tolist() == list(range(11, 19))
    assert not np.any(grid[:11, ::12] == 255) and np.all(grid[19, ::12] == 255)


def test_filters_that_cannot_be_shown_are_one_sentence():
    net = with_conv1("torchvision", lambda weights: weights.fill(np.nan))
    with pytest.raises(UserError, match="the weights of conv1 have NaN"):
        filters.filters(net)
    with pytest.raises(UserError, match="reads 4 channels"):
        filters.filters(AlexNet("torchvision", device="cpu", channels=4, **NARROW))
    gray = filters.filters(AlexNet("torchvision", device="cpu", channels=1, **NARROW))[0]
    assert gray.shape == (32, 11, 11, 3) and np.all(gray[..., :1] == gray)


# maps


def test_a_layer_can_be_looked_at_if_it_computes_something(digits):
    shown = maps.layers(digits.variant)
    assert [row.name for row in shown][:4] == ["conv1", "relu1", "norm1", "pool1"] and shown[-1].shape == (10,)
    assert not any(row.op == "dropout" for row in shown)
    for row in shown:
        assert maps.values(digits, DIGITS[0], row.name).shape == row.shape


def test_maps_lie_in_the_order_of_their_units(digits):
    values = maps.values(digits, DIGITS[0], "pool1")
    grid = maps.map_grid(values)
    assert grid.shape == (5 * 16 - 1, 5 * 16 - 1) and grid.dtype == np.uint8
    high = values.max()
    for unit, channel in enumerate(values):
        top, left = 16 * (unit // 5), 16 * (unit % 5)
        np.testing.assert_allclose(grid[top : top + 15, left : left + 15], channel * (255 / high), atol=0.51)
    assert grid[15].tolist() == [255] * 79, "white lines between them"


def test_maps_are_scaled_by_their_unit_or_by_their_layer():
    values = np.array([[[0, 1], [2, 4]], [[-2, 0], [0, 6]], [[3, 3], [3, 3]]], np.float32)
    by_layer, by_unit = (maps.map_grid(values, scale, columns=3, gap=0) for scale in maps.SCALES)
    assert by_layer[:, :4].tolist() == [[64, 96, 0, 64], [128, 191, 64, 255]]
    assert by_unit.tolist() == [[0, 64, 0, 64, 255, 255], [128, 255, 64, 255, 255, 255]]
    assert maps.one_map(values, 1).tolist() == [[0, 64], [64, 255]]
    assert maps.one_map(values, 1, 4).tolist() == np.kron([[0, 64], [64, 255]], np.ones((2, 2))).tolist()
    assert maps.map_grid(np.zeros((1, 2, 2), np.float32)).tolist() == [[0, 0], [0, 0]]


def test_a_vector_is_a_grid_of_its_units():
    grid = maps.map_grid(np.arange(5, dtype=np.float32))
    assert grid.tolist() == [[0, 64, 128], [191, 255, 255]], "the last place is empty, and white"
    assert maps.one_map(np.arange(5, dtype=np.float32), 2, 3).shape == (3, 3)


def test_mistakes_are_one_sentence(digits):
    with pytest.raises(UserError, match="there is no unit 24; the numbers go from 0 to 23"):
        maps.one_map(maps.values(digits, DIGITS[0], "conv1"), 24)
    with pytest.raises(UserError, match="has no layer 'conv6'; did you mean"):
        maps.values(digits, DIGITS[0], "conv6")
    with pytest.raises(UserError, match="the results of conv1 have NaN"):
        maps.values(digits, np.full((1, 3, 131, 131), np.inf, np.float32), "conv1")
    with pytest.raises(UserError, match="cannot read"):
        maps.values(digits, "missing.png", "conv1")


# the picture


@pytest.mark.parametrize("profile", sorted(profiles.PROFILES))
def test_the_picture_is_what_the_input_was_made_of(profile):
    """Undoing the normalization of the network's own input gives the same pixels."""
    net = AlexNet("torchvision", device="cpu", input_size=96, **NARROW)
    wide = np.random.default_rng(3).integers(0, 256, (120, 190, 3), np.uint8)
    row = profiles.get(profile)
    mean, std = (np.array(values).reshape(3, 1, 1) for values in row.mean_and_std(3))
    for pixels in (wide, wide.transpose(1, 0, 2)):
        planes = (net.preprocess(pixels, profile)[0] * std + mean) * row.divisor
        picture = planes[:: -1 if row.order == "BGR" else 1].transpose(1, 2, 0)
        np.testing.assert_array_equal(pictures.input_picture(net, pixels, profile), np.rint(picture))


def test_a_network_of_one_channel_sees_gray(tmp_path):
    net = AlexNet("torchvision", device="cpu", input_size=96, channels=1, **NARROW)
    path = tmp_path / "red.png"
    Image.new("RGB", (96, 96), (255, 0, 0)).save(path)
    assert np.all(pictures.input_picture(net, path) == 76)  # Pillow's L of red: 0.299 of 255


def test_heat_lies_over_a_gray_picture():
    picture = np.full((40, 40, 3), (250, 50, 0), np.uint8)
    laid = pictures.overlay(picture, np.array([[0, 0], [0, 1]]), 1.0)
    assert laid[0, 0].tolist() == list(pictures.VIRIDIS[0]) and laid[-1, -1].tolist() == list(pictures.VIRIDIS[-1])
    assert pictures.overlay(picture, np.zeros((2, 2)), 0.0).tolist() == np.full((40, 40, 3), 100).tolist()


def test_an_enlarged_picture_keeps_its_shape():
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert pictures.enlarged(picture, 6).tolist() == np.kron(picture, np.ones((2, 2), int)).tolist()
    assert pictures.enlarged(np.zeros((5, 10, 3), np.uint8), 50, smooth=True).shape == (25, 50, 3)


# top 5


def test_predictions_are_those_of_classify(digits):
    found = top5.predictions(digits, DIGITS, 3)
    assert found == digits.classify(DIGITS, 3)
    assert len(top5.predictions(digits, DIGITS[:1], 99)[0]) == 10
    with pytest.raises(UserError, match="count must be a whole number above 0"):
        top5.predictions(digits, DIGITS, 0)
