"""The Python side of the GPU engine, on the emulated backend: numbers, arrays of other libraries, frames, tuning."""

from __future__ import annotations

import json
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

from cuda_emulator import emulated
from fastalex import AlexNet, BackendError, DeviceArray, UserError, images
from fastalex.cli import diagnosis
from fastalex.cli.main import main
from fastalex.runtime import arrays, cuda_streams, device_spec, dlpack, frames, precisions
from fastalex.runtime.device_spec import DeviceSpec, Gpu
from fastalex.variants import get
from fastalex.weights import initial

DIGITS = sorted((Path(__file__).resolve().parents[1] / "examples" / "digits").glob("*.png"))
WIDTHS = (8, 16, 12, 12, 8, 24, 20)
OPTIONS = {"widths": WIDTHS, "num_classes": 7, "input_size": 63}
GPU = Gpu(0, "NVIDIA GeForce RTX 3090", 86, 82, 1695000, 6 << 20, 24 << 30, False, True, 12090, 12090)
PLACE = DeviceSpec("emulated", GPU)


@pytest.fixture(scope="module", autouse=True)
def backend():
    emulated.load()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def parameters():
    return initial.random_weights(get("torchvision", **OPTIONS), seed=4)


@pytest.fixture(scope="module")
def net(backend, parameters):
    return small(parameters)


@pytest.fixture(scope="module")
def cpu(parameters):
    return small(parameters, device="cpu")


def small(parameters, device="emulated", **options):
    return AlexNet("torchvision", weights=parameters, device=device, **OPTIONS, **options)


def batch_of(count, seed=1):
    return np.random.default_rng(seed).standard_normal((count, 3, 63, 63), dtype=np.float32)


class Foreign:
    """An array of a library that speaks only ``__cuda_array_interface__``; it keeps what owns the memory."""

    def __init__(self, owner, **changes):
        self.owner = owner
        self.__cuda_array_interface__ = dict(owner.__cuda_array_interface__, **changes)


class Packed:
    """An array of a library that speaks only DLPack, and remembers which stream it was asked for."""

    def __init__(self, array, device=(2, 0)):
        self.array, self.device, self.asked = array, device, []

    def __dlpack__(self, stream=None):
        self.asked.append(stream)
        return self.array.__dlpack__(stream=-1)

    def __dlpack_device__(self):
        return self.device


# Devices and numbers ----------------------------------------------------------------------------------------------


def test_devices_are_named_with_their_index(net, cpu):
    assert (net.device, cpu.device) == ("emulated:0", "cpu")
    with emulated.pretend("devices=2"):
        assert device_spec.choose_device("emulated:1") == "emulated:1"
        with pytest.raises(UserError, match="device='emulated:2': there are 2 GPUs, emulated:0 to emulated:1"):
            device_spec.choose("emulated:2")
    with pytest.raises(UserError, match="device='emulated:1': there is 1 GPU, emulated:0"):
        device_spec.choose("emulated:1")
    with pytest.raises(UserError, match="cpu is one device; say device='cpu'"):
        device_spec.choose("cpu:0")
    with pytest.raises(UserError, match="device must be one of auto, cpu"):
        device_spec.choose("gpu:0")
    for wrong in (0, ["cpu"], None):
        with pytest.raises(UserError, match="device must be one of auto, cpu"):
            device_spec.choose(wrong)


def test_facts_of_the_gpu():
    with emulated.pretend("h200"):
        (gpu,) = device_spec.gpus("emulated")
    assert (gpu.name, gpu.sm, gpu.sms, gpu.integrated, gpu.driver_version) == (
        "NVIDIA H200 SXM",
        90,
        132,
        False,
        "12.9",
    )
    assert device_spec.gpus("cpu") == device_spec.gpus("naive") == []


