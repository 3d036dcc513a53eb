"""The same images from every kind of source, and what is said of damaged ones."""

from __future__ import annotations

import builtins
import errno
import gzip
import io
import os
import pickle
import shutil
import sys
import tarfile
import threading

import fsspec
import h5py
import numpy as np
import pytest

from fastalex import UserError, readout
from fastalex.readout import lock, packages, pool, sources
from fastalex.readout.sources import base, stores
from fastalex.readout.work import spans
from tests.readout import stimuli

NUMBERS = range(11)


@pytest.fixture
def memory():
    """A folder of fsspec's memory file system, emptied afterwards."""
    fs = fsspec.filesystem("memory")
    yield fs
    fs.rm("/", recursive=True)


def upload(memory, folder):
    memory.put(str(folder), "/data", recursive=True)
    return "memory://data"


def folder(tmp_path, memory):
    return stimuli.write_folder(tmp_path / "images", NUMBERS), ""


def tars(tmp_path, memory):
    return stimuli.write_tars(tmp_path / "shards", NUMBERS, 4), "shard-{:06d}.tar/{:06d}.png"


def tar_pattern(tmp_path, memory):
    stimuli.write_tars(tmp_path / "shards", NUMBERS, 4)
    (tmp_path / "shards" / "notes.txt").write_text("no shard")
    return tmp_path / "shards" / "*.tar", ""


def arrays(tmp_path, memory):
    return stimuli.write_hdf5_arrays(tmp_path / "stimuli.h5", NUMBERS), ""


def files_in_hdf5(tmp_path, memory):
    return stimuli.write_hdf5_files(tmp_path / "stimuli.hdf5", NUMBERS), ""


def memory_folder(tmp_path, memory):
    return upload(memory, stimuli.write_folder(tmp_path / "images", NUMBERS)), ""


def memory_tars(tmp_path, memory):
    return upload(memory, stimuli.write_tars(tmp_path / "shards", NUMBERS, 4)) + "/*.tar", ""


def memory_hdf5(tmp_path, memory):
    stimuli.write_hdf5_arrays(tmp_path / "stimuli.h5", NUMBERS)
    memory.put(str(tmp_path / "stimuli.h5"), "/stimuli.h5")
    return "memory://stimuli.h5", ""


def file_address(tmp_path, memory):
    return f"file://{stimuli.write_tar(tmp_path / 'one.tar', NUMBERS)}", ""


def parquet(tmp_path, memory):
    return stimuli.write_parquet(tmp_path / "train.parquet", NUMBERS), ""


def parquet_of_bytes(tmp_path, memory):
    (tmp_path / "parts").mkdir()
    for part in (0, 1):
        stimuli.write_parquet(tmp_path / "parts" / f"{part}.parquet", NUMBERS[6 * part : 6 * part + 6], nested=False)
    return tmp_path / "parts", ""


def memory_parquet(tmp_path, memory):
    (tmp_path / "parts").mkdir()
    stimuli.write_parquet(tmp_path / "parts" / "a.parquet", NUMBERS)
    return upload(memory, tmp_path / "parts"), ""


ARROW = [pytest.param(kind, marks=pytest.mark.scale) for kind in (parquet, parquet_of_bytes, memory_parquet)]
KINDS = [
    folder,
    tars,
    tar_pattern,
    arrays,
    files_in_hdf5,
    memory_folder,
    memory_tars,
    memory_hdf5,
    file_address,
    *ARROW,
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_gives_the_same_rows(net, expected, memory, tmp_path, kind):
    address, _ = kind(tmp_path, memory)
    done = []
    result = readout.read_out(net, str(address), str(tmp_path / "out"), ["fc7"], batch=3, report=done.append)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "fc7.npy"), expected("fc7", NUMBERS))
    assert done == [3, 6, 9, 11] and result["settings"]["images"] == 11
    names = list(readout.Results(str(tmp_path / "out")).names())
    assert len(set(names)) == 11 and names == sorted(
        names, key=lambda name: [int(p) if p.isdigit() else p for p in name.split("/")]
    )


def test_names(memory, tmp_path):
    for kind, names in (
        (folder, ["000000.png", "000010.png"]),
        (tars, ["shard-000000.tar/000000.png", "shard-000002.tar/000010.png"]),
        (arrays, ["stimuli.h5/0", "stimuli.h5/10"]),
        (memory_folder, ["000000.png", "000010.png"]),
    ):
        place = tmp_path / kind.__name__
        place.mkdir()
        source = sources.open_source(str(kind(place, memory)[0]))
        source.prepare()
        found = [item.name for item in source.read(0, 11)]
        assert [found[0], found[-1]] == names
        assert [item.name for item in source.read(2, 9)] == found[2:9]


