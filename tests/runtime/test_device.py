"""Choice of a net's device and precision."""

from __future__ import annotations

import pytest

from cuda_emulator import emulated
from fastalex import AlexNet, BackendError, UserError
from fastalex.runtime import device_spec, precisions
from fastalex.runtime.device_spec import DeviceSpec
from tests.support.small_net import PLACE


def test_devices_are_named_with_their_index(net, cpu):
    assert (net.device, cpu.device) == ("emulated:0", "cpu")
    with emulated.pretend("devices=2"):
        assert device_spec.choose_device("emulated:1") == "emulated:1"
        with pytest.raises(UserError, match="'emulated:2'.*2 GPUs"):
            device_spec.choose("emulated:2")
    with pytest.raises(UserError, match="'emulated:1'.*1 GPU"):
        device_spec.choose("emulated:1")
    with pytest.raises(UserError, match="'cpu:0'"):
        device_spec.choose("cpu:0")
    with pytest.raises(UserError, match="device must be one of"):
        device_spec.choose("gpu:0")
    for wrong in (0, ["cpu"], None):
        with pytest.raises(UserError, match="device must be one of"):
            device_spec.choose(wrong)


@pytest.mark.parametrize(
    ("working", "taken"),
    [
        (("cpu", "cuda", "tensorrt", "naive"), "cuda"),  # TensorRT takes minutes to build an engine
        (("cpu", "tensorrt", "naive"), "tensorrt"),
        (("cpu", "naive"), "cpu"),
    ],
)
def test_which_backend_auto_takes(monkeypatch, working, taken):
    opened = []

    def devices(name):
        opened.append(name)
        if name not in working:
            raise BackendError("not here")
        return []

    monkeypatch.setattr(device_spec._core, "devices", devices)
    monkeypatch.setattr(device_spec, "gpus", lambda backend: [])
    assert device_spec.choose_device("auto") == taken
    assert opened == list(device_spec.AUTO_ORDER[: device_spec.AUTO_ORDER.index(taken) + 1])


def test_a_cpus_network_opens_no_library_of_gpus(monkeypatch):
    asked, devices = [], device_spec._core.devices
    monkeypatch.setattr(device_spec._core, "backends", lambda: pytest.fail("it opens all of them"))
    monkeypatch.setattr(device_spec._core, "devices", lambda name: asked.append(name) or devices(name))
    for name in ("cpu", "naive"):
        AlexNet(weights="digits", device=name)
    assert set(asked) == {"cpu", "naive"}


@pytest.mark.emulator
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
    ("device", "precision", "fc_weights", "expected"),
    [
        (PLACE, "fp32", None, ("fp32", "fp32")),
        (PLACE, "fp16", None, ("fp16", "fp16")),
        (PLACE, "fp16", "int4", ("fp16", "int4")),
        (PLACE, "fp32", "int8", ("fp32", "int8")),
        (PLACE, "fp16", "fp32", "fc_weights='fp32'.*precision='fp16'"),
        (PLACE, "fp8", None, "precision.*'fp8'"),
        (PLACE, "fp16", "int2", "fc_weights.*'int2'"),
        (PLACE, "int8", None, "precision='int8'.*device='emulated:0'"),
        (PLACE, "bf16", None, "precision='bf16'.*device='emulated:0'"),
        (PLACE, "fp32", "bf16", "fc_weights='bf16'.*device='emulated:0'"),
        (DeviceSpec("cpu"), "fp32", None, ("fp32", "fp32")),
        (DeviceSpec("cpu"), "fp32", "bf16", ("fp32", "bf16")),
        (DeviceSpec("cpu"), "fp32", "int4", ("fp32", "int4")),
        (DeviceSpec("cpu"), "bf16", None, ("bf16", "bf16")),
        (DeviceSpec("cpu"), "bf16", "fp16", ("bf16", "fp16")),
        (DeviceSpec("cpu"), "bf16", "fp32", "fc_weights='fp32'.*precision='bf16'"),
        (DeviceSpec("cpu"), "int8", None, ("int8", "int8")),
        (DeviceSpec("cpu"), "int8", "int4", ("int8", "int4")),
        (DeviceSpec("cpu"), "int8", "bf16", "fc_weights='bf16'.*precision='int8'"),
        (DeviceSpec("cpu"), "fp16", None, "precision='fp16'.*device='cpu'"),
        (DeviceSpec("naive"), "fp32", None, ("fp32", "fp32")),
        (DeviceSpec("naive"), "fp32", "int8", "fc_weights='int8'.*device='naive'"),
        (DeviceSpec("naive"), "int8", None, "precision='int8'.*device='naive'"),
    ],
)
def test_precision_and_fc_weights(device, precision, fc_weights, expected):
    if isinstance(expected, tuple):
        assert precisions.resolve(device, precision, fc_weights) == expected
        return
    with pytest.raises(UserError, match=expected):
        precisions.resolve(device, precision, fc_weights)


def test_a_backend_that_cannot_be_used_says_so():
    with pytest.raises(BackendError, match="'tensorrt:0'.*no tensorrt library"):
        AlexNet(device="tensorrt:0")
