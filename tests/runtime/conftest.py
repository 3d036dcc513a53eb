"""The small network on the emulated GPU and on the CPU."""

from __future__ import annotations

import pytest

from tests.support.small_net import small


@pytest.fixture(autouse=True)
def _own_cache(own_cache):
    pass


@pytest.fixture(scope="module")
def net(emulated, parameters):
    return small(parameters)


@pytest.fixture(scope="module")
def cpu(parameters):
    return small(parameters, device="cpu")
