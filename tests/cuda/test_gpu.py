"""Tests of the CUDA library itself on a GPU. Skipped without one; `pytest --require cuda` fails instead."""

from __future__ import annotations

import operator
import threading

import numpy as np
import pytest

from fastalex import AlexNet, _core
from fastalex.selftest import checks
from fastalex.selftest.cases import served, small
from fastalex.selftest.native import output
from tests.support.kernels import StandardLayer, layers, rules

pytestmark = pytest.mark.cuda

BACKEND = "cuda"
PRECISIONS = ("fp32", "fp16")
SMALL = [case for case in small() if served(case, BACKEND)]


@pytest.fixture(scope="module", autouse=True)
def gpu():
    status = {entry["name"]: entry for entry in _core.backends()}[BACKEND]
    if not status["available"]:
        pytest.skip(status["reason"])


def wrong(cases, seeds=(0,)):
    """Wrong outcomes in both precisions."""
    outcomes = [
        checks.check(case, BACKEND, seed, precision=precision)
        for case in cases
        for precision in PRECISIONS
        for seed in seeds
    ]
    return [outcome for outcome in outcomes if not outcome.ok]


@pytest.mark.compute_sanitizer
def test_small_cases():
    assert not wrong(SMALL, seeds=(0, 1, 2))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", [*SMALL, *layers()], ids=operator.attrgetter("name"))
def test_every_candidate(case, precision):
    """With the backend's choice and with each kernel that could serve the layer; one test per case."""
    if precision == "fp16" and case.op == "fc" and case.storage == "fp32" and not case.small:
        return  # not offered: the same as in fp16
    layer = StandardLayer(case, precision, BACKEND)
    for rule in ["", *(rule for rule, _ in rules(case, precision, BACKEND))]:
        outcome = layer.outcome(rule)
        assert outcome.ok, (rule, outcome)


@pytest.mark.compute_sanitizer
def test_a_trained_network_classifies():
    x = np.random.default_rng(0).standard_normal((3, 3, 131, 131), dtype=np.float32)
    expected = AlexNet(weights="digits", device="cpu")(x)
    for precision, fc_weights in (("fp32", "fp32"), ("fp16", "fp16"), ("fp16", "int8"), ("fp16", "int4")):
        net = AlexNet(weights="digits", device=BACKEND, precision=precision, fc_weights=fc_weights)
        result = net(x)
        np.testing.assert_array_equal(result, net(x), err_msg="the same input must give the same bits")
        assert (result.argmax(1) == expected.argmax(1)).all(), (precision, fc_weights)


@pytest.mark.compute_sanitizer
def test_it_classifies_on_the_device():
    x = np.random.default_rng(2).standard_normal((3, 3, 131, 131), dtype=np.float32)
    for precision in PRECISIONS:
        net = AlexNet(weights="digits", device=BACKEND, precision=precision)
        probabilities = net.predict_proba(x)
        for given in (x, net.to_device(x)):
            values, indices = net.top_k(given, 4)
            np.testing.assert_array_equal(indices, np.argsort(-probabilities, axis=1, kind="stable")[:, :4])
            np.testing.assert_array_equal(values, np.take_along_axis(probabilities, indices, 1))


def test_threads_share_a_net():
    net = AlexNet(weights="digits", device=BACKEND, precision="fp16")
    x = np.random.default_rng(1).standard_normal((2, 3, 131, 131), dtype=np.float32)
    expected, results = net(x), []
    threads = [threading.Thread(target=lambda: results.append([net(x) for _ in range(20)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all((one == expected).all() for many in results for one in many)


def test_too_much_memory_leaves_the_net_usable():
    net = _core.Net("relu name=r", [1, 2, 2], [], BACKEND)
    x = np.ones((1, 1, 2, 2), np.float32)
    with pytest.raises(MemoryError, match="memory of .* are free"):
        _core.DeviceBuffer(net, 1 << 50)
    np.testing.assert_array_equal(output(net, x), x)


@pytest.mark.peers
def test_torch_tensors_stay_on_the_gpu():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    net = AlexNet(weights="digits", device=BACKEND, precision="fp16")
    x = torch.randn(2, 3, 131, 131, device="cuda")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        y = net(x)
    stream.synchronize()
    assert y.device == x.device
    np.testing.assert_array_equal(y.cpu().numpy(), net(x.cpu().numpy()))
