"""Failures of a GPU, provoked on the emulator: an exception gives the reason, and the net stays usable."""

from __future__ import annotations

import ctypes
import gc
import re
import threading

import numpy as np
import pytest

from cuda_emulator import emulated
from fastalex import AlexNet, BackendError, UserError, _core
from tests.support import c_interface
from tests.support.c_interface import library
from tests.support.small_net import Foreign, batch_of, small

MIB = 1 << 20
CARDS = ("rtx30", "nano")  # one CUDA graph and staged copies; single launches and memory that CPU and GPU share
OUT_OF_MEMORY = r"^(device|page-locked host) memory of \d+ MiB.* \d+ MiB of .*\d+ MiB are free"

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("own_cache")]


# Memory -----------------------------------------------------------------------------------------------------------


def test_weights_that_do_not_fit(parameters):
    with emulated.pretend(f"memory_bytes={8 * 1024}"), pytest.raises(MemoryError, match=OUT_OF_MEMORY):
        small(parameters)


def test_a_batch_that_does_not_fit_leaves_the_net_usable(parameters):
    x = batch_of(1)
    with emulated.pretend(f"memory_bytes={4 * MIB}"):
        net = small(parameters)
        expected = net(x)
        for _ in range(20):  # memory from before the failure is released, or the small batch would not fit
            with pytest.raises(MemoryError, match=OUT_OF_MEMORY):
                net(np.zeros((64, 3, 63, 63), np.float32))
            np.testing.assert_array_equal(net(x), expected)


def test_every_allocation_may_fail(parameters):
    """Each allocation of a net and of its first call fails once; without the fault the result is right."""
    x = batch_of(1)
    expected = small(parameters)(x)
    failures = 0
    for number in range(1, 100):
        net = None
        with emulated.pretend(fault=f"alloc:{number}"):
            try:
                net = small(parameters)
                result = net(x)
            except MemoryError as error:
                assert re.search("(device|host) memory of", str(error))
                failures += 1
                result = None
        if net is not None:
            np.testing.assert_array_equal(net(x), expected)
        if result is not None:
            np.testing.assert_array_equal(result, expected)
            break
    assert failures >= 10


def test_an_array_that_does_not_fit(parameters):
    with emulated.pretend(f"memory_bytes={4 * MIB}"):
        net = small(parameters)
        with pytest.raises(MemoryError, match=OUT_OF_MEMORY):
            net.to_device(np.zeros(4 * MIB, np.float32))
        assert net.to_device(np.ones(7, np.float32)).numpy().tolist() == [1] * 7


# Launches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", CARDS)
def test_a_failed_launch_is_an_exception_and_leaves_the_net_usable(parameters, card):
    x = batch_of(2)
    with emulated.pretend(card):
        net = small(parameters)
        there, expected = net.to_device(x), net(x)
        kernels = [kernel["name"] for step in net.kernels(2)["steps"] for kernel in step["kernels"]]
        for name in sorted({kernels[0], kernels[-1], "top_k"}):
            with emulated.pretend(fault="launch:" + name):
                for call in (lambda: net.top_k(x), lambda: net.top_k(there)):
                    with pytest.raises(RuntimeError, match=f"{name}.*unspecified launch failure"):
                        call()
                if name != "top_k":
                    with pytest.raises(RuntimeError, match="unspecified launch failure"):
                        net(there)
            np.testing.assert_array_equal(net(x), expected)
            np.testing.assert_array_equal(net(there).numpy(), expected)
            np.testing.assert_array_equal(net.top_k(there)[1], np.argsort(-expected, axis=1)[:, :5])


def test_a_library_without_the_devices_code_is_refused(parameters):
    with emulated.pretend(fault="prepare:stream"), pytest.raises(BackendError, match="no code"):
        small(parameters)(batch_of(1))


def test_code_of_an_older_architecture_is_refused(parameters):
    """Compiled for compute_61, the kernels of newer devices are empty: they would return whatever was in memory."""
    x = batch_of(1)
    expected = small(parameters)(x)
    with emulated.pretend(fault="ptx:61"), pytest.raises(BackendError, match="sm_61.*RTX 3090.*sm_80"):
        small(parameters, precision="fp16")(x)
    with emulated.pretend(fault="ptx:80"):  # older than the device, but new enough for its kernels
        assert small(parameters, precision="fp16")(x).shape == expected.shape
    with emulated.pretend("nano", fault="ptx:53"):
        small(parameters, precision="fp16")(x)


