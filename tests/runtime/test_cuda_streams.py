"""CUDA streams of every library, and the order of calls on them."""

from __future__ import annotations

import sys
import types

import pytest

from fastalex import UserError
from fastalex.runtime import arrays, cuda_streams
from tests.support.small_net import PLACE, Foreign, Packed, batch_of


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
def test_other_values_than_streams_are_refused(stream):
    with pytest.raises(UserError, match="stream must be"):
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
    with pytest.raises(UserError, match="illegal address"):
        cuda_streams.order(5, 0)


def test_which_stream_a_call_is_queued_on(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    there = net.to_device(batch_of(1))
    assert arrays.read(Foreign(there, stream=None), PLACE).stream == 0
    assert arrays.read(Foreign(there, stream=2), PLACE).stream == 2
    assert (
        arrays.read(Foreign(there, stream=None), PLACE, stream=5).stream == 5
    )  # version 3 of the protocol: no ordering needed
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
        arrays.output(result, PLACE, 5).target(result.shape)
    assert arrays.output(result.copy_from(result.numpy()), PLACE, 5).target(result.shape).array.stream == 5
