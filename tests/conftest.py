"""Skips are an exception: only the tests of allowed_skips.txt may, and `--require WORD` forbids those too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict

import pytest

# What the command line sets before it loads OpenCV, which some tests load themselves: no messages of its own.
os.environ.update(OPENCV_LOG_LEVEL="SILENT", OPENCV_FFMPEG_LOGLEVEL="-8")

ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")


def allowed_skips() -> Dict[str, str]:
    """Test id -> reason, from lines of the form ``id  # reason``."""
    allowed = {}
    for line in ALLOWED_SKIPS.read_text(encoding="utf-8").splitlines():
        test, _, reason = line.partition("#")
        if test.strip():
            allowed[test.strip()] = reason.strip()
    return allowed


def pytest_addoption(parser):
    parser.addoption(
        "--require",
        action="append",
        default=[],
        metavar="WORD",
        help="fail instead of skip where the allowed reason has this word, for example cuda",
    )
    parser.addoption("--full", action="store_true", help="run whole layers on the CUDA emulator, not blocks of them")


@pytest.fixture(scope="session")
def emulated():
    """The CUDA backend on the CPU, under the name of ``emulated.BACKEND``."""
    from cuda_emulator import emulated as module

    module.load()
    return module


@pytest.fixture(scope="session")
def emulated_tensorrt(emulated):
    """The TensorRT backend with emulated engines, under the name of ``emulated.TENSORRT``."""
    emulated.load_tensorrt()
    return emulated


@pytest.fixture(scope="session")
def full_grids(request):
    """Whether whole layers are to run on the emulator."""
    return request.config.getoption("--full")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = allowed_skips().get(item.nodeid)
    if reason is None:
        problem = "skipped, but it is not in tests/allowed_skips.txt"
    elif any(word in reason for word in item.config.getoption("--require")):
        problem = "skipped, but --require forbids it"
    else:
        return
    report.outcome = "failed"
    report.longrepr = "%s: %s (%s)" % (item.nodeid, problem, report.longrepr)
