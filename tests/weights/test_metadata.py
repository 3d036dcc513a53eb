"""Metadata of weights files that is wrong in any way: read, or refused by one printable line in little time."""

from __future__ import annotations

import base64
import io
import json
import pickle
import time
import zipfile

import numpy as np
import pytest

from fastalex import AlexNet, variants, weights
from fastalex.cli.main import main
from fastalex.errors import BackendError, UserError
from fastalex.networks.architecture import LRN, SpatialNorm
from fastalex.weights import initial, quantized

ROW = variants.get("caffenet", widths=(2, 2, 2, 2, 2, 3, 3), num_classes=2)
ARRAYS = initial.random_weights(ROW)
SCALES = {layer.name: 0.1 for layer in ROW.layers() if layer.param}
MEAN = {"shape": [3, 2, 2], "float32": base64.b64encode(bytes(48)).decode()}
#: The values of each kind of metadata in a sound file.
SOUND = {
    weights.VARIANT_KEY: {**ROW.to_dict(), "spatial_norm": {"size": 5, "alpha": 0.1, "beta": 0.75, "k": 1.0}},
    weights.CALIBRATION_KEY: {"scales": SCALES, "method": "max", "images": 1, "percentile": None},
    weights.MEAN_IMAGE_KEY: MEAN,
    weights.LABELS_KEY: ["cat", "dog"],
}
WRONG = [
    *(None, True, -1, 0, 1.5, 10**18, 1e308, "x", "\x1b[31m", "\u202e", "x" * 100_000),
    *([], [1], [""] * 7, [1] * 7, [[[]]] * 5, {}, {"size": 0}, "FOUR_HUNDRED_DIGITS"),
]
ESCAPES = "evil\x1b[31m\x1b]0;owned\x07\r\nnew line\u202e"


def outcome(metadata):
    """What reading the metadata, as the network does, comes to: "read" or the message."""
    loaded = weights.Weights(ARRAYS, metadata, "net.safetensors")
    start = time.process_time()
    try:
        loaded.variant()
        loaded.labels()
        loaded.calibration()
        loaded.mean_image()
        result = "read"
    except UserError as error:
        result = str(error)
        assert "net.safetensors" in result
        assert result.isprintable()
        assert len(result) < 1000
    assert time.process_time() - start < 1
    return result


def changes(value):
    """Yield ``value`` with each part of it replaced by each wrong value, taken away, or joined by another."""
    yield from WRONG
    if isinstance(value, dict):
        for key, part in value.items():
            yield {name: other for name, other in value.items() if name != key}
            for changed in changes(part):
                yield {**value, key: changed}
        yield {**value, "another": 1}
    elif isinstance(value, list):
        for wrong in WRONG:
            yield [*value[1:], wrong]


@pytest.mark.parametrize("key", SOUND)
def test_every_wrong_field_is_one_sentence(key):
    assert outcome({key: json.dumps(SOUND[key])}) == "read"
    outcomes = [
        outcome({key: json.dumps(value).replace('"FOUR_HUNDRED_DIGITS"', "9" * 400)}) for value in changes(SOUND[key])
    ]
    assert outcomes.count("read") < len(outcomes) / 5


@pytest.mark.parametrize(
    "text", ["", "nan", "[" * 100_000, '{"a":' * 100_000, "[" + "[]," * 2_000_000 + "[]]", "\ud800"]
)
@pytest.mark.parametrize("key", SOUND)
def test_text_that_is_no_json_or_too_much_of_it(key, text):
    assert outcome({key: text}) != "read"


@pytest.mark.parametrize(("count", "match"), [(1_000, "16 words"), (1_000_000, "characters")])
def test_a_long_block_takes_no_time(count, match):
    """Four megabytes of activations took 15 seconds."""
    row = ROW.to_dict()
    row["blocks"] = ["conv act pool lrn" + " act" * count, *row["blocks"][1:]]
    assert match in outcome({weights.VARIANT_KEY: json.dumps(row)})


@pytest.mark.parametrize(
    "change",
    [
        {"lrn": {"size": 5}},
        {"widths": (2**25, 2, 2, 2, 2, 3, 3)},
        {"input_size": 5000},
        {"blocks": (1, 2, 3, 4, 5)},
        {"name": "a\nb"},
        {"activation": ([],) * 7},
    ],
)
def test_the_same_checks_hold_for_a_callers_fields(change):
    with pytest.raises(UserError):
        variants.get("caffenet", **change)


