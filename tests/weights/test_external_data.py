"""ONNX models whose parameters are in a data file beside them: the folder that confines it, and what is refused."""

from __future__ import annotations

import importlib.util
import os
import pickle
import random
import tempfile
import time
import warnings

import numpy as np
import pytest

from fastalex import AlexNet, variants, weights
from fastalex.errors import UserError
from fastalex.weights import initial
from fastalex.weights.errors import FormatError
from fastalex.weights.readers import onnx as reader

onnx = pytest.importorskip("onnx")

from fastalex.networks.onnx_export import graph_of  # noqa: E402

pytestmark = pytest.mark.peers

ROW = variants.get("torchvision", widths=(16, 32, 48, 48, 32, 64, 64), num_classes=5)
ARRAYS = initial.random_weights(ROW, seed=1)
DATA = "net.onnx.data"


def saved(folder, one_file=True, **options):
    path = folder / "net.onnx"
    options.setdefault("size_threshold", 0)
    words = {"save_as_external_data": True, "all_tensors_to_one_file": one_file}
    onnx.save_model(graph_of(ROW, ARRAYS), str(path), location=DATA if one_file else None, **words, **options)
    return path


def changed(path, **entry):
    """The file with these values in the entries of all its tensors; None removes one."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        kept = {one.key: one.value for one in tensor.external_data}
        kept.update(entry)
        del tensor.external_data[:]
        for key, value in kept.items():
            if value is not None:
                tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def same_values(path):
    loaded = weights.load(path)
    for got, expected in zip(loaded.arrays.values(), ARRAYS.values()):
        assert np.array_equal(got, expected)
    return loaded


def refused(path, match):
    with pytest.raises(UserError, match=match) as caught:
        weights.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("one_file", [True, False])
@pytest.mark.parametrize("threshold", [0, 1024])
def test_the_arrays_are_views_of_the_data_files(tmp_path, one_file, threshold):
    loaded = same_values(saved(tmp_path, one_file, size_threshold=threshold))
    assert not any(array.flags.owndata or array.flags.writeable for array in loaded.arrays.values())


def test_the_network_gives_what_onnxruntime_gives(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = saved(tmp_path)
    x = np.random.default_rng(2).standard_normal((1, 3, 224, 224), dtype=np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: x})
    monkeypatch.chdir(tmp_path)
    for name in (path, "net.onnx", os.path.join("..", tmp_path.name, "net.onnx")):
        net = AlexNet(weights=name, device="cpu")
        np.testing.assert_allclose(net(x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


if importlib.util.find_spec("onnxscript") is not None:  # PyTorch's test extra does not bring it

    @pytest.mark.slow
    def test_pytorchs_default_export(tmp_path):
        torch = pytest.importorskip("torch")
        from fastalex.networks import torch_reference

        module = torch_reference.build(variants.get("torchvision", widths=ROW.widths, num_classes=3)).eval()
        path = tmp_path / "export.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (torch.zeros(1, 3, 224, 224),), str(path), dynamo=True, verbose=False)
        assert (tmp_path / "export.onnx.data").exists()
        net = AlexNet(weights=path, device="cpu")
        x = torch.randn(1, 3, 224, 224)
        with torch.no_grad():
            expected = module(x).numpy()
        np.testing.assert_allclose(net(x.numpy()), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_subfolder_and_links_within_the_folder(tmp_path):
    path = saved(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / DATA).rename(tmp_path / "data" / "all")
    same_values(changed(path, location="data/all"))
    (tmp_path / "link").symlink_to(tmp_path / "data" / "all")
    same_values(changed(path, location="link"))


def test_a_cache_that_links_to_the_model_and_to_its_data(tmp_path):
    """Hugging Face's cache: ``snapshots/1/net.onnx`` and its data are links to two files of ``blobs``."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    saved(blobs)
    for name, blob in (("net.onnx", "1a"), (DATA, "2b")):
        (blobs / name).rename(blobs / blob)
        (snapshot / name).symlink_to(os.path.join("..", "..", "blobs", blob))
    same_values(snapshot / "net.onnx")


def test_an_entry_without_a_length(tmp_path):
    same_values(changed(saved(tmp_path), length=None))


def test_a_model_without_a_folder(tmp_path):
    path = saved(tmp_path)
    with tempfile.TemporaryFile() as stream:
        stream.write(path.read_bytes())
        stream.flush()
        with pytest.raises(FormatError, match=f"'{DATA}'.*unpack the archive"):
            reader.read(stream, os.fstat(stream.fileno()).st_size)


