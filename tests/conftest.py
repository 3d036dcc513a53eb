"""Rules of the suite and fixtures for all of its folders.

Skips are an exception: only tests with a marker of allowed_skips.txt may, and `--require WORD` forbids those too.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Set

import pytest

from cuda_emulator import emulated as emulator
from tests.support import small_net
from tests.support.locks import locked

# Processes that share the tests share the processors: each computes PyTorch's part on its own.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    processors = len(os.sched_getaffinity(0)) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, processors)))

# The command line silences OpenCV before loading it; some tests load it directly.
os.environ.update(OPENCV_LOG_LEVEL="SILENT", OPENCV_FFMPEG_LOGLEVEL="-8")

#: Markers of tests that need a large package or program, which the suite does not install, or take minutes.
APART = ("browser", "cluster", "fashion_mnist", "ray", "scale", "spark")
ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")


def pytest_addoption(parser):
    parser.addoption(
        "--require",
        action="append",
        default=[],
        metavar="WORD",
        help="fail the tests that would be skipped for want of this: a marker of allowed_skips.txt, "
        "or one with what it names, for example cuda, tensorrt, tensorrt10",
    )
    parser.addoption("--full", action="store_true", help="run whole layers on the CUDA emulator, not blocks of them")
    parser.addoption("--mutations", type=int, default=200, metavar="N", help="damaged files a format (default: 200)")
    parser.addoption("--graphs", type=int, default=68, metavar="N", help="random graphs in all (default: 68)")
    parser.addoption("--kills", type=int, default=3, metavar="N", help="kills of training (default: 3)")
    parser.addoption("--pickles", type=int, default=26, metavar="N", help="pickles for spawned workers (default: 26)")


# Markers --------------------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config, items):
    """Mark as slow: whole layers, and everything on the emulator, which takes a minute to compile."""
    _leave_out(config, items)
    for item in items:
        if "emulated" in item.fixturenames:
            item.add_marker(pytest.mark.emulator)
        if item.get_closest_marker("emulator") or item.get_closest_marker("whole_layer"):
            item.add_marker(pytest.mark.slow)


def _leave_out(config, items):
    """Deselect the tests with a marker of :data:`APART`, unless -m names it."""
    markers = [marker for marker in APART if not re.search(rf"\b{marker}\b", config.option.markexpr)]
    apart = [item for item in items if any(map(item.get_closest_marker, markers))]
    if apart:
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if item not in apart]


def pytest_runtest_setup(item):
    if item.get_closest_marker("emulator"):
        load_emulator()


# The emulator ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def load_emulator() -> None:
    """Build the emulated CUDA backend once for all processes and load it into this one."""
    with locked("cuda_emulator"):
        # Child processes use this library without checking that it is built.
        os.environ["FASTALEX_EMULATOR_LIBRARY"] = emulator.library()
    emulator.load()


@pytest.fixture(scope="session")
def emulated():
    """The CUDA backend on the CPU, under the name of ``emulated.BACKEND``."""
    load_emulator()
    return emulator


@pytest.fixture(scope="session")
def emulated_tensorrt(emulated):
    """The TensorRT backend with emulated engines, under the name of ``emulated.TENSORRT``."""
    emulated.load_tensorrt()
    return emulated


@pytest.fixture(scope="session")
def full_grids(request):
    """Whether whole layers run on the emulator (--full)."""
    return request.config.getoption("--full")


# Fixtures of several folders ------------------------------------------------------------------------------------------


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache folder, so that no existing tuning is read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def parameters():
    """Weights of the small network of tests/support/small_net.py."""
    return small_net.random_parameters()


# Skips ----------------------------------------------------------------------------------------------------------------


def allowed_skips() -> Set[str]:
    """The markers in allowed_skips.txt, from lines of the form ``marker  # reason``."""
    lines = ALLOWED_SKIPS.read_text(encoding="utf-8").splitlines()
    return {line.partition("#")[0].strip() for line in lines} - {""}


def needs(item) -> Set[str]:
    """Requirements of a test as words: ``tensorrt(10)`` gives tensorrt and tensorrt10."""
    words = set()
    for marker in item.iter_markers():
        if marker.name in allowed_skips():
            words.add(marker.name)
            words.update(marker.name + str(argument) for argument in marker.args)
    return words


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    words = needs(item)
    if not words:
        problem = "skipped, but none of its markers is in tests/allowed_skips.txt"
    elif words & set(item.config.getoption("--require")):
        problem = "skipped, but --require forbids it"
    else:
        return
    report.outcome = "failed"
    report.longrepr = f"{item.nodeid}: {problem} ({report.longrepr})"
