"""Calibration, quantized weights files, and the command that writes them.

Quantized values are checked in tests/engine/test_quantize_rows.py, nets that compute with them in
tests/engine/test_precisions.py.
"""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cuda_emulator import emulated
from fastalex import VARIANTS, AlexNet, UserError, _core, variants, weights
from fastalex.cli.main import main
from fastalex.networks.layers import layer_table, signed_inputs
from fastalex.quantize import calibrating, histogram
from fastalex.quantize.calibration import QMAX_SIGNED, QMAX_UNSIGNED, Calibration, from_json, scales_for
from fastalex.quantize.histogram import Histogram, threshold
from fastalex.runtime import precisions
from fastalex.weights import initial, quantized
from fastalex.weights.quantized import QuantizedWeight

NARROW = {"widths": (8, 16, 24, 16, 16, 35, 29), "num_classes": 5}  # 35 and 29: int4 rows that end in half a byte
U = 2.0**-24


def images(row, batch=2, seed=3):
    shape = (batch, row.channels, row.input_size, row.input_size)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.fixture(scope="module")
def digits():
    return AlexNet(weights="digits", device="cpu", threads=1)


# Names and combinations -------------------------------------------------------------------------------------------


def test_every_name_is_at_the_number_that_the_c_interface_gives_it():
    import re
    from pathlib import Path

    header = (Path(__file__).resolve().parents[2] / "csrc" / "include" / "fastalex.h").read_text(encoding="utf-8")
    numbers = dict(re.findall(r"FASTALEX_(\w+) = (\d+),? *(?:\n|/\*)", header))
    for name in precisions.FC_STORAGES:
        assert int(numbers[name.upper()]) == precisions.FC_STORAGES.index(name)
    for name in precisions.PRECISIONS:
        assert int(numbers["PRECISION_" + name.upper()]) == precisions.PRECISIONS.index(name)


# Sign of the activations ------------------------------------------------------------------------------------------


SIGNED = ("tanh", "leaky_relu(0.2)")


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "leaky_relu(0.2)"])
@pytest.mark.parametrize("name", list(VARIANTS))
def test_inputs_called_unsigned_are_never_negative(name, activation):
    """By the table, against what the network gives: unsigned ones have no negative value, signed ones have some."""
    row = variants.get(name, **NARROW, activation=activation)
    net = AlexNet(row, device="naive", weights=initial.random_weights(row, seed=2))
    signed = signed_inputs(row.layers())
    assert list(signed) == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    assert signed["conv1"] and all(signed[layer] == (activation in SIGNED) for layer in signed if layer != "conv1")
    x = images(row)
    for layer, source in calibrating._inputs(net).items():
        values = net.taps(x, [source])[source] if source else x
        assert (values.min() < 0) == signed[layer], layer


def test_a_layer_without_activation_gives_signed_values():
    row = variants.get("alexnet2012", blocks=("conv lrn pool", "conv act", "conv", "conv act", "conv pool"), **NARROW)
    signed = signed_inputs(row.layers())
    assert [name for name in signed if signed[name]] == ["conv1", "conv2", "conv4", "fc6"]


# Histograms and thresholds ----------------------------------------------------------------------------------------


def test_a_histogram_grows_and_keeps_its_counts():
    """Parts in any order of size, against one exact histogram with the same edges."""
    generator = np.random.default_rng(5)
    parts = [generator.standard_normal((3, 50)).astype(np.float32) * scale for scale in (1e-3, 1, 0.1, 37, 5)]
    parts[1][0, :20] = 0
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    everything = np.sort(np.abs(np.concatenate([part.reshape(-1) for part in parts])))
    everything = everything[everything > 0].astype(np.float64)
    assert histogram.largest == everything.max() <= histogram.limit < 2 * everything.max()
    edges = histogram.limit * np.arange(1, Histogram.BINS + 1) / Histogram.BINS
    np.testing.assert_array_equal(np.cumsum(histogram.counts), np.searchsorted(everything, edges, "right"))
    backwards = Histogram()
    for part in parts[::-1]:
        backwards.add(part[0])
        backwards.add(part[1:])
    np.testing.assert_array_equal(backwards.counts, histogram.counts)


