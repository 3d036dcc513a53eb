"""Weights files: round trips, agreement with the safetensors package, damage of every kind, atomic writing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from fastalex import variants, weights
from fastalex._util import files
from fastalex.errors import UserError
from fastalex.weights import initial
from fastalex.weights.readers import npz, safetensors

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import strategies as st  # noqa: E402

SUFFIXES = [".safetensors", ".npz"]
DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
ARRAYS = {
    "conv1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 7,
    "conv1.bias": np.array([1.5, -2.0], np.float64),
    "scalar": np.array(7, np.int8),
    "empty": np.zeros((0, 4), np.float32),
    "mask": np.array([True, False, True]),
    "half": np.array([1, 2, 3], np.float16),
}
METADATA = {"fastalex.labels": '["0", "1"]', "naïve": "größe ✓"}


def same(got, expected):
    assert set(got) == set(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype, name
        assert got[name].shape == array.shape, name
        assert np.array_equal(got[name], array), name


def saved(folder, suffix, arrays=None, metadata=None):
    path = folder / ("weights" + suffix)
    weights.save(path, ARRAYS if arrays is None else arrays, metadata)
    return path


def refused(path, match=None):
    """The error that loading ``path`` must give: one sentence with the name of the file."""
    with pytest.raises(UserError, match=match) as caught:
        weights.load(path)
    assert os.fspath(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Round trips


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path, suffix):
    loaded = weights.load(saved(tmp_path, suffix, metadata=METADATA))
    same(loaded.arrays, ARRAYS)
    assert loaded.metadata == METADATA
    assert loaded.path == str(tmp_path / ("weights" + suffix))
    assert not any(array.flags.writeable for array in loaded.arrays.values())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_set_and_no_metadata(tmp_path, suffix):
    loaded = weights.load(saved(tmp_path, suffix, {}))
    assert loaded.arrays == {}
    assert loaded.metadata == {}


@pytest.mark.parametrize("code", DTYPES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_type(tmp_path, suffix, code):
    array = (np.random.default_rng(0).standard_normal((3, 5)) * 50).astype(code)
    same(weights.load(saved(tmp_path, suffix, {"a": array})).arrays, {"a": array})


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_layouts_are_stored_by_value(tmp_path, suffix):
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    given = {"turned": base.T, "strided": base[:, ::2], "big": base.astype(">f4"), "fortran": np.asfortranarray(base)}
    got = weights.load(saved(tmp_path, suffix, given)).arrays
    for name, array in given.items():
        assert np.array_equal(got[name], array), name


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_weights_are_equal_files(tmp_path, suffix):
    first = saved(tmp_path, suffix, metadata=METADATA).read_bytes()
    assert saved(tmp_path, suffix, metadata=METADATA).read_bytes() == first


def test_suffix_may_be_in_capitals_and_names_may_be_awkward(tmp_path):
    arrays = {"file": np.ones(2), "a/b": np.ones(3), "ü x": np.ones(1)}
    for suffix in (".NPZ", ".SafeTensors"):
        same(weights.load(saved(tmp_path, suffix, arrays)).arrays, arrays)


# The safetensors package as the reference of the format


def test_the_safetensors_package_reads_what_is_written(tmp_path):
    package = pytest.importorskip("safetensors")
    path = saved(tmp_path, ".safetensors", metadata=METADATA)
    with package.safe_open(str(path), "numpy") as file:
        same({name: file.get_tensor(name) for name in file.keys()}, ARRAYS)  # noqa: SIM118
        assert file.metadata() == METADATA


def test_what_the_safetensors_package_writes_is_read(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "theirs.safetensors"
    package.save_file(ARRAYS, str(path), METADATA)
    loaded = weights.load(path)
    same(loaded.arrays, ARRAYS)
    assert loaded.metadata == METADATA


def test_bf16_is_widened_exactly(tmp_path):
    values = np.array([0.0, -1.5, 3.140625, 1e30, np.inf], np.float32)
    stored = (values.view(np.uint32) >> 16).astype(np.uint16)
    path = handmade(tmp_path, {"a": {"dtype": "BF16", "shape": [5], "data_offsets": [0, 10]}}, stored.tobytes())
    got = weights.load(path).arrays["a"]
    assert got.dtype == np.float32
    assert np.array_equal(got.view(np.uint32) >> 16, stored)
    assert np.array_equal(got[:3], values[:3])


def test_unaligned_data_is_read(tmp_path):
    values = np.arange(4, dtype=np.float32)
    header = {
        "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [1, 17]},
    }
    got = weights.load(handmade(tmp_path, header, b"x" + values.tobytes())).arrays["b"]
    assert np.array_equal(got, values)
    assert np.require(got, np.float32, ["C_CONTIGUOUS", "ALIGNED"]).flags.aligned


def test_written_arrays_are_aligned(tmp_path):
    for array in weights.load(saved(tmp_path, ".safetensors", metadata=METADATA)).arrays.values():
        assert array.flags.aligned


# Memory mapping


def test_safetensors_arrays_are_views_of_one_mapping(tmp_path):
    arrays = {"a": np.ones(1 << 20, np.float32), "b": np.full(1 << 20, 2, np.float32)}
    path = saved(tmp_path, ".safetensors", arrays)
    tracemalloc.start()
    loaded = weights.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 19, "8 MB of arrays must not be copied"
    a, b = loaded.arrays["a"], loaded.arrays["b"]
    assert not a.flags.owndata
    assert not a.flags.writeable
    assert b.ctypes.data - a.ctypes.data == a.nbytes
    with pytest.raises(ValueError, match="read-only"):
        a[0] = 5
    del loaded, a
    assert b.sum() == 2 << 20  # the mapping outlives ``loaded``


def test_checking_mapped_weights_copies_nothing(tmp_path):
    row = variants.get("alexnet-digits")
    loaded = weights.load(saved(tmp_path, ".safetensors", initial.random_weights(row)))
    for array, name in zip(initial.check(row, loaded.arrays), row.parameter_shapes()):
        assert np.shares_memory(array, loaded.arrays[name])


# Damage: safetensors


def handmade(folder, header, data=b"", length=None):
    """A file with any header: an object to be dumped, or raw bytes."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "handmade.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return dict({"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}, **more)


BROKEN = {
    "an unknown type": (entry(dtype="F8_E4M3"), r"\btype\b"),
    "a type that is no text": (entry(dtype=["F32"]), r"\btype\b"),
    "a negative side": (entry(shape=[-2]), "not a list"),
    "a fractional side": (entry(shape=[2.0]), r"2\.0"),
    "a side that is a truth value": (entry(shape=[True, 2]), "not a list"),
    "a side in quotes": (entry(shape=["2"]), "not a list"),
    "a shape that is no list": ({"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}, "not a list"),
    "too many sides": (entry(shape=[2] + [1] * 40), "at most 32"),
    "an overflowing shape": (entry(shape=[2**32, 2**32]), "too large"),
    "an overflowing empty shape": (entry(shape=[0, 2**40, 2**40], offsets=[0, 0]), "too large"),
    "a number of many digits": (
        b'{"a": {"dtype": "F32", "shape": [%s], "data_offsets": [0, 8]}}' % (b"9" * 5000),
        "digits",
    ),
    "a begin after the end": (entry(offsets=[8, 0]), r"\boffsets"),
    "three offsets": (entry(offsets=[0, 4, 8]), r"\boffsets"),
    "a negative offset": (entry(offsets=[-8, 0]), r"\boffsets"),
    "an end past the data": (entry(shape=[4], offsets=[0, 16]), "cut short"),
    "a hole at the start": (entry(shape=[1], offsets=[4, 8]), "a hole"),
    "a rest at the end": (entry(shape=[1], offsets=[0, 4]), "4 bytes"),
    "a size that is not the shape's": (entry(shape=[3]), "needs 12"),
    "an unknown key": (entry(color="red"), "dtype"),
    "no shape": ({"dtype": "F32", "data_offsets": [0, 8]}, "dtype"),
    "an entry that is a list": ([1, 2], "dtype"),
    "a NaN": (b'{"a": NaN}', "NaN"),
    "the same array twice": (
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, '
        b'"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
        "twice",
    ),
    "the same key twice in an entry": (
        b'{"a": {"dtype": "F32", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
        "twice",
    ),
    "a list for a header": (b"[1, 2]", "object"),
    "a number for a header": (b"1234567", "object"),
    "a header that is no JSON": (b'{"a": }', "valid JSON"),
    "a header that is no text": (b'{"\xff\xfe": 1}', "valid JSON"),
    "deep nesting": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "valid JSON"),
    "a million lists": (b'{"a": [' + b"[]," * 1_000_000 + b"[]]}", "parts"),
    "metadata that is no object": ({"__metadata__": "x"}, "metadata"),
    "metadata that is no text": ({"__metadata__": {"x": 1}}, "metadata"),
    "an empty header": (b"", "valid JSON"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_safetensors_header_is_refused(tmp_path, what):
    header, match = BROKEN[what]
    whole = header if isinstance(header, bytes) or "__metadata__" in header else {"a": header}
    refused(handmade(tmp_path, whole, b"\0" * 8), match)


def test_the_header_without_a_fault_loads(tmp_path):
    loaded = weights.load(handmade(tmp_path, {"a": entry()}, b"\0" * 8))
    assert np.array_equal(loaded.arrays["a"], np.zeros(2, np.float32))


def test_overlapping_arrays_are_refused(tmp_path):
    header = {"a": entry(shape=[2], offsets=[0, 8]), "b": entry(shape=[2], offsets=[4, 12])}
    refused(handmade(tmp_path, header, b"\0" * 12), "overlaps")


@pytest.mark.parametrize("length", [9, 2**20, 100_000_000])
def test_a_header_longer_than_the_file_is_refused(tmp_path, length):
    refused(handmade(tmp_path, b"{}", b"", length), f"{length} bytes")


@pytest.mark.parametrize("length", [100_000_001, 2**63, 2**64 - 1])
def test_a_header_above_the_cap_is_refused_before_it_is_read(tmp_path, length):
    refused(handmade(tmp_path, b"{}", b"", length), r"more than.*\b100000000\b")


@pytest.mark.parametrize("size", range(1, 8))
def test_a_file_without_a_header_length_is_refused(tmp_path, size):
    path = tmp_path / "short.safetensors"
    path.write_bytes(b"\0" * size)
    refused(path, "too few")


def test_a_name_that_cannot_be_printed_does_not_break_the_message(tmp_path):
    message = refused(handmade(tmp_path, b'{"\\ud800\\n": {"dtype": "F3"}}'), "dtype")
    message.encode("utf-8")


# Damage: npz


def archive(folder, members, **options):
    path = folder / "handmade.npz"
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def npy_bytes(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


def npy_header(text):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_numpy_reads_what_is_written_and_what_numpy_writes_is_read(tmp_path):
    path = saved(tmp_path, ".npz")
    with np.load(path, allow_pickle=False) as file:
        same(dict(file), ARRAYS)
    for write in (np.savez, np.savez_compressed):
        write(path, **ARRAYS)
        same(weights.load(path).arrays, ARRAYS)


def test_object_arrays_are_refused_unopened(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = tmp_path / "pickle.npz"
    np.savez(path, a=np.array([Trap()], object))
    refused(path, "not object")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("array", [np.array(["text"]), np.zeros(2, "c16"), np.zeros(2, "M8[s]"), np.zeros(2, "i4,f4")])
def test_arrays_that_are_not_numbers_are_refused(tmp_path, array):
    refused(archive(tmp_path, [("a.npy", npy_bytes(array))]), "plain numbers")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "match"),
    [
        ([("readme.txt", b"hello")], r"readme\.txt"),
        ([("a.npy", npy_bytes(np.ones(3))), ("a.npy", npy_bytes(np.ones(3)))], "twice"),
        ([("a.npy", b"")], "valid npy header"),
        ([("a.npy", b"\x93NUMPY\x09\x00")], r"version 9\.0"),
        ([("a.npy", npy_bytes(np.ones(3))[:-1])], "not fit"),
        ([("a.npy", npy_bytes(np.ones(3)) + b"x")], "not fit"),
        ([("a.npy", npy_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"))], "not fit"),
        ([("a.npy", npy_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"))], "not fit"),
        ([("a.npy", npy_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, %d), }" % 2**80))], None),
        ([("a.npy", npy_header(b"__import__('os').abort()"))], "valid npy header"),
        ([("a.npy", npy_header(b"(" * 300))], "valid npy header"),  # too deep for Python's parser
        ([("a.npy", npy_header(b"(" * 60_000))], "60000"),
        ([("__metadata__.npy", npy_bytes(np.zeros(3, np.uint8)))], "metadata.*JSON"),
        ([("__metadata__.npy", npy_bytes(np.frombuffer(b"[1]", np.uint8)))], "metadata.*text"),
    ],
)
def test_a_broken_npz_is_refused(tmp_path, members, match):
    refused(archive(tmp_path, members), match)


@pytest.mark.slow
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    data = npy_header(b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }" % (100 << 20)) + bytes(100 << 20)
    path = archive(tmp_path, [("a.npy", data)], compression=zipfile.ZIP_DEFLATED)
    del data
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    refused(path, "unpack.*67108864")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_an_archive_that_understates_its_sizes_is_refused(tmp_path):
    path = archive(tmp_path, [("a.npy", npy_bytes(np.zeros(100_000)))], compression=zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    real = len(npy_bytes(np.zeros(100_000)))
    assert data.count(struct.pack("<I", real)) == 2  # in the member's own header and in the directory
    path.write_bytes(data.replace(struct.pack("<I", real), struct.pack("<I", 1000)))
    refused(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, method):
    refused(archive(tmp_path, [("a.npy", npy_bytes(np.ones(3)))], compression=method), "compressed")


# Damage at random: load either gives sound arrays or refuses, and nothing else


def examples(suffix):
    stream = io.BytesIO()
    module = {".safetensors": safetensors, ".npz": npz}[suffix]
    module.write(stream, ARRAYS, {"k": "v"})
    if suffix == ".npz":
        packed = io.BytesIO()
        np.savez_compressed(packed, **ARRAYS)
        return [stream.getvalue(), packed.getvalue()]
    return [stream.getvalue()]


def test_a_long_name_in_an_archive_is_cut_in_the_message(tmp_path):
    path = archive(tmp_path, [("a" * 20_000 + ".npy", npy_bytes(np.ones(3)))])
    path.write_bytes(path.read_bytes().replace(b"aa", b"bb", 1))  # in the member, not in the directory
    assert len(refused(path, "valid npz archive")) < 1000


def mutations(suffix):
    """Edits of a sound file: (which file, [(position, bytes there, bytes instead)], cut at)."""
    edit = st.tuples(st.floats(0, 1), st.integers(0, 9), st.binary(max_size=9))
    cut = st.one_of(st.none(), st.floats(0, 1))
    return st.tuples(st.sampled_from(examples(suffix)), st.lists(edit, min_size=1, max_size=4), cut)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_never_crash(tmp_path, suffix):
    path = tmp_path / ("damaged" + suffix)
    outcomes = {"read": 0, "refused": 0, "unnamed": 0}

    @hypothesis.settings(max_examples=600, deadline=None, database=None, derandomize=True)
    @hypothesis.given(mutations(suffix))
    def damage(mutation):
        data, edits, cut = mutation
        for place, remove, insert in edits:
            position = int(place * len(data))
            data = data[:position] + insert + data[position + remove :]
        path.write_bytes(data if cut is None else data[: int(cut * len(data))])
        try:
            loaded = weights.load(path)
        except UserError as error:
            outcomes["refused" if str(path) in str(error) else "unnamed"] += 1
        else:
            outcomes["read"] += 1
            assert sum(array.nbytes for array in loaded.arrays.values()) < 1 << 20
            for array in loaded.arrays.values():
                array.sum()  # every byte is readable

    damage()
    assert outcomes["unnamed"] == 0
    assert outcomes["refused"] > 300, outcomes


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_flipped_header_byte_and_every_cut(tmp_path, suffix):
    path = tmp_path / ("damaged" + suffix)
    data = examples(suffix)[0]
    for cut in range(0, len(data), 7):
        path.write_bytes(data[:cut])
        refused(path)
    for position in range(0, len(data), 3):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        with contextlib.suppress(
            UserError
        ):  # a flipped letter of a name, or of data without a checksum, cannot be noticed
            weights.load(path)


def test_a_flipped_byte_of_npz_data_is_noticed(tmp_path):
    path = saved(tmp_path, ".npz", {"a": np.ones(1000)})
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(bytes(data))
    refused(path, "CRC")


# Paths


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_paths_that_cannot_be_read(tmp_path, suffix):
    refused(tmp_path / ("none" + suffix), "no weights file")
    folder = tmp_path / ("folder" + suffix)
    folder.mkdir()
    refused(folder, "is not a file")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / ("pipe" + suffix))
        refused(tmp_path / ("pipe" + suffix), "is not a file")


@pytest.mark.parametrize("name", ["weights.pth", "weights", "weights.onnx"])
def test_other_suffixes_are_not_written(tmp_path, name):
    refused(tmp_path / name, "no weights file")
    with pytest.raises(UserError, match="must end in"):
        weights.save(tmp_path / name, ARRAYS)
    assert os.listdir(tmp_path) == []


def test_a_null_byte_in_a_path_is_a_mistake_too():
    with pytest.raises(UserError):
        weights.load("a\0b.npz")


# Writing


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("when", ["write", "fsync", "replace"])
def test_a_failed_write_leaves_everything_as_it_was(tmp_path, suffix, when, monkeypatch):
    path = saved(tmp_path, suffix)
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    module = {".safetensors": safetensors, ".npz": npz}[suffix]
    monkeypatch.setattr(*{"write": (module, "write"), "fsync": (os, "fsync"), "replace": (os, "replace")}[when], fail)
    with pytest.raises(UserError, match="No space left") as caught:
        weights.save(path, {"a": np.ones(5)})
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_an_interrupt_removes_the_temporary_file(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path, ".safetensors")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_replacing_keeps_views_of_the_old_file_and_follows_links(tmp_path, suffix):
    path = saved(tmp_path, suffix, {"a": np.ones(5000, np.float32)})
    link = tmp_path / ("link" + suffix)
    link.symlink_to(path.name)
    old = weights.load(link).arrays["a"]
    weights.save(link, {"a": np.zeros(5000, np.float32)})
    assert link.is_symlink()
    assert old.sum() == 5000
    assert weights.load(path).arrays["a"].sum() == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("arrays", "metadata", "match"),
    [
        ({"a": np.array([object()])}, None, "plain numbers"),
        ({"a": np.zeros(2, complex)}, None, "plain numbers"),
        ({"a": "text"}, None, "plain numbers"),
        ({"__metadata__": np.ones(2)}, None, "name of an array"),
        ({"": np.ones(2)}, None, "name of an array"),
        ({3: np.ones(2)}, None, "name of an array"),
        ({"a": np.ones(2)}, {"epochs": 5}, "epochs"),
    ],
)
def test_what_cannot_be_saved(tmp_path, suffix, arrays, metadata, match):
    with pytest.raises(UserError, match=match):
        saved(tmp_path, suffix, arrays, metadata)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_that_does_not_exist(tmp_path, suffix):
    with pytest.raises(UserError, match="cannot be written"):
        saved(tmp_path / "none", suffix)


# Bundled weights


def test_bundled_names():
    assert weights.bundled("digits").name == "alexnet-digits.safetensors"
    with pytest.raises(UserError, match="'imagenet'.*digits"):
        weights.bundled("imagenet")


# Arrays for a variant


def test_random_weights_have_the_stated_spread_and_depend_on_the_seed():
    row = variants.get("alexnet-digits")
    first, again, other = (initial.random_weights(row, seed) for seed in (0, 0, 1))
    assert {name: array.shape for name, array in first.items()} == row.parameter_shapes()
    for name, array in first.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, again[name])
        assert not np.array_equal(array, other[name])
        expected = 0.05 if name.endswith("bias") else (2 / np.prod(array.shape[1:])) ** 0.5
        assert abs(array.std() / expected - 1) < 5 / (2 * array.size) ** 0.5, name  # five standard errors


def test_check_orders_and_converts():
    row = variants.get("alexnet-digits")
    arrays = initial.random_weights(row)
    shuffled = dict(reversed(list(arrays.items())))
    shuffled["fc7.weight"] = np.asfortranarray(arrays["fc7.weight"].astype(np.float64))
    shuffled["fc7.bias"] = np.arange(192)
    checked = initial.check("alexnet-digits", shuffled)
    for array, (name, shape) in zip(checked, row.parameter_shapes().items()):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert array.shape == shape
        assert np.array_equal(array, np.arange(192) if name == "fc7.bias" else arrays[name])
    assert np.shares_memory(checked[0], arrays["conv1.weight"])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda arrays: arrays.pop("conv3.bias"), r"lack.*conv3\.bias"),
        (lambda arrays: arrays.update(conv6=np.ones(1)), "conv6"),
        (
            lambda arrays: arrays.update({"fc6.bias": np.ones(191)}),
            r"fc6\.bias.*\(191,\)",
        ),
        (lambda arrays: arrays.update({"fc6.bias": np.array(["x"] * 192)}), "not <U1"),
        (lambda arrays: arrays.update({"fc6.bias": np.ones(192, bool)}), "not bool"),
        (lambda arrays: arrays.update({"fc6.bias": np.full(192, 1e300)}), "float32"),
        (
            lambda arrays: arrays.update({"fc8.weight": np.ones((7, 192)), "fc8.bias": np.ones(7)}),
            "num_classes=7",
        ),
    ],
)
def test_check_names_what_does_not_fit(change, match):
    arrays = initial.random_weights("alexnet-digits")
    change(arrays)
    with pytest.raises(UserError, match=match):
        initial.check("alexnet-digits", arrays)


def test_check_lets_nan_through():
    arrays = initial.random_weights("alexnet-digits")
    arrays["fc8.bias"][3] = np.nan
    assert np.isnan(initial.check("alexnet-digits", arrays)[-1][3])


# What killed processes leave behind ---------------------------------------------------------------------------------

ALONE = {"a": np.zeros(3, np.float32)}


def aged(path):
    """Make a file look as if it had not been changed for longer than a living process would leave it."""
    old = time.time() - files.LEFT_S - 10
    os.utime(path, (old, old), follow_symlinks=False)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_the_next_save_removes_what_a_killed_one_left(tmp_path, suffix):
    path = tmp_path / ("net" + suffix)
    code = (
        "import sys, time\nfrom fastalex._util.files import replacing\n"
        "with replacing(sys.argv[1]) as stream:\n    stream.write(b'half'); stream.flush()\n"
        "    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        (left,) = tmp_path.iterdir()
        aged(left)
        weights.save(path, ALONE)
        assert left.exists()  # its process lives
        child.kill()
    weights.save(path, ALONE)
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_else_is_removed(tmp_path):
    path, elsewhere = tmp_path / "net.npz", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"x")
    names = [
        ".0123456789abcdef.other.npz.tmp",  # of another file
        ".0123456789abcdef.net.npz.tmp.tmp",
        "x.0123456789abcdef.net.npz.tmp",
        ".0123456789ABCDEF.net.npz.tmp",
        ".123.net.npz.tmp",
        ".0123456789abcdef.net.npz",
        ".fedcba9876543210.net.npz.tmp",  # just written
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
        if not name.startswith(".fe"):
            aged(tmp_path / name)
    (tmp_path / ".00000000000000aa.net.npz.tmp").symlink_to(elsewhere)
    aged(elsewhere)
    aged(tmp_path / ".00000000000000aa.net.npz.tmp")
    (tmp_path / ".00000000000000bb.net.npz.tmp").mkdir()
    os.mkfifo(tmp_path / ".00000000000000cc.net.npz.tmp")
    before = sorted(tmp_path.iterdir())
    weights.save(path, ALONE)
    assert sorted(tmp_path.iterdir()) == sorted([*before, path])
    aged(tmp_path / names[-1])
    weights.save(path, ALONE)
    assert not (tmp_path / names[-1]).exists()


def test_only_files_of_this_user_are_removed(tmp_path, monkeypatch):
    left = tmp_path / ".0123456789abcdef.net.npz.tmp"
    left.write_bytes(b"x")
    aged(left)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    weights.save(tmp_path / "net.npz", ALONE)
    assert left.exists()