@pytest.mark.parametrize(
    ("device", "precision", "fc_weights", "found"),
    [
        (PLACE, "fp32", None, ("fp32", "fp32")),
        (PLACE, "fp16", None, ("fp16", "fp16")),
        (PLACE, "fp16", "int4", ("fp16", "int4")),
        (PLACE, "fp32", "int8", ("fp32", "int8")),
        (PLACE, "fp16", "fp32", "fc_weights='fp32' does not go with precision='fp16'"),
        (PLACE, "fp8", None, "precision must be one of fp32, fp16, bf16, int8, not 'fp8'"),
        (PLACE, "fp16", "int2", "fc_weights must be one of fp32, fp16, int8, int4, bf16, not 'int2'"),
        (PLACE, "int8", None, "precision='int8' is not for device='emulated:0', which computes in fp32 or fp16; use"),
        (PLACE, "bf16", None, "use device='cpu' or precision='fp32'"),
        (PLACE, "fp32", "bf16", "fc_weights='bf16' is not for device='emulated:0'; use device='cpu', or fc_"),
        (DeviceSpec("cpu"), "fp32", None, ("fp32", "fp32")),
        (DeviceSpec("cpu"), "fp32", "bf16", ("fp32", "bf16")),
        (DeviceSpec("cpu"), "fp32", "int4", ("fp32", "int4")),
        (DeviceSpec("cpu"), "bf16", None, ("bf16", "bf16")),
        (DeviceSpec("cpu"), "bf16", "fp16", ("bf16", "fp16")),
        (
            DeviceSpec("cpu"),
            "bf16",
            "fp32",
            "fc_weights='fp32' does not go with precision='bf16'; use bf16, fp16, int8",
        ),
        (DeviceSpec("cpu"), "int8", None, ("int8", "int8")),
        (DeviceSpec("cpu"), "int8", "int4", ("int8", "int4")),
        (DeviceSpec("cpu"), "int8", "bf16", "use int8 or int4, or precision='fp32'"),
        (
            DeviceSpec("cpu"),
            "fp16",
            None,
            "precision='fp16' is not for device='cpu', which computes in fp32, bf16 or int8; use device='cuda' or",
        ),
        (DeviceSpec("naive"), "fp32", None, ("fp32", "fp32")),
        (DeviceSpec("naive"), "fp32", "int8", "fc_weights='int8' is not for device='naive'; use device='cpu', or"),
        (DeviceSpec("naive"), "int8", None, "precision='int8' is not for device='naive', which computes in fp32; use"),
    ],
)
def test_precision_and_fc_weights(device, precision, fc_weights, found):
    if isinstance(found, tuple):
        assert precisions.numbers(device, precision, fc_weights) == found
        return
    with pytest.raises(UserError) as error:
        precisions.numbers(device, precision, fc_weights)
    assert found in str(error.value)


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
    own = small(net.state_dict(), device="cpu")(x)  # with the weights as they are kept
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


# Arrays on the GPU ------------------------------------------------------------------------------------------------


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
    dense = (4 * 3 * 63 * 63 + 4, 4 * 63 * 63, 4 * 63, 4)  # a batch of one may have any distance to the next image
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
        (np.zeros((1, 8), np.float32), "of shape (1, 7), not float32 (1, 8)"),
        (np.zeros((1, 7)), "not float64 (1, 7)"),
        (np.zeros((1, 14), np.float32)[:, ::2], "not strided float32"),
        (readonly, "out must be a writable"),
        ([0.0] * 7, "out must be an array, not list"),
    ]


