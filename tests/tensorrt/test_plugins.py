"""The TensorRT plugins without TensorRT: fields, shapes, formats, serialized bytes, results on the CUDA emulator."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from cuda_emulator import emulated
from fastalex.selftest.cases import CASES
from tests.support import plugin_checks
from tests.support.plugins import NAMES, Harness, Plans, PluginError, Tensor, build

pytestmark = pytest.mark.emulator

CONV, LRN = NAMES[:2]


@pytest.fixture(scope="module")
def library():
    return build(Path(emulated.library())) / "libharness_op.so"


@pytest.fixture(scope="module")
def plans(library):
    return Plans(library)


@pytest.fixture(scope="module")
def harness(library):
    return Harness(library, emulated.BACKEND)


@pytest.mark.parametrize("check", plugin_checks.CHECKS, ids=lambda check: check.__name__)
def test_of_every_adapter(check, harness, plans):
    """The checks that tests/tensorrt/test_registry.py runs on objects of a registry."""
    check(harness, plans)


@pytest.mark.parametrize("device", ["nano", "rtx20", "rtx30"])
def test_results(device, harness, plans):
    """Each kind of kernel, in each precision and format."""
    with emulated.pretend(device):
        assert plugin_checks.check_results(harness, plans) > 100


def test_a_plan_finds_its_plugins(plans):
    lrn, pool = "lrn name=n size=5 alpha=1 beta=0.75 k=2 groups=1", "maxpool name=p kernel=3 stride=2 rounding=floor"
    shape = (1, 8, 9, 9)
    assert plans.fields("\n".join((lrn, pool)), shape, [])[::2] == (LRN, 2)
    assert plans.fields("\n".join((pool, lrn)), shape, [])[::2] == (LRN, 2)
    assert plans.fields(lrn, shape, [])[::2] == (LRN, 1)
    assert plans.fields(pool, shape, [])[::2] == ("", 1)
    assert plans.fields("relu name=r", shape, [])[::2] == ("", 1)
    params = [np.zeros((3, 648), np.float32), np.zeros(3, np.float32)]
    assert plans.fields("fc name=f out=3", shape, params)[::2] == ("", 1), "its weights are floats"


def test_damaged_bytes_are_refused(harness, plans):
    want = plugin_checks.problem(plans, CASES["fc-int8"], "fp32", harness.backend)
    data = harness.create(want.plugin, want.fields).serialize()
    flipped = data[:2000] + bytes([data[2000] ^ 1]) + data[2001:]  # a weight
    for damaged in (b"", data[:3], data[:-1], data + b"x", b"y" + data[1:], flipped):
        with pytest.raises(PluginError, match="FastAlexFullyConnectedW8.*damaged"):
            harness.deserialize(want.plugin, damaged)
    with pytest.raises(PluginError, match="bytes of a FastAlexFullyConnectedW8"):
        harness.deserialize(CONV, data)


def test_int4_maps_need_whole_vectors_of_channels(harness, plans):
    """Otherwise the groups of 128 weights per scale differ from those of the kernels."""
    want = plugin_checks.problem(plans, CASES["fc-int4-map"], "fp32", harness.backend)
    with pytest.raises(PluginError, match="multiple of 8, not 13"):
        harness.create(want.plugin, want.fields)


def test_a_failed_launch_is_told(harness, plans):
    want = plugin_checks.problem(plans, CASES["conv-3x3-relu"], "fp32", harness.backend)
    plugin, given = harness.create(want.plugin, want.fields), Tensor(want.x.shape)
    out = plugin.output(given)
    with emulated.pretend(fault="launch:tensor"), pytest.raises(PluginError, match="launch failure"):
        plugin.run(want.x, given, out)
    plugin_checks.assert_right(plugin.run(want.x, given, out), want, "after the fault")


def test_threads_share_a_plugin(harness, plans):
    want = plugin_checks.problem(plans, CASES["conv-3x3-relu"], "fp16", harness.backend)
    plugin, given, results = harness.create(want.plugin, want.fields), Tensor(want.x.shape, "half"), []
    out = plugin.output(given)
    threads = [
        threading.Thread(target=lambda: results.append(plugin.clone().run(want.x, given, out))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        plugin_checks.assert_right(result, want, "threads")


def test_the_kernels_must_be_there(library, tmp_path):
    alone = Path(shutil.copy(str(library), str(tmp_path / "alone.so")))
    harness, plans = Harness(alone, emulated.BACKEND), Plans(alone)
    want = plugin_checks.problem(plans, CASES["conv-1x1"], "fp32", emulated.BACKEND)
    plugin, given = harness.create(want.plugin, want.fields), Tensor(want.x.shape)
    out = plugin.output(given)
    with pytest.raises(PluginError, match=r"kernels.*/libfastalex_emulated\.so"):
        plugin.workspace(given, out)