def test_a_library_that_cannot_run_here_is_refused_when_it_is_loaded():
    """Loading fails with the reason, before any other call."""
    with emulated.pretend(fault="prepare:tensor"), pytest.raises(BackendError, match="no code for.*RTX"):
        _core.load_backend(emulated.library())
    with emulated.pretend("devices=0"), pytest.raises(BackendError, match="sees no GPU"):
        _core.load_backend(emulated.library())


# Devices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "match"),
    [
        (1, "no CUDA device 1"),
        (-1, "device_index.*negative"),
    ],
)
def test_an_index_without_a_device(index, match):
    with pytest.raises(UserError, match=match):
        _core.Net("relu name=r", [1, 2, 2], [], "emulated", device_index=index)


def test_a_machine_without_a_gpu():
    with emulated.pretend("devices=0"):
        with pytest.raises(BackendError, match="sees no GPU"):
            _core.Net("relu name=r", [1, 2, 2], [], "emulated")
        with pytest.raises(BackendError, match="sees no GPU"):
            AlexNet(device="emulated")


def test_memory_of_another_device(parameters):
    """Recognized from the array if it says so, otherwise by the runtime from its address."""
    x = batch_of(1)
    with emulated.pretend("devices=2"):
        net, other = small(parameters), small(parameters, device="emulated:1")
        expected, elsewhere = net(x), other.to_device(x)
        np.testing.assert_array_equal(other(elsewhere).numpy(), expected)
        with pytest.raises(UserError, match="input.*GPU 1.*emulated:0"):
            net(elsewhere)
        devices = ".*device 1.*device 0"
        for call in (net, net.top_k):
            with pytest.raises(UserError, match="input" + devices):
                call(Foreign(elsewhere))
        with pytest.raises(UserError, match="output" + devices):
            net(net.to_device(x), out=Foreign(other.to_device(np.zeros((1, 7), np.float32))))
        pixels = Foreign(elsewhere, typestr="|u1", shape=(20, 30, 3), strides=None)
        with pytest.raises(UserError, match="input" + devices):
            net.run_frame(pixels)
        np.testing.assert_array_equal(net(x), expected)


# Destroying nets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["naive", "emulated"])
def test_a_net_is_destroyed_while_threads_run_it(device):
    """In C nothing keeps the net alive: destroying it waits for running calls, whose results are then complete."""
    side, channels = 24, 16
    weight = np.random.default_rng(0).standard_normal((64, channels, 3, 3), np.float32)
    bias = np.zeros(64, np.float32)
    x = np.random.default_rng(1).standard_normal((8, channels, side, side), np.float32)
    table = b"conv name=c out=64 kernel=3 stride=1 pad=1 groups=1 rounding=floor"
    expected = _core.Net(table.decode(), [channels, side, side], [weight, bias], device).run(_core.Call(x))[0]

    options, net = c_interface.options(device, threads=1), ctypes.c_void_p()
    params = c_interface.params_of([weight, bias])
    assert not library.fastalex_create(table, channels, side, side, params, 2, ctypes.byref(options), ctypes.byref(net))
    results, started = [np.full(expected.shape, np.nan, np.float32) for _ in range(3)], []

    def run(result):
        outputs = ctypes.pointer(ctypes.c_void_p(result.ctypes.data)), ctypes.pointer(ctypes.c_size_t(result.size))
        call = c_interface.call_of(batch=8, height=side, width=side, input=x)
        call.outputs, call.output_counts = outputs
        started.append(None)
        library.fastalex_run(net, ctypes.byref(call))

    threads = [threading.Thread(target=run, args=(result,)) for result in results]
    for thread in threads:
        thread.start()
    while len(started) < 3:
        pass
    threads[0].join(0.05)  # the calls begin at once and take longer than this
    library.fastalex_destroy(net)
    copies = [result.copy() for result in results]
    for thread in threads:
        thread.join()
    for copy in copies:
        np.testing.assert_array_equal(copy, expected)


def test_a_net_is_dropped_while_a_thread_runs_it(parameters):
    x = batch_of(4)
    net = small(parameters)
    expected, results = net(x), []
    thread = threading.Thread(target=lambda own: results.append(own(x)), args=(net,))
    thread.start()
    del net
    gc.collect()
    thread.join()
    np.testing.assert_array_equal(results[0], expected)
