"""``fastalex export``: ONNX files by onnxruntime, engines by the emulated TensorRT."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from fastalex import AlexNet, variants, weights
from fastalex.cli.main import main
from fastalex.errors import UserError
from fastalex.weights import adapt, initial
from tests.support import left

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.peers

U = 2.0**-24
NARROW = {"widths": (16, 32, 48, 48, 32, 64, 64), "num_classes": 7}
LABELS = ["one", "two", "three", "four", "five", "six", "seven"]


def saved(folder, name, **overrides):
    """A weights file of a narrow network, and the network on the naive backend."""
    row = variants.get(name, **{**NARROW, **overrides})
    net = AlexNet(row, weights=initial.random_weights(row, seed=2), device="naive")
    path = folder / "net.safetensors"
    weights.save(path, net.state_dict(), weights.metadata_for(row, LABELS))
    return path, row, AlexNet(weights=path, device="naive")


def images(row, batch):
    shape = (batch, row.channels, row.input_size, row.input_size)
    return np.random.default_rng(5).standard_normal(shape, dtype=np.float32)


def run(path, x):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def close(got, expected):
    """fp32 against double: eight layers of sums of at most 1200 products here, 2^-24 * sqrt(1200) = 35 u each."""
    assert np.abs(expected).max() > 1e-3
    assert np.abs(got - expected).max() <= 8 * 35 * U * np.abs(expected).max()


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_every_variant_in_onnxruntime_and_back(tmp_path, name):
    path, row, net = saved(tmp_path, name)
    out = tmp_path / "net.onnx"
    assert main(["export", str(path), str(out), "--batch", "any"]) == 0
    for batch in (1, 3):
        close(run(out, images(row, batch)), net(images(row, batch)))
    loaded = weights.load(out)
    assert adapt.find(loaded).variant == row
    assert loaded.labels() == LABELS
    assert list(net.state_dict()) == list(AlexNet(weights=out, device="naive").state_dict())
    for key, array in AlexNet(weights=out, device="naive").state_dict().items():
        assert np.array_equal(array, net.state_dict()[key])


@pytest.mark.parametrize("name", ["torchvision", "bvlc_alexnet"])
def test_an_activation_for_each_layer_in_onnxruntime_and_back(tmp_path, name):
    words = ("relu", "leaky_relu(0.3)", "tanh", "sigmoid", "leaky_relu", "none", "sigmoid")
    path, row, net = saved(tmp_path, name, activation=words, output="sigmoid")
    out = tmp_path / "net.onnx"
    assert (
        main(["export", str(path), str(out), "--batch", "any", "--softmax"]) == 0
    )  # the network still ends in its sigmoid
    x = images(row, 3)
    close(run(out, x), net(x))
    found = adapt.find(weights.load(out)).variant
    assert (found.activation, found.output) == (words, "sigmoid")
    np.testing.assert_array_equal(net.predict_proba(x), net(x))
    np.testing.assert_array_equal(net.taps(x, ["prob"])["prob"], net(x))


@pytest.mark.parametrize("size", [63, 100, 225])
def test_other_sizes_of_the_input(tmp_path, size):
    """The adaptive pool at sizes where its windows overlap, repeat, and differ."""
    path, row, _ = saved(tmp_path, "torchvision")
    out = tmp_path / "net.onnx"
    assert main(["export", str(path), str(out), "--input-size", str(size)]) == 0
    x = images(variants.get(row, input_size=size), 1)
    close(run(out, x), AlexNet(weights=path, device="naive")(x))
    assert adapt.find(weights.load(out)).variant.input_size == size


def test_standard_operators_and_what_is_written(tmp_path, capsys):
    path, row, net = saved(tmp_path, "alexnet2012-original")
    out = tmp_path / "net.onnx"
    assert main(["export", str(path), str(out), "--batch", "2", "--softmax", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["variant"], facts["to"], facts["batch"]) == (row.name, "onnx", 2)
    assert facts["bytes"] == out.stat().st_size
    model = onnx.load(str(out))
    assert [one.domain for one in model.opset_import] == [""]
    assert {node.domain for node in model.graph.node} == {""}
    assert [value.name for value in model.graph.output] == ["prob"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2
    onnx.checker.check_model(model, full_check=True)
    got = run(out, images(row, 2))
    close(got, net.predict_proba(images(row, 2)))
    assert np.abs(got.sum(axis=1) - 1).max() < 1e-5


def test_quantized_weights_are_written_as_float32(tmp_path):
    _, row, net = saved(tmp_path, "alexnet2012")
    packed, out = tmp_path / "packed.safetensors", tmp_path / "net.onnx"
    net.save(packed, fc_weights="int8")
    assert main(["export", str(packed), str(out)]) == 0
    quantized = AlexNet(weights=packed, device="cpu", fc_weights="int8")
    close(run(out, images(row, 1)), AlexNet(row, weights=quantized.state_dict(), device="naive")(images(row, 1)))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["digits", "{}/net.bin"], "--to onnx"),
        (["digits", "{}/net.onnx", "--precision", "fp16"], "--precision"),
        (["digits", "{}/net.onnx", "--fc-weights", "int8"], "--fc-weights"),
        (["digits", "{}/net.onnx", "--engine", "native"], "--engine"),
        (["digits", "{}/net.onnx", "--batch", "0"], "not '0'"),
        (["digits", "{}/net.onnx", "--input-size", "64"], "64 x 64"),
        (["digits", "{}/no/net.onnx"], "no/net.onnx"),
        (["digits", "{}/net.engine", "--batch", "any"], "largest batch"),
        (["digits", "{}/net.engine"], "no tensorrt library"),
        (["digits", "{}/net.engine", "--device", "cpu"], "no engines"),
        (["digits", "{}/net.engine", "--labels", "x"], "class names"),
        (["{}/none.pth", "{}/net.onnx"], "none.pth"),
    ],
)
def test_mistakes_are_one_sentence_and_no_file(tmp_path, capsys, arguments, word):
    assert main(["export", *(one.format(tmp_path) for one in arguments)]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_is_removed(tmp_path):
    target = tmp_path / "net.onnx"
    left.beside(target)
    assert main(["export", "digits", str(target)]) == 0
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_the_file_that_was_there(tmp_path):
    from fastalex._util import files

    target = tmp_path / "net.onnx"
    target.write_bytes(b"before")

    def write():
        with files.replacing(target) as stream:
            stream.write(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"net\.onnx.*No space left"):
        write()
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("harm", ["cut", "cut within the last page", "overwrite"])
def test_a_file_that_is_harmed_during_the_export(tmp_path, harm):
    """In a process of its own: it ended by a signal, or exported other weights."""
    path, target = tmp_path / "net.safetensors", tmp_path / "net.onnx"
    AlexNet(variants.get("caffenet", **NARROW), device="naive").save(path)
    code = (
        "import os, sys\nfrom fastalex.cli import main\nfrom fastalex.weights import adapt\n"
        "from fastalex.weights.readers import mapped\nmapped.SMALL = mapped.SMALL_ARRAY = 0\n"
        "path, target, harm = sys.argv[1:]\nfit = adapt.fit\n"
        "def harmed(*given):\n"
        "    found = fit(*given)\n"
        "    size = {'cut': 100, 'overwrite': None}.get(harm, os.path.getsize(path) - 1)\n"
        "    if size is None:\n"
        "        with open(path, 'r+b') as stream: stream.seek(-1, 2); stream.write(b'x')\n"
        "    else:\n        os.truncate(path, size)\n"
        "    return found\n"
        "adapt.fit = harmed\nsys.exit(main.main(['export', path, target]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path, target, harm], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "net.safetensors was " + ("changed" if harm == "overwrite" else "cut short") in done.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_an_engine_for_other_programs(tmp_path, emulated_tensorrt, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "digits.plan"
    arguments = ["export", "digits", str(out), "--device", emulated_tensorrt.TENSORRT, "--batch", "3"]
    with emulated_tensorrt.pretend("rtx30"):
        assert main([*arguments, "--precision", "fp16", "--fc-weights", "int4"]) == 0
        assert "engine, variant alexnet-digits, batch 3" in capsys.readouterr().out
        (cached,) = (tmp_path / "cache" / "fastalex" / "engines").glob("*.engine")
        # The cached file is the engine behind a header; the exported file is the engine alone.
        assert cached.read_bytes().endswith(out.read_bytes())
        assert cached.stat().st_size > out.stat().st_size
        assert main([*arguments[:2], str(tmp_path / "no" / "x.plan"), *arguments[3:]]) == 2
        assert "no/x.plan" in capsys.readouterr().err
