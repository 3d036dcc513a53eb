"""The TensorRT plugins without TensorRT: fields, shapes, formats, serialised bytes, results on the CUDA emulator."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import emulated
import plugin_checks
from fastalex import selftest
from fastalex.cases import CASES
from plugins import NAMES, Harness, Plans, PluginError, Tensor, build

LRN, CONV = NAMES[1], NAMES[0]


@pytest.fixture(scope="module")
def library():
    emulated.load()
    return build(emulated.ROOT / "build" / "plugins", Path(emulated.library())) / "libharness_op.so"


@pytest.fixture(scope="module")
def plans(library):
    return Plans(library)


@pytest.fixture(scope="module")
def harness(library):
    return Harness(library, emulated.BACKEND)


@pytest.mark.parametrize("check", plugin_checks.CHECKS, ids=lambda check: check.__name__)
def test_of_every_adapter(check, harness, plans):
    """What test_tensorrt_registry.py asks of the objects of a registry."""
    check(harness, plans)


@pytest.mark.parametrize("device", ["nano", "rtx20", "rtx30"])
def test_results(device, harness, plans):
    """Each kind of kernel, in each precision and format."""
    with emulated.pretend(device):
        assert plugin_checks.check_results(harness, plans) > 100


def test_a_plan_finds_its_plugins(plans):
    lrn, pool = "lrn name=n size=5 alpha=1 beta=0.75 k=2 groups=1", "maxpool name=p kernel=3 stride=2 rounding=floor"
    shape = (1, 8, 9, 9)
    assert plans.fields("\n".join((lrn, pool)), shape, [])[::2] == (LRN, 2)
    assert plans.fields("\n".join((pool, lrn)), shape, [])[::2] == (LRN, 2)
    assert plans.fields(lrn, shape, [])[::2] == (LRN, 1)
    assert plans.fields(pool, shape, [])[::2] == ("", 1)
    assert plans.fields("relu name=r", shape, [])[::2] == ("", 1)
    params = [np.zeros((3, 648), np.float32), np.zeros(3, np.float32)]
    assert plans.fields("fc name=f out=3", shape, params)[::2] == ("", 1), "its weights are floats"


def run(harness, plugin, fields, x):
    made = harness.create(plugin, fields)
    given = Tensor(x.shape)
    return made.run(x, given, made.output(given))


def one(value):
    return np.int32([value])


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("divide", [0, 1])
def test_normalisation_has_the_conventions_of_torch(order, divide, harness):
    """PyTorch divides alpha by the window; ``divide_alpha`` says so, without it alpha is divided here."""
    x = np.random.default_rng(0).standard_normal((2, 16, 10, 9), np.float32)
    alpha = 0.5
    fields = {"order": one(order), "size": one(5), "beta": np.float32([0.75]), "k": np.float64([2])}
    fields.update(alpha=np.float32([alpha if divide else alpha / 5]), divide_alpha=one(divide))
    if order < 2:
        fields.update(kernel=one(3), stride=one(2), rounding=one(1), activation=one(1))

    def normalise(values):
        return torch.nn.functional.local_response_norm(values, 5, alpha, 0.75, 2.0)

    def pool(values):
        return torch.nn.functional.max_pool2d(values, 3, 2, ceil_mode=True)

    exact = torch.from_numpy(x.astype(np.float64))
    expected = {0: lambda: pool(normalise(exact)), 1: lambda: normalise(pool(exact)), 2: lambda: normalise(exact)}
    want = expected[order]()
    want = (want.relu() if order < 2 else want).numpy()
    # The roundings of selftest's bound of a normalisation, of values up to the largest, and alpha's own.
    bound = selftest.gamma(5 + 3 + selftest.FUNCTION + 3) * np.abs(want).max()
    got = run(harness, LRN, fields, x)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= bound


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
    bound = selftest.gamma(27 + 2) * sizes  # Higham, as in fastalex.selftest
    want = (want, want.relu(), want.tanh())[activation].numpy()
    assert (np.abs(got - want) <= bound + (selftest.gamma(selftest.FUNCTION) if activation == 2 else 0)).all()


def test_relu_is_the_standard_activation(harness):
    fields = {"weights": np.float32([[[[-1]]]]), "bias": np.float32([0]), "kernel": one(1)}
    x = np.float32([[[[1, -2]]]])
    np.testing.assert_array_equal(run(harness, CONV, fields, x), [[[[0, 2]]]])


def test_damaged_bytes_are_refused(harness, plans):
    want = plugin_checks.problem(plans, CASES["fc-int8"], "fp32", harness.backend)
    data = harness.create(want.plugin, want.fields).serialise()
    flipped = data[:2000] + bytes([data[2000] ^ 1]) + data[2001:]  # a weight
    for damaged in (b"", data[:3], data[:-1], data + b"x", b"y" + data[1:], flipped):
        with pytest.raises(PluginError, match="the serialised FastAlexFullyConnectedW8 is damaged; build the engine"):
            harness.deserialise(want.plugin, damaged)
    with pytest.raises(PluginError, match="these are the bytes of a FastAlexFullyConnectedW8"):
        harness.deserialise(CONV, data)


def test_int4_maps_need_whole_vectors_of_channels(harness, plans):
    """Elsewhere the groups of 128 weights that share a scale are not those of the kernels."""
    case = CASES["fc-int4-map"]
    with pytest.raises(PluginError, match="channels are a multiple of 8, not 13; use int8"):
        plugin = plugin_checks.problem(plans, case, "fp32", harness.backend)
        harness.create(plugin.plugin, plugin.fields)


def test_a_failed_launch_is_told(harness, plans):
    want = plugin_checks.problem(plans, CASES["conv-3x3-relu"], "fp32", harness.backend)
    plugin, given = harness.create(want.plugin, want.fields), Tensor(want.x.shape)
    out = plugin.output(given)
    with emulated.pretend(fault="launch:tensor"), pytest.raises(PluginError, match="unspecified launch failure"):
        plugin.run(want.x, given, out)
    plugin_checks.assert_right(plugin.run(want.x, given, out), want, "after the fault")


def test_threads_share_a_plugin(harness, plans):
    want = plugin_checks.problem(plans, CASES["conv-3x3-relu"], "fp16", harness.backend)
    plugin, given, results = harness.create(want.plugin, want.fields), Tensor(want.x.shape, "half"), []
    out = plugin.output(given)
    threads = [
        threading.Thread(target=lambda: results.append(plugin.clone().run(want.x, given, out))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        plugin_checks.assert_right(result, want, "threads")


def test_the_kernels_must_be_there(library, tmp_path):
    alone = Path(shutil.copy(str(library), str(tmp_path / "alone.so")))
    harness, plans = Harness(alone, emulated.BACKEND), Plans(alone)
    want = plugin_checks.problem(plans, CASES["conv-1x1"], "fp32", emulated.BACKEND)
    plugin, given = harness.create(want.plugin, want.fields), Tensor(want.x.shape)
    out = plugin.output(given)
    with pytest.raises(PluginError, match="kernels of fastalex's plugins cannot be used: .*/libfastalex_emulated.so"):
        plugin.workspace(given, out)
