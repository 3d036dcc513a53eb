"""config.json beside a weights file: the variant and the class names that the file itself does not have."""

from __future__ import annotations

import json
import os

import pytest

from fastalex import AlexNet, UserError, variants, weights
from fastalex.weights import adapt, initial

LETTERS = list("abcdefghij")
BY_NUMBER = {str(number): name for number, name in enumerate(LETTERS)}
SMALL = {"widths": (8, 16, 12, 12, 8, 24, 20), "num_classes": 10, "input_size": 63}


@pytest.fixture
def net(tmp_path):
    """Save digits' arrays without a word of what they are for."""
    path = tmp_path / "net.safetensors"
    weights.save(path, initial.random_weights("alexnet-digits"))
    return path


def beside(path, text):
    (path.parent / "config.json").write_text(text if isinstance(text, str) else json.dumps(text))


def test_labels_as_transformers_writes_them(net):
    beside(net, {"architectures": ["X"], "id2label": BY_NUMBER, "label2id": {}})
    made = AlexNet(weights=net, device="cpu", pickle_by="path")
    assert (made.labels, made.variant.name) == (LETTERS, "alexnet-digits")
    assert [os.path.basename(path) for path, _ in weights.load(net).files] == ["net.safetensors", "config.json"]


def test_the_key_of_fastalex(tmp_path):
    row = variants.get("torchvision", **SMALL)
    arrays = initial.random_weights(row)
    path = tmp_path / "net.npz"
    weights.save(
        path, {f"layer.{number}.{name.split('.')[-1]}": array for number, (name, array) in enumerate(arrays.items())}
    )
    beside(path, {"fastalex": {"variant": row.to_dict(), "labels": LETTERS}, "id2label": {"0": "not these"}})
    loaded = weights.load(path)
    assert (adapt.find(loaded).variant, loaded.labels()) == (row, LETTERS)


def test_a_name_takes_the_sizes_of_the_arrays(tmp_path):
    path = tmp_path / "net.npz"
    weights.save(
        path,
        initial.random_weights(variants.get("bvlc_alexnet", num_classes=7, widths=(96, 256, 384, 384, 256, 64, 32))),
    )
    beside(path, {"fastalex": {"variant": "caffenet"}})
    found = adapt.find(weights.load(path))
    assert (found.variant.name, found.variant.num_classes, found.variant.widths[-1], found.certain) == (
        "caffenet",
        7,
        32,
        True,
    )
    beside(path, {"fastalex": {"variant": "alexnett"}})
    with pytest.raises(UserError, match="no variant 'alexnett'"):
        AlexNet(weights=path, device="cpu")


def test_the_file_itself_goes_first(net):
    AlexNet(weights="digits", device="cpu").save(net)
    beside(net, {"fastalex": {"variant": "caffenet", "labels": LETTERS}})
    loaded = weights.load_network(net)
    assert loaded.labels() == [str(digit) for digit in range(10)]
    assert adapt.find(loaded).variant.name == "alexnet-digits"
    assert weights.VARIANT_NAME_KEY not in loaded.metadata


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        "\0",
        "[" * 100_000,
        '{"id2label": ' + "9" * 5000 + "}",
        {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
        {"id2label": {"0": "a", "2": "b"}},
        {"id2label": ["a"]},
        {"id2label": {"0": 1}},
        {"model_type": "x", "padding": "x" * (1 << 20)},
    ],
)
def test_those_of_other_programs_are_nothing(net, text):
    beside(net, text)
    loaded = weights.load(net)
    assert (loaded.labels(), loaded.metadata, len(loaded.files)) == (None, {}, 1)


def test_no_file_is_no_config(net):
    os.mkfifo(net.parent / "config.json")
    assert len(weights.load(net).files) == 1


@pytest.mark.parametrize("said", [1, [], {"variant": 1}, {"labels": "abc"}, {"labels": [1]}, {"variant": ["owt"]}])
def test_a_wrong_key_of_fastalex_is_named(net, said):
    beside(net, {"fastalex": said})
    with pytest.raises(UserError, match=r'the key "fastalex" of \S+/config.json is not valid: it has a "variant"'):
        weights.load(net)


def test_wrong_fields_are_named(net):
    beside(net, {"fastalex": {"variant": {"name": "x"}}})
    with pytest.raises(UserError, match="variant row is not valid"):
        AlexNet(weights=net, device="cpu")
    beside(net, {"fastalex": {"labels": ["x" * 1001]}})
    with pytest.raises(UserError, match="class name of 1001 characters"):
        AlexNet(weights=net, device="cpu")
