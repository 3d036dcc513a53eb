"""Fully connected weights by column on the emulator: what meets a zero is not read, and no bit of a result shows it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cuda_emulator.emulated import BACKEND, DEVICES, pretend
from fastalex import _core
from fastalex.hardware import devices
from fastalex.hardware.tuning_rule import parse_rule
from fastalex.runtime.precisions import SUPPORTED
from fastalex.selftest.cases import CASES, STORAGES, Case
from fastalex.selftest.native import output
from tests.support.kernels import PRECISIONS, StandardLayer

INPUTS, OUTPUTS = 1301, 1001  # neither fills a tile, a group or a chunk; the last tile is padded in every storage
KINDS = {  # of inputs: the share that is not zero, or what else they are
    **{"dense": 1.0, "0.98": 0.98, "0.95": 0.95, "0.9": 0.9, "0.5": 0.5, "0.35": 0.35, "0.2": 0.2, "all zero": 0.0},
    **dict.fromkeys(("one", "the first", "the last", "runs", "negative zeros", "denormals", "signed"), 0.35),
}
WEIGHTS = [storage for storage in SUPPORTED["cuda"]["fp32"] if storage != "fp32"]

pytestmark = pytest.mark.emulator


def parameters(seed=5):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((OUTPUTS, INPUTS), np.float32), rng.standard_normal(OUTPUTS, np.float32)]


def inputs(kind, precision, seed=7):
    """A vector of values of the precision, [1, INPUTS, 1, 1]."""
    rng = np.random.default_rng(seed)
    x = np.abs(rng.standard_normal(INPUTS, np.float32)) + np.float32(0.01)
    zero = rng.random(INPUTS) >= KINDS[kind]
    if kind in ("one", "the first", "the last"):
        zero[:] = True
        zero[{"one": 777, "the first": 0, "the last": -1}[kind]] = False
    elif kind == "runs":  # whole chunks and groups of zeros
        zero[:] = False
        zero[100:900] = True
    x[zero] = -0.0 if kind == "negative zeros" else 0.0
    if kind == "denormals":
        x *= np.float32(1e-6 if precision == "fp16" else 1e-40)
    elif kind == "signed":
        x[::3] *= -1
    if precision == "fp16":
        x = x.astype(np.float16).astype(np.float32)
    return x.reshape(1, INPUTS, 1, 1)


def step_of(net, batch):
    return json.loads(net.describe(_core.Call(shape=(batch, 1, 1))))["steps"][0]


def layer(params, storage, precision, batch=1, zeros="skipped", last_split=False, activation=""):
    """A net whose layer is served by columns at this batch, whole or in as many parts as there can be."""

    def make(rules):
        arguments = [f"fc name=fc out={OUTPUTS}{activation}", [INPUTS, 1, 1], params, BACKEND, STORAGES.index(storage)]
        return _core.Net(*arguments, precision=PRECISIONS.index(precision), tuning=f"zeros {zeros}\n{rules}")

    step = step_of(make(""), batch)
    (choice,) = (each for each in step["candidates"] if each["name"].startswith("columns"))
    split = choice["max_split"] if last_split else 1
    return make(f"{step['key']} {batch} {choice['name']} split={split}")


def bits(array):
    return np.ascontiguousarray(array).view(np.uint32)


def assert_same_bits(got, expected, message=""):
    np.testing.assert_array_equal(bits(got), bits(expected), err_msg=message)


class Rectified(Case):
    """A case whose input went through a ReLU."""

    def random(self, seed=0):
        x, params = super().random(seed)
        return np.maximum(x, 0), params


every_weight = pytest.mark.parametrize(
    ("precision", "storage"), [(precision, storage) for precision in PRECISIONS for storage in WEIGHTS]
)


@every_weight
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("device", ["nano", "gtx1650"])
def test_skipping_changes_no_bit(device, batch, storage, precision):
    """Of two vectors a column is needed if one of them needs it."""
    with pretend(device):
        for last_split in (False, True):
            skips, reads = (layer(parameters(), storage, precision, batch, z, last_split) for z in ("skipped", "read"))
            for i, kind in enumerate(KINDS):
                others = [inputs(list(KINDS)[i - 3], precision, 11)] * (batch - 1)
                x = np.concatenate([inputs(kind, precision), *others])
                assert_same_bits(output(skips, x), output(reads, x), kind)


@every_weight
def test_the_neighbor_in_a_batch_changes_no_bit(storage, precision):
    """Its zeros are others."""
    net = layer(parameters(), storage, precision, 2)
    x = inputs("0.35", precision)
    for other in ("dense", "all zero", "runs"):
        pair = output(net, np.concatenate([x, inputs(other, precision)]))
        swapped = output(net, np.concatenate([inputs(other, precision), x]))
        assert_same_bits(pair[0], swapped[1])
        assert_same_bits(pair[1], swapped[0])
        assert_same_bits(pair[0], output(net, np.concatenate([x, x]))[1])


@every_weight
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_no_zeros(value, storage, precision):
    net, reads = (layer(parameters(), storage, precision, zeros=zeros) for zeros in ("skipped", "read"))
    x = inputs("0.2", precision)
    x[0, 500] = value
    got, kept = output(net, x)[0], net.param(0).reshape(OUTPUTS, INPUTS)[:, 500]
    np.testing.assert_array_equal(got, output(reads, x)[0])
    with np.errstate(invalid="ignore"):
        expected = kept * np.float32(value)
    np.testing.assert_array_equal(got[kept != 0], expected[kept != 0])
    assert np.isnan(got[kept == 0]).all()
    assert not np.isnan(value) or np.isnan(got).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("storage", ["int8", "int4"])
def test_a_zero_times_an_infinite_weight_is_nan(storage, precision):
    """A layer with a scale that is not finite is read whole: 0 inf is NaN, as in PyTorch."""
    weight, bias = parameters()
    quantized = list(_core.quantize_rows(weight, STORAGES.index(storage)))
    quantized[1][(3, 2) if storage == "int4" else 3] = np.inf
    if storage == "int4":
        quantized.append(weight.size)
    nets = [layer([tuple(quantized), bias], storage, precision, 1, zeros) for zeros in ("skipped", "read")]
    for kind in ("all zero", "0.2"):
        got, read = (output(net, inputs(kind, precision))[0] for net in nets)
        assert_same_bits(got, read)
        assert np.isnan(got[3]) if kind == "all zero" else not np.isfinite(got[3])
        assert np.isfinite(np.delete(got, 3)).all()


@pytest.mark.parametrize(("storage", "largest", "products"), [("int8", 4096, 16), ("int4", 2000, 32)])
def test_sums_of_halves_hold_large_inputs(storage, largest, products):
    """As docs/precisions.md says: so many products of the largest weight, which counts as 1, are below 65504."""
    weights = np.full((OUTPUTS, INPUTS), -1e-3, np.float32)
    net = layer([weights, np.zeros(OUTPUTS, np.float32)], storage, "fp16")
    expected = INPUTS * largest * net.param(0)[0]
    got = output(net, np.full((1, INPUTS, 1, 1), largest, np.float32))
    np.testing.assert_allclose(got, np.full_like(got, expected), rtol=products * 2.0**-11)
    assert not np.isfinite(output(net, np.full((1, INPUTS, 1, 1), 1.1 * largest, np.float32))).any()


@every_weight
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(value, storage, precision):
    """So of a layer's own weights only scales can be infinite."""
    params = parameters()
    params[0][3, 2] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        layer(params, storage, precision)