@pytest.mark.parametrize(("out", "sentence"), outputs())
@pytest.mark.parametrize("which", ["net", "cpu"])
def test_a_wrong_out_is_one_sentence(request, which, out, sentence):
    with pytest.raises(UserError) as error:
        request.getfixturevalue(which)(batch_of(1), out=out)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"typestr": "<f8"}, "must be float32, not float64"),
        ({"typestr": ">f4"}, "must be float32, not >f4"),
        ({"shape": (3, 63, 63)}, "add the batch axis"),
        ({"shape": (0, 3, 63, 63)}, "the batch is empty"),
        ({"shape": (1, 63, 63, 3)}, "looks like [N, H, W, C]"),
        ({"strides": (4 * 3 * 63 * 63, 4, 12 * 63, 12)}, "must be C-contiguous [N, C, H, W]"),
        ({"stream": 0}, "has the stream 0"),
        ({"mask": object()}, "has a mask"),
        ({"stream": 77, "call": 1}, "the array belongs to CUDA stream 77 and the call to stream 1"),
        ({"typestr": "?!"}, "cannot be read through DLPack"),
    ],
)
def test_a_wrong_array_on_the_gpu_is_one_sentence(net, monkeypatch, changes, sentence):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    stream = changes.pop("call", None)
    array = Foreign(net.to_device(batch_of(1)), **changes)
    with pytest.raises(UserError) as error:
        net(array, stream=stream)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_memory_elsewhere_is_refused(net, cpu):
    x = batch_of(1)
    host = Foreign(net.to_device(x), data=(x.ctypes.data, False))
    with pytest.raises(UserError, match="not in device memory"):
        net(host)
    with pytest.raises(UserError, match="the input is not in CPU memory"):
        cpu(net.to_device(x))
    with pytest.raises(UserError, match="the input is on GPU 3 and the net on emulated:0"):
        net(Packed(net.to_device(x), device=(2, 3)))
    with pytest.raises(UserError, match="the input is not in CPU memory"):
        net(Packed(net.to_device(x), device=(10, 0)))
    readonly = Foreign(net.to_device(np.zeros((1, 7), np.float32)))
    readonly.__cuda_array_interface__["data"] = (readonly.owner.ptr, True)
    with pytest.raises(UserError, match="out must be a writable"):
        net(x, out=readonly)
    with pytest.raises(UserError, match="computes in host memory"):
        cpu.to_device(x)


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
    stream.cuda_stream = 5  # the library works on another stream than the one that is asked for
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


def test_a_capsule_keeps_the_memory_until_it_is_let_go(net):
    array = net.to_device(batch_of(1))
    before = len(dlpack._alive)
    capsule = array.__dlpack__(stream=-1)
    view = dlpack.read(capsule)
    assert view == (array.ptr, array.shape, None, "float32", 4, (dlpack.CUDA, 0))
    assert len(dlpack._alive) == before + 1
    del capsule
    assert len(dlpack._alive) == before
    with pytest.raises(ValueError, match="PyCapsule"):
        dlpack.read(object())


def test_capsules_of_others_are_read():
    torch = pytest.importorskip("torch")
    tensor = torch.arange(24, dtype=torch.float64).reshape(2, 3, 4).transpose(1, 2)[1:]
    view = dlpack.read(tensor.__dlpack__())
    assert view == (tensor.data_ptr(), (1, 4, 3), (12, 1, 4), "float64", 8, (dlpack.CPU, 0))
    # and what we write is read: the same structure with a device that torch has here
    values = np.arange(6, dtype=np.float32)
    capsule = dlpack.capsule(values, values.ctypes.data, (2, 3), (dlpack.CPU, 0))
    read = torch.utils.dlpack.from_dlpack(capsule)
    np.testing.assert_array_equal(read.numpy(), values.reshape(2, 3))
    count = len(dlpack._alive)
    del read
    assert len(dlpack._alive) == count - 1


class Handle:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


@pytest.mark.parametrize(
    ("stream", "handle"),
    [
        (None, 0),
        (0, 0),
        (1, 0),
        (2, 2),
        (77, 77),
        (Handle(cuda_stream=5), 5),
        (Handle(ptr=6), 6),
        (Handle(handle=Handle(value=None)), 0),
        (Handle(__cuda_stream__=lambda: (0, 8)), 8),
        (Handle(__cuda_stream__=(0, 9)), 9),
    ],
)
def test_streams_of_every_library(stream, handle):
    assert cuda_streams.handle(stream) == handle


@pytest.mark.parametrize("stream", ["0", -1, 2.0, True, Handle()])
def test_what_is_no_stream_is_refused(stream):
    with pytest.raises(UserError, match="stream must be a CUDA stream"):
        cuda_streams.handle(stream)


