"""An image's result depends neither on the batch size, nor on the other images, nor on the number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from fastalex import AlexNet, quantize, variants
from fastalex.runtime.precisions import SUPPORTED
from fastalex.weights import initial

SIZES = (1, 2, 3, 4, 8, 32, 33)  # around the numbers of rows and images that kernels process at once
NARROW = {"widths": (15, 31, 47, 45, 33, 61, 63), "num_classes": 7}
ROWS = {
    "digits": variants.get("alexnet-digits"),
    "torchvision": variants.get("torchvision", input_size=96, **NARROW),
    "bvlc_alexnet": variants.get("bvlc_alexnet", columns=1, input_size=131, **NARROW),
}
COMBINATIONS = [(precision, storage) for precision in SUPPORTED["cpu"] for storage in SUPPORTED["cpu"][precision]]


def made(row, x, precision, storage, **options):
    arrays = initial.random_weights(row, seed=3)
    if precision == "int8":
        options["calibration"] = quantize.calibrate(AlexNet(row, weights=arrays, device="cpu"), [x[:4]])
    return AlexNet(row, weights=arrays, device="cpu", precision=precision, fc_weights=storage, **options)


def check(row, precision, storage):
    shape = (max(SIZES), row.channels, row.input_size, row.input_size)
    x = np.random.default_rng(6).standard_normal(shape, np.float32)
    x[5] *= 100  # must not change its neighbors' scales
    net = made(row, x, precision, storage, threads=2)
    singles = np.concatenate([net(x[i : i + 1]) for i in range(len(x))])
    assert np.isfinite(singles).all()
    assert len(np.unique(singles)) > singles.size // 2
    for size in SIZES:
        np.testing.assert_array_equal(net(x[:size]), singles[:size], err_msg=str(size))
    np.testing.assert_array_equal(net(x[::-1]), singles[::-1])
    other_threads = made(row, x, precision, storage, threads=3)
    np.testing.assert_array_equal(other_threads(x[:13]), singles[:13])  # whole networks: chunks of 5, 5 and 3 images


@pytest.mark.parametrize(("precision", "storage"), COMBINATIONS)
@pytest.mark.parametrize("name", ROWS)
def test_a_batch_of_any_size_gives_the_bits_of_single_images(name, precision, storage):
    check(ROWS[name], precision, storage)


@pytest.mark.slow
@pytest.mark.whole_layer
@pytest.mark.parametrize("precision", SUPPORTED["cpu"])
@pytest.mark.parametrize("name", ["torchvision", "alexnet2012"])
def test_whole_networks_too(name, precision):
    check(variants.get(name), precision, SUPPORTED["cpu"][precision][0])


def test_neighbors_that_are_nan_change_nothing():
    row = ROWS["digits"]
    x = np.random.default_rng(7).standard_normal((3, row.channels, row.input_size, row.input_size), np.float32)
    net = made(row, x, "fp32", "int8")
    alone = net(x[1:2])
    x[[0, 2]] = np.nan
    np.testing.assert_array_equal(net(x)[1:2], alone)


@pytest.mark.parametrize("name", ["torchvision", "bvlc_alexnet"])
def test_a_convolution_read_before_its_activation_has_the_same_bits(name):
    row = ROWS[name]
    x = np.random.default_rng(8).standard_normal((3, row.channels, row.input_size, row.input_size), np.float32)
    net = made(row, x, "fp32", "fp32")
    for index in range(1, 6):
        before, after = (net.taps(x, [f"{layer}{index}"])[f"{layer}{index}"] for layer in ("conv", "relu"))
        assert (before < 0).any()
        np.testing.assert_array_equal(np.maximum(before, 0), after, err_msg=str(index))
