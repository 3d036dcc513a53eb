"""Where a network runs and in which numbers: backend, index of the GPU, precision, kind of fully connected weights."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from . import _core
from .errors import BackendError, UserError
from .layers import CPU_FC_STORAGES, FC_STORAGES

PRECISIONS = ("fp32", "fp16")  # of activations and convolutions, in the order of fastalex_precision
AUTO_ORDER = ("tensorrt", "cuda", "cpu")
HOST_BACKENDS = ("cpu", "naive")  # they compute where numpy's arrays are


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
        return "%d.%d" % (self.driver // 1000, self.driver % 1000 // 10)


class Placement(NamedTuple):
    """A backend and, where it has any, one of its GPUs."""

    backend: str
    gpu: Optional[Gpu] = None

    @property
    def index(self) -> int:
        return self.gpu.index if self.gpu else 0

    @property
    def name(self) -> str:
        """As :class:`~fastalex.AlexNet` takes it: ``cpu``, ``cuda:0``."""
        return "%s:%d" % (self.backend, self.gpu.index) if self.gpu else self.backend


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


def choose(device: str) -> Placement:
    """What ``device`` means on this machine: ``auto``, a backend, or a backend and the index of a GPU.

    :raises UserError: for a device that there is none of.
    :raises BackendError: if the backend was asked for by name and cannot be used here.
    """
    status = {entry["name"]: entry for entry in _core.backends()}
    if device == "auto":
        for name in AUTO_ORDER:
            if status[name]["available"]:
                return _placed(name, 0, device)
        raise BackendError("no backend works here: " + status["cpu"]["reason"])
    numbered = re.match(r"(\w+):(\d{1,4})$", str(device))
    backend = numbered.group(1) if numbered else str(device)
    if backend not in status or not isinstance(device, str):
        one_of("device", device, ["auto", *status])  # raises
    if not status[backend]["available"]:
        raise BackendError("device='%s' cannot be used: %s" % (device, status[backend]["reason"]))
    if numbered and backend in HOST_BACKENDS:
        raise UserError("device='%s': %s is one device; say device='%s'" % (device, backend, backend))
    return _placed(backend, int(numbered.group(2)) if numbered else 0, device)


def choose_device(device: str) -> str:
    """The full name of what ``device`` means here, ``cpu`` or ``cuda:0``; raises what :func:`choose` does."""
    return choose(device).name


def numbers(placement: Placement, precision: str, fc_weights: Optional[str]) -> Tuple[str, str]:
    """(precision, kind of fully connected weights), the latter by default like the former.

    :raises UserError: for values that there are none of, or that this backend does not compute in.
    """
    one_of("precision", precision, PRECISIONS)
    fc_weights = precision if fc_weights is None else fc_weights
    one_of("fc_weights", fc_weights, FC_STORAGES)
    if placement.backend in HOST_BACKENDS:
        if precision != "fp32":
            raise UserError(
                "precision='%s' is not for device='%s', which computes in fp32; use device='cuda' or precision='fp32'"
                % (precision, placement.backend)
            )
        if fc_weights not in CPU_FC_STORAGES:
            raise UserError(
                "fc_weights='%s' is not for device='%s'; use device='cuda', or one of %s"
                % (fc_weights, placement.backend, ", ".join(CPU_FC_STORAGES))
            )
    if precision == "fp16" and fc_weights == "fp32":
        raise UserError(
            "fc_weights='fp32' does not go with precision='fp16'; use fp16, int8 or int4, or precision='fp32'"
        )
    return precision, fc_weights


def one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    """:raises UserError: for a value that is not allowed."""
    if value not in allowed:
        raise UserError("%s must be one of %s, not %r" % (name, ", ".join(allowed), value))


def _placed(backend: str, index: int, device: str) -> Placement:
    found = gpus(backend)
    if index < len(found):
        return Placement(backend, found[index])
    if not found and index == 0:
        return Placement(backend)
    have = "1 GPU, %s:0" % backend if len(found) == 1 else "%d GPUs" % len(found)
    if len(found) > 1:
        have += ", %s:0 to %s:%d" % (backend, backend, len(found) - 1)
    raise UserError("device='%s': there %s %s" % (device, "is" if len(found) == 1 else "are", have))
