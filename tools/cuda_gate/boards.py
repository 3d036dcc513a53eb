"""NVRTC of CUDA 10.2, which is JetPack 4.6's, out of a wheel of PyTorch; families of kernels compiled with it."""

from __future__ import annotations

import fnmatch
import re
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List

from fastalex._util.files import Replacement
from fastalex.hardware import devices

from . import families
from .toolchain import Nvrtc, ToolError, assemble, nvcc_version

RELEASE = "10.2"
# Requirement -> the files that are taken from its wheel. NVRTC looks for its built-in functions in its own folder. The
# ptxas is the oldest on PyPI.
FILES = {
    "torch==1.10.2": ("torch/lib/libnvrtc-*.so.10.2", "torch/lib/libnvrtc-builtins.so"),
    "nvidia-cuda-nvcc-cu11==11.7.99": ("nvidia/cuda_nvcc/bin/ptxas",),
}
DOWNLOAD = (
    "pip download --no-deps --only-binary :all: --python-version 3.9 --platform manylinux1_x86_64 -d {} "
    + " ".join(FILES)
)
# Architectures whose built-in functions NVRTC 10.2 for x86-64 has: it refuses all others that it knows, 32, 53, 62 and
# 72, with "failed to load builtins".
WITH_BUILTINS = (30, 35, 37, 50, 52, 60, 61, 70, 75)


@dataclass(frozen=True)
class Compilers:
    """``ptxas_release``: as 11.7."""

    nvrtc: Nvrtc
    ptxas: Path
    ptxas_release: str


@dataclass(frozen=True)
class Result:
    """A family compiled for a board's architecture. ``ptx_version``: as 6.5."""

    compiled: families.Compiled
    ptx_version: str


def boards() -> List[devices.Device]:
    """Devices whose last CUDA is 10.2."""
    return [device for device in devices.load_all().values() if device.software.get("cuda") == RELEASE]


def load(wheels: Path) -> Compilers:
    """Compilers out of the wheels in a folder, unpacked beside them.

    :raises ToolError: if a wheel is missing or damaged, or a library does not load on this machine.
    """
    paths = [path for requirement in FILES for path in unpack(wheels, requirement)]
    library, _, ptxas = paths
    try:
        nvrtc = Nvrtc(library)
    except OSError as error:
        raise ToolError(f"{library.name} needs Linux on x86-64: {error}") from None
    if nvrtc.version != RELEASE:
        raise ToolError(f"{library} is NVRTC {nvrtc.version}, not {RELEASE}")
    return Compilers(nvrtc, ptxas, nvcc_version(ptxas))


def unpack(wheels: Path, requirement: str) -> List[Path]:
    """Files that are taken from the wheel of a requirement, in the order of :data:`FILES`."""
    project, version = requirement.split("==")
    pattern = "{}-{}-*.whl".format(project.replace("-", "_"), version)
    found = sorted(wheels.glob(pattern))
    if not found:
        raise ToolError(f"{wheels} has no {pattern}: {DOWNLOAD.format(wheels)}")
    try:
        with zipfile.ZipFile(found[0]) as wheel:
            return [_extract(wheel, member, wheels / "unpacked") for member in FILES[requirement]]
    except (zipfile.BadZipFile, EOFError):
        raise ToolError(f"{found[0]} is damaged: remove it, and {DOWNLOAD.format(wheels)}") from None


def _extract(wheel: zipfile.ZipFile, pattern: str, folder: Path) -> Path:
    """The one member of a wheel that a pattern names, as a file of ``folder``."""
    members = fnmatch.filter(wheel.namelist(), pattern)
    if len(members) != 1:
        raise ToolError(f"{wheel.filename} has {len(members)} files {pattern}, not one")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / Path(members[0]).name
    file = Replacement(path)
    with wheel.open(members[0]) as source, open(file.temporary, "wb") as target:
        shutil.copyfileobj(source, target)
    Path(file.temporary).chmod(0o755)
    file.keep()
    return path


def virtual_architecture(architecture: int) -> int:
    """The architecture that NVRTC compiles for: the newest with built-in functions that is not newer than the board."""
    return max(one for one in WITH_BUILTINS if one <= architecture)


def source_of(family: str, architecture: int) -> str:
    """A translation unit that reads as one for ``architecture``, whatever NVRTC compiles it for."""
    return f"#undef __CUDA_ARCH__\n#define __CUDA_ARCH__ {architecture}0\n{families.unit(family)}"


def retarget(ptx: str, architecture: int) -> str:
    """PTX that was made for the virtual architecture, for the board's own, whose half arithmetic it has inline.

    :raises ToolError: if it is not for that architecture.
    """
    changed, count = re.subn(
        rf"^\.target sm_{virtual_architecture(architecture)}$", f".target sm_{architecture}", ptx, flags=re.MULTILINE
    )
    if count != 1:
        raise ToolError(
            f"the PTX for sm_{architecture} has {count} lines .target sm_{virtual_architecture(architecture)}"
        )
    return changed


def ptx_version(ptx: str) -> str:
    """The version of the PTX language that a file asks for, as 6.5."""
    version = re.search(r"^\.version (\d+\.\d+)$", ptx, re.MULTILINE)
    if not version:
        raise ToolError("the PTX has no line .version")
    return version.group(1)


def compile_family(compilers: Compilers, family: str, architecture: int) -> Result:
    """Compile every instance of a family that the architecture has.

    :raises ToolError: if a compiler refuses.
    """
    virtual = virtual_architecture(architecture)
    listed = families.read_list(compilers.nvrtc, family, virtual)
    instances = [one for one in listed if one.fits(architecture)]
    if not instances:
        return Result(families.Compiled(family, architecture, [], {}, {}, Path()), "")
    options = [f"--gpu-architecture=compute_{virtual}", *families.OPTIONS]
    ptx = compilers.nvrtc.compile(source_of(family, architecture), options, [one.expression for one in instances])
    with tempfile.TemporaryDirectory() as folder:
        text = retarget(ptx.text, architecture)
        said = assemble(text, architecture, Path(folder, "unit.cubin"), compilers.ptxas)
    symbols: Dict[str, str] = {one.name: symbol for one, symbol in zip(instances, ptx.lowered)}
    usage = {name: said[symbol] for name, symbol in symbols.items()}
    compiled = families.Compiled(family, architecture, instances, symbols, usage, Path())
    return Result(compiled, ptx_version(ptx.text))
