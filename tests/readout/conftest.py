"""A network, and the rows that images have in it, computed one at a time."""

from __future__ import annotations

import numpy as np
import pytest

from fastalex import AlexNet
from tests.readout import stimuli


@pytest.fixture(scope="session")
def net():
    return AlexNet(weights="digits", device="cpu")


@pytest.fixture(scope="session")
def expected(net):
    """A function that returns the rows of a layer for images by their numbers, float32."""

    def rows(layer, numbers):
        return np.concatenate([net.taps(net.preprocess(stimuli.png(number)), [layer])[layer] for number in numbers])

    return rows
