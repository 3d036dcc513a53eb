"""A small network for the tests on a GPU, with the facts of a GPU and arrays of other libraries."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from fastalex import AlexNet
from fastalex.runtime.device_spec import DeviceSpec, Gpu
from fastalex.variants import get
from fastalex.weights import initial

DIGITS = sorted((Path(__file__).resolve().parents[2] / "examples" / "digits").glob("*.png"))
OPTIONS = {"widths": (8, 16, 12, 12, 8, 24, 20), "num_classes": 7, "input_size": 63}
GPU = Gpu(0, "NVIDIA GeForce RTX 3090", 86, 82, 1695000, 6 << 20, 24 << 30, False, True, 12090, 12090)
PLACE = DeviceSpec("emulated", GPU)


def digit_folder(place, count, below):
    """Make the folder ``place`` with ``count`` digits, ``0.png`` and so on; the last ``below`` of them in ``more/``."""
    (place / "more").mkdir(parents=True)
    for number, path in enumerate(DIGITS[:count]):
        shutil.copy(path, place / ("more" if number >= count - below else ".") / f"{number}.png")
    return place


def random_parameters():
    return initial.random_weights(get("torchvision", **OPTIONS), seed=4)


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
