"""Weights that meet a zero are left out: the same bits as if they were not, in every storage, layout and batch."""

from __future__ import annotations

import numpy as np
import pytest

from fastalex import AlexNet, _core
from fastalex.errors import UserError
from fastalex.runtime.device_spec import FC_LAYOUTS
from fastalex.selftest.cases import STORAGES
from fastalex.selftest.native import output

INPUTS, OUTPUTS = 1301, 330  # several parts of a sum, and strips of several panels with a rest


def parameters(seed=5):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((OUTPUTS, INPUTS), dtype=np.float32), rng.standard_normal(OUTPUTS, dtype=np.float32)]


def layer(params, storage, layout="latency", threads=0, activation=""):
    return _core.Net(
        f"fc name=fc out={OUTPUTS}{activation}",
        [INPUTS, 1, 1],
        params,
        "cpu",
        STORAGES.index(storage),
        threads,
        fc_layout=FC_LAYOUTS.index(layout),
    )


def inputs(kind):
    rng = np.random.default_rng(7)
    x = np.abs(rng.standard_normal((1, INPUTS), dtype=np.float32)) + np.float32(0.01)
    share = {"none zero": 1.0, "0.67": 0.67, "0.5": 0.5, "0.35": 0.35, "0.1": 0.1}.get(kind)
    if share is not None:
        x[rng.random(x.shape) >= share] = 0
    elif kind == "all zero":
        x[:] = 0
    elif kind == "one":
        x[:, np.arange(INPUTS) != 777] = 0
    elif kind == "the last":
        x[:, :-1] = 0
    elif kind == "runs":  # whole parts and groups of zeros
        x[:, 100:900] = 0
    elif kind == "negative zeros":
        x[rng.random(x.shape) >= 0.3] = -0.0
    elif kind == "denormals":
        x[rng.random(x.shape) >= 0.3] = 0
        x *= np.float32(1e-41)
    elif kind == "signed":
        x[rng.random(x.shape) >= 0.3] = 0
        x[:, ::3] *= -1
    return x.reshape(1, INPUTS, 1, 1)


KINDS = [
    "none zero",
    "0.67",
    "0.5",
    "0.35",
    "0.1",
    "all zero",
    "one",
    "the last",
    "runs",
    "negative zeros",
    "denormals",
]
KINDS.append("signed")


def bits(array):
    return np.ascontiguousarray(array).view(np.uint32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("storage", STORAGES)
def test_skipping_changes_no_bit(storage, kind):
    """In a batch with an image without zeros every weight is read, and no image's result depends on its batch."""
    net = layer(parameters(), storage)
    x = inputs(kind)
    alone = output(net, x)
    full = inputs("none zero")
    for count in (1, 3, 8):
        together = output(net, np.concatenate([x] + [full] * count))
        np.testing.assert_array_equal(bits(together[:1]), bits(alone))
    np.testing.assert_array_equal(bits(output(net, np.concatenate([x] * 5))), bits(np.concatenate([alone] * 5)))
    if kind != "all zero":
        assert np.abs(alone - parameters()[1]).max() > 0 or kind == "denormals"


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("kind", ["none zero", "0.5", "0.1", "all zero", "signed"])
def test_layouts_and_threads_agree_to_the_bit(storage, kind):
    x = np.concatenate([inputs(kind), inputs("0.35")[:, ::-1], inputs("0.67")])
    nets = [layer(parameters(), storage, layout, threads) for layout in FC_LAYOUTS for threads in (1, 2, 5)]
    for batch in (1, 2, 3):
        first, *others = [output(net, x[:batch]) for net in nets]
        for other in others:
            np.testing.assert_array_equal(bits(other), bits(first))
    for net in nets:
        np.testing.assert_array_equal(net.param(0), nets[0].param(0))


@pytest.mark.parametrize("storage", STORAGES)
def test_the_result_is_the_product(storage):
    """Against float64, with the weights that the layer keeps; the bound is that of sums of as many products."""
    net = layer(parameters(), storage)
    weights = net.param(0).reshape(OUTPUTS, INPUTS).astype(np.float64)
    for kind in ("0.5", "0.1", "runs"):
        x = inputs(kind).reshape(-1).astype(np.float64)
        expected = weights @ x + parameters()[1]
        sizes = np.abs(weights) @ np.abs(x) + np.abs(parameters()[1])
        assert (np.abs(output(net, inputs(kind))[0] - expected) <= 100 * 2.0**-24 * sizes).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("storage", STORAGES)
def test_nan_and_infinity_are_no_zeros(storage, value):
    net = layer(parameters(), storage)
    x = inputs("0.1")
    x[0, 500] = value
    got, kept = output(net, x)[0], net.param(0).reshape(OUTPUTS, INPUTS)[:, 500]
    with np.errstate(invalid="ignore"):
        expected = np.sign(kept) * value
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected) | (kept == 0))
    np.testing.assert_array_equal(got[kept > 0], np.full((kept > 0).sum(), value, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_zero_times_infinity_is_nan(value):
    """Weights that are not finite are read whatever they meet, so that the result is PyTorch's: 0 inf is NaN."""
    params = parameters()
    params[0][3, 500] = value
    x = inputs("0.1")
    x[0, 500] = 0
    got = output(layer(params, "fp32"), x)[0]
    assert np.isnan(got[3])
    assert np.isfinite(np.delete(got, 3)).all()


def test_a_bias_of_negative_zero_hides_nothing():
    """Products that underflow leave a sum of -0, to which the zeros left out would have added +0."""
    params = [np.full((OUTPUTS, INPUTS), -1e-38, np.float32), np.full(OUTPUTS, -0.0, np.float32)]
    x = inputs("all zero")
    x[0, 0] = 1e-38
    net = layer(params, "fp32")
    together = output(net, np.concatenate([x, inputs("none zero")]))
    np.testing.assert_array_equal(bits(output(net, x)), bits(together[:1]))


@pytest.mark.parametrize("storage", STORAGES)
def test_layouts_take_the_same_memory(storage):
    sizes = [layer(parameters(), storage, layout).param_bytes for layout in FC_LAYOUTS]
    exact = 4 * INPUTS * OUTPUTS / {"fp32": 1, "fp16": 2, "bf16": 2, "int8": 4, "int4": 8}[storage]
    assert max(sizes) <= 1.3 * exact  # 330 outputs are padded to 384


def test_the_option_of_a_network():
    net = AlexNet(weights="digits", device="cpu", fc_weights="int8")
    assert net.fc_layout == "latency"
    other = AlexNet(weights="digits", device="cpu", fc_weights="int8", fc_layout="throughput")
    assert other.fc_layout == "throughput"
    x = np.random.default_rng(0).standard_normal((9, 3, 131, 131), np.float32)
    np.testing.assert_array_equal(net(x), other(x))
    assert AlexNet(weights="digits", device="naive").fc_layout is None
    with pytest.raises(UserError, match="fc_layout must be one of latency, throughput"):
        AlexNet(weights="digits", device="cpu", fc_layout="fast")
    with pytest.raises(UserError, match="leave it out"):
        AlexNet(weights="digits", device="naive", fc_layout="latency")
