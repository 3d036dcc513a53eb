"""Every CUDA kernel on the emulator (cuda_emulator), through the whole backend, against the naive one."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from cuda_emulator.emulated import BACKEND, DEVICES, pretend
from fastalex import _core
from fastalex.runtime.precisions import SUPPORTED
from fastalex.selftest import bounds, checks, native
from fastalex.selftest.cases import CASES, STORAGES, served, small
from fastalex.variants import VARIANTS
from tests.support.kernels import PRECISIONS, SAMPLED_BLOCKS, StandardLayer, layers, narrowed, rules

SMALL = [case for case in small() if served(case, BACKEND)]

pytestmark = pytest.mark.emulator


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("device", ["nano", "rtx20", "rtx30"])
def test_small_cases_as_chosen(device, precision):
    """Each kind of kernel: SIMT halves (nano), the two generations of tensor cores."""
    with pretend(device):
        bad = [
            outcome
            for case in SMALL
            for outcome in [checks.check(case, BACKEND, precision=precision)]
            if not outcome.ok
        ]
    assert not bad


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("device", ["nano", "rtx20", "rtx30"])
def test_every_candidate_on_small_cases(device, precision):
    checked = set()
    with pretend(device):
        for case in SMALL:
            for rule, name in rules(case, precision):
                outcome = checks.check(case, BACKEND, precision=precision, tuning=rule)
                assert outcome.ok, (rule, outcome)
                checked.add(name)
    assert len(checked) > 10


@pytest.mark.whole_layer
@pytest.mark.parametrize("case", list(layers()), ids=lambda case: case.name)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_standard_layers(case, precision, full_grids):
    """Every candidate that could serve the layer on any device, in blocks: corners, the last split, some at random."""
    if precision == "fp16" and case.op == "fc" and case.storage == "fp32":
        return  # not offered
    layer, done = StandardLayer(case if full_grids else narrowed(case), precision), set()
    for device in DEVICES:
        with pretend(device):
            for rule, _ in rules(layer.case, precision):
                if rule not in done:
                    layer.check(rule, None if full_grids else SAMPLED_BLOCKS)
                    done.add(rule)
    assert done


@pytest.mark.whole_layer
@pytest.mark.parametrize("name", ["alexnet2012", "torchvision"])
@pytest.mark.parametrize("device", DEVICES)
def test_no_standard_layer_falls_back(name, device):
    """For each precision, kind of weights and batch, the plan has a kernel made for the layer's shape."""
    variant = VARIANTS[name]
    table = "".join(selftest_table(variant))
    shapes = [shape for layer in variant.layers() for shape in layer.param_shapes.values()]
    params = [np.zeros(shape, np.float32) for shape in shapes]
    size = variant.input_size
    with pretend(device):
        for precision in PRECISIONS:
            for storage in SUPPORTED["cuda"][precision]:
                net = _core.Net(
                    table,
                    [3, size, size],
                    params,
                    BACKEND,
                    STORAGES.index(storage),
                    precision=PRECISIONS.index(precision),
                )
                for batch in (1, 2, 8, 16, 32, 128):
                    for step in json.loads(net.describe(_core.Call(shape=(batch, size, size))))["steps"]:
                        assert not step["general"], (device, precision, storage, batch, step)


def selftest_table(variant):
    from fastalex.networks.layers import layer_table

    return layer_table(variant.layers())


def run_with(table, x, params, precision, tuning=""):
    """Results of the emulated and the naive backend, and the steps of the plan."""
    x = x.astype(np.float16).astype(np.float32)
    net = _core.Net(
        table,
        list(x.shape[1:]),
        params,
        BACKEND,
        STORAGES.index(precision),
        precision=PRECISIONS.index(precision),
        tuning=tuning,
    )
    steps = json.loads(net.describe(_core.Call(x)))["steps"]
    native.output(net, np.full_like(x, np.nan))
    return native.output(net, x), native.run_native(table, x, params, "naive"), steps


def assert_close(got, expected, precision, message):
    """Within eight roundings of the largest value: catches corrupted results; exact bounds are for the cases."""
    unit = bounds.U16 if precision == "fp16" else 16 * bounds.U
    assert np.abs(got - expected).max() <= 8 * unit * np.abs(expected).max(), message


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("device", ["nano", "rtx20", "rtx30"])
def test_nan_passes_every_kernel(device, precision):
    """NaN appears where the naive backend has one. (Winograd's tiles spread them.)"""
    with_relu = ("conv-11x11/4", "conv-3x3-pad1")
    others = ("conv-3x3-relu", "fc-batch9-relu", "maxpool-3/2-ceil", "maxpool-3/2-relu", "relu", "lrn-5-groups2")
    others += ("sigmoid", "leaky_relu")
    for name in (*with_relu, *others):
        case = CASES[name]
        if name in with_relu:
            case = dataclasses.replace(case, table=case.table + "\nrelu name=act")
        x, params = case.random()
        x[0, 0, min(1, x.shape[2] - 1), 0] = np.nan
        with pretend(device):
            for rule, kernel in rules(case, precision):
                if not kernel.startswith("wino"):
                    got, expected, _ = run_with(case.table, x, params, precision, rule)
                    assert np.isnan(expected).any()
                    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=rule)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("size", [5, 3])
