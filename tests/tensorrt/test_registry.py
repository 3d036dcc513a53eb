"""The TensorRT plugins as objects of a real registry: a lean runtime (a package of PyPI, which needs no GPU) loads the
library as trtexec does. The kernels run on the CUDA emulator.

FASTALEX_TENSORRT_HEADERS is a folder of folders with include/NvInfer.h, one a release; FASTALEX_TENSORRT_LEAN one of
folders with tensorrt_lean_libs (pip install --target), one a release.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cuda_emulator import emulated
from tests.support.plugins import build

pytestmark = pytest.mark.emulator

ROOT = Path(__file__).resolve().parents[2]
#: The adapter of TensorRT 8 is run in TensorRT 10, whose registry still takes it: no package has an older runtime.
ADAPTERS = {
    "v2": ("10", "libharness_v2.so", "libplugins_v2.so"),
    "v3": ("10", "libharness_v3.so", "libfastalex_tensorrt10.so"),
    "v3-11": ("11", "libharness_v3.so", "libfastalex_tensorrt11.so"),
}


def folder(variable):
    named = os.environ.get(variable)
    return Path(named) if named else None


def headers(major):
    """A folder with NvInfer.h of that release, the newest, or None."""
    root = folder("FASTALEX_TENSORRT_HEADERS")
    found = [path.parent for path in root.glob(f"{major}.*/include/NvInfer.h")] if root else []
    return max(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parent.name)], default=None)


def runtime(major):
    """libnvinfer_lean.so of that release, or None."""
    root = folder("FASTALEX_TENSORRT_LEAN")
    found = sorted(root.glob("**/libnvinfer_lean.so." + major)) if root else []
    return found[-1] if found else None


@pytest.mark.parametrize(
    "adapter", [pytest.param(name, marks=pytest.mark.tensorrt(row[0])) for name, row in ADAPTERS.items()]
)
def test_plugins_of_a_registry(adapter):
    """In a process of its own: registries of two releases, or two of the same plugins, do not go together."""
    major, harness, library = ADAPTERS[adapter]
    include, lean = headers(major), runtime(major)
    if not include or not lean:
        pytest.skip(f"no headers and lean runtime of TensorRT {major}")
    built = build(Path(emulated.library()), [include], "plugins-" + include.parent.name)
    found = [path.parent for path in built.glob("*/" + harness) if re.match(r"[\d.]+$", path.parent.name)]
    assert len(found) == 1, found
    arguments = [str(built), str(found[0] / harness), str(lean), str(found[0] / library)]
    command = [sys.executable, "-m", "tests.support.plugin_checks", *arguments]
    done = subprocess.run(command, cwd=str(ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0 and said.endswith("all checks passed\n"), said


ENGINES = """
import ctypes, sys
from fastalex import AlexNet, _core
from cuda_emulator import emulated

def attempt(device):
    try:
        print(AlexNet(weights="digits", device=device).kernels()["engine"])
    except RuntimeError as error:
        print(error)

runtime = ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
_core.load_backend(sys.argv[2])
attempt("lean-tensorrt")
emulated.load_tensorrt()
version = runtime.getInferLibVersion()
with emulated.pretend(tensorrt="%d.%d.%d" % (version // 10000, version // 100 % 100, version % 100)):
    attempt(emulated.TENSORRT)
attempt("lean-tensorrt")
"""


@pytest.mark.parametrize("major", [pytest.param(major, marks=pytest.mark.tensorrt(major)) for major in ("10", "11")])
def test_engines_of_a_runtime_without_builder_or_driver(major, tmp_path):
    """The backend with a real TensorRT as far as it goes here: errors contain TensorRT's message.

    A file of its key that another TensorRT wrote (the emulated one, here) is named.
    """
    include, lean = headers(major), runtime(major)
    if not include or not lean:
        pytest.skip(f"no headers and lean runtime of TensorRT {major}")
    built = build(Path(emulated.library()), [include], "plugins-" + major)
    (library,) = built.glob("*/libengines.so")
    command = [sys.executable, "-c", ENGINES, str(lean), str(library)]
    with emulated.pretend("rtx30"):
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
        done = subprocess.run(command, cwd=str(ROOT), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said
    first, second, third = said.strip().split("\n")
    without = "TensorRT has no builder here, and no engine for this network, GPU and TensorRT is cached"
    assert first.startswith(without)
    assert second == "built"
    (path,) = tmp_path.glob("fastalex/engines/*.engine")
    assert third.startswith(without)
    assert f"{path} cannot be used: TensorRT cannot make a runtime: " in third
    assert "CUDA initialization failure" in third
