"""Weights in a compressed file or an archive, and files recognized by their content."""

from __future__ import annotations

import bz2
import errno
import gc
import gzip
import io
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from fastalex import AlexNet, variants, weights
from fastalex.cli import classify
from fastalex.cli.main import main
from fastalex.errors import UserError
from fastalex.weights import containers, formats, initial
from fastalex.weights.containers import compressed, tar
from fastalex.weights.containers import zip as zips
from fastalex.weights.readers import npz, safetensors

DIGITS = weights.bundled("digits")
NET = {"a.weight": np.arange(64, dtype=np.float32).reshape(4, 16) / 7}  # a file of weights of 400 bytes
COMPRESSED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
SECONDS, MEMORY = 5.0, 24 << 20  # for what is refused


def written(path, data):
    path.write_bytes(data)
    return path


def net_bytes(suffix=".safetensors", arrays=NET):
    stream = io.BytesIO()
    {".safetensors": safetensors, ".npz": npz}[suffix].write(stream, arrays, {})
    return stream.getvalue()


def zipped(members, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def tarred(members, mode="w", tar_format=tarfile.PAX_FORMAT):
    """A tar archive of (name, bytes), or of (TarInfo, bytes) for members of other types."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode, format=tar_format) as archive:
        for name, data in members.items():
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def refused(path, match):
    """The one sentence that loading ``path`` gives, soon and in little memory."""
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(UserError, match=match) as caught:
        weights.load(path)
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(os.fspath(path))
    assert message.isprintable()
    assert seconds < SECONDS
    assert peak < MEMORY
    return message


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory, monkeypatch):
    """A folder of temporary files of its own, in which every test must leave nothing."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert os.listdir(folder) == []


# What is read


@pytest.mark.parametrize("suffix", COMPRESSED)
@pytest.mark.parametrize("name", ["net.safetensors", "net"])
def test_a_compressed_file(tmp_path, suffix, name):
    path = written(tmp_path / (name + suffix), COMPRESSED[suffix](net_bytes()))
    loaded = weights.load(path)
    assert np.array_equal(loaded.arrays["a.weight"], NET["a.weight"])
    assert not loaded.arrays["a.weight"].flags.owndata  # mapped
    assert loaded.path == f"{path} ({name})"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("suffix", formats.FORMATS)
def test_a_zip_archive(tmp_path, method, suffix):
    data = zipped({"folder/": b"", "README": b"text", "folder/net" + suffix: net_bytes(suffix)}, method)
    loaded = weights.load(written(tmp_path / "any.name", data))
    assert np.array_equal(loaded.arrays["a.weight"], NET["a.weight"])
    assert loaded.path.endswith(f"any.name (folder/net{suffix})")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_archive(tmp_path, mode, tar_format):
    folder = "x" * 90 + "/"  # too long for the header's field of names
    if tar_format != tarfile.USTAR_FORMAT:  # and for its field of folders
        folder += "y" * 90 + "/"
    data = tarred({"labels.txt": b"a\nb\n", folder + "net.safetensors": net_bytes(), "z": b""}, mode, tar_format)
    loaded = weights.load(written(tmp_path / "any.name", data))
    assert np.array_equal(loaded.arrays["a.weight"], NET["a.weight"])


def test_the_archives_of_the_tools_are_read(tmp_path):
    """GNU tar and gzip instead of Python's."""
    for program in ("tar", "gzip"):
        if subprocess.call(["sh", "-c", f"command -v {program}"], stdout=subprocess.DEVNULL):
            pytest.skip(f"there is no {program}")
    written(tmp_path / "net.safetensors", net_bytes())
    subprocess.run(["tar", "czf", "net.tgz", "./net.safetensors"], cwd=tmp_path, check=True)
    subprocess.run(["gzip", "-k", "net.safetensors"], cwd=tmp_path, check=True)
    for name in ("net.tgz", "net.safetensors.gz"):
        assert np.array_equal(weights.load(tmp_path / name).arrays["a.weight"], NET["a.weight"])


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_several_streams_in_a_row_and_padding(tmp_path, suffix):
    """What pigz, pbzip2 and bgzip write."""
    data, pack = net_bytes(), COMPRESSED[suffix]
    path = written(tmp_path / ("net.safetensors" + suffix), pack(data[:100]) + pack(b"") + pack(data[100:]) + bytes(64))
    assert np.array_equal(weights.load(path).arrays["a.weight"], NET["a.weight"])
    path.write_bytes(pack(data) + b"more")
    refused(path, "damaged|early")


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_what_is_larger_than_a_piece_is_unpacked_whole(tmp_path, suffix):
    values = np.random.default_rng(0).standard_normal(400_000).astype(np.float16)  # some three pieces
    values[100_000:300_000] = 1  # and one that compresses well
    path = written(tmp_path / ("net.safetensors" + suffix), COMPRESSED[suffix](net_bytes(arrays={"a": values})))
    assert np.array_equal(weights.load(path).arrays["a"], values)
    for method in METHODS:
        path.write_bytes(zipped({"n.safetensors": net_bytes(arrays={"a": values})}, method))
        assert np.array_equal(weights.load(path).arrays["a"], values)


def test_litter_links_and_folders_do_not_count(tmp_path):
    def special(name, kind):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        return info

    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
    members = {special(f"{index}.safetensors", kind): b"" for index, kind in enumerate(kinds)}
    members.update({"._net.safetensors": b"\0\x05\x16\x07", ".DS_Store": b"x", "a/net.safetensors": net_bytes()})
    assert weights.load(written(tmp_path / "net.tar", tarred(members))).path.endswith("(a/net.safetensors)")
    link = zipfile.ZipInfo("link.safetensors")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    members = {link: b"/etc/passwd", "__MACOSX/._net.safetensors": b"\0\x05\x16\x07", "net.safetensors": net_bytes()}
    assert weights.load(written(tmp_path / "net.zip", zipped(members))).path.endswith("(net.safetensors)")


def test_names_of_members_are_not_paths(tmp_path):
    path = written(tmp_path / "net.tar", tarred({"../../../\x1b[31mnet.safetensors": net_bytes()}))
    before = sorted(tmp_path.parent.rglob("*"))
    loaded = weights.load(path)
    assert loaded.arrays
    assert loaded.path.isprintable()
    assert sorted(tmp_path.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "pack", [gzip.compress, lambda data: tarred({"n": data}, "w:gz"), lambda data: zipped({"n": data})]
)
@pytest.mark.parametrize("storage", ["int8", "int4"])
def test_a_quantized_file(tmp_path, pack, storage):
    path = tmp_path / "quantized.safetensors"
    AlexNet(weights="digits").save(path, fc_weights=storage)
    packed = written(tmp_path / "quantized.packed", pack(path.read_bytes()))
    net = AlexNet(weights=packed)
    assert net.fc_weights == storage
    shape = (2, net.variant.channels, net.variant.input_size, net.variant.input_size)
    batch = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert np.array_equal(net(batch), AlexNet(weights=path)(batch))


def test_the_command_line(tmp_path, capsys):
    data = DIGITS.read_bytes()
    path = written(tmp_path / "digits.zip", zipped({"digits.safetensors": data}, zipfile.ZIP_DEFLATED))
    out = tmp_path / "out.safetensors"
    assert main(["convert", str(path), str(out)]) == 0
    expected = weights.load(DIGITS).arrays
    got = weights.load(out).arrays
    assert all(np.array_equal(got[name], expected[name]) for name in expected)
    assert main(["convert", str(written(tmp_path / "two.zip", zipped({"a.pth": b"", "b.pth": b""}))), str(out)]) == 2
    error = capsys.readouterr().err
    assert "several files of weights (a.pth, b.pth)" in error
    assert "Traceback" not in error


# Formats that are archives themselves, and other peers


@pytest.mark.peers
@pytest.mark.parametrize(
    "kind",
    ["zip.pth", "stream.pth", "tar.pth", "net.caffemodel", "v1.caffemodel", "net.onnx", "int8.safetensors", "int4.npz"],
)
def test_every_format_in_every_container(tmp_path, kind):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from tests.support import file_writers

    row = variants.get("caffenet", widths=(2, 2, 2, 2, 2, 3, 3), num_classes=2)
    arrays = initial.random_weights(row)
    data = file_writers.every_kind(row, arrays)[kind]()
    expected = weights.load(written(tmp_path / kind, data)).arrays
    suffix = kind[kind.index(".") :]
    packed = {
        "a.gz": gzip.compress(data),
        "b" + suffix + ".bz2": bz2.compress(data),
        "c.tar": tarred({"net" + suffix: data, "deploy.prototxt": b'name: "AlexNet"'}),
        "d.tar.gz": tarred({"labels.txt": b"a", "net" + suffix: data}, "w:gz"),
        "e.zip": zipped({"net" + suffix: data, "labels.txt": b"a"}, zipfile.ZIP_DEFLATED),
        "f.zip": zipped({"without-suffix": data}),
    }
    for name, content in packed.items():
        got = weights.load(written(tmp_path / name, content)).arrays
        assert set(got) == set(expected)
        assert all(np.array_equal(np.asarray(got[key]), np.asarray(expected[key])) for key in expected), name
    for name in ("weights.bin", "weights.safetensors", "weights"):  # a suffix that says nothing, or is wrong
        if "onnx" in kind or ("caffe" in kind and "." in name):
            continue
        got = weights.load(written(tmp_path / name, data)).arrays
        assert all(np.array_equal(np.asarray(got[key]), np.asarray(expected[key])) for key in expected), name


@pytest.mark.peers
@pytest.mark.parametrize(
    ("kind", "expected"), [("net.onnx", "onnx"), ("net.caffemodel", "caffe"), ("v1.caffemodel", "caffe")]
)
def test_protobuf_files_without_a_suffix(tmp_path, kind, expected):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from tests.support import file_writers

    row = variants.get("caffenet", widths=(2, 2, 2, 2, 2, 3, 3), num_classes=2)
    data = file_writers.every_kind(row, initial.random_weights(row))[kind]()
    assert weights.format_of(written(tmp_path / "model", data)) == expected
    assert weights.format_of(written(tmp_path / "model.gz", gzip.compress(data))) == expected
    refused(written(tmp_path / "cut", data[:-1]), "none of the formats")
    blob = file_writers.caffe_messages()["BlobProto"](num=1, channels=3, height=4, width=4, data=[0.5] * 48)
    refused(written(tmp_path / "mean.binaryproto", blob.SerializeToString()), "none of the formats")


def test_the_profile_of_jetson_inference_follows_the_format_and_not_the_name(tmp_path):
    path = written(tmp_path / "alexnet.tar", tarred({"net.safetensors": net_bytes()}))
    assert weights.format_of(path) == "safetensors"
    assert not classify._is_onnx(str(path))
    torch = pytest.importorskip("torch")
    stream = io.BytesIO()
    torch.save({"a": torch.ones(3)}, stream)
    assert classify._is_onnx(str(written(tmp_path / "net.pth.gz", gzip.compress(stream.getvalue()))))


# Archives that do not hold one file of weights


@pytest.mark.parametrize("pack", [zipped, tarred, lambda members: tarred(members, "w:xz")])
def test_none_or_several_files_of_weights(tmp_path, pack):
    path = tmp_path / "net.archive"
    refused(
        written(path, pack({"a.pth": b"x", "b/c.safetensors": net_bytes()})), r"several.*\(a.pth, b/c.safetensors\)"
    )
    refused(written(path, pack({"one": net_bytes(), "two": net_bytes()})), r"several.*\(one, two\)")
    many = {f"{index}.txt": b"x" for index in range(9)}
    refused(written(path, pack(many)), r"no file of weights; it has 0.txt, .*, 5.txt and 3 more")
    refused(written(path, pack({"x" * 50 + "\x1b[31m\n": b"x", "y": b"z"})), "no file of weights")
    refused(written(path, pack({"readme.txt": b"hello"})), r"net.archive \(readme.txt\).*it is text")


def test_an_archive_without_members(tmp_path):
    refused(written(tmp_path / "net.zip", zipped({})), "no files")
    refused(
        written(tmp_path / "net.tgz", gzip.compress(tarred({}))), r"net.tgz \(net.tgz\) cannot.*none of the formats"
    )


NESTED = {
    "gz in gz": lambda: gzip.compress(gzip.compress(net_bytes())),
    "gz in xz": lambda: lzma.compress(gzip.compress(net_bytes())),
    "zip in gz": lambda: gzip.compress(zipped({"net.safetensors": net_bytes()})),
    "zip in tar": lambda: tarred({"net.zip": zipped({"net.safetensors": net_bytes()})}),
    "tar in zip": lambda: zipped({"net.tar": tarred({"net.safetensors": net_bytes()})}),
    "tar in tar": lambda: tarred({"net.tar": tarred({"net.safetensors": net_bytes()})}),
    "zip in zip, as weights": lambda: zipped({"net.pth": zipped({"net.safetensors": net_bytes()})}),
    "tgz in gz": lambda: gzip.compress(tarred({"net.safetensors": net_bytes()}, "w:gz")),
}


@pytest.mark.parametrize("kind", NESTED)
def test_containers_in_containers_are_refused(tmp_path, kind):
    refused(written(tmp_path / "net", NESTED[kind]()), "inside of another container; unpack the outer one")


# Hostile and damaged containers


def zip_of(packed, size):
    """A zip archive with the one member ``net.safetensors``, deflated, that claims to unpack to ``size`` bytes."""
    name = b"net.safetensors"
    common = struct.pack("<5HIIIHH", 20, 0, 8, 0, 33, 0, len(packed), size, len(name), 0)
    head = b"PK\x03\x04" + common + name + packed
    entry = b"PK\x01\x02\x14\x00" + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return head + entry + struct.pack("<4s4HIIH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(head), 0)


@pytest.mark.parametrize(("size", "match"), [(2**32 - 2, "unpacks to more than"), (1000, "size or its checksum")])
def test_a_deflated_bomb(tmp_path, size, match):
    """10 GB of zeros in 10 MB: a piece that is repeated, in an archive that admits or denies it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    refused(written(tmp_path / "bomb.zip", zip_of(piece * 640 + packer.flush(), size)), match)


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_a_compressed_bomb(tmp_path, suffix):
    path = written(tmp_path / ("net.safetensors" + suffix), COMPRESSED[suffix](bytes(8 << 20)) * 4)
    limit = max(1 << 20, 200 * path.stat().st_size)
    assert limit < 32 << 20
    refused(path, f"unpacks to more than {limit} bytes")


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_bomb_in_a_zip_of_every_method(tmp_path, method):
    path = written(tmp_path / "net.zip", zipped({"net.safetensors": bytes(32 << 20)}, method))
    refused(path, "unpacks to more than")


def test_members_that_share_their_bytes_are_counted_together(tmp_path):
    """A thousand directory entries for one member of 200 kB, of which the start is looked at."""
    data = zipped({"a": bytes(200_000)}, zipfile.ZIP_DEFLATED)
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry = data[start:end]
    close = struct.pack("<4s4HIIH", b"PK\x05\x06", 0, 0, 3000, 3000, 3000 * len(entry), start, 0)
    refused(written(tmp_path / "net.zip", data[:start] + entry * 3000 + close), "unpacks to more than")


def test_the_absolute_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_BYTES", 300)
    refused(written(tmp_path / "net.gz", gzip.compress(net_bytes())), "unpacks to more than 300 bytes")


def test_a_dictionary_beyond_reason(tmp_path):
    huge = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]
    refused(written(tmp_path / "net.xz", lzma.compress(net_bytes(), filters=huge, preset=None)), "bytes of memory")
    data = bytearray(zipped({"net.safetensors": net_bytes()}, zipfile.ZIP_LZMA))
    place = 30 + len("net.safetensors") + 5
    data[place : place + 4] = b"\xff\xff\xff\x7f"
    refused(written(tmp_path / "net.zip", bytes(data)), "memory")


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: tarred({"n.safetensors": data}),
        lambda data: zipped({"n.safetensors": data}, 8),
        lambda data: tarred({"n.safetensors": data}, "w:gz"),
    ],
)
def test_containers_that_are_cut_short(tmp_path, pack):
    data = pack(net_bytes())
    whole = data.rstrip(b"\0") if tarfile.is_tarfile(io.BytesIO(data)) else data
    for cut in range(1, len(whole) - 1, 13):
        refused(written(tmp_path / "net", data[:cut]), "cut short|none of the formats|damaged|text")


def test_a_flipped_byte_of_what_is_compressed_is_noticed(tmp_path):
    for pack in (*COMPRESSED.values(), lambda data: zipped({"n.safetensors": data})):
        data = bytearray(pack(net_bytes()))
        data[len(data) // 2] ^= 1
        refused(written(tmp_path / "net.packed", bytes(data)), "damaged")


def with_size(field):
    """A tar archive whose header has ``field`` for the size of its member."""
    header = bytearray(tarfile.TarInfo("net.safetensors").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + net_bytes() + bytes(2048)


@pytest.mark.parametrize(
    "field",
    [(2**96 - 512).to_bytes(12, "big"), b"\xff" * 12, b"\x80" + b"\xff" * 11, b"77777777777\0", b"00000100000\0"],
)
def test_a_tar_member_of_a_negative_or_huge_size(tmp_path, field):
    for data in (with_size(field), gzip.compress(with_size(field))):
        refused(written(tmp_path / "net.tar", data), "damaged or cut short|unpacks to more than")


def pax(records, kind=tarfile.XHDTYPE):
    info = tarfile.TarInfo("pax")
    info.type = kind
    return tarred({info: records, "net.safetensors": net_bytes()}, tar_format=tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    ("records", "match"),
    [
        (b"11 size=-5\n", "damaged"),
        (b"25 size=9999999999999999\n", "unpacks to more than"),
        (b"99 path=x\n", "damaged"),
        (b"0 path=x\n", "damaged"),
        (b"9" * 5000 + b" path=x\n", "damaged"),
        (b"path=x\n", "damaged"),
        (b"22 GNU.sparse.major=1\n", "sparse"),
        (b"x" * 70_000, "header of 70000 bytes"),
    ],
)
def test_extended_headers_that_lie(tmp_path, records, match):
    refused(written(tmp_path / "net.tar.gz", gzip.compress(pax(records))), match)


def test_extended_headers_that_say_nothing_of_the_next_member(tmp_path):
    assert weights.load(written(tmp_path / "net.tar", pax(b"20 comment=whatever\n"))).arrays
    assert weights.load(written(tmp_path / "net.tar", pax(b"9 path=x\n", tarfile.XGLTYPE))).path.endswith(
        "(net.safetensors)"
    )


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_hundred_thousand_members(tmp_path, suffix):
    data = tarfile.TarInfo("x").tobuf() * 100_000
    path = written(tmp_path / ("net" + suffix), gzip.compress(data, 1) if suffix == ".tar.gz" else data)
    assert tar.MAX_MEMBERS < 100_000
    refused(path, "more than 10000 members|unpacks to more than")


def test_more_members_of_a_zip_than_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "MAX_MEMBERS", 100)
    refused(written(tmp_path / "net.zip", zipped({f"{index}": b"" for index in range(101)})), "more than 100 members")


def test_more_compressed_streams_than_any_tool_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "MAX_STREAMS", 1000)
    refused(written(tmp_path / "net.gz", gzip.compress(b"") * 1500), "more than 1000 compressed streams")


def test_encrypted_members_and_unknown_methods(tmp_path):
    data = bytearray(zipped({"net.safetensors": net_bytes()}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    refused(written(tmp_path / "net.zip", bytes(data)), "net.safetensors is encrypted; unpack it")
    data = bytearray(zipped({"net.safetensors": net_bytes()}))
    data[data.index(b"PK\x01\x02") + 10] = 93
    refused(written(tmp_path / "net.zip", bytes(data)), r"not read \(93\); unpack it")


@pytest.mark.parametrize(("suffix", "module"), [(".bz2", "bz2"), (".xz", "lzma")])
def test_a_python_without_the_library(tmp_path, suffix, module, monkeypatch):
    path = written(tmp_path / ("net" + suffix), COMPRESSED[suffix](net_bytes()))
    monkeypatch.setitem(sys.modules, module, None)
    refused(path, f"without {module}.*another program")


# The temporary file


def test_nothing_is_left_while_the_weights_are_in_use(tmp_path, temporary):
    path = written(tmp_path / "net.gz", gzip.compress(net_bytes()))
    loaded = weights.load(path)
    assert os.listdir(temporary) == []
    del loaded
    descriptors = "/proc/self/fd"
    if os.path.isdir(descriptors):  # neither a success nor an error leaves the temporary file open
        gc.collect()
        before = len(os.listdir(descriptors))
        refused(written(tmp_path / "bad.gz", gzip.compress(b"x" * 2000)), "it is text")
        refused(written(tmp_path / "cut.gz", path.read_bytes()[:-4]), "cut short")
        gc.collect()  # the traceback of an error holds on to what it was about
        assert len(os.listdir(descriptors)) == before
    loaded = weights.load(path)
    assert np.array_equal(loaded.arrays["a.weight"], NET["a.weight"])


def test_a_full_disk_is_one_sentence(tmp_path):
    pytest.importorskip("resource")
    path = written(
        tmp_path / "net.gz", gzip.compress(net_bytes(arrays={"a": np.random.default_rng(0).random(1 << 16)}))
    )
    code = (
        "import resource, signal, sys\nfrom fastalex import weights\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    weights.load(sys.argv[1])\nexcept weights.UserError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path} cannot be used: it cannot be unpacked in ")
    assert "set TMPDIR" in done.stdout


def test_no_folder_for_temporary_files(tmp_path, monkeypatch):
    def fail():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    refused(written(tmp_path / "net.gz", gzip.compress(net_bytes())), "No usable temporary directory.*set TMPDIR")


# Files of other kinds, under any name

HTML = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
FOREIGN = {
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:6b0da\nsize 243863787\n", "git lfs pull"),
    "HTML": (HTML.encode(), "web page"),
    "HTML after blanks": (b"\r\n  " + HTML.lower().encode(), "web page"),
    "HTML with a mark": (b"\xef\xbb\xbf" + HTML.upper().encode(), "web page"),
    "HTML in UTF-16": (HTML.encode("utf-16"), "web page"),
    "HTML without a type": (b"<HTML lang=en>", "web page"),
    "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "text.*AccessDenied|text.*xml version"),
    "JSON": (b'{"error": "not found"}', "it is text.*not found"),
    "prototxt": (b'name: "AlexNet"\nlayer {\n', "it is text.*AlexNet"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(600), "HDF5.*npz or .safetensors"),
    "MATLAB": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(600), "MATLAB"),
    "TensorRT": (b"ftrt" + bytes(600), "TensorRT engine"),
    "older TensorRT": (b"ptrt" + bytes(600), "TensorRT engine"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c" + bytes(600), "7-Zip"),
    "empty": (b"", "it is empty"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_other_kinds(tmp_path, kind):
    data, match = FOREIGN[kind]
    for name in ("net.pth", "net.onnx", "net.caffemodel", "net.safetensors", "net.npz", "net"):
        message = refused(written(tmp_path / name, data), match)
        assert "\n" not in message
    refused(written(tmp_path / "net.zip", zipped({"net.pth": data})), match)


def test_an_engine_is_known_by_its_suffix_too(tmp_path):
    refused(written(tmp_path / "net.caffemodel.1.1.8201.GPU.FP16.engine", b"\x01\x02" * 300), "TensorRT engine")


@pytest.mark.parametrize("name", ["model.bin", "model", "model.pth", "model.onnx", "model.npz"])
@pytest.mark.parametrize("suffix", formats.FORMATS)
def test_the_content_decides_where_it_is_unmistakable(tmp_path, name, suffix):
    loaded = weights.load(written(tmp_path / name, net_bytes(suffix)))
    assert np.array_equal(loaded.arrays["a.weight"], NET["a.weight"])


def test_a_sound_file_does_not_import_what_containers_need(tmp_path):
    code = (
        "import sys\nfrom fastalex import weights\nweights.load(sys.argv[1])\n"
        "print([name for name in ('tarfile', 'lzma', 'fastalex.weights.containers') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(DIGITS)], capture_output=True, text=True, check=True)
    assert "fastalex.weights.containers" not in done.stdout
    assert "tarfile" not in done.stdout
