"""The network that ships with the package, the images in examples/digits, and the script that made both."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastalex import images, variants, weights
from fastalex.errors import UserError
from fastalex.weights import initial

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "examples" / "digits"


@pytest.fixture(scope="module")
def bundled():
    return weights.load(weights.bundled("digits"))


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("sklearn")
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("digits_example", ROOT / "examples" / "train_digits.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(script):
    gray, labels = script.load_images()
    _, held_out = script.held_out_split(labels)
    return {"held": gray[held_out], "held_labels": labels[held_out]}


@pytest.fixture(scope="module")
def expected(script, data, bundled):
    """Logits of the PyTorch reference on the held-out part."""
    model = script.torch_reference.build(bundled.variant())
    script.torch_reference.load(model, bundled.arrays)
    return script.all_logits(script.torch_logits(model, bundled.variant()), data["held"])


def test_bundled_file_is_small_and_fits_its_variant(bundled):
    assert weights.bundled("digits").stat().st_size < 3 << 20
    row = variants.get("alexnet-digits")
    assert bundled.variant() == row
    assert all(array.dtype == np.float32 for array in bundled.arrays.values())
    assert len(initial.check(row, bundled.arrays)) == len(row.parameter_shapes())
    assert all(np.isfinite(array).all() for array in bundled.arrays.values())


def test_bundled_metadata_is_complete(bundled):
    assert bundled.labels() == [str(digit) for digit in range(10)]
    assert "doi.org/10.24432/C50P49" in bundled.metadata["data.source"]
    assert "CC BY 4.0" in bundled.metadata["data.licence"]
    assert re.search(r"40 epochs, seed 0, .*held-out accuracy \d+\.\d\d%", bundled.metadata["training"])


def test_training_log_is_of_the_bundled_file(bundled):
    log = (ROOT / "examples" / "train_digits.log.txt").read_text(encoding="utf-8")
    epochs = re.findall(r"epoch +(\d+) of 40 .*held-out accuracy +(\d+\.\d\d)%", log)
    assert [int(number) for number, _ in epochs] == list(range(1, 41))
    assert bundled.metadata["training"].endswith(
        f"held-out accuracy {epochs[-1][1]}%"
    )  # the weights are those of the last epoch
    assert f"{weights.bundled('digits').stat().st_size} bytes" in log


@pytest.mark.peers
def test_accuracy_on_the_held_out_part(expected, data, bundled):
    accuracy = float(np.mean(expected.argmax(1) == data["held_labels"]))
    assert len(expected) == 359
    assert accuracy >= 0.98
    stated = float(re.search(r"held-out accuracy (\d+\.\d\d)%", bundled.metadata["training"]).group(1))
    assert abs(stated / 100 - accuracy) < 1.5 / 359  # one image is a near tie, which rounding may turn


@pytest.mark.peers
def test_images_count(script):
    gray, labels = script.load_images()
    assert gray.shape == (1797, 8, 8)
    assert gray.dtype == np.uint8
    assert (gray.min(), gray.max()) == (0, 255)
    assert sorted(set(labels)) == list(range(10))


@pytest.mark.peers
def test_split_is_fixed_stratified_and_disjoint(script):
    _, labels = script.load_images()
    training, held_out = script.held_out_split(labels)
    assert sorted([*training, *held_out]) == list(range(1797))
    for digit in range(10):
        assert np.sum(labels[held_out] == digit) == round(0.2 * np.sum(labels == digit))
    again = script.held_out_split(labels)
    assert np.array_equal(training, again[0])
    assert np.array_equal(held_out, again[1])
    assert not np.array_equal(held_out, np.arange(len(held_out)))


@pytest.mark.peers
def test_samples_are_held_out_images(script):
    gray, labels = script.load_images()
    training, held_out = script.held_out_split(labels)
    files = sorted(SAMPLES.glob("*.png"))
    digits = []
    for path in files:
        digit, index = map(int, re.fullmatch(r"digit-(\d)-sample-(\d{4})\.png", path.name).groups())
        assert index in held_out
        assert index not in training
        assert labels[index] == digit
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("L", (8, 8))
            assert np.array_equal(np.asarray(image), gray[index])
        digits.append(digit)
    assert digits == sorted(list(range(10)) * 2)


@pytest.mark.peers
def test_samples_are_what_the_script_writes(script, tmp_path):
    assert script.main(["--write-samples", str(tmp_path / "new")]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(p.name for p in SAMPLES.glob("*.png"))


@pytest.mark.peers
def test_a_sample_file_and_the_training_data_go_through_the_same_preprocessing(script):
    gray, _ = script.load_images()
    row = variants.get("alexnet-digits")
    path = sorted(SAMPLES.glob("*.png"))[5]
    index = int(path.stem[-4:])
    from_file = images.preprocess([str(path)], row.profile, row.input_size)
    assert from_file.shape == (1, 3, 131, 131)
    assert np.array_equal(from_file, script.prepare(gray[index : index + 1], row))
    by_hand = np.asarray(Image.fromarray(gray[index]).resize((131, 131), Image.BILINEAR), np.float32)
    assert np.allclose(from_file[0, 0], (by_hand / 255 - 0.5) / 0.5, atol=1e-6)


@pytest.mark.peers
def test_augmentation_keeps_black_outside_and_the_shape(script):
    import torch

    torch.manual_seed(0)
    black = torch.full((1, 3, 9, 9), -1.0)
    batch = black.repeat(4, 1, 1, 1)
    assert torch.allclose(script.augment(batch, black), batch)
    batch[:, :, 3:6, 3:6] = 1
    moved = script.augment(batch, black)
    assert moved.shape == batch.shape
    assert moved.min() >= -1 - 1e-5
    assert moved.max() <= 1 + 1e-5
    assert not torch.allclose(moved[0], moved[1])


@pytest.mark.slow
@pytest.mark.peers
def test_script_trains_saves_and_starts_from_what_it_saved(script, tmp_path, capsys):
    out, log = tmp_path / "out.npz", tmp_path / "log.txt"
    quick = ["--limit", "16", "--epochs", "1", "--batch", "8", "--threads", "1", "--output", str(out)]
    assert script.main([*quick, "--log", str(log)]) == 0
    first = weights.load(out)
    assert first.variant().num_classes == 10
    assert "epoch   1 of 1" in log.read_text(encoding="utf-8")
    assert "PyTorch          held-out accuracy" in capsys.readouterr().out

    other = initial.random_weights(variants.get("alexnet-digits", num_classes=3), 1)
    start = tmp_path / "three-classes.safetensors"
    weights.save(start, other)
    row = variants.get("alexnet-digits")
    arrays = script.start_arrays(row, str(start), 0)
    assert np.array_equal(arrays["conv1.weight"], other["conv1.weight"])
    assert arrays["fc8.weight"].shape == (10, 192)
    assert "'fc8.weight' has 3 classes and starts afresh" in capsys.readouterr().out


@pytest.mark.peers
def test_script_turns_mistakes_into_one_sentence(script, tmp_path, capsys):
    assert script.main(["--evaluate", str(tmp_path / "none.npz")]) == 2
    assert "none.npz" in capsys.readouterr().err
    unnamed = tmp_path / "unnamed.npz"
    weights.save(unnamed, {"a": np.ones(3)})
    assert script.main(["--evaluate", str(unnamed)]) == 2
    assert "its variant" in capsys.readouterr().err
    assert script.main(["--variant", "vgg", "--output", str(tmp_path / "x.npz")]) == 2
    assert "'vgg'" in capsys.readouterr().err
    for wrong in (["--epochs", "0"], ["--limit", "0"], ["--output", "x.pth"], ["--output", "/none/x.npz"]):
        with pytest.raises(SystemExit) as caught:
            script.main(wrong)
        assert caught.value.code == 2


@pytest.mark.parametrize(
    "metadata", [{"fastalex.variant": "{"}, {"fastalex.variant": "[]"}, {"fastalex.variant": "{}"}]
)
def test_a_broken_variant_in_the_metadata_is_refused(tmp_path, metadata):
    path = tmp_path / "x.safetensors"
    weights.save(path, {}, metadata)
    with pytest.raises(UserError):
        weights.load(path).variant()


@pytest.mark.parametrize("labels", ["{}", "[1, 2]", "nonsense"])
def test_broken_labels_in_the_metadata_are_refused(tmp_path, labels):
    path = tmp_path / "x.safetensors"
    weights.save(path, {}, {"fastalex.labels": labels})
    with pytest.raises(UserError):
        weights.load(path).labels()


def test_metadata_may_say_nothing(tmp_path):
    path = tmp_path / "x.npz"
    weights.save(path, {}, {"note": json.dumps("x")})
    loaded = weights.load(path)
    assert loaded.variant() is None
    assert loaded.labels() is None


@pytest.mark.peers
@pytest.mark.parametrize("fc_weights", ["fp32", "int8"])
def test_native_engine_agrees_with_pytorch(script, data, expected, bundled, fc_weights):
    pytest.importorskip("fastalex._core")
    run = script.native_logits(bundled.variant(), weights.bundled("digits"), 2, fc_weights)
    got = script.all_logits(run, data["held"])
    scale = np.abs(expected).max()
    assert scale > 1
    assert np.mean(got.argmax(1) == data["held_labels"]) >= 0.98
    if fc_weights == "fp32":
        # two float32 computations of eight layers with sums of up to 2304 products, relative to the largest logit
        assert np.abs(got - expected).max() < 1e-4 * scale
    others = int(np.sum(got.argmax(1) != expected.argmax(1)))
    assert others <= (1 if fc_weights == "fp32" else 3)  # one image is a near tie, which rounding may turn
