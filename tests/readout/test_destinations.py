"""The formats of results: the same values in each, of which a unit or an image is read in bounded memory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fastalex import UserError, readout
from fastalex.cli.main import main
from fastalex.readout import destinations
from fastalex.readout.destinations import base
from tests.readout import stimuli

NUMBERS = range(11)
CHUNKED = ["zarr", "hdf5", pytest.param("parquet", marks=pytest.mark.scale)]
LAYERS = ["conv5", "fc7"]


@pytest.fixture
def small_chunks(monkeypatch):
    """Four rows at a time, of few features: 11 rows are three chunks, of which the last is not whole."""
    monkeypatch.setattr(base, "MAX_ROWS", 4)
    monkeypatch.setattr(base, "CHUNK_BYTES", 4 * 100 * 4)


@pytest.fixture
def folder(tmp_path):
    return stimuli.write_folder(tmp_path / "images", NUMBERS)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("format", CHUNKED)
def test_the_values_are_those_of_npy(net, folder, tmp_path, small_chunks, format, dtype):
    (folder / "000003.png").write_bytes(b"no image")  # the files get shorter for it
    for kind in ("npy", format):
        readout.read_out(net, str(folder), str(tmp_path / kind), LAYERS, batch=3, dtype=dtype, format=kind)
    results, plain = (readout.Results(str(tmp_path / kind)) for kind in (format, "npy"))
    assert list(results.names()) == list(plain.names()) and len(list(plain.names())) == 10
    for layer in LAYERS:
        stored, want = results.stored(layer), np.load(tmp_path / "npy" / (layer + ".npy"))
        assert (tuple(stored.shape), stored.dtype) == (want.shape, np.dtype(dtype)) and want.any()
        np.testing.assert_array_equal(stored[:], want)
        np.testing.assert_array_equal(stored[:, 2], want[:, 2])
        np.testing.assert_array_equal(results.rows(layer, 3, 9), plain.rows(layer, 3, 9))
    kinds = {"zarr": ".zarr", "hdf5": ".h5", "parquet": ".parquet"}
    os.unlink(tmp_path / format / readout.RESULT)  # then everything is computed again, and replaced
    readout.read_out(net, str(folder), str(tmp_path / format), LAYERS, batch=3, dtype=dtype, format=format)
    assert not [name for name in os.listdir(tmp_path / format) if name.endswith((".part", ".short"))]
    assert (tmp_path / format / f"conv5{kinds[format]}").exists()


def test_float32_in_npy_is_what_the_network_gives(net, expected, folder, tmp_path):
    readout.read_out(net, str(folder), str(tmp_path / "out"), LAYERS, format="hdf5")
    for layer in LAYERS:
        np.testing.assert_array_equal(readout.Results(str(tmp_path / "out")).stored(layer)[:], expected(layer, NUMBERS))


@pytest.mark.parametrize("shape", [(9216,), (64, 7, 7), (64, 55, 55), (3, 1000, 1000), (10,), (1,), (4096,)])
@pytest.mark.parametrize("itemsize", [1, 2, 4])
def test_chunks_bound_what_a_unit_and_an_image_cost(shape, itemsize):
    """However long the rows are: at most 64 MB for all units of an image, and 1 MB at a time for one unit of all."""
    features = int(np.prod(shape))
    step = base.rows_at_once(features * itemsize, 10**6)
    chunk = base.chunk_shape(step, shape, itemsize)
    assert len(chunk) == len(shape) + 1 and all(1 <= c <= s for c, s in zip(chunk[1:], shape))
    assert np.prod(chunk) * itemsize <= base.CHUNK_BYTES or chunk == (1,) * len(chunk)
    chunks_of_an_image = np.prod([-(-s // c) for s, c in zip(shape, chunk[1:])])
    assert chunks_of_an_image * np.prod(chunk) * itemsize <= 2 * base.BUFFER_BYTES  # the last chunks are not whole
    if features * itemsize * step > 2 * base.CHUNK_BYTES:  # then a unit's chunk has no more than half of a row
        assert np.prod(chunk[1:]) <= features / 2


@pytest.mark.slow
def test_one_unit_of_all_images_is_read_in_bounded_memory(tmp_path):
    """50 MB of rows; the process that reads a unit of all of them keeps a chunk."""
    shape, step = (6144, 2048), base.rows_at_once(2048 * 4, 6144)
    rows = np.arange(step * 2048, dtype=np.float32).reshape(step, 2048)
    for format in ("zarr", "hdf5"):
        kind = destinations.FORMATS[format]
        part, target = tmp_path / ("x" + kind.suffix + ".part"), tmp_path / ("x" + kind.suffix)
        opened = kind(str(part), shape, "float32", step)
        for first in range(0, 6144, step):
            opened.write(first, rows + first, ())
        opened.flush()
        opened.close()
        kind.keep(str(part), str(target), 6144)
        program = """
import resource, sys
import numpy as np
from fastalex.readout import destinations
array = destinations.reader(sys.argv[1])
array[:1, :1]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unit = np.concatenate([np.asarray(array[first : first + 512, 7]) for first in range(0, 6144, 512)])
image = np.asarray(array[5000])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, unit.sum(dtype=float), image.sum(dtype=float))
"""
        done = subprocess.run([sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE, check=True)
        grown, unit, image = map(float, done.stdout.split())
        assert grown < 20e3, format  # KB
        assert unit == sum(float((rows[:, 7] + first).sum(dtype=float)) for first in range(0, 6144, step))
        assert image == float((rows[5000 % step] + np.float32(5000 - 5000 % step)).sum(dtype=float))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["npy", *CHUNKED])
def test_a_full_disk_is_one_sentence_and_the_run_goes_on(net, folder, tmp_path, monkeypatch, format):
    """A limit on the size of files stands for a full disk; the state fits below it."""
    program = """
