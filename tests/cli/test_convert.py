"""``fastalex convert``: any format in, the variant with it, the same network out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastalex import AlexNet, variants, weights
from fastalex.cli.main import main
from fastalex.errors import UserError
from fastalex.weights import initial

pytest.importorskip("torch")
pytest.importorskip("onnx")
from fastalex.networks.onnx_export import graph_of
from tests.support import file_writers

pytestmark = pytest.mark.peers

WIDTHS = (16, 32, 48, 48, 32, 64, 64)


def inputs(folder):
    """Suffix -> (path, row, arrays) of the same kind of network in each format."""
    import torch

    made = {}
    for suffix, name in (
        (".pth", "torchvision"),
        (".tar", "torchvision"),
        (".caffemodel", "caffenet"),
        (".onnx", "owt"),
        (".npz", "torchvision"),
        (".safetensors", "torchvision"),
    ):
        row = variants.get(name, widths=WIDTHS, num_classes=3)
        arrays = initial.random_weights(row, seed=4)
        path = folder / ("in" + suffix)
        if suffix in weights.FORMATS:
            weights.save(path, arrays)
        elif suffix == ".onnx":
            path.write_bytes(graph_of(row, arrays).SerializeToString())
        elif suffix == ".caffemodel":
            path.write_bytes(file_writers.caffemodel_bytes(row, arrays))
        else:
            tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
            data = file_writers.tar_bytes(tensors) if suffix == ".tar" else file_writers.torch_bytes(tensors, "zip")
            path.write_bytes(data)
        made[suffix] = (path, row, arrays)
    return made


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_class_name_that_no_load_would_take(tmp_path, capsys):
    """Up to the limit it is written, and read again."""
    path, row, _ = inputs(tmp_path)[".safetensors"]
    names, out = tmp_path / "names.txt", tmp_path / "out.safetensors"
    for length in (weights.MAX_LABEL, weights.MAX_LABEL + 1):
        names.write_text(f"cat\n{'x' * length}\nbird\n")
        code, _, err = run(capsys, "convert", path, out, "--labels", names)
        if length == weights.MAX_LABEL:
            assert code == 0
            assert weights.load(out).labels() == ["cat", "x" * length, "bird"]
            out.unlink()
    assert code == 2
    assert f"line 2 of '{names}' has 1001 characters, more than 1000; shorten it" in err
    assert err.count("\n") == 1
    assert not out.exists()
    with pytest.raises(UserError, match="the network has a class name of 1001 characters, more than 1000; shorten it"):
        weights.metadata_for(row, ["x" * 1001])
    with pytest.raises(UserError, match="the network has class names that are not text"):
        weights.metadata_for(row, [1])


@pytest.mark.parametrize("command", ["convert", "quantize", "export"])
def test_the_name_of_the_output_is_one_line(tmp_path, capsys, command):
    path, _, _ = inputs(tmp_path)[".safetensors"]
    (tmp_path / "a\nb").mkdir()
    code, said, err = run(capsys, command, path, tmp_path / "a\nb" / ("out.onnx" if command == "export" else "out.npz"))
    assert (code, err) == (0, "")
    assert said.splitlines()[0].startswith(f"{tmp_path}/a b/out.")
    assert said.count("\n") == 1


@pytest.mark.parametrize("suffix", [".pth", ".tar", ".caffemodel", ".onnx", ".npz", ".safetensors"])
@pytest.mark.parametrize("target", [".safetensors", ".npz"])
def test_every_format(tmp_path, capsys, suffix, target):
    path, row, arrays = inputs(tmp_path)[suffix]
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\nbird\n")
    out = tmp_path / ("out" + target)
    code, said, err = run(capsys, "convert", path, out, "--labels", names)
    assert (code, err) == (0, "")
    assert f"variant {row.name}" in said
    assert "3 classes" in said
    loaded = weights.load(out)
    assert loaded.variant() == row
    assert loaded.labels() == ["cat", "dog", "bird"]
    assert set(loaded.arrays) == set(row.parameter_shapes())
    for key, array in arrays.items():
        assert np.array_equal(loaded.arrays[key], array)
    x = np.random.default_rng(0).standard_normal((1, 3, row.input_size, row.input_size), dtype=np.float32)
    np.testing.assert_array_equal(AlexNet(weights=out)(x), AlexNet(weights=path)(x))


@pytest.mark.slow
def test_the_variant_may_be_chosen_and_is_checked(tmp_path, capsys):
    row = variants.get("alexnet2012", num_classes=3, widths=(96, 256, 384, 384, 256, 4096, 4096))
    small = {name: np.zeros(shape, np.float32) for name, shape in row.parameter_shapes().items() if "fc6" not in name}
    path = tmp_path / "in.npz"
    weights.save(path, dict(small, **{"fc6.weight": np.zeros((4096, 9216), np.float16), "fc6.bias": np.zeros(4096)}))
    out = tmp_path / "out.safetensors"
    code, said, _ = run(capsys, "convert", path, out, "--json")
    facts = json.loads(said)
    assert (code, facts["variant"], facts["num_classes"]) == (0, "alexnet2012", 3)
    assert "assumed" in facts["how"]
    code, said, _ = run(capsys, "convert", path, out, "--variant", "caffenet", "--json")
    assert (code, json.loads(said)["variant"]) == (0, "caffenet")
    assert weights.load(out).variant() == variants.get("caffenet", num_classes=3)
    code, _, err = run(capsys, "convert", path, out, "--num-classes", "10")
    assert code == 2
    assert "num_classes=3" in err or "10" in err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["digits", "out.pth"], "out.pth"),
        (["nothing.pth", "out.npz"], "nothing.pth"),
        (["digits", "out.npz", "--variant", "alexnet2013"], "'alexnet2013'"),
        (["digits", "no/such/folder/out.npz"], "no/such/folder/out.npz"),
        (["digits"], "OUT"),
    ],
)
def test_mistakes_are_one_sentence(capsys, tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "convert", *arguments)
    assert (code, out) == (2, "")
    assert word in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_converting_a_file_onto_itself(capsys, tmp_path):
    path = tmp_path / "net.safetensors"
    assert run(capsys, "convert", "digits", path)[0] == 0
    before = weights.load(path)
    assert run(capsys, "convert", path, path)[0] == 0
    after = weights.load(path)
    assert after.metadata == before.metadata == weights.load(weights.bundled("digits")).metadata
    for name, array in before.arrays.items():
        assert np.array_equal(after.arrays[name], array)


def test_an_onnx_file_has_a_name_for_each_layer():
    row = variants.get("caffenet", blocks=("conv act pool act", *variants.get("caffenet").blocks[1:]))
    with pytest.raises(UserError, match="two layers named relu1"):
        graph_of(row, {})
