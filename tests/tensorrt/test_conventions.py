"""The conventions of the TensorRT plugins' fields, against PyTorch in float64. The kernels run on the CUDA emulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cuda_emulator import emulated
from fastalex.selftest import bounds
from tests.support.plugins import NAMES, Harness, Tensor, build

pytestmark = [pytest.mark.emulator, pytest.mark.peers]

CONV, LRN = NAMES[:2]


@pytest.fixture(scope="module")
def harness():
    return Harness(build(Path(emulated.library())) / "libharness_op.so", emulated.BACKEND)


def run(harness, plugin, fields, x):
    made = harness.create(plugin, fields)
    given = Tensor(x.shape)
    return made.run(x, given, made.output(given))


def one(value):
    return np.int32([value])


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("divide", [0, 1])
def test_normalization_has_the_conventions_of_torch(order, divide, harness):
    """PyTorch divides alpha by the window; ``divide_alpha`` says so, without it alpha is divided here."""
    x = np.random.default_rng(0).standard_normal((2, 16, 10, 9), np.float32)
    alpha = 0.5
    fields = {"order": one(order), "size": one(5), "beta": np.float32([0.75]), "k": np.float64([2])}
    fields.update(alpha=np.float32([alpha if divide else alpha / 5]), divide_alpha=one(divide))
    if order < 2:
        fields.update(kernel=one(3), stride=one(2), rounding=one(1), activation=one(1))

    def normalize(values):
        return torch.nn.functional.local_response_norm(values, 5, alpha, 0.75, 2.0)

    def pool(values):
        return torch.nn.functional.max_pool2d(values, 3, 2, ceil_mode=True)

    exact = torch.from_numpy(x.astype(np.float64))
    expected = {0: lambda: pool(normalize(exact)), 1: lambda: normalize(pool(exact)), 2: lambda: normalize(exact)}
    want = expected[order]()
    want = (want.relu() if order < 2 else want).numpy()
    # The roundings of selftest's bound of a normalization, of values up to the largest, and alpha's own.
    bound = bounds.gamma(5 + 3 + bounds.FUNCTION + 3) * np.abs(want).max()
    got = run(harness, LRN, fields, x)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= bound


@pytest.mark.parametrize("channels", [16, 10])
def test_an_activation_between_the_two(channels, harness):
    """Three kernels, one after the other."""
    x = np.random.default_rng(3).standard_normal((2, channels, 9, 8), np.float32)
    fields = {"size": one(5), "alpha": np.float32([0.5]), "beta": np.float32([0.75]), "k": np.float32([1])}
    fields.update(divide_alpha=one(1), kernel=one(3), stride=one(2), between=one(2))
    normal = torch.nn.functional.local_response_norm(torch.from_numpy(x.astype(np.float64)), 5, 0.5, 0.75, 1.0)
    want = torch.nn.functional.max_pool2d(normal.tanh(), 3, 2).numpy()
    # tanh passes errors on at most as large, and adds its own.
    own = bounds.gamma(bounds.FUNCTION)
    bound = bounds.gamma(5 + 3 + bounds.FUNCTION + 3) * float(normal.abs().max()) + own
    assert np.abs(run(harness, LRN, fields, x) - want).max() <= bound


@pytest.mark.parametrize("activation", [0, 1, 2])
def test_convolution_is_that_of_torch(activation, harness):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 6, 11, 9), np.float32)
    weight, bias = rng.standard_normal((10, 3, 3, 3), np.float32), rng.standard_normal(10, np.float32)
    fields = {"weights": weight, "bias": bias, "kernel": one(3), "stride": one(2), "pad": one(1), "groups": one(2)}
    got = run(harness, CONV, {**fields, "activation": one(activation)}, x)
    double = [torch.from_numpy(each.astype(np.float64)) for each in (x, weight, bias)]
    want = torch.nn.functional.conv2d(*double, stride=2, padding=1, groups=2)
    sizes = torch.nn.functional.conv2d(*(each.abs() for each in double), stride=2, padding=1, groups=2).numpy()
    bound = bounds.gamma(27 + 2) * sizes  # Higham, as in fastalex.selftest
    want = (want, want.relu(), want.tanh())[activation].numpy()
    assert (np.abs(got - want) <= bound + (bounds.gamma(bounds.FUNCTION) if activation == 2 else 0)).all()


def test_relu_is_the_standard_activation(harness):
    fields = {"weights": np.float32([[[[-1]]]]), "bias": np.float32([0]), "kernel": one(1)}
    x = np.float32([[[[1, -2]]]])
    np.testing.assert_array_equal(run(harness, CONV, fields, x), [[[[0, 2]]]])