@pytest.mark.parametrize("kind", [LRN, SpatialNorm])
@pytest.mark.parametrize(
    "change", [{"size": 0}, {"size": "5"}, {"alpha": 10**400}, {"beta": float("nan")}, {"k": None}]
)
def test_constants_are_numbers(kind, change):
    with pytest.raises(UserError, match=next(iter(change))):
        kind(**change)


def test_a_class_name_of_any_length_is_refused():
    assert outcome({weights.LABELS_KEY: json.dumps(["a" * 1000, "\x1b"])}) == "read"
    assert "1001 characters" in outcome({weights.LABELS_KEY: json.dumps(["a" * 1001, "b"])})


@pytest.mark.parametrize("kind", [UserError, BackendError])
def test_messages_are_one_printable_line(kind):
    error = kind(f"the file {ESCAPES} is no file")
    assert str(error).isprintable()
    assert "\\x1b[31m" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == str(kind(str(error)))
    assert len(str(kind("a" * 1_000_000))) < 10_000


# The command line -----------------------------------------------------------------------------------------------------


def commands(path, out, image):
    yield ["classify", image, "--weights", path, "--device", "cpu"]
    yield ["classify", image, "--weights", path, "--device", "cpu", "--headless"]
    yield ["quantize", path, out / "q.safetensors"]
    yield ["bench", "--weights", path, "--device", "cpu", "--repeat", "1"]
    yield ["export", path, out / "net.onnx"]
    yield ["convert", path, out / "c.safetensors"]
    yield ["summary", "--weights", path]


@pytest.mark.parametrize("field", ["name", "summary", "profile", "naming", "labels", "note", "array"])
def test_no_text_of_a_file_controls_the_terminal(tmp_path, capfd, field):
    arrays, row, labels, extra = dict(ARRAYS), ROW.to_dict(), ["cat", "dog"], {}
    if field in row:
        row[field] = ESCAPES
    elif field == "labels":
        labels = [ESCAPES, ESCAPES * 2]
    elif field == "note":
        extra[ESCAPES] = ESCAPES
    else:
        arrays[ESCAPES] = np.zeros(3, np.float32)
    path, image = tmp_path / "net.safetensors", "examples/digits/digit-7-sample-0007.png"
    weights.save(path, arrays, {weights.VARIANT_KEY: json.dumps(row), weights.LABELS_KEY: json.dumps(labels), **extra})
    for command in commands(path, tmp_path, image):
        if command[0] == "export":
            pytest.importorskip("onnx")
        code = main([str(word) for word in command])
        out, err = capfd.readouterr()
        assert code == (0 if field in ("labels", "note") else 2), (command, err)
        assert "Traceback" not in err
        for text in (out, err):
            assert text.replace("\n", "").isprintable(), text
        assert err.count("\n") <= 1


# Quantized files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", quantized.STORAGES)
def test_a_quantized_npz_may_be_in_the_order_of_fortran(tmp_path, storage):
    """``numpy.savez`` writes a transposed array so."""
    digits, image = AlexNet(weights="digits", device="cpu"), np.zeros((1, 3, 131, 131), np.float32)
    path = tmp_path / "net.npz"
    digits.save(path, storage)
    expected = AlexNet(weights=path, device="cpu")(image)
    with np.load(path) as file:
        arrays = {name: np.asfortranarray(file[name]) for name in file.files}
    np.savez(path, **arrays)
    net = AlexNet(weights=path, device="cpu")
    assert net.fc_weights == storage
    np.testing.assert_array_equal(net(image), expected)


def test_the_metadata_of_an_npz_is_no_bomb(tmp_path):
    text = np.frombuffer(b'{"a":[' + b"[]," * 5_000_000 + b"[]]}", np.uint8)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("__metadata__.npy", "w") as member:
        np.lib.format.write_array(member, text)
    (tmp_path / "bomb.npz").write_bytes(stream.getvalue())
    with pytest.raises(UserError, match="too long"):
        weights.load(tmp_path / "bomb.npz")
