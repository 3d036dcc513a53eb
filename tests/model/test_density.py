"""Density, the share of fully connected layers' inputs that are not zero: counted, and chosen for random weights."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fastalex import VARIANTS, AlexNet, UserError, density
from fastalex.variants import get
from fastalex.weights import initial
from tests.support.small_net import DIGITS

WIDTHS = (8, 16, 12, 12, 16, 240, 200)
HALF_A_PERCENT = 0.005


def narrow(name, **changes):
    return get(name, **{"widths": WIDTHS, "num_classes": 7, **changes})


def batch_of(row, count=2):
    shape = (count, row.channels, row.input_size, row.input_size)
    return np.random.default_rng(3).standard_normal(shape, dtype=np.float32)


def by_numpy(net, x):
    """Densities from the values before conv5's activation: pool and fully connected layers anew, in double."""
    weights = {name: array.astype(np.float64) for name, array in net.state_dict().items()}
    maps = np.maximum(net.taps(x, ["conv5"])["conv5"], 0).astype(np.float64)
    side = (maps.shape[2] - 3) // 2 + 1
    windows = [maps[:, :, i : i + 2 * side - 1 : 2, j : j + 2 * side - 1 : 2] for i in range(3) for j in range(3)]
    values = np.max(windows, axis=0).reshape(len(x), -1)
    shares = {}
    for name in ("fc6", "fc7", "fc8"):
        shares[name] = (values != 0).mean(axis=1)
        values = np.maximum(values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"], 0)
    return shares


def test_measured_shares_are_those_of_numpy():
    net = AlexNet(weights="digits", device="cpu")
    x = net.preprocess([str(path) for path in DIGITS])
    found = density.measure(net, [str(path) for path in DIGITS])
    expected = by_numpy(net, x)
    assert list(found) == ["fc6", "fc7", "fc8"]
    for name, shares in found.items():
        assert shares.shape == (20,)
        assert np.abs(shares - expected[name]).max() <= 1 / 192 + 1e-9, "one value may round to the other side of zero"
        assert np.allclose(shares, density.measure(net, x)[name]), "images or a batch of them"
    assert density.means(found) == pytest.approx({"fc6": 0.51, "fc7": 0.285, "fc8": 0.42}, abs=0.006)
    assert (found["fc6"].min(), found["fc6"].max()) == pytest.approx((0.47, 0.57), abs=0.006)
    one = density.measure(net, str(DIGITS[0]))
    assert {name: shares.tolist() for name, shares in one.items()} == {n: [s[0]] for n, s in found.items()}


def test_zeros_of_either_sign_are_zeros_and_nan_is_not():
    values = np.array([[0.0, -0.0, np.nan, np.inf, 1e-45, 2.0, 0.0, 0.0]], np.float32)
    net = SimpleNamespace(variant=get("alexnet2012"), taps=lambda batch, names: dict.fromkeys(names, values))
    assert density.measure(net, np.zeros((1, 3, 227, 227)))["fc7"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("name", "fc6"), [("torchvision", "avgpool"), ("alexnet2012", "pool5"), ("alexnet2012-original", "relu5")]
)
def test_each_layer_reads_the_value_before_it(name, fc6):
    assert density.inputs(name) == {"fc6": fc6, "fc7": "relu6", "fc8": "relu7"}


@pytest.mark.parametrize("name", sorted(VARIANTS))
@pytest.mark.parametrize("wanted", [0.35, 1, (0.2, 0.5, 0.8)])
def test_random_weights_have_the_density_that_was_asked_for(name, wanted):
    row = narrow(name)
    x = batch_of(row)
    arrays = density.random_weights(row, x, wanted)
    found = density.means(density.measure(AlexNet(row, weights=arrays, device="naive"), x))
    for share, expected in zip(found.values(), density.parse(wanted)):
        assert share == pytest.approx(expected, abs=HALF_A_PERCENT)


@pytest.mark.parametrize("storage", ["fp16", "bf16", "int8", "int4"])
def test_the_density_holds_for_rounded_weights(storage):
    row = narrow("torchvision")
    x = batch_of(row)
    arrays = density.random_weights(row, x, 0.35, storage)
    net = AlexNet(row, weights=arrays, device="cpu", fc_weights=storage)
    for share in density.means(density.measure(net, x)).values():
        assert share == pytest.approx(0.35, abs=HALF_A_PERCENT)


def test_only_three_biases_are_shifted_each_by_one_number():
    row = narrow("alexnet2012")
    drawn, shifted = initial.random_weights(row, 5), density.random_weights(row, batch_of(row), 0.3, seed=5)
    again = density.random_weights(row, batch_of(row), 0.3, seed=5, threads=1)
    changed = []
    for name, array in drawn.items():
        assert np.array_equal(shifted[name], again[name]), "the same for any number of threads"
        if not np.array_equal(shifted[name], array):
            changed.append(name)
            assert np.ptp(shifted[name] - array) < 1e-6
    assert changed == ["conv5.bias", "fc6.bias", "fc7.bias"]


def test_equal_values_cannot_be_parted():
    assert density._shift(np.array([3.0, 1.0, 1.0, 1.0, -1.0]), 0.4) == -2.0  # 1 of 5 is nearer to 2 than 4 are
    assert density._shift(np.array([3.0, 1.0, 1.0, 1.0, -1.0]), 0.8) == 0.0
    everything = np.zeros(4) + density._shift(np.zeros(4), 0.1)
    assert (everything > 0).all(), "equal values are all above zero"


@pytest.mark.parametrize(
    ("activation", "words"),
    [
        ("tanh", "tanh between conv5 and fc6"),
        (("relu",) * 5 + ("leaky_relu", "relu"), "leaky_relu between fc6 and fc7"),
        (("relu",) * 6 + ("none",), "no activation between fc7 and fc8"),
    ],
)
def test_a_density_needs_zeros(activation, words):
    row = narrow("alexnet2012", activation=activation)
    with pytest.raises(UserError, match=words):
        density.random_weights(row, batch_of(row), 0.35)


@pytest.mark.parametrize("wrong", [0, -0.1, 1.01, float("nan"), "", "a", "0.3,0.3", (0.1,) * 4, None, "0.3,0.3,2"])
def test_what_is_no_density_is_one_sentence(wrong):
    with pytest.raises(UserError, match="above 0 and at most 1, or three of them"):
        density.parse(wrong)


def test_what_is_a_density():
    assert density.parse("0.35,0.35, 0.375") == density.parse([0.35, 0.35, 0.375]) == (0.35, 0.35, 0.375)
    assert density.parse(1) == density.parse("1") == (1.0, 1.0, 1.0)


def test_images_that_are_not_finite_have_no_density():
    row = narrow("alexnet2012")
    x = batch_of(row)
    x[1, 0, 100, 100] = np.nan
    with pytest.raises(UserError, match="finite"):
        density.random_weights(row, x, 0.35)