def test_values_on_an_edge_are_below_it():
    histogram = Histogram()
    for value in (0.25, -0.5, 1, 4, 4.001, 8):
        histogram.add(np.array([value, 0], np.float32))
    assert histogram.limit == histogram.largest == 8
    used = {index: int(count) for index, count in enumerate(histogram.counts) if count}
    assert used == {255: 1, 511: 1, 1023: 1, 4095: 1, 4097: 1, 8191: 1}


def test_zeros_and_empty_parts_count_as_nothing():
    histogram = Histogram()
    for part in (np.zeros((2, 3), np.float32), np.zeros(0, np.float32)):
        histogram.add(part)
    assert histogram.counts.sum() == 0
    assert [threshold(histogram, 255, method) for method in ("max", "percentile", "entropy")] == [0, 0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_histogram_takes_finite_values_only(bad):
    with pytest.raises(UserError, match="NaN or infinity"):
        Histogram().add(np.array([1, bad], np.float32))


def of_values(values):
    histogram = Histogram()
    histogram.add(np.asarray(values, np.float32))
    return histogram


@pytest.mark.parametrize("percent", [50, 90, 99, 99.9, 99.99, 100])
def test_percentile_is_numpys_within_a_bin(percent):
    values = np.abs(np.random.default_rng(1).standard_normal(100_000)).astype(np.float32)
    histogram = of_values(np.concatenate((values, np.zeros(300_000, np.float32))))
    found = threshold(histogram, 255, "percentile", percent)
    assert (values <= found).mean() >= percent / 100 - 1e-9
    assert abs(found - np.percentile(values, percent, method="inverted_cdf")) <= 1.01 * histogram.limit / Histogram.BINS


def test_max_is_the_largest():
    assert threshold(of_values([-3, 2.5, 0]), 127, "max") == 3


def divergence_by_hand(counts, last, levels):
    """KL(P || Q) for a threshold above bin ``last``, word by word as _divergences describes it."""
    n = last + 1
    p = [float(count) for count in counts[:n]]
    groups = {}
    for j in range(n):
        groups.setdefault(math.floor(levels * (j + 0.5) / n + 0.5), []).append(j)
    q = [0.0] * n
    for bins in groups.values():
        used = [j for j in bins if p[j] > 0]
        for j in used:
            q[j] = sum(p[i] for i in used) / len(used)
    p[last] += float(sum(counts[n:]))
    total_p, total_q = sum(p), sum(q)
    return sum(a / total_p * math.log((a / total_p) / (b / total_q)) for a, b in zip(p, q) if a > 0)


@pytest.mark.parametrize("levels", [3, 7, 16])
@pytest.mark.parametrize("kind", ["normal", "sparse", "uniform"])
def test_divergences_are_those_worked_out_by_hand(levels, kind):
    generator = np.random.default_rng([levels, len(kind)])
    counts = generator.integers(1, 50, 64)
    if kind == "normal":
        counts = np.histogram(np.abs(generator.standard_normal(5000)), 64)[0]
    elif kind == "sparse":
        counts = counts * (generator.random(64) < 0.3)
        counts[40] = 5
    found = histogram._divergences(counts, levels)
    for last in range(64):
        if counts[last] == 0 or last < levels:
            assert found[last] == np.inf
        else:
            assert found[last] == pytest.approx(divergence_by_hand(counts, last, levels), abs=1e-12)
    assert np.isfinite(found).sum() > 10


def test_entropy_of_known_distributions():
    """A uniform one loses by any clipping; a normal one with a far outlier gains by leaving that out."""
    generator = np.random.default_rng(8)
    uniform = generator.random(400_000)
    assert threshold(of_values(uniform), 127, "entropy") > 0.97
    normal = generator.standard_normal(400_000)
    clipped = threshold(of_values(np.append(normal, 40.0)), 127, "entropy")
    assert 2.5 < clipped < 8
    few = of_values([1.0, 2.0])  # fewer bins in use than quantized values: nothing is clipped
    assert threshold(few, 255, "entropy") == 2


# Calibration ------------------------------------------------------------------------------------------------------


def test_scales_are_those_of_the_layers_inputs(digits):
    """method max: the largest magnitude of each input, read out layer by layer, over its largest quantized value."""
    x = images(digits.variant, 11)
    seen = []
    found = calibrating.calibrate(digits, [x[:5], x[5:]], "max", report=seen.append)
    assert seen == [8, 11] and found.images == 11 and found.method == "max" and found.percentile is None
    sources = ("", "pool1", "pool2", "relu3", "relu4", "pool5", "relu6", "relu7")
    for name, source in zip(found.scales, sources):
        values = digits.taps(x, [source])[source] if source else x
        levels = QMAX_SIGNED if name == "conv1" else QMAX_UNSIGNED
        assert found.scales[name] == pytest.approx(float(np.abs(values).max()) / levels, rel=1e-6)


def test_methods_clip_less_than_max(digits):
    x = images(digits.variant, 8)
    scales = {method: calibrating.calibrate(digits, [x], method).scales for method in ("max", "percentile", "entropy")}
    wider = calibrating.calibrate(digits, [x], "percentile", 100).scales
    for name, largest in scales["max"].items():
        assert 0 < scales["percentile"][name] <= largest and 0 < scales["entropy"][name] <= largest
        assert wider[name] == pytest.approx(largest, rel=1e-3)
    assert scales["percentile"]["conv1"] < scales["max"]["conv1"]


def test_paths_and_batches_give_the_same_scales(digits):
    from pathlib import Path

    paths = sorted((Path(__file__).resolve().parents[2] / "examples" / "digits").glob("*.png"))
    from_paths = calibrating.calibrate(digits, paths)
    from_batch = calibrating.calibrate(digits, [digits.preprocess(paths)])
    mixed = calibrating.calibrate(digits, [digits.preprocess(paths[:3]), *paths[3:]])
    assert from_paths.scales == from_batch.scales == mixed.scales
    assert from_paths.images == from_batch.images == mixed.images == len(paths)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"method": "minmax"}, "method.*'minmax'"),
        ({"percentile": 0}, "percentile.*not 0"),
        ({"percentile": float("nan")}, "percentile.*not nan"),
        ({"percentile": True}, "percentile.*not True"),
        ({"images": []}, "no images"),
        ({"images": [np.full((1, 3, 131, 131), np.nan, np.float32)]}, "conv1.*NaN"),
        ({"images": ["no-such.png"]}, r"no-such\.png"),
    ],
)
def test_what_cannot_be_calibrated_is_one_sentence(digits, arguments, match):
    arguments = {"images": [images(digits.variant)], **arguments}
    with pytest.raises(UserError, match=match) as error:
        calibrating.calibrate(digits, **arguments)
    assert "\n" not in str(error.value)