@every_weight
@pytest.mark.parametrize("width", [1, 31, 33, 127, 129])
def test_odd_widths(width, storage, precision):
    """Less than a chunk or a group, one more and one less; outputs that end within a vector."""
    shape = (1, width, 1, 1)
    standard = StandardLayer(Rectified(f"{width}-{storage}", "fc name=fc out=1019", shape, 1.0, storage), precision)
    with pretend("nano"):
        step = standard.served("")[1]
        (choice,) = (each for each in step["candidates"] if each["name"].startswith("columns"))
        for split in {1, choice["max_split"]}:
            standard.check(f"{step['key']} 1 {choice['name']} split={split}", None)


@every_weight
def test_a_bias_of_negative_zero_hides_nothing(storage, precision):
    """Products that underflow leave a sum of -0, to which the zeros left out would have added +0."""
    params = [np.full((OUTPUTS, INPUTS), 1e-4, np.float32), np.full(OUTPUTS, -0.0, np.float32)]
    params[0][:, ::32] = -1.5e-5  # quantized to a small part of the largest value
    x = inputs("all zero", precision)
    x[0, ::32] = 2.0**-24 if precision == "fp16" else 1e-45  # in the share of every warp
    for last_split in (False, True):
        skips, reads = (layer(params, storage, precision, 1, zeros, last_split) for zeros in ("skipped", "read"))
        assert_same_bits(output(skips, x), output(reads, x))


