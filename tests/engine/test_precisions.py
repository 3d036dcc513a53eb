"""Whole nets on the CPU in every precision, against the definition of the precision.

The kernels are checked one by one in tests/engine/test_ops.py.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastalex import AlexNet, _core, variants, weights
from fastalex import quantize as calibrating
from fastalex.cli.main import main
from fastalex.networks import taps
from fastalex.networks.layers import layer_table, signed_inputs
from fastalex.quantize.calibration import QMAX_SIGNED, QMAX_UNSIGNED
from fastalex.selftest.native import output
from fastalex.weights import initial

NARROW = {"widths": (8, 16, 24, 16, 16, 35, 29), "num_classes": 5}
DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
U = 2.0**-24


def images(row, batch=2, seed=3):
    shape = (batch, row.channels, row.input_size, row.input_size)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def by_definition(row, arrays, scales, x):
    """Definition of precision int8: the network in float64 with inputs and weights rounded to quantized values.

    Layers between are computed by the naive backend, on float32.
    """
    signed = signed_inputs(row.layers())
    value = x.astype(np.float64)
    for layer in row.layers():
        if layer.op == "dropout":
            continue
        params = []
        if layer.param:
            low, high = (-QMAX_SIGNED, QMAX_SIGNED) if signed[layer.name] else (0, QMAX_UNSIGNED)
            scale = np.float32(scales[layer.name])
            value = np.clip(np.rint(value.astype(np.float32) / scale), low, high).astype(np.float64) * np.float64(scale)
            w = arrays[layer.param + ".weight"]
            rows = w.reshape(len(w), -1)
            scale = np.abs(rows).max(axis=1, keepdims=True) / np.float32(127)
            w = (np.rint(rows / scale) * scale).astype(np.float32).reshape(w.shape)
            params = [w, arrays[layer.param + ".bias"]]
        shape = value.shape if value.ndim == 4 else (*value.shape, 1, 1)
        net = _core.Net(layer_table([layer]), list(shape[1:]), params, "naive")
        value = output(net, np.ascontiguousarray(value, np.float32).reshape(shape)).astype(np.float64)
    return value


@pytest.mark.parametrize("name", ["alexnet2012", "torchvision", "alexnet2012-original"])
def test_int8_precision_is_its_definition(name):
    """Weights and inputs rounded as fastalex.h says, everything else exact: a rare value may round the other way."""
    row = variants.get(name, **NARROW)
    arrays = initial.random_weights(row, seed=6)
    x = images(row)
    found = calibrating.calibrate(AlexNet(row, weights=arrays, device="naive"), [x])
    net = AlexNet(row, weights=arrays, device="cpu", precision="int8", calibration=found)
    assert net.fc_weights == "int8"
    expected = by_definition(row, arrays, found.scales, x)
    plain = AlexNet(row, weights=arrays, device="naive")(x)
    cost = np.abs(expected - plain).max()
    assert 0.002 < cost / np.abs(expected).max() < 0.1
    assert np.abs(net(x) - expected).max() <= 0.25 * cost


@pytest.mark.parametrize("name", ["torchvision", "alexnet2012"])
@pytest.mark.parametrize("width", [16, 70])  # fewer and more channels than a vector of quantized values
def test_levels_are_pooled_like_the_values_that_they_stand_for(name, width):
    row = variants.get(name, **dict(NARROW, widths=(width, width, 24, 16, 16, 35, 29)))
    arrays = initial.random_weights(row, seed=6)
    x = images(row)
    found = calibrating.calibrate(AlexNet(row, weights=arrays, device="naive"), [x])
    net = AlexNet(row, weights=arrays, device="cpu", precision="int8", calibration=found)
    names = list(taps.names(row))  # outputs are not rounded before the pool
    np.testing.assert_array_equal(net(x), net.taps(x, names)[row.layers()[-1].name])


@pytest.mark.parametrize("method", ["percentile", "entropy", "max"])
@pytest.mark.parametrize("fc_weights", ["int8", "int4"])
def test_a_trained_network_in_int8_still_classifies(tmp_path, method, fc_weights):
    out = tmp_path / "out.safetensors"
    words = ["quantize", "digits", str(out), "--calibrate", str(DIGITS), "--method", method, "--fc-weights", fc_weights]
    assert main(words) == 0
    net = AlexNet(weights=out, device="cpu", precision="int8")
    assert net.fc_weights == fc_weights
    paths = sorted(DIGITS.glob("*.png"))
    answers = net.classify(paths, topk=1)
    assert [answer[0].label for answer in answers] == [path.name.split("-")[1] for path in paths]


@pytest.mark.parametrize("fc_weights", [None, "fp16", "int8", "int4"])
def test_bf16_precision_is_near_fp32(fc_weights):
    row = variants.get("torchvision", **NARROW)
    arrays = initial.random_weights(row, seed=6)
    x = images(row)
    net = AlexNet(row, weights=arrays, device="cpu", precision="bf16", fc_weights=fc_weights)
    assert net.fc_weights == (fc_weights or "bf16")
    expected = AlexNet(row, weights=net.state_dict(), device="naive")(x)
    error = np.abs(net(x) - expected).max() / np.abs(expected).max()
    assert error < 8 * 2.0**-8  # eight layers, each rounded to 8 bits
    # Where bf16 is no faster, layers are computed in fp32; two byte planes of the input also have bf16's precision.
    rounded = any(step.get("dtype") == "bf16" or step.get("byte_planes") == 2 for step in net.kernels()["steps"])
    assert (error > 2.0**-16) == rounded


@pytest.mark.parametrize("fc_weights", ["bf16", "int4"])
def test_fp32_with_the_new_storages(fc_weights):
    row = variants.get("alexnet2012", **NARROW)
    arrays = initial.random_weights(row, seed=6)
    x = images(row)
    net = AlexNet(row, weights=arrays, device="cpu", fc_weights=fc_weights)
    expected = AlexNet(row, weights=net.state_dict(), device="naive")(x)
    assert np.abs(net(x) - expected).max() <= 96 * U * np.abs(expected).max()


def test_int4_from_a_file_is_int4_from_floats(tmp_path):
    path = tmp_path / "net.safetensors"
    AlexNet(weights="digits", device="cpu").save(path, fc_weights="int4")
    packed = AlexNet(weights=path, device="cpu")
    floats = AlexNet(weights="digits", device="cpu", fc_weights="int4")
    assert packed.fc_weights == "int4" and packed.param_bytes == floats.param_bytes
    x = images(packed.variant)
    np.testing.assert_array_equal(packed(x), floats(x))
    again = tmp_path / "again.safetensors"
    floats.save(again, fc_weights="int4")
    values = weights.load(again).arrays
    for key, array in packed.state_dict().items():
        np.testing.assert_array_equal(np.asarray(values[key]), array)


@pytest.mark.slow
def test_exact_is_said_and_does_not_use_winograd():
    row = variants.get("torchvision", widths=(64, 192, 384, 256, 256, 40, 40), num_classes=5)
    arrays = initial.random_weights(row, seed=6)
    x = images(row)
    exact = AlexNet(row, weights=arrays, device="cpu", exact=True)
    quick = AlexNet(row, weights=arrays, device="cpu")
    assert exact.exact and not quick.exact
    assert "exact=True" in repr(exact) and "exact" not in repr(quick)
    expected = AlexNet(row, weights=arrays, device="naive")(x)
    errors = [np.abs(net(x) - expected).max() for net in (exact, quick)]
    assert 0 < errors[0] < 32 * U * np.abs(expected).max()
    assert errors[1] != errors[0]  # another algorithm


@pytest.mark.slow
def test_a_cold_start_takes_little_memory(tmp_path):
    """Import, load of a quantized file of full size, first result. Time is measured by the benchmarks."""
    path = tmp_path / "net.safetensors"
    AlexNet("alexnet2012", device="cpu", weights="random").save(path, fc_weights="int8")
    program = (
        "import sys\nimport numpy as np\nfrom fastalex import AlexNet\n"
        "net = AlexNet(weights=sys.argv[1], device='cpu')\n"
        "net(np.zeros((1, 3, 227, 227), np.float32))\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150 * 1024