OUTSIDE = "only files in the folder of the model"
ENTRIES = {
    "an absolute path": ({"location": "/etc/passwd"}, OUTSIDE),
    "the folder above": ({"location": "../secret"}, OUTSIDE),
    "the folder above, later": ({"location": "data/../../secret"}, OUTSIDE),
    "the folder above in Windows": ({"location": "..\\secret"}, OUTSIDE),
    "no location": ({"location": None}, OUTSIDE),
    "a zero": ({"location": "net\0.data"}, OUTSIDE),
    "control characters": ({"location": "a\nb\a"}, r"a\\nb\\x07.*missing"),
    "another name": ({"location": "other.data"}, "'other.data'.*missing.*folder of the model"),
    "a very long name": ({"location": "x" * 900}, "xxx.*cannot be read|xxx.*missing"),
    "a folder": ({"location": "."}, "not a file"),
    "an offset behind the end": ({"offset": "99999999999"}, "bytes 99999999999 to"),
    "a negative offset": ({"offset": "-4"}, "offset.*not a whole number: '-4'"),
    "an offset of many digits": ({"offset": "9" * 900}, "offset.*not a whole number"),
    "another length": ({"length": "4"}, "needs 23232 bytes.*has 4"),
    "a length of words": ({"length": "all"}, "length.*not a whole number"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_that_are_refused(tmp_path, name):
    entry, match = ENTRIES[name]
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(10**6))
    refused(changed(saved(folder), **entry), match)


def link_outside(folder):
    (folder / DATA).rename(folder.parent / "secret")
    (folder / DATA).symlink_to(folder.parent / "secret")


def folder_link(folder):
    (folder.parent / "elsewhere").mkdir()
    (folder / DATA).rename(folder.parent / "elsewhere" / DATA)
    (folder / "inside").symlink_to(folder.parent / "elsewhere")
    changed(folder / "net.onnx", location=f"inside/{DATA}")


def huge(folder):
    os.truncate(folder / DATA, 2**33)  # sparse


def pipe(folder):
    (folder / DATA).unlink()
    os.mkfifo(folder / DATA)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (link_outside, "link to a file outside the folder"),
        (folder_link, "link to a file outside the folder"),
        (pipe, "not a file"),
        (huge, "8589934592 bytes, more than"),
        (lambda folder: (folder / DATA).unlink(), f"'{DATA}'.*missing"),
        (lambda folder: (folder / DATA).write_bytes(b""), "which has 0"),
        (lambda folder: (folder / DATA).write_bytes(bytes(100)), "which has 100"),
    ],
    ids=["a link", "a folder that is a link", "a pipe", "huge", "missing", "empty", "cut"],
)
def test_data_files_that_are_refused(tmp_path, change, match):
    folder = tmp_path / "model"
    folder.mkdir()
    path = saved(folder)
    change(folder)
    start = time.perf_counter()
    refused(path, match)
    assert time.perf_counter() - start < 2


def test_parameters_that_share_their_bytes(tmp_path):
    """Copies of a part of a file could be larger than the file."""
    path = changed(saved(tmp_path), offset="0")
    data = tmp_path / DATA
    data.write_bytes(data.read_bytes()[: max(array.nbytes for array in ARRAYS.values())])
    refused(path, "overlap")


@pytest.mark.slow
def test_damaged_models_read_their_folder_alone(tmp_path):
    """Bytes of the entries replaced at random: the arrays are those of the data file, or one sentence says why not."""
    path = saved(tmp_path)
    sound, chance = path.read_bytes(), random.Random(3)
    places = [place for place in range(len(sound)) if sound[place : place + 8] in (b"location", b"checksum")]
    places += [place for place in range(len(sound)) if sound[place : place + 6] in (b"offset", b"length")]
    refusals = 0
    for _ in range(200):
        data = bytearray(sound)
        for _ in range(chance.randint(1, 3)):
            data[chance.choice(places) + chance.randint(-3, 28)] = chance.choice([chance.randrange(256), *b"./09-:"])
        path.write_bytes(bytes(data))
        try:
            for array in weights.load(path).arrays.values():
                assert np.isfinite(array.astype(np.float64).sum()) or array.size
        except UserError as error:
            refusals += 1
            assert "\n" not in str(error)
    assert 50 < refusals < 200


def test_a_shape_that_is_claimed(tmp_path):
    path = saved(tmp_path)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].dims[0] = 2**40
    for one in list(model.graph.initializer[0].external_data):
        if one.key == "length":
            model.graph.initializer[0].external_data.remove(one)
    path.write_bytes(model.SerializeToString())
    refused(path, "side of more than|which has")


def test_many_data_files_are_refused(tmp_path):
    path = saved(tmp_path)
    model = onnx.load(path, load_external_data=False)
    nodes = []
    for number in range(reader.external.MOST_FILES + 1):  # each a shape that nothing else reads
        (tmp_path / f"d{number}").write_bytes(np.array([0, -1], np.int64).tobytes())
        tensor = onnx.TensorProto(name=f"s{number}", data_type=7, dims=[2], data_location=1)
        tensor.external_data.add(key="location", value=f"d{number}")
        model.graph.initializer.append(tensor)
        before = f"r{number - 1}" if number else model.graph.output[0].name
        nodes.append(onnx.helper.make_node("Reshape", [before, tensor.name], [f"r{number}"]))
    model.graph.node.extend(nodes)
    model.graph.output[0].name = nodes[-1].output[0]
    path.write_bytes(model.SerializeToString())
    refused(path, "more than 64 data files")


def test_a_pickle_by_path_knows_the_data_file(tmp_path):
    """The data file is checked as the model is: it may be on another machine, or another one."""
    path = saved(tmp_path)
    net = AlexNet(weights=path, device="cpu", pickle_by="path")
    packed = pickle.dumps(net)
    assert [os.path.basename(name) for name, _ in weights.load(path).files] == ["net.onnx", DATA]
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)
    np.testing.assert_array_equal(pickle.loads(packed)(x), net(x))
    data = tmp_path / DATA
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(bytes(content))
    with pytest.raises(UserError, match=rf"{DATA}.*SHA-256"):
        pickle.loads(packed)


def test_a_data_file_that_git_lfs_has_not_fetched_is_named(tmp_path):
    path = saved(tmp_path)
    (tmp_path / DATA).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:6b0da\nsize 243863787\n")
    refused(path, "git lfs pull")
