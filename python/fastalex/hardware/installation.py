"""The line that is right for a machine: what to install there so that fastalex uses its GPU, if it has one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Tuple

from . import devices

#: The CUDA release inside the wheel for x86-64, and the least compute capability that it has code for
#: (FASTALEX_WHEEL_ARCHITECTURES of cmake/CudaArch.cmake).
WHEEL_TOOLKIT = "11.8"
WHEEL_CAPABILITY = (6, 1)
#: The oldest driver that runs a library of a CUDA release, by its major number (docs.nvidia.com/deploy/
#: cuda-compatibility, "minor version compatibility").
LEAST_DRIVER = {11: "450.80.02", 12: "525", 13: "580"}

Capability = Tuple[int, int]
FROM_WHEEL = "pip install --force-reinstall --no-deps fastalex"
# pip's cache would give back a wheel that was built with another -C. With FASTALEX_CUDA=ON there is no build for the
# processor alone where there is no nvcc.
FROM_SOURCE = (
    "CUDACXX=/usr/local/cuda/bin/nvcc pip install --force-reinstall --no-deps --no-cache-dir --no-binary fastalex "
    "fastalex -C cmake.define.FASTALEX_CUDA=ON"
)
_DRIVER = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
_DRIVER_AND_CAPABILITY = ("nvidia-smi", "--query-gpu=driver_version,compute_cap", "--format=csv,noheader")
_PCI = Path("/sys/bus/pci/devices")


def query_driver() -> Optional[str]:
    """Ask nvidia-smi: a line per GPU, ``driver`` or ``driver, compute capability``; None if it does not answer."""
    answer = devices.run_nvidia_smi(_DRIVER_AND_CAPABILITY)  # old drivers do not know the second
    return devices.run_nvidia_smi(_DRIVER) if answer is None else answer


def has_nvidia_gpu(bus: Path = _PCI) -> bool:
    """Whether a display or 3D controller of NVIDIA is on the PCI bus, with a driver or without."""
    try:
        folders = list(bus.iterdir())
    except OSError:  # there is no bus, or a container hides it
        return False
    return any(
        devices.read_text(f"{folder}/vendor") == "0x10de\n"
        and (devices.read_text(f"{folder}/class") or "").startswith("0x03")
        for folder in folders
    )


@dataclass(frozen=True)
class Probes:
    """The sources of :func:`line`, beside those of :class:`fastalex.hardware.devices.Probes`."""

    machine: devices.Probes = field(default_factory=devices.Probes)
    driver: Callable[[], Optional[str]] = query_driver
    on_bus: Callable[[], bool] = has_nvidia_gpu


def line(build: Mapping[str, Any], usable: bool, probes: Optional[Probes] = None) -> str:
    """Choose the one line for this machine: what to install, or why nothing is to be done.

    :param build: what the native engine says of its build (``_core.build_info()``); empty if it cannot be loaded.
    :param usable: whether the CUDA backend works.
    """
    probes = probes or Probes()
    if usable:
        return "nothing to do: device='cuda' uses the GPU"
    listing = probes.machine.nvidia_smi()
    found = devices.recognize(replace(probes.machine, nvidia_smi=lambda: listing))
    model = devices.clean(probes.machine.device_tree_model())
    if found.device and found.device.kind == "jetson":
        return _for_board(found.device.name, build)
    if "Jetson" in model:
        return f"nothing to do: fastalex has no kernels for the board '{model}' and runs on its processor"
    # An nvidia-smi that is missing, fails or hangs is not asked, and waited for, again.
    driver, capability = parse_driver(None if listing is None else probes.driver())
    if not driver and not probes.on_bus():
        return "nothing to do: no NVIDIA GPU was found, and fastalex runs on the processor"
    if capability and capability < WHEEL_CAPABILITY:
        return (
            "nothing to do: fastalex has no kernels for a GPU of compute capability {}.{} and runs on the "
            "processor".format(*capability)
        )
    return _for_card(build, driver, capability, probes.machine.machine())


def parse_driver(listing: Optional[str]) -> Tuple[str, Optional[Capability]]:
    """Read what :func:`query_driver` returns: the driver, empty if unknown, and the highest compute capability."""
    driver = re.search(r"^\d+(\.\d+)+", listing or "", re.MULTILINE)
    capabilities = re.findall(r", *(\d+)\.(\d+)\s*$", listing or "", re.MULTILINE)
    best = max(((int(major), int(minor)) for major, minor in capabilities), default=None)
    return driver.group() if driver else "", best


def least_driver(toolkit: str) -> str:
    """Return the oldest driver that runs a library of a CUDA release such as ``11.8``; unknown is as the wheel's."""
    major = int(toolkit.partition(".")[0] or 0)
    return LEAST_DRIVER.get(major, LEAST_DRIVER[int(WHEEL_TOOLKIT.partition(".")[0])])


def _for_board(name: str, build: Mapping[str, Any]) -> str:
    if build.get("cuda_toolkit") and build.get("device") == name:
        return _REASON
    return f"{FROM_SOURCE} -C cmake.define.FASTALEX_DEVICE={name}"


def _for_card(build: Mapping[str, Any], driver: str, capability: Optional[Capability], machine: str) -> str:
    toolkit = str(build.get("cuda_toolkit", ""))
    has_wheel = machine == "x86_64"
    needed = least_driver(WHEEL_TOOLKIT if has_wheel else toolkit)
    if not driver:
        return (
            f"install the NVIDIA driver, {needed} or newer, or give the GPU to this container: there is one, but no "
            "driver that answers nvidia-smi"
        )
    if _numbers(driver) < _numbers(needed):
        return f"update the NVIDIA driver to {needed} or newer: this one is {driver}"
    if not has_wheel:
        return _REASON if toolkit else FROM_SOURCE
    too_new = toolkit and _numbers(driver) < _numbers(least_driver(toolkit))
    return FROM_WHEEL if not toolkit or too_new or not _has_code(build, capability) else _REASON


def _has_code(build: Mapping[str, Any], capability: Optional[Capability]) -> bool:
    """Whether the build has PTX, or machine code that a GPU runs: of the same major number and no higher minor one."""
    words = str(build.get("cuda_architectures", "")).split()
    if capability is None or any(word.endswith("+PTX") for word in words):
        return any(word.endswith("+PTX") for word in words)
    return any((int(word) // 10, int(word) % 10) <= capability and int(word) // 10 == capability[0] for word in words)


_REASON = "nothing to install: the table of backends has the reason why CUDA cannot be used"


def _numbers(version: str) -> Tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))
