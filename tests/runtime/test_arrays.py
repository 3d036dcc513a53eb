"""Arrays of every library on the GPU: read in place, filled, returned, refused."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from fastalex import DeviceArray, UserError
from fastalex.runtime import arrays
from tests.support.small_net import PLACE, Foreign, Packed, batch_of, small


def test_device_arrays_stay_there(net):
    x = batch_of(2)
    expected = net(x)
    there = net.to_device(x)
    np.testing.assert_array_equal(there.numpy(), x)
    assert (there.shape, there.ndim, there.size, there.nbytes) == (x.shape, 4, x.size, x.nbytes)
    got = net(there)
    assert isinstance(got, DeviceArray)
    assert repr(got) == "DeviceArray(shape=(2, 7), float32, GPU 0)"
    np.testing.assert_array_equal(got.numpy(), expected)
    np.testing.assert_array_equal(np.asarray(got, np.float64), expected)
    assert len(got) == 2
    taps = net.taps(there, ["pool1", "classifier.4"])
    np.testing.assert_array_equal(taps["pool1"].numpy(), net.taps(x, ["pool1"])["pool1"])
    np.testing.assert_array_equal(taps["classifier.4"].numpy(), net.taps(x, ["fc7"])["fc7"])
    assert there.reshape(2, -1, 63).shape == (2, 189, 63)
    with pytest.raises(UserError, match="cannot become"):
        there.reshape(4, -1)
    assert isinstance(net.predict_proba(there), DeviceArray)
    with pytest.raises(UserError, match="has the shape"):
        there.copy_from(x[:1])
    with pytest.raises(ValueError, match="without a copy"):
        got.__array__(copy=False)


@pytest.mark.emulator
def test_a_result_outlives_its_net(parameters):
    net = small(parameters)
    x = batch_of(1)
    expected = net(x)
    got = net(net.to_device(x))
    del net
    np.testing.assert_array_equal(got.numpy(), expected)


@pytest.mark.parametrize("stream", [None, 1])
@pytest.mark.parametrize("version", [2, 3])
def test_the_cuda_array_interface_is_read_in_place(net, stream, version):
    x = batch_of(1)
    there = net.to_device(x)
    changes = {"version": version, "stream": stream}
    np.testing.assert_array_equal(net(Foreign(there, **changes)).numpy(), net(x))
    dense = (4 * 3 * 63 * 63 + 4, 4 * 63 * 63, 4 * 63, 4)  # the batch stride of a single image does not matter
    np.testing.assert_array_equal(net(Foreign(there, strides=dense, **changes)).numpy(), net(x))


def test_dlpack_is_read_in_place(net):
    x = batch_of(1)
    packed = Packed(net.to_device(x))
    np.testing.assert_array_equal(net(packed).numpy(), net(x))
    np.testing.assert_array_equal(net(packed, stream=1).numpy(), net(x))
    assert packed.asked == [1, 1]  # the legacy default stream


def test_out_is_filled_and_returned(net, cpu):
    x = batch_of(2)
    expected = net(x)
    there, result = net.to_device(x), net.to_device(np.zeros((2, 7), np.float32))
    assert net(there, out=result) is result
    np.testing.assert_array_equal(result.numpy(), expected)
    foreign = Foreign(net.to_device(np.zeros((2, 7), np.float32)))
    assert net(there, out=foreign) is foreign
    np.testing.assert_array_equal(foreign.owner.numpy(), expected)
    host = np.full((2, 7), np.nan, np.float32)
    for given in (x, there):
        host.fill(np.nan)
        assert net(given, out=host) is host
        np.testing.assert_array_equal(host, expected)
    assert cpu(x, out=host) is host
    np.testing.assert_array_equal(host, cpu(x))
    assert net(x, out=result) is result  # from the host to the GPU
    np.testing.assert_array_equal(result.numpy(), expected)


def test_a_bound_call_reads_its_arrays_again(net, cpu):
    x = batch_of(2)
    expected = net(x)
    there, result = net.to_device(x), net.to_device(np.zeros((2, 7), np.float32))
    call = net.bind(there, result)
    assert call() is None
    np.testing.assert_array_equal(result.numpy(), expected)
    there.copy_from(x[::-1])
    call()
    np.testing.assert_array_equal(result.numpy(), expected[::-1])
    for one in (net, cpu):
        given, host = x.copy(), np.zeros((2, 7), np.float32)
        call = one.bind(given, host, softmax=True)
        given[:] = x[::-1]
        call()
        np.testing.assert_array_equal(host, one.predict_proba(x[::-1].copy()))
        with pytest.raises(UserError, match="C-contiguous"):
            one.bind(x[:, :, ::-1], host)
        with pytest.raises(UserError, match="out="):
            one.bind(x, None)
        with pytest.raises(UserError, match="must be float32"):
            one.bind(x.astype(np.float64), host)


def outputs():
    readonly = np.zeros((1, 7), np.float32)
    readonly.flags.writeable = False
    return [
        (np.zeros((1, 8), np.float32), r"shape \(1, 7\).*\(1, 8\)"),
        (np.zeros((1, 7)), "not float64"),
        (np.zeros((1, 14), np.float32)[:, ::2], "strided"),
        (readonly, r"writable.*not float32 \(1, 7\)"),
        ([0.0] * 7, "out.*not list"),
    ]


@pytest.mark.emulator
@pytest.mark.parametrize(("out", "match"), outputs())
@pytest.mark.parametrize("which", ["net", "cpu"])
def test_a_wrong_out_is_one_sentence(request, which, out, match):
    with pytest.raises(UserError, match=match) as error:
        request.getfixturevalue(which)(batch_of(1), out=out)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"typestr": "<f8"}, "not float64"),
        ({"typestr": ">f4"}, "not >f4"),
        ({"shape": (3, 63, 63)}, "batch axis"),
        ({"shape": (0, 3, 63, 63)}, "batch is empty"),
        ({"shape": (1, 63, 63, 3)}, r"\[N, H, W, C\]"),
        ({"strides": (4 * 3 * 63 * 63, 4, 12 * 63, 12)}, "C-contiguous"),
        ({"stream": 0}, "stream 0"),
        ({"mask": object()}, "mask"),
        ({"stream": 77, "call": 1}, r"stream 77.*stream 1\b"),
        ({"typestr": "?!"}, "DLPack"),
    ],
)
def test_a_wrong_array_on_the_gpu_is_one_sentence(net, monkeypatch, changes, match):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    stream = changes.pop("call", None)
    array = Foreign(net.to_device(batch_of(1)), **changes)
    with pytest.raises(UserError, match=match) as error:
        net(array, stream=stream)
    assert "\n" not in str(error.value)


def test_memory_elsewhere_is_refused(net, cpu):
    x = batch_of(1)
    host = Foreign(net.to_device(x), data=(x.ctypes.data, False))
    with pytest.raises(UserError, match="device memory"):
        net(host)
    with pytest.raises(UserError, match="CPU memory"):
        cpu(net.to_device(x))
    with pytest.raises(UserError, match="GPU 3.*emulated:0"):
        net(Packed(net.to_device(x), device=(2, 3)))
    with pytest.raises(UserError, match="CPU memory"):
        net(Packed(net.to_device(x), device=(10, 0)))
    readonly = Foreign(net.to_device(np.zeros((1, 7), np.float32)))
    readonly.__cuda_array_interface__["data"] = (readonly.owner.ptr, True)
    with pytest.raises(UserError, match="out.*writable"):
        net(x, out=readonly)
    with pytest.raises(UserError, match="host memory"):
        cpu.to_device(x)


@pytest.mark.peers
def test_torch_tensors_of_the_host_come_back_as_such(net):
    torch = pytest.importorskip("torch")
    x = batch_of(1)
    got = net(torch.from_numpy(x))
    assert isinstance(got, torch.Tensor)
    np.testing.assert_array_equal(got.numpy(), net(x))


def test_results_are_of_the_library_of_the_input(net, monkeypatch):
    """PyTorch allocates its own results, on its current stream; others take a DLPack capsule."""
    x = batch_of(1)
    expected = net(x)
    memory = {}

    def empty(shape, dtype, device):
        array = net.to_device(np.zeros(shape, np.float32))
        tensor = tensor_type(array)
        memory["empty"] = tensor
        return tensor

    class Tensor(Foreign):
        device = "cuda:0"

        def data_ptr(self):
            return self.owner.ptr

    tensor_type = Tensor
    Tensor.__module__ = "torch"
    stream = types.SimpleNamespace(cuda_stream=0)
    cuda = types.SimpleNamespace(current_stream=lambda device: stream)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(empty=empty, float32="float32", cuda=cuda))
    got = net(Tensor(net.to_device(x)))
    assert got is memory["empty"]
    np.testing.assert_array_equal(got.owner.numpy(), expected)
    log = []
    cuda.ExternalStream = lambda handle, device: types.SimpleNamespace(
        handle=handle, wait_stream=lambda other: log.append(("wait", handle, other.cuda_stream))
    )
    Tensor.record_stream = lambda self, used: log.append(("record", used.handle))
    stream.cuda_stream = 5  # the library works on a stream other than the requested one
    there = Tensor(net.to_device(x))
    arrays.fresh(arrays.read(there, PLACE, stream=9), (1, 7), net._net, PLACE)
    assert log == [("wait", 9, 5), ("record", 9)]

    class Matrix(Foreign):
        pass

    Matrix.__module__ = "otherlib.core"
    monkeypatch.setitem(sys.modules, "otherlib", types.SimpleNamespace(from_dlpack=lambda array: ("mine", array)))
    kind, array = net(Matrix(net.to_device(x)))
    assert kind == "mine"
    np.testing.assert_array_equal(array.numpy(), expected)