@pytest.mark.parametrize("channels", [96, 20])
def test_fused_normalization_and_pool(channels, size, precision):
    """In either order, in tiles with a halo: more pixels and channels than one block has."""
    lrn = f"lrn name=lrn size={size} alpha=0.3 beta=0.75 k=1.0 groups=1"
    pool = "maxpool name=pool kernel=3 stride=2 rounding=ceil"
    x = np.random.default_rng(1).standard_normal((2, channels, 28, 31), np.float32)
    for table in (lrn + "\n" + pool, pool + "\n" + lrn):
        with pretend("nano"):
            got, expected, steps = run_with(table, x, [], precision)
        assert len(steps) == 1, table
        assert_close(got, expected, precision, table)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("device", ["nano", "rtx20", "rtx30"])
@pytest.mark.parametrize(("channels", "out", "kernel", "stride"), [(3, 11, 11, 4), (8, 11, 3, 1), (8, 19, 3, 1)])
def test_padding_channels_are_zeros(device, precision, channels, out, kernel, stride):
    """The next layer multiplies them by zeros, which a NaN would survive."""
    conv = f"conv name=conv out={out} kernel={kernel} stride={stride} pad=0 groups=1 rounding=floor"
    table = conv + "\nfc name=fc out=6"
    side = (19 - kernel) // stride + 1
    rng = np.random.default_rng(2)
    x = rng.standard_normal((1, channels, 19, 19), np.float32)
    shapes = ((out, channels, kernel, kernel), (out,), (6, out * side * side), (6,))
    params = [rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[1:]))) for shape in shapes]
    with pretend(device):
        _, _, steps = run_with(table, x, params, precision)
        for candidate in steps[0]["candidates"]:
            for split in sorted({1, candidate["max_split"]}):
                rule = f"{steps[0]['key']} 1-1 {candidate['name']} split={split}"
                got, expected, _ = run_with(table, x, params, precision, rule)
                assert_close(got, expected, precision, rule)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("channels", [3, 13])
def test_the_padding_of_a_sigmoid_stays_zero(precision, channels):
    """The window of the next normalization reaches into the padding."""
    table = "sigmoid name=act\nlrn name=lrn size=5 alpha=2.0 beta=0.75 k=1.0 groups=1"
    x = np.random.default_rng(4).standard_normal((2, channels, 5, 3), np.float32)
    with pretend("nano"):
        got, expected, steps = run_with(table, x, [], precision)
    assert len(steps) == 2
    assert_close(got, expected, precision, table)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["maxpool-3/2-floor", "maxpool-3/2-ceil", "maxpool-2/3-ceil"])
def test_pool_of_positive_values(name, precision):
    """As after a ReLU: bits are compared as integers. Nothing is rounded, NaN stays."""
    case = CASES[name]
    x = np.abs(case.random()[0])
    x[0, 1, 1, 1] = np.nan
    got, expected, _ = run_with(case.table, x, [], precision)
    np.testing.assert_array_equal(got, expected)


def largest(rows, k):
    """Indices of the ``k`` largest values of each row: NaN first, ties by lower index."""
    return [sorted(range(len(row)), key=lambda i: (row[i] == row[i], -np.nan_to_num(row[i]), i))[:k] for row in rows]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("device", ["nano", "rtx30"])
@pytest.mark.parametrize(("classes", "k"), [(1, 1), (7, 1), (7, 5), (7, 7), (300, 1), (300, 9), (40, 40)])
@pytest.mark.parametrize("batch", [1, 3])
def test_top_k(batch, classes, k, device, precision):
    """Chosen on the device: few different values, so that most are ties, and two classes that are always NaN.

    In half also both zeros, which are equal: a sum that is too small for one keeps its sign.
    """
    rng = np.random.default_rng(classes)
    weight = rng.integers(-4, 5, (classes, batch)).astype(np.float32) / 4
    bias = np.zeros(classes, np.float32)
    bias[::2] = -1e-9 if precision == "fp16" else 0
    if classes > 7:
        bias[[2, classes - 1]] = np.nan
    x = np.eye(batch, dtype=np.float32)[:, :, None, None]  # image i gets column i of the weights
    with pretend(device):
        net = _core.Net(
            f"fc name=fc out={classes}",
            [batch, 1, 1],
            [weight, bias],
            BACKEND,
            STORAGES.index(precision),
            precision=PRECISIONS.index(precision),
        )
        values, indices = np.full((batch, k), -9, np.float32), np.full((batch, k), -9, np.int32)
        call = _core.Call(x, top_k=k)
        call.set_outputs([values.ctypes.data], [values.size], indices=indices.ctypes.data)
        net.run(call)
        all_values = native.output(net, x)
    np.testing.assert_array_equal(all_values, (weight.T + bias).astype(np.float16))  # exact in either precision
    np.testing.assert_array_equal(indices, largest(all_values, k))
    np.testing.assert_array_equal(values, np.take_along_axis(all_values, indices, 1))
