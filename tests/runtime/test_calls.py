"""A net on the emulated GPU gives what the CPU gives: in every precision, with taps, from several threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fastalex import AlexNet
from tests.support.small_net import DIGITS, batch_of, small

pytestmark = pytest.mark.emulator


@pytest.mark.parametrize(
    ("precision", "fc_weights", "tolerance"),
    [("fp32", None, 1e-5), ("fp32", "int8", 0.05), ("fp16", None, 0.01), ("fp16", "int8", 0.05), ("fp16", "int4", 0.5)],
)
def test_every_kind_of_numbers_is_the_cpus(parameters, cpu, precision, fc_weights, tolerance):
    net = small(parameters, precision=precision, fc_weights=fc_weights)
    assert (net.precision, net.fc_weights) == (precision, fc_weights or precision)
    x = batch_of(2)
    expected = cpu(x)
    assert np.abs(net(x) - expected).max() <= tolerance * np.abs(expected).max()
    own = small(net.state_dict(), device="cpu")(x)  # with the dequantized weights
    assert np.abs(net(x) - own).max() <= (1e-5 if precision == "fp32" else 0.01) * np.abs(own).max()


@pytest.mark.parametrize("numbers", [("fp32", "fp32"), ("fp16", "fp16"), ("fp16", "int8"), ("fp16", "int4")])
def test_digits_are_named(numbers):
    net = AlexNet(weights="digits", device="emulated", precision=numbers[0], fc_weights=numbers[1])
    chosen = DIGITS[:2]
    assert [answer[0].label for answer in net.classify(chosen)] == [path.name.split("-")[1] for path in chosen]


def test_probabilities_and_taps(net, cpu):
    x = batch_of(2)
    np.testing.assert_allclose(net.predict_proba(x), cpu.predict_proba(x), rtol=1e-4)
    names = ["conv1", "relu3", "features.12", "fc7", "prob"]
    for name, result in net.taps(x, names).items():
        expected = cpu.taps(x, [name])[name]
        assert result.shape == expected.shape
        assert np.abs(result - expected).max() <= 1e-5 * np.abs(expected).max(), name


def test_two_threads_share_a_net(net):
    inputs = [batch_of(1 + index % 2, seed=index) for index in range(4)]
    expected = [net(x) for x in inputs]
    got = [None] * len(inputs)

    def work(index):
        got[index] = net(inputs[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(got, expected):
        np.testing.assert_array_equal(one, other)


def test_kernels_are_listed(net, cpu):
    found = net.kernels(batch=2)
    layers = [layer for step in found["steps"] for layer in step["layers"]]
    assert layers == [layer.name for layer in net.variant.layers() if layer.op != "dropout"]
    for step in found["steps"]:
        assert step["candidate"] in [candidate["name"] for candidate in step["candidates"]]
        assert all(kernel["threads"] > 0 and len(kernel["grid"]) == 3 for kernel in step["kernels"])
    assert cpu.kernels()["steps"][0]["kernels"] == []
    assert net.kernels(names=["conv2"])["steps"][-1]["layers"] == ["conv2"]
