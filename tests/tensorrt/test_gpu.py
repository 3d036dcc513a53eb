"""The TensorRT plugins' ``enqueue`` on a GPU, called directly. Skipped without one; `pytest --require cuda` fails."""

from __future__ import annotations

from pathlib import Path

import pytest

import fastalex
from fastalex import _core
from tests.support import plugin_checks
from tests.support.plugins import Harness, Plans, build

pytestmark = pytest.mark.cuda

BACKEND = "cuda"


@pytest.fixture(scope="module")
def library():
    status = {entry["name"]: entry for entry in _core.backends()}[BACKEND]
    if not status["available"]:
        pytest.skip(status["reason"])
    kernels = Path(fastalex.__file__).parent / "libfastalex_cuda.so"
    return build(kernels) / "libharness_op.so"


@pytest.mark.parametrize("check", plugin_checks.CHECKS, ids=lambda check: check.__name__)
def test_of_every_adapter(check, library):
    check(Harness(library, BACKEND), Plans(library))


def test_results(library):
    assert plugin_checks.check_results(Harness(library, BACKEND), Plans(library)) > 100
