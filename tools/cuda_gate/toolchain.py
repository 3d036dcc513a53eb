"""NVRTC (through ctypes) and ptxas of the CUDA 12.9 packages on PyPI, nvcc, and the usage that ptxas reports."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence

PACKAGES = ("nvidia-cuda-nvrtc-cu12==12.9.*", "nvidia-cuda-nvcc-cu12==12.9.*")


class ToolError(Exception):
    """A missing tool or a compiler's error, in one sentence."""


@dataclass(frozen=True)
class Usage:
    """Resource usage of one kernel from ptxas: bytes per thread, but ``shared`` per block (static)."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int


def package_file(folder: str, pattern: str) -> Path:
    """A file of an NVIDIA package: ``folder`` as in ``nvidia/<folder>``.

    :raises ToolError: if the package is not installed.
    """
    spec = importlib.util.find_spec("nvidia")
    for root in list(spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(root, folder).glob(pattern)):
            return path
    raise ToolError("{} is not installed: pip install '{}' '{}'".format(folder, *PACKAGES))


class Nvrtc:
    """CUDA C++ to PTX, without a GPU and without a host compiler."""

    def __init__(self, library: Optional[Path] = None) -> None:
        """``library``: its file, by default that of the installed package."""
        path = library or package_file("cuda_nvrtc", "lib/libnvrtc.so.12")
        self._library = ctypes.CDLL(str(path))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.version = f"{major.value}.{minor.value}"

    def compile(self, source: str, options: Sequence[str], names: Sequence[str] = ()) -> Ptx:
        """PTX of ``source``, with the kernels that ``names`` (C++ expressions) ask for.

        :raises ToolError: with the compiler's first lines if it refuses the source.
        """
        program = ctypes.c_void_p()
        call = self._library
        self._check(call.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"unit.cu", 0, None, None))
        try:
            for name in names:
                self._check(call.nvrtcAddNameExpression(program, name.encode()))
            words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            if call.nvrtcCompileProgram(program, len(options), words) != 0:
                raise ToolError("NVRTC: " + self._text(program, "ProgramLog"))
            lowered = [self._lowered(program, name) for name in names]
            return Ptx(self._text(program, "PTX"), lowered)
        finally:
            call.nvrtcDestroyProgram(ctypes.byref(program))

    def _lowered(self, program: ctypes.c_void_p, name: str) -> str:
        text = ctypes.c_char_p()
        self._check(self._library.nvrtcGetLoweredName(program, name.encode(), ctypes.byref(text)))
        return (text.value or b"").decode()

    def _text(self, program: ctypes.c_void_p, what: str) -> str:
        size = ctypes.c_size_t()
        self._check(getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._library, "nvrtcGet" + what)(program, buffer))
        return buffer.value.decode()

    def _check(self, code: int) -> None:
        if code != 0:
            raise ToolError(f"NVRTC: {self._library.nvrtcGetErrorString(code).decode()}")


@dataclass(frozen=True)
class Ptx:
    """``lowered[i]``: the symbol of the i-th name asked for."""

    text: str
    lowered: List[str]


def assemble(ptx: str, architecture: int, cubin: Path, ptxas: Optional[Path] = None) -> Dict[str, Usage]:
    """Write the machine code of ``ptx`` for sm_``architecture``; symbol -> usage. ``ptxas``: by default the package's.

    :raises ToolError: with the message of ptxas if it fails.
    """
    source = cubin.with_suffix(".ptx")
    source.write_text(ptx, encoding="utf-8")
    ptxas = ptxas or package_file("cuda_nvcc", "bin/ptxas")
    command = [str(ptxas), "-v", f"-arch=sm_{architecture}", str(source), "-o", str(cubin)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    source.unlink()
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        raise ToolError(f"ptxas for sm_{architecture}: {said}")
    return read_usage(said)


def read_usage(said: str) -> Dict[str, Usage]:
    """Symbol -> usage, from what ``ptxas -v`` (or nvcc -Xptxas -v) prints."""
    usage = {}
    for part in re.split(r"Compiling entry function '", said)[1:]:
        symbol = part.split("'")[0]
        frame = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
        registers = re.search(r"Used (\d+) registers", part)
        shared = re.search(r"(\d+) bytes smem", part)
        if frame and registers:
            stack, stores, loads = (int(frame.group(i)) for i in (1, 2, 3))
            usage[symbol] = Usage(int(registers.group(1)), stack, stores, loads, int(shared.group(1)) if shared else 0)
    return usage


def run_nvcc(nvcc: Path, source: Path, architecture: int, includes: Sequence[Path], cubin: Path) -> Dict[str, Usage]:
    """Compile a .cu file to machine code with nvcc and C++14; symbol -> usage.

    :raises ToolError: with the message of nvcc if it fails or warns.
    """
    command = [str(nvcc), "-std=c++14", "-O3", "-cubin", f"-arch=sm_{architecture}", "-Xptxas=-v"]
    command += [f"-I{path}" for path in includes] + [str(source), "-o", str(cubin)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        raise ToolError(f"{source.name} for sm_{architecture}: {said[:4000]}")
    return read_usage(said)


def nvcc_version(nvcc: Path) -> str:
    """The release that ``nvcc --version`` (or that of ptxas) names, as 13.0.

    :raises ToolError: if there is no such program.
    """
    try:
        output = subprocess.run([str(nvcc), "--version"], stdout=subprocess.PIPE, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError) as error:
        raise ToolError(f"{nvcc.name} does not run: {error}") from None
    release = re.search(r"release (\d+\.\d+)", output)
    return release.group(1) if release else "?"


def fingerprint(paths: Sequence[Path], *words: str) -> str:
    """Cache key for compiling these files with these options."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for word in words:
        digest.update(word.encode() + b"\0")
    return digest.hexdigest()[:24]


def find_program(name: str, given: Optional[str], where: str) -> Path:
    """``given``, or the program called ``name`` on PATH.

    :raises ToolError: if there is neither; ``where`` says how to get it.
    """
    for folder in [None, *os.environ.get("PATH", "").split(os.pathsep)] if not given else []:
        path = Path(folder or "/nonexistent", name)
        if path.is_file() and os.access(str(path), os.X_OK):
            return path
    if given and Path(given).is_file():
        return Path(given)
    raise ToolError(f"{given or name} is not there: {where}")
