"""Which device a net is on, and which precisions that device has."""

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


@pytest.mark.parametrize(
    ("working", "taken"),
    [
        (("cpu", "cuda", "tensorrt", "naive"), "cuda"),  # TensorRT would build an engine for minutes
        (("cpu", "tensorrt", "naive"), "tensorrt"),
        (("cpu", "naive"), "cpu"),
    ],
)
def test_which_backend_auto_takes(monkeypatch, working, taken):
    names = ("cpu", "naive", "cuda", "tensorrt")
    status = [{"name": name, "available": name in working, "reason": "not here"} for name in names]
    monkeypatch.setattr(device_spec._core, "backends", lambda: status)
    monkeypatch.setattr(device_spec, "gpus", lambda backend: [])
    assert device_spec.choose_device("auto") == taken


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
        assert precisions.resolve(device, precision, fc_weights) == found
        return
    with pytest.raises(UserError) as error:
        precisions.resolve(device, precision, fc_weights)
    assert found in str(error.value)


def test_a_backend_that_cannot_be_used_says_so():
    with pytest.raises(BackendError, match="device='tensorrt:0' cannot be used"):
        AlexNet(device="tensorrt:0")
