"""Pickles that refer to the weights file: the same network where the same file is, one sentence anywhere else."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import re
import shutil

import numpy as np
import pytest

from fastalex import AlexNet, quantize, variants, weights
from fastalex.errors import UserError
from fastalex.extractor import get_extractor
from fastalex.jetbot import CollisionAvoidance
from fastalex.weights import initial
from tests.support import file_writers, small_net

SMALL = 4_000  # bytes of a pickle without arrays and labels


def small(path, **options):
    return AlexNet(weights=path, device="cpu", pickle_by="path", **options)


def images(net, count=2):
    row = net.variant
    shape = (count, row.channels, row.input_size, row.input_size)
    return np.random.default_rng(4).standard_normal(shape, np.float32)


def same(net, other):
    np.testing.assert_array_equal(other(images(net)), net(images(net)))
    assert repr(other) == repr(net)
    assert (other.labels, other.calibration, other.variant) == (net.labels, net.calibration, net.variant)
    assert other.pickle_by == net.pickle_by == "path"
    assert other.fingerprint() == net.fingerprint()


@pytest.fixture
def file(tmp_path, parameters):
    path = tmp_path / "small.safetensors"
    small_net.small(parameters, device="cpu").save(path)
    return path


def refused(action, *words):
    with pytest.raises(UserError) as caught:
        action()
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert str(word) in sentence
    return sentence


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_pickle_by_path_is_small_and_gives_the_same_bits(file, suffix):
    net = small(file)
    path = file.with_suffix(suffix)
    net.save(path)
    net = small(path, threads=1, exact=True)
    text = pickle.dumps(net)
    assert len(text) < SMALL < path.stat().st_size
    same(net, pickle.loads(text))
    same(net, pickle.loads(pickle.dumps(pickle.loads(text))))  # what has arrived can be sent on


def test_a_pickle_has_the_facts_of_the_file(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    net = small(file.name)
    monkeypatch.chdir("/")
    (facts,) = net.__getstate__()["files"]
    assert facts == {
        "path": str(file),
        "size": file.stat().st_size,
        "modified_ns": file.stat().st_mtime_ns,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    same(net, pickle.loads(pickle.dumps(net)))


def test_the_bundled_weights_travel_by_path():
    net = AlexNet(weights="digits", device="cpu", pickle_by="path")
    net.note = "mine"
    other = pickle.loads(pickle.dumps(net))
    same(net, other)
    assert other.note == "mine"


def test_what_the_caller_passed_or_replaced_travels(file):
    plain = AlexNet(weights=file, device="cpu")
    calibration = quantize.calibrate(plain, [images(plain)])
    net = small(file, precision="int8", fc_weights="int4", calibration=calibration, activation="tanh")
    net.labels = [f"class {index}" for index in range(7)]
    other = pickle.loads(pickle.dumps(net))
    same(net, other)
    assert (other.precision, other.fc_weights, other.variant.activation) == ("int8", "int4", "tanh")


@pytest.mark.parametrize("storage", ["int8", "int4"])
@pytest.mark.parametrize("chosen", [None, "fp32"])
def test_a_quantized_file_keeps_its_storage(file, tmp_path, storage, chosen):
    path = tmp_path / "quantized.safetensors"
    AlexNet(weights=file, device="cpu").save(path, fc_weights=storage)
    net = small(path, fc_weights=chosen)
    assert net.fc_weights == (chosen or storage)
    same(net, pickle.loads(pickle.dumps(net)))


def test_a_mean_image_is_read_from_the_file_unless_replaced(tmp_path, parameters):
    row = small_net.small(parameters, device="cpu").variant
    mean = np.random.default_rng(1).uniform(100, 120, (3, 256, 256)).astype(np.float32)
    path = tmp_path / "mean.safetensors"
    weights.save(path, parameters, weights.metadata_for(row, mean_image=mean))
    net = small(path)
    text = pickle.dumps(net)
    assert len(text) < SMALL < mean.nbytes
    np.testing.assert_array_equal(pickle.loads(text).mean_image, mean)
    net.mean_image += 1
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net)).mean_image, mean + 1)
    net.mean_image = None
    assert pickle.loads(pickle.dumps(net)).mean_image is None


def test_a_graph_is_not_checked_again(tmp_path, monkeypatch):
    row = variants.get("bvlc_alexnet", widths=(8, 16, 12, 12, 8, 24, 20), num_classes=7, input_size=67)
    path = tmp_path / "net.caffemodel"
    arrays = initial.random_weights(row, seed=3)
    path.write_bytes(file_writers.caffemodel_bytes(row, arrays))
    net = small(path)
    text = pickle.dumps(net)
    monkeypatch.setattr("fastalex.selftest.files.check", lambda *_: pytest.fail("checked again"))
    same(net, pickle.loads(text))


@pytest.mark.parametrize("protocol", range(2, 6))
def test_every_protocol_works(file, protocol):
    net = small(file)
    same(net, pickle.loads(pickle.dumps(net, protocol)))


def test_copies_need_no_file(file):
    net = small(file)
    net.self = net
    net.note = []
    file.unlink()
    shallow, deep = copy.copy(net), copy.deepcopy(net)
    same(net, shallow)
    same(net, deep)
    assert shallow.note is net.note and deep.note is not net.note
    assert deep.self is deep
    refused(lambda: pickle.dumps(deep), file, "is gone")


def test_what_holds_a_network_follows(file, tmp_path):
    extractor = get_extractor(model_path=file, device="cpu", pickle_by="path")
    text = pickle.dumps(extractor)
    assert len(text) < SMALL
    x = images(extractor.model)
    name = "features.10"
    np.testing.assert_array_equal(
        pickle.loads(text).extract_batch(x, module_name=name), extractor.extract_batch(x, module_name=name)
    )
    row = variants.get("torchvision", widths=(8, 16, 12, 12, 8, 24, 20), num_classes=2)
    path = tmp_path / "jetbot.npz"
    weights.save(path, initial.random_weights(row))
    robot = CollisionAvoidance(path, device="cpu", widths=row.widths, pickle_by="path")
    text = pickle.dumps(robot)
    assert len(text) < SMALL
    frame = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    other = pickle.loads(text)
    assert other(frame) == robot(frame)
    assert other.net.labels == robot.net.labels


# Refusals -------------------------------------------------------------------------------------------------------------


def test_weights_without_a_file_are_refused(parameters):
    for given in (parameters, "random", None):
        refused(lambda given=given: small_net.small(given, device="cpu", pickle_by="path"), "pickle_by")
    refused(lambda: AlexNet(weights="digits", pickle_by="name"), "pickle_by must be one of arrays, path, not 'name'")
    with pytest.raises(AttributeError):
        AlexNet(weights="digits", device="cpu").pickle_by = "path"


def changed_byte(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    return bytes(data)


def test_a_file_that_differs_on_arrival_is_refused(file):
    text = pickle.dumps(small(file))
    original = file.read_bytes()
    file.write_bytes(original + b"\0")
    size = len(original)
    refused(lambda: pickle.loads(text), file, f"has {size + 1} bytes instead of {size}", "put back")
    file.write_bytes(original)
    file.write_bytes(changed_byte(file))
    os.utime(file, (10**9, 10**9))
    sentence = refused(lambda: pickle.loads(text), file, "another SHA-256", "put back")
    assert re.search(r"changed on 2001-09-0[89] \d\d:\d\d:\d\d", sentence)
    file.write_bytes(original)  # at another time and, as on another machine, in another inode
    shutil.copy(file, file.with_suffix(".copy"))
    os.replace(file.with_suffix(".copy"), file)
    pickle.loads(text)


def test_a_file_that_is_missing_on_arrival_is_refused(file):
    text = pickle.dumps(small(file))
    file.unlink()
    refused(lambda: pickle.loads(text), file, "missing here", "copy it there")
    file.mkdir()
    refused(lambda: pickle.loads(text), file, "cannot be read: it is not a file")


def test_a_pipe_in_place_of_the_file_is_refused(file):
    text = pickle.dumps(small(file))
    file.unlink()
    os.mkfifo(file)
    refused(lambda: pickle.loads(text), file, "not a file")


@pytest.mark.parametrize("pickled_before", [False, True])
def test_a_file_that_changes_after_it_was_loaded_is_noticed(file, pickled_before):
    def net_then(change):
        net = small(file)
        if pickled_before:
            pickle.dumps(net)
        change()
        return refused(lambda: pickle.dumps(net), file, "pickle_by='arrays'")

    def replace():  # by a file of the same size and time
        stamp = file.stat()
        file.with_suffix(".new").write_bytes(changed_byte(file))
        os.utime(file.with_suffix(".new"), ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        os.replace(file.with_suffix(".new"), file)

    assert "was changed after it was loaded" in net_then(replace)
    assert "was changed" in net_then(lambda: file.write_bytes(file.read_bytes() + b"\0"))
    small_net.small(small_net.random_parameters(), device="cpu").save(file)
    assert "was changed" in net_then(lambda: os.utime(file, (10**9, 10**9)))
    assert "is gone" in net_then(file.unlink)


def test_a_file_that_changes_between_digest_and_load_is_noticed(file, monkeypatch):
    text = pickle.dumps(small(file))
    load = weights.load

    def late(path):
        file.write_bytes(changed_byte(file))
        return load(path)

    monkeypatch.setattr("fastalex.weights.origin.load_network", late)
    refused(lambda: pickle.loads(text), file, "was changed while it was loaded")


def test_the_digest_is_computed_once_and_not_before_it_is_needed(file, monkeypatch):
    computed = []
    sha256 = hashlib.sha256
    monkeypatch.setattr(hashlib, "sha256", lambda *args: computed.append(1) or sha256(*args))
    net = small(file)
    assert not computed
    first, second = pickle.dumps(net), pickle.dumps(net)
    assert first == second
    assert len(computed) == 1


def test_the_names_in_a_message_are_printable(file):
    path = file.with_name("a\x1b[31m\nb.safetensors")
    file.rename(path)
    net = small(path)
    path.unlink()
    assert "\x1b" not in refused(lambda: pickle.dumps(net), "safetensors")
