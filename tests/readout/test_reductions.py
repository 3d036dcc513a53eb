"""Means, projections, components and int8: against numpy and scikit-learn, and interrupted in every pass."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
from sklearn.decomposition import PCA, IncrementalPCA

from fastalex import UserError, readout
from fastalex.cli.main import main
from fastalex.readout import encoding, fitting, reductions
from tests.readout import killed, stimuli

COUNT = 40


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return str(stimuli.write_tars(tmp_path_factory.mktemp("source") / "shards", range(COUNT), 9))


def read(net, source, out, layers=("conv5",), **options):
    options.setdefault("batch", 4)
    chosen = {name: options.pop(name) for name in readout.Reductions._fields if name in options}
    readout.read_out(net, source, str(out), list(layers), reductions=readout.Reductions(**chosen), **options)
    return readout.Results(str(out)) if "shard" not in options else None


def test_the_mean_over_space(net, source, expected, tmp_path):
    results = read(net, source, tmp_path / "out", ("conv5", "fc7"), spatial_mean=True)
    maps = expected("conv5", range(COUNT)).astype(np.float64)
    np.testing.assert_array_equal(results.stored("conv5"), maps.mean(axis=(2, 3)).astype(np.float32))
    np.testing.assert_array_equal(results.stored("fc7"), expected("fc7", range(COUNT)))


def test_a_random_projection_is_linear_and_the_same_for_a_seed_and_any_batch(net, source, expected, tmp_path):
    first = np.array(read(net, source, tmp_path / "a", project=64).stored("conv5"))
    again = np.array(read(net, source, tmp_path / "b", project=64, batch=7).stored("conv5"))
    other = np.array(read(net, source, tmp_path / "c", project=64, seed=1).stored("conv5"))
    assert first.shape == (COUNT, 64) and first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, rtol=0.5)
    # The projection of differences is the difference of projections, but for their roundings to float32.
    flat = expected("conv5", range(COUNT)).reshape(COUNT, -1)
    projected = reductions.Projection("conv5", 64, 0)(flat[1:] - flat[0])
    np.testing.assert_allclose(projected, first[1:] - first[0], atol=1e-5 * np.abs(first).max())


def test_a_random_projection_keeps_distances():
    """Johnson and Lindenstrauss: a squared distance times a chi-squared of 512 degrees over 512, nearly, whose standard
    deviation is sqrt(2 / 512) = 0.0625; six of them for 780 pairs."""
    rows = np.random.default_rng(0).standard_normal((40, 4000)).astype(np.float32)
    kept = reductions.Projection("x", 512, 3)(rows)
    one, two = np.triu_indices(40, 1)
    ratio = ((kept[one] - kept[two]) ** 2).sum(1) / ((rows[one] - rows[two]) ** 2).sum(1)
    assert np.abs(ratio - 1).max() < 6 * 0.0625 and abs(ratio.mean() - 1) < 0.0625


def test_pca_is_scikit_learns(net, source, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "GROUP_ROWS", 12)
    results = read(net, source, tmp_path / "out", ("fc7",), pca=3)
    rows = expected("fc7", range(COUNT)).astype(np.float64)
    incremental = IncrementalPCA(3)
    for start, stop in ((0, 12), (12, 24), (24, 40)):  # what is left after the third group joins it
        incremental.partial_fit(rows[start:stop].copy())
    want = incremental.transform(rows)
    np.testing.assert_allclose(results.stored("fc7"), want, atol=1e-5 * np.abs(want).max())
    with np.load(tmp_path / "out" / "fc7.pca.npz") as fitted:
        np.testing.assert_allclose(fitted["components_"], incremental.components_, atol=1e-9)
        np.testing.assert_allclose(fitted["explained_variance_"], incremental.explained_variance_)
        assert fitted["n_samples_seen_"] == COUNT


def test_pca_of_one_group_is_the_exact_one(net, source, expected, tmp_path):
    results = read(net, source, tmp_path / "out", ("fc7",), pca=5)
    rows = expected("fc7", range(COUNT)).astype(np.float64)
    exact = PCA(5, svd_solver="full").fit(rows)
    np.testing.assert_allclose(np.abs(results.stored("fc7")), np.abs(exact.transform(rows)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("format", ["npy", "hdf5"])
def test_int8_is_within_half_a_scale(net, source, expected, tmp_path, format):
    results = read(net, source, tmp_path / "out", ("conv5", "fc7"), dtype="int8", format=format)
    for layer in results.layers:
        rows, scales = expected(layer, range(COUNT)), results.scales(layer)
        assert scales.shape == rows.shape[1:] and results.stored(layer).dtype == np.int8
        np.testing.assert_array_equal(scales, np.abs(rows).max(axis=0) / np.float32(127))
        got = results.rows(layer, 0, COUNT)
        # half a scale, the rounding of the scale at 127 of them, and that of the product
        assert np.all(np.abs(got - rows) <= scales * (0.5 + 127 * 2.0**-23))
        assert np.abs(np.asarray(results.stored(layer)[:])).max() == 127
    assert results.manifest["clipped"] == {}


def test_units_that_are_always_zero_and_values_that_are_not_finite():
    quantizer = encoding.Quantizer({"x": np.array([0.0, 1.0], np.float32)})
    stored, clipped = quantizer("x", np.array([[0, 3.4], [5, 200]], np.float32))
    assert stored.tolist() == [[0, 3], [0, 127]] and clipped.tolist() == [0, 2]
    for bad in (np.nan, np.inf):
        with pytest.raises(UserError, match="'x' has values that are not finite, which int8 cannot hold"):
            quantizer("x", np.array([[0, bad]], np.float32))
        scales = fitting.Scales(["x"], 0, 1)
        with pytest.raises(UserError, match="not finite"):
            scales.add(readout.work.Block(0, 1, ["a"], [None], {"x": np.array([[bad]], np.float32)}, {}))
    with pytest.raises(UserError, match="scales of 'x' are of shape"):
        quantizer("x", np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--pca 193", "'fc7' has 192 features, fewer than pca asks for (193)"),
        ("--project 500", "'fc7' has 192 features, fewer than project asks for (500)"),
        ("--pca 41", "a PCA of 41 components needs as many images that can be read, not 40"),
        ("--pca 2 --project 2", "project and pca exclude each other"),
        ("--project 2 --seed -1", "seed must be a whole number from 0 to"),
        ("--fitted none", "--fitted is for --pca and int8"),
        ("--pca 2 --fitted none", "there are no complete results in 'none'"),
    ],
)
def test_mistakes_are_one_sentence(source, tmp_path, capsys, words, sentence):
    command = [
        "readout",
        source,
        "--out",
        str(tmp_path / "out"),
        "--weights",
        "digits",
        "--device",
        "cpu",
        "--layers",
        "fc7",
    ]
    if "193" in words:
        command[1] = str(stimuli.write_tar(tmp_path / "more.tar", range(193)))
    assert main([*command, *words.split()]) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1
    assert not (tmp_path / "out" / "fc7.npy").exists()


# passes


OPTIONS = {"pca": 4, "dtype": "int8", "batch": 4}


@pytest.fixture(scope="module")
def whole(net, source, tmp_path_factory):
    """What is read out in one go, with the state saved after each batch, and components of groups of 16 images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "GROUP_ROWS", 1)
        patch.setattr(readout.run, "SAVE_EVERY_S", 0.0)
        out = tmp_path_factory.mktemp("whole") / "out"
        read(net, source, out, **OPTIONS)
        yield out


