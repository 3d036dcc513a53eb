"""Convolutions of int8 precision on the largest quantized values, whose sums are integers: not a bit is lost.

tests/engine/test_ops.py has the layers of the networks, on random values.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastalex import _core
from fastalex.selftest import native


def conv_in_integers(options, x, weights):
    """The engine's convolution and float64's, of integers as quantized values: scales are 1."""
    groups = x.shape[1] // weights.shape[1]
    bias = np.arange(len(weights), dtype=np.float32)
    params = [weights.astype(np.float32), bias]
    table = f"conv name=c out={len(weights)} {options} groups={groups} rounding=floor"
    before = "" if (x < 0).any() else "relu name=before\n"
    quantized = f"{before}{table} scale=1"
    net = native.make_net(quantized, x, params, "cpu", "int8", "int8")
    described = json.loads(net.describe(_core.Call(shape=(x.shape[0], *x.shape[2:]))))
    form = [step["format"] for step in described["steps"] if "format" in step]
    got = native.run_native(quantized, x, params, "cpu", "int8", "int8")
    return form[0], got, native.run_native(table, x, params, "naive")


def extremes(rng, values, shape):
    return rng.choice(np.asarray(values, np.float32), shape)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("kernel", "pad"), [(3, 1), (3, 0), (5, 2), (4, 1), (6, 3)])
@pytest.mark.parametrize("side", [7, 8, 9, 13])
def test_convolutions_of_extremes_are_exact(kernel, pad, side, signed):
    """The largest values and weights of either sign, for tiles with every rest."""
    rng = np.random.default_rng(side)
    x = extremes(rng, [-127, 127] if signed else [0, 255], (2, 20, side, side))
    weights = extremes(rng, [-127, 127], (37, 20, kernel, kernel))
    _, got, expected = conv_in_integers(f"kernel={kernel} pad={pad} stride=1", x, weights)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("kernel", "stride", "pad", "side"), [(11, 4, 2, 63), (7, 2, 3, 30)])
def test_strided_convolutions_of_extremes_are_exact(kernel, stride, pad, side):
    rng = np.random.default_rng(side)
    weights = extremes(rng, [-127, 127], (40, 3, kernel, kernel))
    x = extremes(rng, [-127, 127], (2, 3, side, side))
    _, got, expected = conv_in_integers(f"kernel={kernel} pad={pad} stride={stride}", x, weights)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("channels", "value"), [(115, 127), (116, 127), (192, 127), (192, 1)])
def test_sums_beyond_26_bits_are_exact(channels, value):
    """All weights and values at their largest: 9 * 115 * 127 * 255 fits, one channel more does not."""
    weights = np.full((16, channels, 3, 3), value, np.float32)
    weights[:, 0, 0, 0] = 127  # the scale of the weights stays 1
    x = np.full((1, channels, 16, 16), 255, np.float32)
    form, got, expected = conv_in_integers("kernel=3 pad=1 stride=1", x, weights)
    # a float holds multiples of 4 here
    np.testing.assert_allclose(got, expected, rtol=2.0**-23)
    if form != "direct":
        assert 9 * channels * value <= 9 * 115 * 127


@pytest.mark.parametrize("batch", [1, 2, 13])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("inputs", "outputs"), [(1301, 330), (37, 45)])
def test_fully_connected_sums_of_extremes_are_exact(inputs, outputs, signed, batch):
    """Where the weights are read row by row, and where they are few; some inputs are zero in all images."""
    rng = np.random.default_rng(inputs)
    x = rng.choice(np.asarray([-127, 127] if signed else [0, 255], np.float32), (batch, inputs, 1, 1))
    x[:, rng.random(inputs) < 0.3] = 0
    weights = rng.choice(np.asarray([-127, 127], np.float32), (outputs, inputs))
    params = [weights, np.arange(outputs, dtype=np.float32)]
    before = "" if signed else "relu name=before\n"
    got = native.run_native(f"{before}fc name=fc out={outputs} scale=1", x, params, "cpu", "int8", "int8")
    exact = x.reshape(batch, -1).astype(np.float64) @ weights.astype(np.float64).T
    # The sum as a float, and its sum with the bias.
    assert (np.abs(got - (exact + params[1])) <= 2.0**-23 * (np.abs(exact) + params[1])).all()