def test_streams_are_ordered_by_an_event_of_cuda_python(monkeypatch):
    calls = []

    class Runtime:
        cudaEventDisableTiming = 2  # noqa: N815

        def __getattr__(self, name):
            def call(*arguments):
                calls.append((name, *arguments))
                return (0, "event") if name == "cudaEventCreateWithFlags" else (0,)

            return call

    bindings = types.ModuleType("cuda.bindings")
    bindings.runtime = Runtime()
    monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    cuda_streams.order(5, 5)
    assert not calls
    cuda_streams.order(5, 0)
    assert calls == [
        ("cudaEventCreateWithFlags", 2),
        ("cudaEventRecord", "event", 0),
        ("cudaStreamWaitEvent", 5, "event", 0),
        ("cudaEventDestroy", "event"),
    ]
    monkeypatch.setattr(Runtime, "cudaEventRecord", lambda *_: (700,), raising=False)
    monkeypatch.setattr(Runtime, "cudaGetErrorString", lambda *_: (0, b"an illegal address"), raising=False)
    with pytest.raises(UserError, match="an illegal address"):
        cuda_streams.order(5, 0)


def test_which_stream_a_call_is_queued_on(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    there = net.to_device(batch_of(1))
    assert arrays.read(Foreign(there, stream=None), PLACE).stream == 0
    assert arrays.read(Foreign(there, stream=2), PLACE).stream == 2
    assert arrays.read(Foreign(there, stream=None), PLACE, stream=5).stream == 5  # version 3: no order is needed
    packed = Packed(there)
    assert arrays.read(packed, PLACE, stream=5).stream == 5
    assert packed.asked == [5]
    assert there.stream is None  # the copy has happened
    assert there.__cuda_array_interface__["stream"] is None
    assert arrays.read(there, PLACE, stream=5).stream == 5
    result = net(there)
    assert (result.stream, result.__cuda_array_interface__["stream"]) == (0, 1)
    result.__dlpack__(stream=1)
    with pytest.raises(UserError, match="cuda-python"):
        result.__dlpack__(stream=5)
    with pytest.raises(UserError, match="cuda-python"):
        arrays.output(result, result.shape, PLACE, 5)
    assert arrays.output(result.copy_from(result.numpy()), result.shape, PLACE, 5).array.stream == 5


# Frames -----------------------------------------------------------------------------------------------------------


def frame_of(height, width, seed=2):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3)).astype(np.float32)
    return np.rint(images.linear_resize(coarse, height, width)).astype(np.uint8)


@pytest.mark.parametrize("profile", ["torchvision", "caffe", "jetson-inference", "jetbot", "paper-227", "brainscore"])
@pytest.mark.parametrize("order", ["BGR", "RGB"])
@pytest.mark.parametrize("size", [(96, 128), (63, 63), (50, 41)])
def test_frames_are_preprocessed_as_images_are(net, cpu, profile, order, size):
    frame = frame_of(*size)
    expected = cpu.run_frame(frame, order, profile)
    np.testing.assert_array_equal(expected, cpu(images.preprocess(frame, profile, size=63, bgr=order == "BGR")))
    got = net.run_frame(frame, order, profile)
    assert got.shape == (1, 7)
    # One of 256 levels may be rounded the other way here and there; the network is random and not contracting.
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


def test_frames_with_distant_rows_and_on_the_gpu(net):
    whole = frame_of(80, 120)
    part = whole[10:70, 20:90]
    expected = net.run_frame(np.ascontiguousarray(part))
    np.testing.assert_array_equal(net.run_frame(part), expected)
    np.testing.assert_array_equal(net.run_frame(part[:, ::-1][:, ::-1]), expected)
    np.testing.assert_array_equal(net.run_frame(whole[:, ::-1]), net.run_frame(whole[:, ::-1].copy()))
    np.testing.assert_array_equal(net.run_frame(part, softmax=True).sum(), pytest.approx(1, abs=1e-5))
    bytes_there = net.to_device(np.frombuffer(whole.tobytes(), np.float32))
    place = {"typestr": "|u1", "shape": part.shape, "strides": (360, 3, 1)}
    there = Foreign(bytes_there, data=(bytes_there.ptr + 10 * 360 + 20 * 3, True), **place)
    got = net.run_frame(there)
    assert isinstance(got, DeviceArray)
    np.testing.assert_array_equal(got.numpy(), expected)
    host = np.empty((1, 7), np.float32)
    assert net.run_frame(there, out=host) is host
    np.testing.assert_array_equal(host, expected)
    there.__cuda_array_interface__["strides"] = (360, 6, 1)
    with pytest.raises(UserError, match="pixels side by side"):
        net.run_frame(there)