@pytest.mark.scale
def test_names_in_parquet(memory, tmp_path):
    source = sources.open_source(str(parquet(tmp_path, memory)[0]))
    source.prepare()
    assert [item.name for item in source.read(2, 4)] == ["train.parquet/2/000002.png", "train.parquet/3/000003.png"]
    plain = sources.open_source(str(parquet_of_bytes(tmp_path, memory)[0]))
    plain.prepare()
    assert [item.name for item in plain.read(5, 7)] == ["0.parquet/5", "1.parquet/0"]


def test_the_hash_of_the_list_is_of_names_and_sizes(tmp_path):
    def sha256(place, numbers, encode=stimuli.png):
        source = sources.open_source(str(stimuli.write_tars(tmp_path / place, numbers, 4, encode)))
        source.prepare()
        return source.sha256

    first = sha256("a", NUMBERS)
    assert first == sha256("b", NUMBERS)
    assert len({first, sha256("c", range(10)), sha256("d", NUMBERS, lambda number: stimuli.png(number) + b"0")}) == 3


def test_the_count_is_kept_for_the_next_process(tmp_path, monkeypatch):
    address = str(stimuli.write_tars(tmp_path / "shards", NUMBERS, 4))
    source = sources.open_source(address)
    source.prepare(str(tmp_path / "out"))
    again = sources.open_source(address)
    with monkeypatch.context() as patch:
        patch.setattr(type(again), "scan", None)
        again.prepare(str(tmp_path / "out"))
    assert (len(again), again.sha256) == (len(source), source.sha256)
    stimuli.write_tar(tmp_path / "shards" / "shard-000003.tar", [11])
    more = sources.open_source(address)
    more.prepare(str(tmp_path / "out"))
    assert len(more) == 12
    (tmp_path / "out" / sources.CATALOG).write_text('{"of": [')  # its writer was killed
    more.prepare(str(tmp_path / "out"))
    assert len(more) == 12


# damaged and wrong sources


def said(net, tmp_path, address, **options):
    with pytest.raises(UserError) as caught:
        readout.read_out(net, str(address), str(tmp_path / "out"), ["fc7"], batch=3, **options)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*.npy")) if (tmp_path / "out").exists() else True
    return str(caught.value)


def test_a_tar_file_that_is_truncated_anywhere(net, tmp_path):
    whole = stimuli.write_tar(tmp_path / "whole.tar", range(3)).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as tar:
        members = tar.getmembers()
        end = tar.offset
    cut = tmp_path / "cut.tar"
    for length in (members[2].offset_data + 10, members[4].offset, members[4].offset + 100, end, end + 100):
        cut.write_bytes(whole[:length])
        assert "cut.tar' is truncated or damaged after '00000" in said(net, tmp_path, cut), length
    cut.write_bytes(whole[:end] + b"garbage" * 100)
    assert "is truncated or damaged after '000002.cls'" in said(net, tmp_path, cut)
    cut.write_bytes(gzip.compress(whole))
    assert "it is compressed, or no tar file" in said(net, tmp_path, cut)
    stimuli.write_tar(tmp_path / "empty.tar", [])
    assert "there is no image in" in said(net, tmp_path, tmp_path / "empty.tar")


def test_hdf5_that_is_no_source(net, tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = (np.zeros((2, 8, 8, 3), np.uint8) for _ in range(2))
        file["floats"] = np.zeros((2, 8, 8, 3), np.float32)
        file["words"] = ["a", "b"]
        file["table"] = np.zeros(2, [("a", "i4"), ("b", "f4")])
    assert "has no dataset 'table'" in said(net, tmp_path, path, column="table")
    assert "has 2 datasets of images (/a, /b); choose one: --column NAME" in said(net, tmp_path, path)
    assert "has no dataset 'floats' of uint8 images" in said(net, tmp_path, path, column="floats")
    assert "has no dataset 'words'" in said(net, tmp_path, path, column="words")
    path.write_bytes(path.read_bytes()[:500])
    assert "it is truncated, damaged or no HDF5 file" in said(net, tmp_path, path)


@pytest.mark.scale
def test_parquet_that_is_no_source(net, tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"a": [b"1"], "b": [b"2"], "text": ["3"]}), path)
    assert "has 2 columns of bytes (a, b); choose one" in said(net, tmp_path, path)
    assert "has no column 'text' of bytes" in said(net, tmp_path, path, column="text")
    path.write_bytes(path.read_bytes()[:100])
    assert "it is truncated or no Parquet file" in said(net, tmp_path, path)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("nosuch://x/", "is no address that can be read"),
        ("memory://nothing/*.tar", "there is no image, and no file of .tar, .h5, .hdf5, .parquet, at"),
        ("memory://nothing.tar", "there is nothing at 'memory://nothing.tar'"),
        ("none.tar", "there is no image, and no file of"),
    ],
)
def test_addresses_of_nothing(net, tmp_path, address, sentence):
    assert sentence in said(net, tmp_path, address)