import resource, sys
from fastalex.cli.main import main
from fastalex.readout.destinations import base
base.MAX_ROWS = 4
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""
    out = tmp_path / "out"
    words = ["readout", str(folder), "--out", str(out), "--weights", "digits", "--layers", "conv5", "--format", format]
    words += ["--device", "cpu", "--batch", "3"]
    run = [sys.executable, "-c", program, "30000", *words]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert not (out / readout.RESULT).exists()
    monkeypatch.setattr(base, "MAX_ROWS", 4)
    assert main(words) == 0
    readout.read_out(net, str(folder), str(tmp_path / "npy"), ["conv5"])
    np.testing.assert_array_equal(readout.Results(str(out)).stored("conv5")[:], np.load(tmp_path / "npy" / "conv5.npy"))


def test_a_format_without_its_package(net, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(
        UserError, match=r"a destination in Zarr needs the package zarr: pip install 'fastalex\[scale\]'"
    ):
        readout.read_out(net, str(folder), str(tmp_path / "out"), LAYERS, format="zarr")


def test_results_that_are_not_there(net, folder, tmp_path):
    with pytest.raises(UserError, match="there are no complete results in"):
        readout.Results(str(tmp_path))
    readout.read_out(net, str(folder), str(tmp_path / "out"), ["fc7"])
    results = readout.Results(str(tmp_path / "out"))
    with pytest.raises(UserError, match=r"has no layer 'fc6' \(it has: fc7\)"):
        results.stored("fc6")
    (tmp_path / "out" / "fc7.npy").write_bytes(b"x")
    with pytest.raises(UserError, match="cannot read '.*fc7.npy'"):
        results.stored("fc7")
    (tmp_path / "out" / readout.RESULT).write_text(json.dumps([]))
    with pytest.raises(UserError, match="there are no complete results in"):
        readout.Results(str(tmp_path / "out"))


@pytest.mark.parametrize("format", ["npy", "hdf5"])
def test_rows_are_on_the_disk_before_the_state_counts_them(net, folder, tmp_path, monkeypatch, format):
    """Also after a crash of the machine: each file is forced there."""
    forced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: forced.append(os.fstat(handle).st_ino) or fsync(handle))
    readout.read_out(net, str(folder), str(tmp_path / "out"), ["fc7"], format=format)
    results = readout.Results(str(tmp_path / "out"))
    for name in (results.manifest["layers"]["fc7"]["file"], readout.NAMES):
        assert os.stat(tmp_path / "out" / name).st_ino in forced


def test_no_room_for_the_names_of_images(net, folder, tmp_path):
    """Rows have their room from the beginning, so that this is what a full disk stops."""
    out = tmp_path / "out"
    out.mkdir()
    os.symlink("/dev/full", out / f"{readout.NAMES}.part")
    with pytest.raises(UserError, match=f"{readout.NAMES} cannot be written: No space left on device"):
        readout.read_out(net, str(folder), str(out), ["fc7"], batch=4)
    os.unlink(out / f"{readout.NAMES}.part")
    assert readout.read_out(net, str(folder), str(out), ["fc7"], batch=4)["rows"] == len(NUMBERS)


def test_unused_rows_are_cut_off_in_place(net, expected, folder, tmp_path, monkeypatch):
    """An image that is left out costs no second copy of the file, and no moment leaves one that cannot be read."""
    (folder / "000010.png").write_bytes(b"no image")
    out, want, numbers = tmp_path / "out", io.BytesIO(), []
    np.save(want, expected("conv5", range(10)))
    part = out / "conv5.npy.part"

    def stopping(call):
        def stop(what, *arguments):
            state = out / readout.STATE
            if part.exists() and os.path.samestat(os.stat(what), os.stat(part)) and state.exists():
                numbers.append(part.stat().st_ino)
                raise KeyboardInterrupt
            return call(what, *arguments)

        return stop

    for name in ("fsync", "fsync", "replace"):  # behind the header, behind the cut, before the name
        with monkeypatch.context() as patch:
            patch.setattr(os, name, stopping(getattr(os, name)))
            with pytest.raises(KeyboardInterrupt):
                readout.read_out(net, str(folder), str(out), ["conv5"])
    readout.read_out(net, str(folder), str(out), ["conv5"])
    assert (out / "conv5.npy").read_bytes() == want.getvalue()
    assert numbers == [os.stat(out / "conv5.npy").st_ino] * 3


@pytest.mark.scale
def test_rows_in_parquet_are_indexed_as_arrays_are(tmp_path, small_chunks):
    values = np.arange(11 * 6, dtype=np.float32).reshape(11, 2, 3)
    path = str(tmp_path / "a.parquet")
    kept = destinations.FORMATS["parquet"](path, values.shape, "float32", 4)
    for first in range(0, 11, 4):
        kept.write(first, values[first : first + 4], [str(row) for row in range(first, min(first + 4, 11))])
    stored = destinations.reader(path)
    s = np.s_
    for index in (s[:], s[3], s[-1], s[::-1], s[9:2:-3], s[2:9:3, 1], s[..., 0], s[:, 1, -1], s[5:5], s[-3, :, 1]):
        np.testing.assert_array_equal(stored[index], values[index])
    with pytest.raises(IndexError):
        stored[11]
    (tmp_path / "empty.parquet").mkdir()
    with pytest.raises(UserError, match="empty.parquet': there are no rows in it"):
        destinations.reader(str(tmp_path / "empty.parquet"))