@pytest.mark.parametrize(
    ("frame", "options", "sentence"),
    [
        (np.zeros((4, 4), np.uint8), {}, "a frame must be [H, W, 3]"),
        (np.zeros((0, 4, 3), np.uint8), {}, "with at least one pixel"),
        (np.zeros((4, 4, 4), np.uint8), {}, "a frame must be [H, W, 3]"),
        (np.zeros((4, 4, 3), np.float32), {}, "a frame must be uint8"),
        (np.zeros((4, 4, 3), np.uint8), {"order": "bgr"}, "order must be one of RGB, BGR, not 'bgr'"),
        (np.zeros((4, 4, 3), np.uint8), {"profile": "caffee"}, "did you mean 'caffe'"),
        (np.zeros((1, 2**20, 3), np.uint8), {}, "too elongated"),
        ("x.png", {}, "not str"),
    ],
)
@pytest.mark.parametrize("which", ["net", "cpu"])
def test_a_wrong_frame_is_one_sentence(request, which, frame, options, sentence):
    with pytest.raises(UserError) as error:
        request.getfixturevalue(which).run_frame(frame, **options)
    assert sentence in str(error.value)


def test_frames_are_classified():
    frame = np.asarray(images.open_image(DIGITS[3]))[..., ::-1]
    for device in ("cpu", "emulated"):
        net = AlexNet(weights="digits", device=device)
        answers = net.classify_frame(frame, topk=3)
        assert len(answers) == 3
        assert answers[0].label == DIGITS[3].name.split("-")[1]
    with pytest.raises(UserError, match="topk"):
        net.classify_frame(frame, topk=0)


def test_the_geometry_of_a_frame_is_that_of_images():
    profile = images.profiles.get("paper-227")
    given = arrays.read(np.zeros((300, 400, 3), np.uint8), DeviceSpec("cpu"))
    spec = frames.spec(given, "BGR", profile, 227)
    assert (spec["resized_h"], spec["resized_w"], spec["crop_y"], spec["crop_x"]) == (256, 341, 14, 56)
    assert (spec["row_bytes"], spec["filter"], spec["swap"]) == (1200, 2, 1)
    assert spec["scale"] == [1.0, 1.0, 1.0]
    assert spec["shift"] == pytest.approx(profile.mean)


# The command line -------------------------------------------------------------------------------------------------


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def test_summary_prints_the_kernels(capsys):
    arguments = ["summary", "alexnet-digits", "--kernels", "--device", "emulated", "--precision", "fp16"]
    code, out, err = run(capsys, *arguments, "--fc-weights", "int4", "--batch", 2)
    assert (code, err) == (0, "")
    assert "alexnet-digits on emulated:0, fp16, fc weights int4, batch 2; one CUDA graph" in out
    assert "tuning: devices/rtx30.toml" in out
    found = json.loads(run(capsys, *arguments, "--json")[1])
    assert found["steps"][0]["kernels"]
    assert (found["device"], found["precision"]) == ("emulated:0", "fp16")


def test_info_lists_the_gpus(capsys):
    with emulated.pretend("nano"):
        (row,) = [one for one in diagnosis.collect()["gpus"] if one["device"] == "emulated:0"]
    assert (row["recognised"], row["sm"]) == ("nano", 53)
    assert row["tuning"].startswith("devices/nano.toml")
    _, out, _ = run(capsys, "info")
    assert "NVIDIA GeForce RTX 3090" in out
    assert "emulated:0" in out
    assert "cuda.bindings" in out


def test_classify_on_the_command_line(capsys):
    code, out, err = run(capsys, "classify", "--weights", "digits", "--device", "emulated", "--json", DIGITS[5])
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["device"], found["isa"]) == ("emulated:0", None)
    assert found["images"][0]["predictions"][0]["label"] == DIGITS[5].name.split("-")[1]


def test_a_backend_that_cannot_be_used_says_so():
    with pytest.raises(BackendError, match="device='tensorrt:0' cannot be used"):
        AlexNet(device="tensorrt:0")
