"""RDMs from files to files, by the command."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import zarr
from scipy.spatial import distance

from fastalex import UserError, rdm, readout
from fastalex.cli.main import main
from tests.readout import stimuli

NUMBERS = range(6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Read-outs of six images: of one layer in each format, of two layers in int8."""
    from fastalex import AlexNet

    base = tmp_path_factory.mktemp("rdm")
    net = AlexNet(weights="digits", device="cpu")
    images = stimuli.write_folder(base / "images", NUMBERS)
    for format in ("npy", "zarr", "hdf5"):
        readout.read_out(net, str(images), str(base / format), ["conv5"], format=format)
    readout.read_out(net, str(images), str(base / "int8"), ["conv5", "fc7"], dtype="int8")
    return base


def run(capsys, *words):
    code = main(["rdm", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_read_out_in_any_format(folder, tmp_path, capsys):
    rows = np.load(folder / "npy" / "conv5.npy").reshape(len(NUMBERS), -1).astype(np.float64)
    want = distance.pdist(rows, "correlation")
    for format, name in (("npy", "conv5.npy"), ("zarr", "conv5.zarr"), ("hdf5", "conv5.h5")):
        for source in (folder / format, folder / format / name):
            code, said, error = run(capsys, source, "--out", tmp_path / "a.npy")
            assert code == 0 and not error and "6 stimuli, 1 - r, of Pearson's correlation r" in said
            found = np.load(tmp_path / "a.npy")
            assert found.shape == (6, 6)
            np.testing.assert_allclose(distance.squareform(found), want, rtol=2.0**-24, atol=1e-14)
    manifest = json.loads((tmp_path / "a.json").read_text())
    assert manifest["names"] == [f"{number:06d}.png" for number in NUMBERS]
    assert manifest["readout"]["weights"] == readout.Results(str(folder / "npy")).manifest["settings"]["weights"]
    assert (manifest["metric"], manifest["layer"], manifest["features"]) == ("pearson", "conv5", rows.shape[1])


def test_int8_is_multiplied_by_its_scales(folder, tmp_path, capsys):
    code, *_ = run(
        capsys, folder / "int8", "--layer", "fc7", "--metric", "euclidean", "--condensed", "--out", tmp_path / "b.npy"
    )
    results = readout.Results(str(folder / "int8"))
    rows = results.stored("fc7")[:].astype(np.float64) * results.scales("fc7")
    assert code == 0
    np.testing.assert_allclose(np.load(tmp_path / "b.npy"), distance.pdist(rows), rtol=2.0**-24)


def test_files_of_other_programs(tmp_path, capsys):
    rows = np.random.default_rng(0).normal(size=(7, 3, 4))
    np.save(tmp_path / "x.npy", rows)
    zarr.open_array(str(tmp_path / "x.zarr"), mode="w", shape=rows.shape, chunks=(2, 3, 2), dtype="f8")[:] = rows
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["activations"] = rows
    for suffix in ("npy", "zarr", "h5"):
        code, *_ = run(capsys, tmp_path / f"x.{suffix}", "--metric", "cosine", "--out", tmp_path / f"{suffix}-rdm.npy")
        assert code == 0
        want = distance.squareform(distance.pdist(rows.reshape(7, -1), "cosine"))
        np.testing.assert_allclose(np.load(tmp_path / f"{suffix}-rdm.npy"), want, rtol=2.0**-24, atol=1e-14)


def test_two_are_compared(folder, tmp_path, capsys):
    for name, metric, *more in (("a", "pearson"), ("b", "cosine", "--condensed")):
        assert run(capsys, folder / "npy", "--metric", metric, "--out", tmp_path / f"{name}.npy", *more)[0] == 0
    words = ("compare", tmp_path / "a.npy", tmp_path / "b.npy", "--bootstrap", "50", "--seed", "3")
    code, said, _ = run(capsys, *words, "--json")
    result = json.loads(said)
    want = rdm.compare(*(rdm.load(str(tmp_path / f"{name}.npy")) for name in "ab"), bootstrap=50, seed=3)
    assert code == 0 and {key: result[key] for key in want} == want
    code, said, _ = run(capsys, *words)
    assert said.startswith(
        f"spearman {want['similarity']:.6f}, 95 % interval {want['low']:.6f} to {want['high']:.6f} (50 "
    )


def test_mistakes_are_one_sentence(folder, tmp_path, capsys, monkeypatch):
    def refused(sentence, *words):
        code, said, error = run(capsys, *words)
        assert code == 2 and not said and error.count("\n") == 1 and sentence in error, error
        assert sorted(tmp_path.iterdir()) == before

    np.save(tmp_path / "activations.npy", np.ones((5, 4)))
    np.save(tmp_path / "square.npy", np.arange(9.0).reshape(3, 3))
    np.save(tmp_path / "five.npy", np.arange(5.0))
    np.save(tmp_path / "two.npy", np.zeros((2, 2)))
    np.save(tmp_path / "nan.npy", np.full((3, 3), np.nan))
    np.save(tmp_path / "objects.npy", np.array([None] * 9).reshape(3, 3), allow_pickle=True)
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "text.h5").write_text("no HDF5")
    (tmp_path / "a.txt").write_text("")
    before, out = sorted(tmp_path.iterdir()), ("--out", tmp_path / "rdm.npy")
    refused("name the activations and the file to write", tmp_path / "activations.npy")
    refused("must end in .npy", tmp_path / "activations.npy", "--out", tmp_path / "rdm.txt")
    refused("does not exist; make it first", tmp_path / "activations.npy", "--out", tmp_path / "no" / "rdm.npy")
    refused("does not exist; name the folder of a read-out", tmp_path / "none", *out)
    refused("is neither the folder of a read-out nor a .npy", tmp_path / "a.txt", *out)
    refused("cannot read", tmp_path / "text.npy", *out)
    refused("cannot read", tmp_path / "text.h5", *out)
    refused("one value everywhere", tmp_path / "activations.npy", *out)
    refused("has several layers; choose one by --layer (conv5, fc7)", folder / "int8", *out)
    refused("has no layer 'fc9'", folder / "int8", "--layer", "fc9", *out)
    refused("--layer is for the folder of a read-out", tmp_path / "activations.npy", "--layer", "fc7", *out)
    refused("--seed is for comparing RDMs", tmp_path / "activations.npy", "--seed", "0", *out)
    refused("--metric is for computing RDMs", "compare", "a", "b", "--metric", "cosine")
    refused("name two RDMs", "compare", tmp_path / "square.npy")
    for name, sentence in (
        ("square", "is not symmetric"),
        ("five", "is neither [N, N] nor [N (N - 1) / 2]"),
        ("two", "has 2 stimuli, and a comparison needs at least 3"),
        ("nan", "dissimilarities that are not finite"),
        ("objects", "cannot read"),
        ("text", "cannot read"),
        ("none", "No such file"),
    ):
        refused(sentence, "compare", tmp_path / f"{name}.npy", tmp_path / f"{name}.npy")


def test_a_full_disk_leaves_nothing(folder, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    values, activations = np.zeros((6, 6), np.float32), rdm.open_activations(str(folder / "npy"))
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match="rdm.npy cannot be written: No space left on device"):
        rdm.write(str(tmp_path / "rdm.npy"), values, "pearson", activations)
    assert not list(tmp_path.iterdir())


def test_files_of_other_things_are_not_replaced(folder, tmp_path, capsys):
    for name, file in (("readout.npy", "readout.json"), ("conv5.npy", "conv5.npy")):
        code, _, error = run(capsys, folder / "npy", "--out", folder / "npy" / name)
        assert code == 2 and f"this would replace '{folder / 'npy' / file}', which is of something else" in error
    assert len(readout.Results(str(folder / "npy")).stored("conv5")) == len(NUMBERS)
    (tmp_path / "a.json").write_text('{"shape": 3}')
    code, _, error = run(capsys, folder / "npy", "--out", tmp_path / "a.npy")
    assert code == 2 and "a.json', which is of something else; choose another --out" in error
    assert (tmp_path / "a.json").read_text() == '{"shape": 3}' and not (tmp_path / "a.npy").exists()
    for place in (tmp_path, folder / "npy") * 2:  # an RDM is replaced by another
        assert run(capsys, folder / "npy", "--out", place / "b.npy")[0] == 0


def test_files_that_hold_no_array_are_one_sentence(tmp_path, capsys):
    with h5py.File(tmp_path / "group.h5", "w") as file:
        file.create_group("activations")
    zarr.open_group(str(tmp_path / "group.zarr"), mode="w")
    for name in ("group.h5", "group.zarr"):
        code, _, error = run(capsys, tmp_path / name, "--out", tmp_path / "a.npy")
        assert code == 2 and f"cannot read '{tmp_path / name}': " in error and error.count("\n") == 1