@pytest.mark.whole_layer
@every_weight
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", ["fc6", "fc8"])
def test_sums_of_full_length(name, batch, storage, precision):
    """Within the bound that holds for every candidate; of fc6 with fewer outputs."""
    shape = (batch, *CASES["alexnet2012/" + name].shape[1:])
    case = Rectified(f"{name}-{storage}", "fc name=fc out=1000", shape, 10.0, storage, small=False)
    full = StandardLayer(case, precision)
    with pretend("nano"):
        candidates = full.served("")[1]["candidates"]
        (choice,) = (each for each in candidates if each["name"].startswith("columns"))
        for split in (1, choice["max_split"]):
            full.check(f"{full.served('')[1]['key']} {batch} {choice['name']} split={split}", None)


@every_weight
def test_a_graph_replayed_with_other_zeros(storage, precision):
    """What is skipped is decided on the device at each run."""
    with pretend("gtx1650"):
        net, fresh = (layer(parameters(), storage, precision) for _ in range(2))
        assert json.loads(net.describe(_core.Call(shape=(1, 1, 1))))["graph"]
        for kind in ("0.2", "dense", "all zero", "runs"):
            x = inputs(kind, precision)
            assert_same_bits(output(net, x), output(layer(parameters(), storage, precision), x), kind)
            assert_same_bits(output(net, x), output(fresh, x))


@every_weight
@pytest.mark.parametrize("place", [0, 1, INPUTS // 2, INPUTS - 1])
def test_the_output_may_overlap_the_input(place, storage, precision):
    """At its first value, its last, or within."""
    net = layer(parameters(), storage, precision)
    memory = np.zeros(INPUTS + OUTPUTS, np.float32)
    x = memory[:INPUTS].reshape(1, INPUTS, 1, 1)
    x[:] = inputs("0.35", precision)
    expected = output(net, x)[0]
    call = _core.Call(x)
    call.set_outputs([memory[place:].ctypes.data], [OUTPUTS])
    net.run(call)
    assert_same_bits(memory[place : place + OUTPUTS], expected)


@every_weight
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_activations(activation, storage, precision):
    """Of whole sums, not of their parts."""
    x = inputs("0.35", precision)
    function = {"relu": lambda y: np.maximum(y, 0), "tanh": np.tanh}[activation]
    for last_split in (False, True):
        plain = layer(parameters(), storage, precision, last_split=last_split)
        net = layer(parameters(), storage, precision, 1, "skipped", last_split, f"\n{activation} name=act")
        unit = 2.0**-11 if precision == "fp16" else 2.0**-23
        expected = function(output(plain, x).astype(np.float64))
        np.testing.assert_allclose(output(net, x), expected, rtol=8 * unit, atol=8 * unit)


# Choice ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", [2, 37, 192, 700])
def test_few_outputs_are_left_to_the_rows(outputs):
    """Padding to whole tiles would take more than a twentieth of the memory."""
    params = [np.ones((outputs, 300), np.float32), np.zeros(outputs, np.float32)]
    net = _core.Net(f"fc name=fc out={outputs}", [300, 1, 1], params, BACKEND, STORAGES.index("int8"), precision=1)
    assert not any(each["name"].startswith("columns") for each in step_of(net, 1)["candidates"])


@pytest.mark.whole_layer
@pytest.mark.parametrize("storage", WEIGHTS)
@pytest.mark.parametrize("device", ["nano", "tx2", "gtx1650"])
def test_small_devices_take_columns_after_a_relu(device, storage):
    """By the cost model, for fc7 and fc8 with one or two images."""
    for outputs in (4096, 1000):
        params = [np.zeros((outputs, 4096), np.float32), np.zeros(outputs, np.float32)]
        table = f"relu name=before\nfc name=fc out={outputs}"
        with pretend(device):
            net = _core.Net(table, [4096, 1, 1], params, BACKEND, STORAGES.index(storage), precision=1)
            plans = [json.loads(net.describe(_core.Call(shape=(batch, 1, 1))))["steps"] for batch in (1, 2, 3)]
        assert [plan[-1]["format"] for plan in plans] == ["columns", "columns", "streamed"], outputs


@pytest.mark.parametrize("device", [device for device in DEVICES if device != "h200"])
def test_rules_name_columns(device):
    """For fc6 and fc7 with one or two images. Of H200's 132 multiprocessors most would have no tile."""
    found = set()
    for rule in map(parse_rule, devices.get(device).tuning.rules):
        _, *size, storage = rule.key.split(":")
        if size in (["9216", "4096"], ["4096", "4096"]) and storage in WEIGHTS and rule.first <= 2:
            assert rule.candidate.startswith("columns"), rule
            found.add((rule.precision, storage, *size))
    assert len(found) == 2 * 2 * len(WEIGHTS)