@pytest.mark.parametrize(("moment", "saved"), [(12, 0), (36, 16), (40, 40), (60, 60), (116, 116)])
def test_a_kill_in_any_pass_changes_no_bit(net, source, whole, tmp_path, moment, saved):
    """Three passes of 40 images: components, scales, rows. The process kills itself after a given number of them."""
    out, done = tmp_path / "out", []
    process = os.fork()
    if not process:
        try:
            read(net, source, out, **OPTIONS, report=lambda at: os.kill(os.getpid(), 9) if at >= moment else None)
        finally:
            os._exit(1)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
    read(net, source, out, **OPTIONS, report=done.append)
    assert (done[0], done[-1]) == (saved + 4, 120)  # what was saved is not done again
    assert killed.differences(whole, out) == []
    assert sorted(os.listdir(out)) == sorted(os.listdir(whole))


def test_shards_with_what_was_fitted_to_a_sample(net, source, tmp_path):
    sample = stimuli.write_tar(tmp_path / "sample.tar", range(10))
    read(net, str(sample), tmp_path / "sample", ("fc7",), **OPTIONS)
    whole = read(net, source, tmp_path / "whole", ("fc7",), **OPTIONS, fitted=str(tmp_path / "sample"))
    for index in (1, 2, 3):
        read(net, source, tmp_path / "parts", ("fc7",), **OPTIONS, fitted=str(tmp_path / "sample"), shard=f"{index}/3")
    readout.merge(str(tmp_path / "parts"))
    assert killed.differences(tmp_path / "whole", tmp_path / "parts") == []
    clipped = whole.manifest["clipped"]["fc7"]
    assert 0 < clipped < 40 * 4  # the sample's largest values are not those of all
    assert np.count_nonzero(np.abs(np.asarray(whole.stored("fc7")).astype(int)) == 127) >= clipped
    with pytest.raises(
        UserError,
        match=r"was computed for other values .the profile's content differs: \w{12} there",
    ):
        read(net, source, tmp_path / "x", ("fc7",), **OPTIONS, fitted=str(tmp_path / "sample"), profile="thingsvision")
    os.unlink(tmp_path / "sample" / "fc7.pca.npz")
    with pytest.raises(UserError, match="cannot read '.*fc7.pca.npz', the PCA of 'fc7'"):
        read(net, source, tmp_path / "x", ("fc7",), **OPTIONS, fitted=str(tmp_path / "sample"))


def test_the_command_line_of_reductions(source, tmp_path, capsys):
    words = ["readout", source, "--weights", "digits", "--device", "cpu", "--layers", "conv5", "--json"]
    for name, more in (
        ("mean", ["--spatial-mean"]),
        ("projected", ["--project", "5", "--seed", "7", "--format", "zarr"]),
        ("components", ["--pca", "5", "--dtype", "float16"]),
    ):
        assert main([*words, "--out", str(tmp_path / name), *more]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["layers"]["conv5"]["shape"] == [COUNT, 64 if name == "mean" else 5]
    assert said["settings"]["reductions"] == {"spatial_mean": False, "project": None, "seed": 0, "pca": 5}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x93NUMPY"])
def test_damaged_files_of_a_pass(net, source, tmp_path, content):
    def run(name, **options):
        return readout.read_out(net, source, str(tmp_path / name), ["fc7"], **options)

    pca = readout.Reductions(pca=2)
    for name, options, file, what in (
        ("int8", {"dtype": "int8"}, "fc7.scales.npy", "scales"),
        ("pca", {"reductions": pca}, "fc7.pca.npz", "PCA"),
    ):
        run(name, **options)
        (tmp_path / name / file).write_bytes(content)
        with pytest.raises(UserError, match=f"{file}', the {what} of 'fc7': it is damaged; make it again"):
            run("out", fitted=str(tmp_path / name), restart=True, **options)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / fitting.FIT_STATE).write_bytes(content)  # is no reason to stop: the pass begins again
    run("new", dtype="int8")