def test_calibrations_as_text():
    found = Calibration({"conv1": 1 / 3, "fc6": 1e-7}, "percentile", 12, 99.99)
    assert from_json(found.to_json()) == found
    for text in (
        "",
        "[]",
        "{}",
        '{"scales": []}',
        '{"scales": {"conv1": 0}, "method": "max", "images": 1}',
        '{"scales": {"conv1": NaN}, "method": "max", "images": 1}',
        '{"scales": {"conv1": "1"}, "method": "max", "images": 1}',
        '{"scales": {"conv1": true}, "method": "max", "images": 1}',
        '{"scales": {}, "method": 3, "images": 1}',
        '{"scales": {}, "method": "max", "images": 1.5}',
        '{"scales": {}, "method": "max", "images": 1, "percentile": "x"}',
        '{"scales": {}, "method": "max", "images": 1, "more": 1}',
        "[" * 100_000,
    ):
        with pytest.raises(UserError, match="calibration"):
            from_json(text)


def test_a_calibration_must_be_for_the_network():
    row = variants.get("alexnet2012")
    scales = dict.fromkeys(signed_inputs(row.layers()), 0.5)
    assert scales_for(row, Calibration(scales, "max", 1)) == scales
    with pytest.raises(UserError, match="fastalex quantize.*--calibrate"):
        scales_for(row, None)
    for wrong in ({}, {"conv1": 1.0}, {**scales, "fc9": 1.0}):
        with pytest.raises(UserError, match="calibration.*layers"):
            scales_for(row, Calibration(wrong, "max", 1))