def test_kinds_do_not_mix(net, tmp_path):
    stimuli.write_tars(tmp_path / "shards", NUMBERS, 6)
    stimuli.write_hdf5_arrays(tmp_path / "shards" / "x.h5", NUMBERS)
    assert "has files of hdf5 and tar; name those of one kind" in said(net, tmp_path, tmp_path / "shards")
    assert "--column is for HDF5 and Parquet" in said(net, tmp_path, tmp_path / "shards" / "*.tar", column="x")


@pytest.mark.parametrize("kind", ["tars", "hdf5", "memory"])
def test_images_that_cannot_be_decoded_are_left_out_by_name(net, expected, memory, tmp_path, kind):
    bad = {4: b"", 5: stimuli.png(5)[:70], 10: b"text"}
    good = [number for number in NUMBERS if number not in bad]

    def encode(number):
        return bad.get(number) if number in bad else stimuli.png(number)

    address = {
        "tars": lambda: stimuli.write_tars(tmp_path / "shards", NUMBERS, 4, encode),
        "hdf5": lambda: stimuli.write_hdf5_files(tmp_path / "stimuli.hdf5", NUMBERS, encode),
        "memory": lambda: upload(memory, stimuli.write_folder(tmp_path / "images", NUMBERS, encode)),
    }[kind]()
    result = readout.read_out(net, str(address), str(tmp_path / "out"), ["fc7"], batch=4)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "fc7.npy"), expected("fc7", good))
    assert [len(result["left_out"]), result["rows"]] == [3, 8]
    assert all(name in reason for name, reason in result["left_out"].items())
    assert not set(result["left_out"]) & set(readout.Results(str(tmp_path / "out")).names())


@pytest.mark.parametrize("kind", [tars, memory_folder])
def test_images_of_too_many_bytes_are_not_read(net, memory, tmp_path, monkeypatch, kind):
    sizes = [len(stimuli.png(number)) for number in NUMBERS]
    most = max(sizes) - 1
    monkeypatch.setattr(base, "MAX_BYTES", most)
    result = readout.read_out(net, str(kind(tmp_path, memory)[0]), str(tmp_path / "out"), ["fc7"], batch=4)
    assert result["rows"] == sum(size <= most for size in sizes) < 11
    assert all(f"more than {most}; save it in another" in reason for reason in result["left_out"].values())


# other processes


@pytest.mark.parametrize("kind", [folder, tars, arrays, memory_folder, memory_tars])
def test_pickled_work_computes_any_block_of_a_pickled_source(net, expected, memory, tmp_path, kind):
    """All that another scheduler needs of it."""
    job = readout.Job(net, str(kind(tmp_path, memory)[0]), str(tmp_path / "out"), ["fc7"], batch=4, dtype="float16")
    with lock.exclusive(job.folder):
        run = job.opened()
        job.prepare(run)
        work, source = pickle.loads(pickle.dumps((job.work, job.source)))
        for start, stop in spans(run.done, job.stop, job.batch):
            block = work.block(source, start, stop)
            assert (block.start, block.stop, block.reasons) == (start, stop, [None] * (stop - start))
            run.add(block)
        run.end()
        run.close()
        run.finish()
    stored = np.load(tmp_path / "out" / "fc7.npy")
    np.testing.assert_array_equal(stored, expected("fc7", NUMBERS).astype(np.float16))


# stores that fail


class Failing(io.BytesIO):
    def read(self, *_):
        raise ConnectionResetError("the other side is gone")


def test_a_store_that_fails_ends_the_run_which_goes_on_later(net, expected, memory, tmp_path, monkeypatch):
    address = upload(memory, stimuli.write_folder(tmp_path / "images", NUMBERS))
    reads, cat = [], type(memory).cat_file

    def failing(self, path, *arguments, **options):
        reads.append(path)
        if len(reads) == 9:
            raise ConnectionResetError("the other side is gone")
        return cat(self, path, *arguments, **options)

    monkeypatch.setattr(type(memory), "cat_file", failing)
    sentence = said(net, tmp_path, address)
    assert "the other side is gone; what was done is kept, and the same command goes on with it" in sentence
    done = []
    readout.read_out(net, address, str(tmp_path / "out"), ["fc7"], batch=3, report=done.append)
    assert done[0] > 3  # what was done was kept
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "fc7.npy"), expected("fc7", NUMBERS))


