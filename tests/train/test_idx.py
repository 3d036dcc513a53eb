"""Training data in idx files, against files that are packed here byte by byte."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from fastalex.errors import UserError
from fastalex.train import data

pytest.importorskip("torch")


def packed(values):
    head = struct.pack(">HBB", 0, 8, values.ndim) + b"".join(struct.pack(">I", side) for side in values.shape)
    return head + values.astype(np.uint8).tobytes()


def write_set(folder, name, count, seed, zipped):
    generator = np.random.default_rng(seed)
    pixels, labels = generator.integers(0, 256, (count, 5, 7)), np.arange(count) % 3
    for kind, values in (("images-idx3-ubyte", pixels), ("labels-idx1-ubyte", labels)):
        content = packed(values)
        path = folder / f"{name}-{kind}{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(content) if zipped else content)
    return pixels, labels


@pytest.fixture
def folder(tmp_path):
    write_set(tmp_path, "train", 9, 1, zipped=True)
    write_set(tmp_path, "t10k", 6, 2, zipped=False)
    return tmp_path


def test_both_sets_of_a_folder_are_read(folder):
    training, validation = data.train_and_validation(str(folder), None, 0.1, 0)
    for found, name, count, seed in ((training, "train", 9, 1), (validation, "t10k", 6, 2)):
        pixels, labels = write_set(folder, "again-" + name, count, seed, zipped=False)
        assert [sample.label for sample in found.samples] == labels.tolist()
        assert np.array_equal([sample.source() for sample in found.samples], pixels)
        assert found.classes == ["0", "1", "2"]
    assert training.samples[4].where() == f"image 4 of {folder / 'train-images-idx3-ubyte.gz'}"
    assert data.fingerprint(training) != data.fingerprint(validation)


def test_one_set_is_named_by_its_images_and_classes_have_names(folder):
    (folder / "classes.txt").write_text("shirt\nbag\nboot\n", encoding="utf-8")
    found = data.find(str(folder / "t10k-images-idx3-ubyte"))
    assert len(found.samples) == 6 and found.classes == ["shirt", "bag", "boot"]
    with pytest.raises(UserError, match="has 2 sets of idx files: pass the images of one, such as"):
        data.find(str(folder))
    (folder / "classes.txt").write_text("shirt\n", encoding="utf-8")
    with pytest.raises(UserError, match="has 1 names, but the labels have the class 2"):
        data.find(str(folder / "t10k-images-idx3-ubyte"))


def test_damaged_files_are_refused_by_name(folder):
    path = folder / "t10k-images-idx3-ubyte"
    whole, labels = path.read_bytes(), folder / "t10k-labels-idx1-ubyte"
    for content, match in (
        (whole[:-1], "is damaged: its header says 210 bytes of values, but there are only 209"),
        (whole + b"\0", "210 bytes of values, but there are more"),
        (whole[:10], "is not an idx file of unsigned bytes with 3 axes"),
        (labels.read_bytes(), "is not an idx file of unsigned bytes with 3 axes"),
        (whole[:4] + b"\xff" * 12, "at most 8,589,934,592 are read"),
        (gzip.compress(whole)[:-12], "cannot be read"),
        (gzip.compress(whole)[:40] + b"\0" * 60, "cannot be read"),
        (packed(np.zeros((5, 5, 7))), "has 5 images, but .* has 6 labels"),
        (packed(np.zeros((0, 5, 7))), "has 0 images, but .* has 6 labels"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=match) as caught:
            data.find(str(path))
        assert str(path) in str(caught.value)
    path.write_bytes(whole)
    labels.unlink()
    with pytest.raises(UserError, match="has no labels: there is no"):
        data.find(str(path))
