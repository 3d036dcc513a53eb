"""Pickles of networks and of what holds them: for other processes, copies, and modules of PyTorch that are saved."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle

import numpy as np
import pytest

from fastalex import AlexNet, quantize, variants
from fastalex.errors import UserError
from fastalex.runtime.precisions import SUPPORTED
from fastalex.weights import initial

NARROW = {"widths": (15, 31, 47, 45, 33, 61, 63), "num_classes": 7}
COMBINATIONS = [(precision, storage) for precision in SUPPORTED["cpu"] for storage in SUPPORTED["cpu"][precision]]


def made(precision="fp32", storage=None, name="torchvision", **options):
    row = variants.get(name, input_size=96, **NARROW)
    arrays = initial.random_weights(row, seed=3)
    if precision == "int8":
        options["calibration"] = quantize.calibrate(AlexNet(row, weights=arrays, device="cpu"), [images(row)])
    return AlexNet(row, weights=arrays, device="cpu", precision=precision, fc_weights=storage, **options)


def images(row, count=2):
    return np.random.default_rng(4).standard_normal((count, 3, row.input_size, row.input_size), np.float32)


@pytest.mark.parametrize(("precision", "storage"), COMBINATIONS)
def test_a_pickle_gives_the_same_bits(precision, storage):
    net = made(precision, storage)
    other = pickle.loads(pickle.dumps(net))
    x = images(net.variant)
    np.testing.assert_array_equal(other(x), net(x))
    assert repr(other) == repr(net)
    assert other.fingerprint() == net.fingerprint()
    assert (other.labels, other.trained, other.variant) == (net.labels, net.trained, net.variant)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_every_protocol_gives_the_same_bits(protocol):
    net = made()
    other = pickle.loads(pickle.dumps(net, protocol))
    np.testing.assert_array_equal(other(images(net.variant)), net(images(net.variant)))


def test_copies_are_networks_of_their_own():
    net = made(threads=1, exact=True)
    for other in (copy.deepcopy(net), copy.copy(net)):
        assert repr(other) == repr(net)
        np.testing.assert_array_equal(other(images(net.variant)), net(images(net.variant)))


def test_labels_and_attributes_of_a_subclass_travel():
    digits = AlexNet(weights="digits", device="cpu")
    digits.note = "mine"
    other = pickle.loads(pickle.dumps(digits))
    assert other.note == "mine"
    assert other.labels == digits.labels


def test_the_default_number_of_threads_is_that_of_the_new_process(monkeypatch):
    plain, chosen = pickle.dumps(made()), pickle.dumps(made(threads=3))
    monkeypatch.setenv("FASTALEX_NUM_THREADS", "1")
    assert pickle.loads(plain).threads == 1
    assert pickle.loads(chosen).threads == 3


def test_a_pickle_of_another_version_is_one_sentence(monkeypatch):
    text = pickle.dumps(made())
    monkeypatch.setattr("fastalex._util.pickles.__version__", "9.9")
    with pytest.raises(UserError, match=r"pickle is of fastalex .*9\.9") as caught:
        pickle.loads(text)
    assert "\n" not in str(caught.value)


def classify(net, x):
    return net(x)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_networks_go_to_processes_that_are_started_anew(method):
    net = made()
    x = images(net.variant)
    with multiprocessing.get_context(method).Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(classify, (net, x)), net(x))


@pytest.mark.slow
def test_networks_go_to_workers_of_joblib():
    """Workers of loky map arrays above ``max_nbytes`` read-only from a file instead of unpickling them."""
    joblib = pytest.importorskip("joblib")
    nets = [made(), made("bf16", "int8"), AlexNet(weights="digits", device="cpu", pickle_by="path")]
    batches = [images(net.variant) for net in nets]
    with joblib.Parallel(n_jobs=2, backend="loky", max_nbytes=1000) as parallel:
        results = parallel(joblib.delayed(classify_elsewhere)(net, x) for net, x in zip(nets, batches))
    for net, x, (process, result) in zip(nets, batches, results):
        assert process != os.getpid()
        np.testing.assert_array_equal(result, net(x))


def classify_elsewhere(net, x):
    return os.getpid(), net(x)


def test_a_metric_and_what_holds_it_travel():
    torch = pytest.importorskip("torch")
    from fastalex import LPIPS
    from fastalex.extractor import Extractor

    metric = LPIPS(pnet_rand=True, lpips=False, device="cpu", cache_bytes=1 << 20)
    first, second = (np.random.default_rng(seed).uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32) for seed in (1, 2))
    holder = torch.nn.Module()
    holder.metric = metric
    for other in (pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric), copy.deepcopy(holder).metric):
        np.testing.assert_array_equal(other(first, second), metric(first, second))
        np.testing.assert_array_equal(other(metric.features(first), second), metric(first, second))
    extractor = Extractor(made())
    x = images(extractor.model.variant)
    copied, name = pickle.loads(pickle.dumps(extractor)), "features.10"
    np.testing.assert_array_equal(copied.extract_batch(x, False, name), extractor.extract_batch(x, False, name))


def test_modules_can_be_saved_whole(tmp_path):
    torch = pytest.importorskip("torch")
    from fastalex import LPIPS
    from fastalex.networks import torch_reference

    metric = LPIPS(pnet_rand=True, lpips=False, device="cpu").module()
    network = torch_reference.build("alexnet-digits").eval()
    digits, pair = torch.randn(1, 3, 131, 131), torch.rand(2, 1, 3, 64, 64) * 2 - 1
    torch.save({"metric": metric, "network": network}, tmp_path / "modules.pt")
    saved = torch.load(tmp_path / "modules.pt", weights_only=False)
    assert torch.equal(saved["network"](digits), network(digits))
    assert torch.equal(saved["metric"](*pair), metric(*pair))


def test_modules_that_hold_a_network_can_be_saved_and_averaged(tmp_path):
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel

    holder = torch.nn.Linear(7, 2)
    holder.net = made()
    x = images(holder.net.variant)
    features = holder.net(x)
    torch.save(holder, tmp_path / "holder.pt")
    for other in (torch.load(tmp_path / "holder.pt", weights_only=False), AveragedModel(holder).module):
        assert other.net is not holder.net
        np.testing.assert_array_equal(other.net(x), features)
        assert torch.equal(other(torch.from_numpy(features)), holder(torch.from_numpy(features)))