def test_a_copy_of_a_remote_file_that_breaks_off(net, memory, tmp_path, monkeypatch):
    address = upload(memory, stimuli.write_tars(tmp_path / "shards", NUMBERS, 6))
    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "open", lambda self, *_, **__: Failing())
        assert "the other side is gone; what was done is kept" in said(net, tmp_path, address)
    monkeypatch.setattr(type(memory), "open", lambda self, *_, **__: io.BytesIO(b"short"))
    assert "ended after 5 of " in said(net, tmp_path, address)


def test_a_store_that_stalls(net, memory, tmp_path, monkeypatch):
    address = upload(memory, stimuli.write_folder(tmp_path / "images", NUMBERS))
    stalled = threading.Event()
    monkeypatch.setattr(type(memory), "cat_file", lambda self, *_, **__: stalled.wait(30))
    monkeypatch.setattr(pool, "STALL_S", 0.1)
    monkeypatch.setattr(pool, "_LOOK_S", 0.05)
    assert "gave nothing for 0.1 s; what was done is kept" in said(net, tmp_path, address)
    job = readout.Job(net, address, str(tmp_path / "other"), ["fc7"])
    with pytest.raises(UserError, match="gave nothing for 0.1 s"):
        job.work.block(job.source, 0, 4)  # as an actor computes it
    stalled.set()


def test_a_missing_package_is_named(net, tmp_path, monkeypatch):
    stimuli.write_hdf5_arrays(tmp_path / "x.h5", NUMBERS)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert said(net, tmp_path, tmp_path / "x.h5") == (
        "a source in HDF5 needs the package h5py: pip install 'fastalex[scale]'"
    )
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match="a PCA needs the package scikit-learn: pip"):
        packages.needed("sklearn", "a PCA")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert "'s3://bucket/x' needs the package fsspec: pip install" in said(net, tmp_path, "s3://bucket/x")


def test_no_room_for_a_copy(net, memory, tmp_path, monkeypatch):
    address = upload(memory, stimuli.write_tars(tmp_path / "shards", NUMBERS, 6))

    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(stores.tempfile, "TemporaryFile", lambda **_: Full())
    assert "there is no room for a copy of '/data/shard-000000.tar' in" in said(net, tmp_path, address)


def test_a_shard_that_changed_since_it_was_counted(net, tmp_path):
    address = stimuli.write_tars(tmp_path / "shards", NUMBERS, 6)
    source = sources.open_source(str(address))
    source.prepare()
    shutil.copy(stimuli.write_tar(tmp_path / "x.tar", range(2)), address / "shard-000001.tar")
    with pytest.raises(UserError, match="shard-000001.tar'.*(truncated|changed)"):
        source.read(6, 11)


def test_names_with_brackets_are_no_patterns(net, expected, tmp_path):
    stimuli.write_tar(tmp_path / "a[1].tar", range(2))
    stimuli.write_tar(tmp_path / "a1.tar", range(2, 5))
    for scheme in ("", "file://"):
        for name, numbers in (("a[1].tar", range(2)), ("a[1-3].tar", range(2, 5))):
            out = str(tmp_path / f"out{len(scheme)}{len(numbers)}")
            readout.read_out(net, f"{scheme}{tmp_path}/{name}", out, ["fc7"])
            np.testing.assert_array_equal(readout.Results(out).stored("fc7"), expected("fc7", numbers))


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_file_system_that_fails_is_no_image_that_cannot_be_decoded(net, tmp_path, monkeypatch, number):
    folder, opened = stimuli.write_folder(tmp_path / "images", range(6)), builtins.open

    def failing(path, *arguments, **options):
        if str(path).endswith("000004.png"):
            raise OSError(number, os.strerror(number))
        return opened(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", failing)
        sentence = said(net, tmp_path, folder)
    assert "000004.png': " in sentence and f"{os.strerror(number)}; what was done is kept" in sentence
    assert readout.read_out(net, str(folder), str(tmp_path / "out"), ["fc7"], batch=3)["left_out"] == {}


def test_a_folder_that_goes_is_no_folder_of_images_that_cannot_be_decoded(net, tmp_path):
    folder = stimuli.write_folder(tmp_path / "images", range(6))

    def report(done):
        if folder.exists():
            folder.rename(tmp_path / "gone")

    with pytest.raises(UserError, match="No such file or directory; what was done is kept"):
        readout.read_out(net, str(folder), str(tmp_path / "out"), ["fc7"], batch=1, report=report)
    (tmp_path / "gone").rename(folder)
    assert readout.read_out(net, str(folder), str(tmp_path / "out"), ["fc7"], batch=1)["left_out"] == {}