def test_scales_travel_in_the_layer_table():
    layers = VARIANTS["torchvision"].layers()
    scales = {name: 0.1 * (index + 1) / 3 for index, name in enumerate(signed_inputs(layers))}
    lines = layer_table(layers, scales).splitlines()
    assert [line.rpartition(" scale=")[0] for line in lines if "scale=" in line] == [
        line for line in layer_table(layers).splitlines() if line.split()[0] in ("conv", "fc")
    ]
    assert {line.split()[1][5:]: float(line.rpartition("scale=")[2]) for line in lines if "scale=" in line} == scales
    assert "scale=" not in layer_table(layers)


def test_int8_without_a_calibration_says_what_to_run():
    with pytest.raises(UserError, match="fastalex quantize.*--calibrate"):
        AlexNet(weights="digits", device="cpu", precision="int8")
    with pytest.raises(UserError, match=r"calibration.*\[1\]"):
        AlexNet(weights="digits", device="cpu", precision="int8", calibration=[1])
    with pytest.raises(UserError, match="'conv1'.*not -1"):
        AlexNet(weights="digits", device="cpu", precision="int8", calibration={"conv1": -1})


# Files ------------------------------------------------------------------------------------------------------------


def dequantized(row, arrays, storage):
    """Dequantized weights of a file of ``arrays``: int8 is rounded here in numpy, int4 by the engine."""
    expected = dict(arrays)
    for layer in row.layers():
        if layer.op != "fc":
            continue
        name = layer.param + ".weight"
        w = arrays[name]
        channels = layer.in_shape[0]
        ordered = w.reshape(len(w), channels, -1).transpose(0, 2, 1).reshape(w.shape)
        if storage == "int8":
            scale = np.abs(ordered).max(axis=1, keepdims=True) / np.float32(127)
            values = np.rint(ordered / scale).astype(np.float32) * scale
        else:
            levels, scale = _core.quantize_rows(np.ascontiguousarray(ordered), 3)
            values = np.empty_like(ordered)
            for i in range(ordered.shape[1]):
                level = (levels[:, i // 2] >> (4 * (i % 2)) & 15).astype(np.float32) - 8
                values[:, i] = level * scale[:, i // 128].astype(np.float32)
        expected[name] = values.reshape(len(w), -1, channels).transpose(0, 2, 1).reshape(w.shape)
    return expected


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("storage", ["int8", "int4"])
@pytest.mark.parametrize("name", ["alexnet2012", "torchvision"])
def test_a_quantized_file_has_the_levels_of_its_weights(tmp_path, name, storage, suffix):
    row = variants.get(name, **NARROW)
    arrays = initial.random_weights(row, seed=4)
    net = AlexNet(row, weights=arrays, device="cpu")
    path = tmp_path / ("net" + suffix)
    net.save(path, fc_weights=storage)
    loaded = weights.load(path)
    expected = dequantized(row, arrays, storage)
    assert list(loaded.variant().parameter_shapes()) == list(expected)
    for key, array in expected.items():
        got = loaded.arrays[key]
        assert isinstance(got, QuantizedWeight) == (got.ndim == 2)
        assert got.shape == array.shape
        np.testing.assert_array_equal(np.asarray(got), array)
    if suffix == ".safetensors":
        st = pytest.importorskip("safetensors.numpy")
        plain = st.load_file(path)  # any reader of the format works
        fc6 = next(layer for layer in row.layers() if layer.op == "fc").param + ".weight"
        assert plain[fc6].dtype == (np.int8 if storage == "int8" else np.uint8)
        assert plain[fc6 + ".scale"].dtype == (np.float32 if storage == "int8" else np.float16)
        np.testing.assert_array_equal(plain[fc6], loaded.arrays[fc6].quantized)


def test_a_quantized_file_is_loaded_as_it_is(tmp_path, monkeypatch):
    """Its storage is the default, the engine gets the file's quantized values, and the net computes with them."""
    row = variants.get("torchvision", **NARROW)
    net = AlexNet(row, weights=initial.random_weights(row, seed=4), device="cpu")
    path = tmp_path / "net.safetensors"
    net.save(path, fc_weights="int8")
    given = []
    real = _core.Net

    def spy(table, shape, params, *rest, **options):
        given.extend(params)
        return real(table, shape, params, *rest, **options)

    monkeypatch.setattr(_core, "Net", spy)
    again = AlexNet(weights=path, device="cpu")
    assert again.fc_weights == "int8" and again.precision == "fp32"
    pairs = [param for param in given if isinstance(param, tuple)]
    assert [len(pair) for pair in pairs] == [2, 2, 2]
    assert not any(array.flags.writeable for pair in pairs for array in pair)  # views of the mapping, not copies
    expected = dequantized(row, net.state_dict(), "int8")
    for key, array in again.state_dict().items():
        np.testing.assert_array_equal(array, expected[key])
    x = images(row)
    reference = AlexNet(row, weights=expected, device="naive")(x)
    assert np.abs(again(x) - reference).max() <= 96 * U * np.abs(reference).max()


@pytest.mark.parametrize("storage", ["int8", "int4"])
def test_another_storage_dequantizes(tmp_path, storage):
    row = variants.get("alexnet-digits")
    net = AlexNet(weights="digits", device="cpu")
    path = tmp_path / "net.safetensors"
    net.save(path, fc_weights=storage)
    expected = dequantized(row, net.state_dict(), storage)
    for device in ("cpu", "naive"):
        plain = AlexNet(weights=path, device=device, fc_weights="fp32")
        assert plain.labels == net.labels and plain.trained
        for key, array in plain.state_dict().items():
            np.testing.assert_array_equal(array, expected[key])
    assert AlexNet(weights=path, device="naive").fc_weights == "fp32"  # it has no other storage


def test_saving_again_keeps_the_quantized_values(tmp_path):
    """A net from the file, from arrays in int8, and from its state dict: the same file each time."""
    first, second, third = (tmp_path / (f"{i}.safetensors") for i in range(3))
    AlexNet(weights="digits", device="cpu").save(first, fc_weights="int8")
    AlexNet(weights=first, device="cpu").save(second, fc_weights="int8")
    AlexNet(weights="digits", device="cpu", fc_weights="int8").save(third, fc_weights="int8")
    assert first.read_bytes() == second.read_bytes() == third.read_bytes()


def any_values(row, storage, seed=0):
    """Quantized weights that no quantizer would make: any level, and scales of every size."""
    generator = np.random.default_rng(seed)
    arrays = initial.random_weights(row)
    for name, channels in quantized.fc_channels(row).items():
        out, inputs = arrays[name].shape
        if storage == "int8":
            values = generator.integers(-128, 128, (out, inputs)).astype(np.int8)
            scale = (10.0 ** generator.uniform(-44, 30, out)).astype(np.float32)
        else:
            values = generator.integers(0, 256, (out, (inputs + 1) // 2)).astype(np.uint8)
            values[:, -1] = (values[:, -1] & 15) | 0x80 if inputs % 2 else values[:, -1]
            bits = generator.integers(0, 0x7C00, (out, (inputs + 127) // 128)) | generator.integers(0, 2) << 15
            scale = bits.astype(np.uint16).view(np.float16)
        arrays[name] = quantized.QuantizedWeight(values, scale, (out, inputs), channels)
    return arrays


@pytest.mark.parametrize("layout", ["latency", "throughput"])
@pytest.mark.parametrize("storage", ["int8", "int4"])
@pytest.mark.parametrize("last", [7, 64, 135])
def test_the_engine_returns_the_values_it_was_given(storage, layout, last):
    row = variants.get("alexnet2012", **dict(NARROW, widths=(8, 16, 24, 16, 16, last, 2 * last)))
    arrays = any_values(row, storage, last)
    net = AlexNet(row, weights=arrays, device="cpu", fc_weights=storage, fc_layout=layout)
    kept = net._parameters_for(storage)
    for name in quantized.fc_channels(row):
        np.testing.assert_array_equal(kept[name].quantized, arrays[name].quantized)
        assert kept[name].scale.tobytes() == arrays[name].scale.tobytes()
        np.testing.assert_array_equal(np.asarray(kept[name]), net.state_dict()[name])


@pytest.mark.emulator
@pytest.mark.usefixtures("emulated_tensorrt")
@pytest.mark.parametrize("device", [emulated.BACKEND, emulated.TENSORRT])
@pytest.mark.parametrize("storage", ["int8", "int4"])
@pytest.mark.parametrize("channels", [16, 12])
def test_gpus_return_the_values_they_were_given(device, storage, channels):
    """Unless pixels are padded, whose int4 groups are others in memory: those are quantized once more."""
    row = variants.get("alexnet2012", **dict(NARROW, widths=(8, 16, 24, 16, channels, 35, 29)))
    arrays = any_values(row, storage)
    net = AlexNet(row, weights=arrays, device=device, fc_weights=storage)
    kept = net._parameters_for(storage)
    for name, inputs in quantized.fc_channels(row).items():
        expected = arrays[name]
        if (storage, inputs, device) == ("int4", 12, emulated.BACKEND):
            expected = quantized.quantize(net.state_dict()[name], storage, inputs)
        np.testing.assert_array_equal(kept[name].quantized, expected.quantized)
        assert kept[name].scale.tobytes() == expected.scale.tobytes()


def test_a_calibration_is_saved_with_the_weights(tmp_path, digits):
    found = calibrating.calibrate(digits, [images(digits.variant)])
    net = AlexNet(weights="digits", device="cpu", calibration=found)
    for storage in ("fp32", "int8"):
        path = tmp_path / (storage + ".safetensors")
        net.save(path, fc_weights=storage)
        again = AlexNet(weights=path, device="cpu")
        assert again.calibration == found
        mine = dict.fromkeys(found.scales, 1.0)
        assert AlexNet(weights=path, device="cpu", calibration=mine).calibration.scales == mine


def test_a_weight_that_cannot_be_quantized_is_not_written(tmp_path):
    arrays = initial.random_weights("alexnet-digits")
    arrays["fc7.weight"][0, 0] = np.nan
    net = AlexNet("alexnet-digits", weights=arrays, device="cpu")
    with pytest.raises(UserError, match=r"fc7\.weight.*int8.*NaN"):
        net.save(tmp_path / "net.safetensors", fc_weights="int8")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="fc_weights.*'fp16'"):
        net.save(tmp_path / "net.safetensors", fc_weights="fp16")


def rewritten(path, change):
    """The file with its header changed by ``change(header)``, the data as it was."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def metadata(**values):
    def change(header):
        for key, value in values.items():
            key = "fastalex." + key
            if value is None:
                del header["__metadata__"][key]
            else:
                header["__metadata__"][key] = value

    return change


def retyped(name, kind, shape):
    def change(header):
        header[name].update(dtype=kind, shape=shape)

    return change


def renamed(old, new):
    def change(header):
        header[new] = header.pop(old)

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (metadata(quantized="2"), "format '2'"),
        (metadata(quantized=None), "format None"),
        (metadata(fc_storage="int2"), "'int2'"),
        (metadata(fc_storage=None), "None, not as int8"),
        (metadata(fc_storage="int4"), r"fc6\.weight.*uint8 \(192, 288\)"),
        (metadata(variant=None), "no variant"),
        (metadata(variant="{}"), "variant.*not valid"),
        (metadata(calibration="{}"), "calibration.*not valid"),
        (retyped("fc6.weight", "U8", [192, 576]), r"fc6\.weight.*uint8 \(192, 576\)"),
        (retyped("fc6.weight", "I8", [576, 192]), r"fc6\.weight.*\(576, 192\)"),
        (retyped("fc8.weight.scale", "I32", [10]), r"fc8\.weight\.scale.*int32"),
        (retyped("fc8.weight.scale", "F16", [20]), r"fc8\.weight\.scale.*float16"),
        (renamed("fc7.weight.scale", "fc7.scale"), r"lacks.*fc7\.weight\.scale"),
        (renamed("fc7.weight", "fc9.weight"), r"lacks.*fc7\.weight'"),
    ],
)
def test_a_wrong_quantized_file_is_one_sentence(tmp_path, digits, change, match):
    path = tmp_path / "net.safetensors"
    net = AlexNet(weights="digits", device="cpu", calibration=calibrating.calibrate(digits, [images(digits.variant)]))
    net.save(path, fc_weights="int8")
    rewritten(path, change)
    with pytest.raises(UserError, match=match) as error:
        AlexNet(weights=path, device="cpu")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_scale_that_is_no_number_goes_through_as_nan(tmp_path):
    """Loading does not check values, quantized or not."""
    path = tmp_path / "net.safetensors"
    AlexNet(weights="digits", device="cpu").save(path, fc_weights="int8")
    loaded = weights.load(path)
    scale = loaded.arrays["fc8.weight"].scale.copy()
    scale[:] = np.nan
    broken = dict(loaded.arrays)
    old = broken["fc8.weight"]
    broken["fc8.weight"] = QuantizedWeight(old.quantized, scale, old.shape, old.channels)
    net = AlexNet("alexnet-digits", weights=broken, device="cpu", fc_weights="fp32")
    assert np.isnan(net(images(net.variant))).all()


@pytest.mark.slow
def test_loading_lets_go_of_the_files_pages(tmp_path):
    """Once the net exists, hardly any page of the mapped file counts as memory of the process."""
    path = tmp_path / "net.safetensors"
    row = variants.get("torchvision")
    AlexNet(row, device="cpu", weights="random").save(path, fc_weights="int8")
    program = (
        "import sys\nfrom fastalex import AlexNet\nnet = AlexNet(weights=sys.argv[1], device='cpu', threads=1)\n"
        "kb, inside = 0, False\n"
        "for line in open('/proc/self/smaps'):\n"
        "    if '-' in line.split()[0] and ':' not in line.split()[0]: inside = line.rstrip().endswith(sys.argv[1])\n"
        "    elif inside and line.startswith('Rss:'): kb += int(line.split()[1])\n"
        "print(kb)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1024


def test_copying_out_of_a_mapped_file_keeps_little_of_it(tmp_path):
    """The peak while 60 MB are copied, row by row: the copy, and a part of the file."""
    path = tmp_path / "net.safetensors"
    weights.save(path, {"a": np.ones((60, 1 << 20), np.int8)})
    program = (
        "import sys, time\nimport numpy as np\nfrom fastalex import weights\n"
        "from fastalex.weights.readers import mapped\n"
        "arrays = weights.load(sys.argv[1]).arrays\ncopy = np.empty_like(arrays['a'])\n"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\nbefore = peak()\n"
        "with mapped.reading_once(arrays.values()):\n"
        "    for row in range(60):\n        copy[row] = arrays['a'][row]\n        time.sleep(0.002)\n"
        "print(peak() - before)\n"
        "assert copy.sum() == copy.size and arrays['a'].sum() == copy.size"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert 58 * 1024 < int(done.stdout) < 95 * 1024


# The command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Images in a folder and below it, one of them damaged, and a file that is not an image."""
    place = tmp_path / "images"
    (place / "deeper").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(5):
        pixels = generator.integers(0, 256, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / ("deeper" if index % 2 else "") / (f"{index}.png"))
    (place / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (place / "notes.txt").write_text("no image")
    return place


def run(capsys, *words):
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_quantize_writes_quantized_values_and_a_calibration(capsys, tmp_path, folder, digits):
    out = tmp_path / "out.safetensors"
    code, text, complaint = run(capsys, "quantize", "digits", out, "--calibrate", folder, "--json")
    assert code == 0
    assert "skipped 1 of 6 images" in complaint and "broken.jpg" in complaint
    facts = json.loads(text)
    assert facts["calibration"]["images"] == 5 and facts["calibration"]["skipped"] == 1
    assert facts["fc_weights"] == "int8" and facts["bytes"] == out.stat().st_size
    good = sorted(folder.rglob("*.png"))
    assert calibrating.calibrate(digits, good).scales == facts["calibration"]["scales"]
    net = AlexNet(weights=out, device="cpu")
    assert net.fc_weights == "int8" and net.labels == digits.labels
    assert net.calibration.scales == facts["calibration"]["scales"]
    expected = dequantized(net.variant, digits.state_dict(), "int8")
    for key, array in net.state_dict().items():
        np.testing.assert_array_equal(array, expected[key])
    metadata = weights.load(out).metadata
    assert set(weights.load_named("digits").metadata) <= set(metadata)  # source and license stay


def test_quantize_without_images_and_in_other_storages(capsys, tmp_path, folder):
    eight, four, plain = (tmp_path / (name + ".safetensors") for name in ("eight", "four", "plain"))
    code, text, complaint = run(capsys, "quantize", "digits", eight, "--calibrate", folder, "--method", "entropy")
    assert code == 0 and "Calibration: entropy, 5 images" in text
    calibration = weights.load(eight).calibration()
    code, text, complaint = run(capsys, "quantize", "digits", four, "--fc-weights", "int4")
    assert (code, complaint) == (0, "") and "no calibration" in text
    assert four.stat().st_size < eight.stat().st_size
    code, text, complaint = run(capsys, "quantize", eight, plain, "--fc-weights", "fp32")
    assert code == 0
    loaded = weights.load(plain)
    assert loaded.calibration() == calibration and quantized.storage_of(loaded.arrays) is None
    same = tmp_path / "same.safetensors"
    assert run(capsys, "quantize", eight, same)[0] == 0
    assert same.read_bytes() == eight.read_bytes()
    code, text, complaint = run(capsys, "convert", eight, tmp_path / "float.npz")
    assert code == 0
    np.testing.assert_array_equal(
        weights.load(tmp_path / "float.npz").arrays["fc6.weight"], np.asarray(loaded.arrays["fc6.weight"])
    )


def test_quantize_looks_at_images_of_every_folder(capsys, tmp_path):
    for name in "abcd":
        (tmp_path / name).mkdir()
        for index in range(6):
            Image.new("RGB", (8, 8), (40 * index, 0, 0)).save(tmp_path / name / (f"{index}.png"))
    from fastalex.cli import quantize
    from fastalex.images import listing

    chosen = quantize._spread(listing.below(str(tmp_path)), 4)
    assert [path.split("/")[-2] for path in chosen] == list("abcd")
    out = tmp_path / "out.safetensors"
    code, text, _ = run(capsys, "quantize", "digits", out, "--calibrate", tmp_path, "--images", 4, "--json")
    assert code == 0 and json.loads(text)["calibration"]["images"] == 4


@pytest.mark.parametrize(
    ("words", "keyword"),
    [
        (["digits", "out.png"], "out.png"),
        (["digits", "out.safetensors", "--fc-weights", "int2"], "'int2'"),
        (["digits", "out.safetensors", "--method", "mse"], "'mse'"),
        (["digits", "out.safetensors", "--percentile", "99"], "--percentile"),
        (["digits", "out.safetensors", "--calibrate", "none"], "'none'"),
        (["digits", "out.safetensors", "--calibrate", "empty"], "'empty'"),
        (["digits", "out.safetensors", "--calibrate", "bad"], "2 images in 'bad'"),
        (["digits", "out.safetensors", "--calibrate", "bad", "--profile", "x"], "profile 'x'"),
        (["digits", "out.safetensors", "--calibrate", "bad", "--percentile", "101"], "not 101"),
        (["nothing", "out.safetensors"], "weights file nothing"),
        (["digits", "out.safetensors", "--images", "0"], "--images"),
        (["digits", "no/such/out.safetensors"], "no/such/out.safetensors"),
    ],
)
def test_mistakes_of_quantize_are_one_sentence(capsys, tmp_path, monkeypatch, words, keyword):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    for name in ("1.png", "2.jpg"):
        (tmp_path / "bad" / name).write_bytes(b"nothing")
    code, out, complaint = run(capsys, "quantize", *words)
    assert code == 2 and out == "" and complaint.count("\n") == 1
    assert keyword in complaint
    assert not (tmp_path / "out.safetensors").exists()
