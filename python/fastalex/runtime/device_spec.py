"""The device of a network, a backend and one of its GPUs if it has any, and the options that depend on it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Dict, List, Optional

from .. import _core
from .._util.arguments import is_int, one_of
from ..errors import BackendError, UserError

#: The order of ``device="auto"``. TensorRT comes after CUDA, because building an engine takes minutes.
AUTO_ORDER = ("cuda", "tensorrt", "cpu")
MAX_THREADS = 1024
HOST_BACKENDS = ("cpu", "naive")  # they compute in host memory
ENGINE_MODES = ("plugins", "native")  # of a TensorRT engine
FC_LAYOUTS = ("latency", "throughput")  # by the number of fastalex_fc_layout; the first is the default


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
        """The newest CUDA version that the driver supports, ``12.4``."""
        return f"{self.driver // 1000}.{self.driver % 1000 // 10}"


@dataclass(frozen=True)
class DeviceSpec:
    """A backend and one of its GPUs; ``gpu`` is None for a backend that computes in host memory."""

    backend: str
    gpu: Optional[Gpu] = None

    @property
    def engines(self) -> bool:
        """Whether the backend runs TensorRT engines."""
        return runs_engines(self.backend)

    @property
    def index(self) -> int:
        """The index of the GPU; 0 without one."""
        return self.gpu.index if self.gpu else 0

    @property
    def name(self) -> str:
        """The device as :class:`~fastalex.AlexNet` accepts it: ``cpu``, ``cuda:0``."""
        return f"{self.backend}:{self.gpu.index}" if self.gpu else self.backend


def runs_engines(backend: str) -> bool:
    """Whether the backend runs TensorRT engines."""
    return backend.endswith("tensorrt")  # the tests have a backend of their own


def gpus(backend: str) -> List[Gpu]:
    """List the GPUs that ``backend`` can use; none if it computes in host memory or does not work here."""
    if backend in HOST_BACKENDS:
        return []
    try:
        listed = _core.devices(backend)
    except (BackendError, UserError):
        return []
    fields = Gpu.__dataclass_fields__
    return [Gpu(**{key: value for key, value in json.loads(text).items() if key in fields}) for text in listed]


def choose(device: str) -> DeviceSpec:
    """Resolve ``device`` on this machine. The libraries of other devices than it needs are not opened.

    :param device: ``auto``, the name of a backend (``cuda``), or a backend and the index of a GPU (``cuda:1``).
    :raises UserError: if there is no such device.
    :raises BackendError: if the backend exists but does not work here, with the reason.
    """
    if device == "auto":
        for name in AUTO_ORDER:
            if _works(name):
                return _device_spec(name, 0, device)
        raise BackendError("no backend works here: " + _reasons()["cpu"])
    numbered = re.match(r"(\w+):(\d{1,4})$", str(device))
    backend = numbered.group(1) if numbered else str(device)
    if not isinstance(device, str) or not _works(backend):
        reasons = _reasons()
        if backend not in reasons or not isinstance(device, str):
            one_of("device", device, ["auto", *reasons])  # raises
        if reasons[backend]:
            raise BackendError(f"device='{device}' cannot be used: {reasons[backend]}")
    if numbered and backend in HOST_BACKENDS:
        raise UserError(f"device='{device}': {backend} is one device; say device='{backend}'")
    return _device_spec(backend, int(numbered.group(2)) if numbered else 0, device)


def _works(backend: str) -> bool:
    """Whether a backend works here; no other one is opened, whose library may load TensorRT or start a driver."""
    if not re.fullmatch(r"\w+", backend):
        return False
    try:
        _core.devices(backend)
    except BackendError:
        return False
    except UserError:  # it has no devices, or there is no such backend
        return backend in HOST_BACKENDS
    return True


def _reasons() -> Dict[str, str]:
    """Open every backend; return why each does not work here, empty text for one that does."""
    return {entry["name"]: entry["reason"] for entry in _core.backends()}


def choose_device(device: str) -> str:
    """Return the full name of the device that ``device`` means here, ``cpu`` or ``cuda:0``.

    :raises UserError, BackendError: as :func:`choose` does.
    """
    return choose(device).name


def check_exact(device: DeviceSpec, exact: bool) -> bool:
    """Check the option ``exact`` of :class:`~fastalex.AlexNet`, and return it.

    :raises UserError: if it is not a bool, or True for a backend other than the CPU's.
    """
    if not isinstance(exact, bool):
        raise UserError(f"exact must be True or False, not {exact!r}")
    if exact and device.backend == "naive":
        raise UserError("exact=True is for device='cpu'; device='naive' sums all products directly, so leave it out")
    if exact and device.backend != "cpu":
        raise UserError(
            f"exact=True is for device='cpu'; on device='{device.name}' tuning rules choose the algorithm "
            "(fastalex tune)"
        )
    return exact


def thread_count(threads: Optional[int]) -> int:
    """Check the option ``threads`` of :class:`~fastalex.AlexNet`; None: all processors this process may run on.

    :raises UserError: if it is not a whole number from 1 to :data:`MAX_THREADS`.
    """
    if threads is None:
        return _core.default_threads()
    if not is_int(threads) or not 1 <= threads <= MAX_THREADS:
        raise UserError(f"threads must be a whole number from 1 to {MAX_THREADS}, not {threads!r}")
    return threads


def check_engine(device: DeviceSpec, engine: Optional[str]) -> str:
    """Return the engine mode of a TensorRT device, from the option ``engine``; empty for any other device.

    :raises UserError: if the mode does not exist, or is given for a device without engines.
    """
    if engine is not None:
        one_of("engine", engine, ENGINE_MODES)
    if engine is not None and not device.engines:
        raise UserError(f"engine='{engine}' is for device='tensorrt'; on device='{device.name}', leave it out")
    return engine or (ENGINE_MODES[0] if device.engines else "")


def _device_spec(backend: str, index: int, device: str) -> DeviceSpec:
    available = gpus(backend)
    count = len(available)
    if index < count:
        return DeviceSpec(backend, available[index])
    if not available and index == 0:
        return DeviceSpec(backend)
    listing = f"1 GPU, {backend}:0" if count == 1 else f"{count} GPUs"
    if count > 1:
        listing += f", {backend}:0 to {backend}:{count - 1}"
    raise UserError(f"device='{device}': there {'is' if count == 1 else 'are'} {listing}")


def check_fc_layout(device: DeviceSpec, layout: Optional[str]) -> Optional[str]:
    """Return the layout of int8 and int4 fully connected weights: ``layout``, or the default of the device.

    The default is ``"latency"`` on a CPU, and None on other devices, which have one layout.

    :raises UserError: if there is no such layout, or it is for a CPU and the device is another.
    """
    if device.backend != "cpu":
        if layout is not None:
            raise UserError(f"fc_layout is for device='cpu'; device='{device.name}' has one layout, so leave it out")
        return None
    if layout is None:
        return FC_LAYOUTS[0]
    one_of("fc_layout", layout, FC_LAYOUTS)
    return layout
