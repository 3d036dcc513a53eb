"""Weights files that are cut short, overwritten or replaced while they are in use."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from fastalex import AlexNet, UserError, _core, variants, weights
from fastalex.cli.main import main
from fastalex.weights import adapt, initial, quantized
from fastalex.weights.readers import mapped
from tests.support.file_writers import every_kind

FORMATS = ("zip.pth", "stream.pth", "tar.pth", "net.caffemodel", "net.onnx", "net.safetensors", "int8.safetensors")
NAME = "caffenet"
WIDTHS = (8, 8, 8, 8, 8, 256, 24)  # the first fully connected weight is larger than a small array
PEERS = ("zip.pth", "stream.pth", "tar.pth")  # written by PyTorch


@pytest.fixture(autouse=True)
def all_files_are_large(monkeypatch):
    monkeypatch.setattr(mapped, "SMALL", 0)


@pytest.fixture(scope="module")
def row():
    return variants.get(NAME, num_classes=10, widths=WIDTHS)


@pytest.fixture(scope="module")
def files(row):
    return every_kind(row, initial.random_weights(row))


@pytest.fixture
def path(tmp_path, files, request):
    kind = getattr(request, "param", "net.safetensors")
    made = tmp_path / kind
    made.write_bytes(files[kind]())
    return made


def of_each(*kinds):
    """Run with the file in each format."""
    marks = dict.fromkeys(PEERS, pytest.mark.peers)
    return pytest.mark.parametrize(
        "path", [pytest.param(kind, marks=marks.get(kind, ())) for kind in kinds], indirect=True
    )


def cut(path, size=100):
    os.truncate(path, size)


def is_mapped(path):
    with open("/proc/self/maps") as stream:
        return str(path) in stream.read()


def is_open(path):
    names = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return str(path) in [os.readlink(name) for name in names if os.path.islink(name)]


@of_each(*FORMATS)
def test_a_mapping_keeps_no_descriptor_and_a_net_no_mapping(path):
    loaded = weights.load_network(path)
    assert is_mapped(path)
    assert not is_open(path)
    net = AlexNet(weights=path, device="cpu", check=False)
    del loaded
    assert not is_mapped(path)
    assert net.trained


@of_each(*FORMATS)
def test_a_file_that_is_cut_short_before_its_arrays_are_used(path, tmp_path):
    arrays = weights.load_network(path).arrays
    cut(path)
    for attempt in (
        lambda: AlexNet(NAME, weights=arrays, device="cpu", num_classes=10, widths=WIDTHS),
        lambda: weights.save(tmp_path / "copy.npz", arrays),
        lambda: quantized.to_file(arrays, variants.get(NAME, num_classes=10, widths=WIDTHS), "int8"),
    ):
        with pytest.raises(UserError, match="was cut short while it was in use; load it again") as caught:
            attempt()
        assert str(path) in str(caught.value)
    assert not (tmp_path / "copy.npz").exists()


@of_each(*FORMATS)
def test_a_file_that_is_read(path):
    """Nothing that happens to it afterwards matters."""
    before = {name: np.array(array) for name, array in weights.load_network(path).arrays.items()}
    loaded = weights.load_network(path, mmap=False)
    assert not is_mapped(path)
    cut(path)
    for name, array in loaded.arrays.items():
        np.testing.assert_array_equal(np.asarray(array), before[name])


def test_a_file_that_is_cut_within_its_last_page(path, tmp_path, monkeypatch):
    """What is missing of that page reads as zeros. A file that was replaced is still mapped, whatever its new size."""
    monkeypatch.chdir(tmp_path)
    loaded = weights.load(path.name)
    monkeypatch.chdir("/")
    original = path.read_bytes()
    path.with_suffix(".new").write_bytes(original[:100])
    path.rename(path.with_suffix(".old"))
    weights.save(tmp_path / "without.npz", loaded.arrays)
    path.with_suffix(".new").rename(path)
    weights.save(tmp_path / "replaced.npz", loaded.arrays)
    path.with_suffix(".old").rename(path)
    with open(path, "ab") as stream:
        stream.write(b"more")
    weights.save(tmp_path / "longer.npz", loaded.arrays)
    cut(path, len(original) - 1)
    with pytest.raises(UserError, match=r"net\.safetensors was cut short while it was in use; load it again"):
        weights.save(tmp_path / "cut.npz", loaded.arrays)
    assert not (tmp_path / "cut.npz").exists()


def test_no_descriptor_for_the_check_is_one_sentence(path):
    loaded = weights.load(path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(int(name) for name in os.listdir("/proc/self/fd"))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(most + 3)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1] + 1, limits[1]))
        with pytest.raises(UserError, match=r"net\.safetensors cannot be checked .*: Too many open files; close some"):
            mapped.check_whole(loaded.arrays.values())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in held:
            os.close(descriptor)


def test_small_arrays_are_read(path):
    loaded = weights.load(path).arrays
    assert {name for name, array in loaded.items() if mapped._mapping(array) is None} == {
        name for name, array in loaded.items() if array.nbytes <= mapped.SMALL_ARRAY
    }
    assert not any(array.flags.writeable for array in loaded.values())
    assert any(array.nbytes > mapped.SMALL_ARRAY for array in loaded.values())
    small = {name: array for name, array in loaded.items() if array.nbytes <= mapped.SMALL_ARRAY}
    before = {name: array.copy() for name, array in small.items()}
    cut(path)
    for name, array in small.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("storage", ["int8", "int4"])
@pytest.mark.parametrize("harm", ["cut", "overwrite"])
def test_saving_a_net_whose_file_was_harmed(tmp_path, row, storage, harm):
    """In a process of its own: it ended by a signal, or saved other weights."""
    path, copy = tmp_path / "net.safetensors", tmp_path / "copy.safetensors"
    AlexNet(row, device="cpu").save(path, fc_weights=storage)
    content = path.read_bytes()
    code = (
        "import sys\nfrom fastalex import AlexNet\nfrom fastalex.weights.readers import mapped\nmapped.SMALL = 0\n"
        "path, copy, storage, harm = sys.argv[1:]\nnet = AlexNet(weights=path, device='cpu')\n"
        "with open(path, 'r+b') as stream:\n"
        "    stream.truncate(100) if harm == 'cut' else stream.write(bytes(len(stream.read())))\n"
        "    if harm == 'overwrite':\n        stream.seek(0); stream.write(bytes(100000))\n"
        "net.save(copy, fc_weights=storage)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path, copy, storage, harm], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert copy.read_bytes() == content
    assert path.read_bytes() != content


def test_a_file_that_is_written_to_while_it_is_loaded(path, monkeypatch):
    fit = adapt.fit

    def disturbed(*given):
        result = fit(*given)
        disturb()
        return result

    def write():
        with open(path, "r+b") as stream:
            stream.seek(-1, os.SEEK_END)
            stream.write(b"\0")

    def shorten():
        cut(path)

    def replace():
        content = path.read_bytes()
        path.with_suffix(".new").write_bytes(content)
        os.replace(path.with_suffix(".new"), path)

    monkeypatch.setattr(adapt, "fit", disturbed)
    disturb = replace
    AlexNet(weights=path, device="cpu")
    disturb = path.unlink
    content = path.read_bytes()
    AlexNet(weights=path, device="cpu")
    path.write_bytes(content)
    disturb = write
    with pytest.raises(UserError, match=r"net\.safetensors was changed while it was loaded; load it again"):
        AlexNet(weights=path, device="cpu")
    disturb = shorten
    with pytest.raises(UserError, match=r"net\.safetensors was cut short while it was in use"):
        AlexNet(weights=path, device="cpu")


def test_the_commands_can_read_instead(path, tmp_path, monkeypatch, capsys):
    made = []
    real = mapped._MappedFile.__init__
    monkeypatch.setattr(mapped._MappedFile, "__init__", lambda *given: made.append(given) or real(*given))
    for arguments in (["convert", path, tmp_path / "a.npz"], ["quantize", path, tmp_path / "b.npz"]):
        assert main([str(each) for each in [*arguments, "--no-mmap"]]) == 0
        assert not made
    assert main(["convert", str(path), str(tmp_path / "c.npz")]) == 0
    assert made
    capsys.readouterr()


def test_mappings(path):
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        made = _core.Mapping(stream.fileno(), size, "a name")
        for wrong in (0, size + 1, 2**63 - 1):
            with pytest.raises(ValueError, match="does not have as many bytes"):
                _core.Mapping(stream.fileno(), wrong)
    with pytest.raises(OSError, match="Bad file descriptor"):
        _core.Mapping(-1, 1)
    assert (len(made), made.name, made.is_whole()) == (size, "a name", True)
    view = memoryview(made)
    assert view.readonly
    assert bytes(view) == path.read_bytes()
    made.drop_pages()
    assert bytes(view) == path.read_bytes()
    cut(path, size - 1)  # the last page is still there
    assert made.is_whole()
    cut(path)
    assert not made.is_whole()
