"""Where a network runs: a backend and, where it has any, one of its GPUs; and the options that depend on it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import List, NamedTuple, Optional

from .. import _core
from .._util.arguments import is_int, one_of
from ..errors import BackendError, UserError

AUTO_ORDER = ("cuda", "tensorrt", "cpu")  # an engine is built for minutes: only where that was asked for, or CUDA fails
MAX_THREADS = 1024
HOST_BACKENDS = ("cpu", "naive")  # they compute where numpy's arrays are
ENGINE_MODES = ("plugins", "native")  # of a TensorRT engine


@dataclass(frozen=True)
class Gpu:
    """A GPU as the CUDA runtime describes it; ``sm`` is the compute capability, 75 for 7.5."""

    index: int
    name: str
    sm: int
    sms: int
    clock_khz: int
    l2_bytes: int
    memory_bytes: int
    integrated: bool
    tensor_cores: bool
    driver: int
    runtime: int

    @property
    def driver_version(self) -> str:
        """The CUDA version that the driver serves, ``12.4``."""
        return f"{self.driver // 1000}.{self.driver % 1000 // 10}"


class DeviceSpec(NamedTuple):
    """A backend and, where it has any, one of its GPUs."""

    backend: str
    gpu: Optional[Gpu] = None

    @property
    def engines(self) -> bool:
        """Whether it runs TensorRT engines."""
        return runs_engines(self.backend)

    @property
    def index(self) -> int:
        return self.gpu.index if self.gpu else 0

    @property
    def name(self) -> str:
        """As :class:`~fastalex.AlexNet` takes it: ``cpu``, ``cuda:0``."""
        return f"{self.backend}:{self.gpu.index}" if self.gpu else self.backend


def runs_engines(backend: str) -> bool:
    return backend.endswith("tensorrt")  # the tests have one of their own


def gpus(backend: str) -> List[Gpu]:
    """The GPUs that ``backend`` can use; none for a backend that computes on the host, or cannot be used here."""
    if backend in HOST_BACKENDS:
        return []
    try:
        listed = _core.devices(backend)
    except (BackendError, UserError):
        return []
    fields = Gpu.__dataclass_fields__
    return [Gpu(**{key: value for key, value in json.loads(text).items() if key in fields}) for text in listed]


def choose(device: str) -> DeviceSpec:
    """What ``device`` means on this machine: ``auto``, a backend, or a backend and the index of a GPU.

    :raises UserError: for a device that there is none of.
    :raises BackendError: if the backend was asked for by name and cannot be used here.
    """
    status = {entry["name"]: entry for entry in _core.backends()}
    if device == "auto":
        for name in AUTO_ORDER:
            if status[name]["available"]:
                return _device_spec(name, 0, device)
        raise BackendError("no backend works here: " + status["cpu"]["reason"])
    numbered = re.match(r"(\w+):(\d{1,4})$", str(device))
    backend = numbered.group(1) if numbered else str(device)
    if backend not in status or not isinstance(device, str):
        one_of("device", device, ["auto", *status])  # raises
    if not status[backend]["available"]:
        raise BackendError(f"device='{device}' cannot be used: {status[backend]['reason']}")
    if numbered and backend in HOST_BACKENDS:
        raise UserError(f"device='{device}': {backend} is one device; say device='{backend}'")
    return _device_spec(backend, int(numbered.group(2)) if numbered else 0, device)


def choose_device(device: str) -> str:
    """The full name of what ``device`` means here, ``cpu`` or ``cuda:0``; raises what :func:`choose` does."""
    return choose(device).name


def check_exact(device: DeviceSpec, exact: bool) -> bool:
    """``exact`` of :class:`~fastalex.AlexNet`.

    :raises UserError: if it is no truth value, or true for a backend that does not have the choice.
    """
    if not isinstance(exact, bool):
        raise UserError(f"exact must be True or False, not {exact!r}")
    if exact and device.backend == "naive":
        raise UserError("exact=True is for device='cpu'; device='naive' sums all products directly, so leave it out")
    if exact and device.backend != "cpu":
        raise UserError(
            f"exact=True is for device='cpu'; on device='{device.name}' tuning rules choose the algorithm (fastalex tune)"
        )
    return exact


def thread_count(threads: Optional[int]) -> int:
    """``threads`` of :class:`~fastalex.AlexNet`; None: as many as this process may run on.

    :raises UserError: for what is no number of threads.
    """
    if threads is None:
        return _core.default_threads()
    if not is_int(threads) or not 1 <= threads <= MAX_THREADS:
        raise UserError(f"threads must be a whole number from 1 to {MAX_THREADS}, not {threads!r}")
    return threads


def check_engine(device: DeviceSpec, engine: Optional[str]) -> str:
    """``engine`` of :class:`~fastalex.AlexNet`; empty where there are no engines.

    :raises UserError: if it is no mode, or one is asked of a backend that has no engines.
    """
    if engine is not None:
        one_of("engine", engine, ENGINE_MODES)
    if engine is not None and not device.engines:
        raise UserError(f"engine='{engine}' is for device='tensorrt'; on device='{device.name}', leave it out")
    return engine or (ENGINE_MODES[0] if device.engines else "")


def _device_spec(backend: str, index: int, device: str) -> DeviceSpec:
    found = gpus(backend)
    if index < len(found):
        return DeviceSpec(backend, found[index])
    if not found and index == 0:
        return DeviceSpec(backend)
    have = f"1 GPU, {backend}:0" if len(found) == 1 else f"{len(found)} GPUs"
    if len(found) > 1:
        have += f", {backend}:0 to {backend}:{len(found) - 1}"
    raise UserError(f"device='{device}': there {'is' if len(found) == 1 else 'are'} {have}")
