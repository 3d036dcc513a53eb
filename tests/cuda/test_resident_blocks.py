"""Fully connected layers by column on the emulator: blocks that stay on the device and take tile after tile."""

from __future__ import annotations

import numpy as np
import pytest

from cuda_emulator.emulated import DEVICES, device_text, pretend
from fastalex.hardware import devices
from fastalex.runtime.precisions import SUPPORTED
from fastalex.selftest import native
from fastalex.selftest.cases import Case
from tests.support.kernels import PRECISIONS, StandardLayer, describe

#: One multiprocessor, whose two blocks go through all tiles; more of them than there are tiles.
ONE, MANY = "nano", device_text("nano").replace("sms=1,", "sms=1000,")
TILE = {"fp16": 256, "int8": 512, "int4": 1024}  # outputs: 512 bytes
TILES = 3

pytestmark = pytest.mark.emulator


def layer(batch, products, outputs, storage):
    name = f"fc-{outputs}x{products}-{storage}-batch{batch}"
    return Case(name, f"fc name=fc out={outputs}", (batch, products, 1, 1), storage=storage)


def columns(step):
    """The candidate by columns."""
    (choice,) = (each for each in step["candidates"] if each["name"].startswith("columns"))
    return choice


def result(standard, device, split):
    """The layer's outputs after a run on NaN, and the step that serves it."""
    with pretend(device):
        key, batch = standard.served("")[1]["key"], len(standard.x)
        name = columns(standard.served("")[1])["name"]
        net, step = standard.served(f"{key} {batch} {name} split={split}")
        native.output(net, np.full_like(standard.x, np.nan))
        return native.output(net, standard.x), step


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("storage", [each for each in SUPPORTED["cuda"]["fp16"] if each != "fp32"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("products", [203, 700])
def test_resident_blocks(products, batch, storage, precision):
    """Right, and the same bits as where a block has one tile; the last is not full."""
    standard = StandardLayer(layer(batch, products, TILES * TILE[storage] - 29, storage), precision)
    with pretend(ONE):
        most = columns(standard.served("")[1])["max_split"]
    for split in {1, most}:
        got, step = result(standard, ONE, split)
        assert (np.abs(got - standard.reference) <= standard.bound(step)).all(), split
        alone, other = result(standard, MANY, split)
        np.testing.assert_array_equal(got, alone, err_msg=str(split))
        assert [each["kernels"][0]["grid"][0] for each in (step, other)] == [max(1, 2 // split), TILES]


@pytest.mark.parametrize("device", DEVICES)
def test_the_grid_is_what_the_device_holds(device):
    """Two blocks on each multiprocessor, unless there are fewer tiles; with a split, half of them for each of two."""
    sms = devices.get(device).cards[0].sms
    case = layer(1, 512, 32 * TILE["int8"], "int8")
    with pretend(device):
        key = describe(case, "fp16")["key"]
        for split in (1, 2):
            step = describe(case, "fp16", f"{key} 1 columns_half_int8_b1 split={split}")
            assert step["kernels"][0]["grid"] == [min(2 * sms // split, 32), 1, split]
