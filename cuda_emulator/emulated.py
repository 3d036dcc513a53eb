"""The CUDA backend on the CPU: the emulator, built once, in the role of any of the devices."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from fastalex import _core
from fastalex.hardware import devices

ROOT = Path(__file__).resolve().parents[1]
BACKEND = "emulated"
TENSORRT = "emulated-tensorrt"
DEVICES = tuple(devices.load_all())

_VARIABLES = {
    "device": "FASTALEX_EMULATED_DEVICE",
    "blocks": "FASTALEX_EMULATED_BLOCKS",
    "fault": "FASTALEX_EMULATED_FAULT",
    "tensorrt": "FASTALEX_EMULATED_TENSORRT",
    "build_s": "FASTALEX_EMULATED_BUILD_S",
}


def build(folder: Path, *definitions: str) -> Path:
    """Build the emulated backend, or the parts that changed; return the path of the library."""
    cmake = shutil.which("cmake")
    command = [cmake] if cmake else [sys.executable, "-m", "cmake"]
    source = str(ROOT / "cuda_emulator")
    _quiet([*command, "-S", source, "-B", str(folder), *("-D" + definition for definition in definitions)])
    _quiet([*command, "--build", str(folder), "-j", str(len(os.sched_getaffinity(0)))])
    return folder / "libfastalex_emulated.so"


def _quiet(command) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout.decode()[-4000:]}")


@functools.lru_cache(maxsize=None)
def library() -> str:
    """Return the path of the library. FASTALEX_EMULATOR_LIBRARY names one that is built already."""
    return os.environ.get("FASTALEX_EMULATOR_LIBRARY") or str(build(ROOT / "build" / "cuda_emulator"))


@functools.lru_cache(maxsize=None)
def load() -> None:
    """Register the backend in this process, once."""
    _core.load_backend(library())


@functools.lru_cache(maxsize=None)
def load_tensorrt() -> None:
    """Register the TensorRT backend with emulated engines in this process, once."""
    _core.load_backend(os.path.join(os.path.dirname(library()), "libfastalex_emulated_tensorrt.so"))


def device_text(name: str, card: str = "") -> str:
    """Return a device file as text for FASTALEX_EMULATED_DEVICE, with its first card or the named one."""
    device = devices.get(name)
    chosen = device.card(card) if card else device.cards[0]
    major, minor = device.compute_capability
    facts = {
        "name": ("NVIDIA " if device.kind == "card" else "") + chosen.name,
        "sm": 10 * major + minor,
        "sms": chosen.sms,
        "clock_khz": int(chosen.clock_mhz * 1000),
        "threads_per_sm": device.limits["threads_per_sm"],
        "registers_per_sm": device.limits["registers_per_sm"],
        "registers_per_block": device.limits["registers_per_block"],
        "shared_per_sm": device.limits["shared_memory_per_sm_kib"] << 10,
        "shared_per_block": device.limits["shared_memory_per_block_kib"] << 10,
        "l2_bytes": (chosen.l2_kib or 1024) << 10,
        "memory_bytes": int((chosen.memory_gib or 8) * (1 << 30)),
        "integrated": int(device.kind == "jetson"),
        "tensor_cores": int(device.abilities["tensor_cores"]),
    }
    return ",".join("{}={}".format(*fact) for fact in facts.items())


@contextlib.contextmanager
def pretend(device=None, blocks=None, kernel="", fault=None, tensorrt=None, build_s=None):
    """Set the emulated hardware for the nets made within the context: a device file's name, or a text of facts; how
    many blocks of a large launch of the named kernel run (default: all); a fault; the version of TensorRT; the seconds
    that an engine takes to build."""
    values = {
        "device": device_text(device) if device in DEVICES else device,
        "blocks": f"{blocks}:1:{kernel}" if blocks else None,
        "fault": fault,
        "tensorrt": tensorrt,
        "build_s": None if build_s is None else str(build_s),
    }
    before = {name: os.environ.get(_VARIABLES[name]) for name, value in values.items() if value is not None}
    os.environ.update({_VARIABLES[name]: value for name, value in values.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[_VARIABLES[name]]
            else:
                os.environ[_VARIABLES[name]] = value
