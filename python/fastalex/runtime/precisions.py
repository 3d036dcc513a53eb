"""Precisions of activations and of fully connected weights, and the combinations that each backend supports."""

from __future__ import annotations

from typing import Callable, Dict, Iterable, Optional, Tuple

from .. import _core
from .._util.arguments import one_of
from ..errors import UserError
from .device_spec import DeviceSpec, runs_engines

FC_STORAGES = _core.FC_STORAGES  # formats of fully connected weights, by the engine's number: fp32, fp16, ...
PRECISIONS = _core.PRECISIONS  # of activations and convolutions, by the engine's number
#: Backend -> precision -> the formats of fully connected weights that go with it, the default first.
SUPPORTED: Dict[str, Dict[str, Tuple[str, ...]]] = {
    "cpu": {
        "fp32": ("fp32", "fp16", "bf16", "int8", "int4"),
        "bf16": ("bf16", "fp16", "int8", "int4"),
        "int8": ("int8", "int4"),
    },
    "cuda": {"fp32": ("fp32", "fp16", "int8", "int4"), "fp16": ("fp16", "int8", "int4")},
    "naive": {"fp32": ("fp32",)},
    "tensorrt": {"fp32": ("fp32", "int8", "int4"), "fp16": ("fp16", "int8", "int4")},
}


def resolve(
    device: DeviceSpec, precision: str, fc_weights: Optional[str], stored: Optional[str] = None
) -> Tuple[str, str]:
    """Return the precision and the format of the fully connected weights.

    :param fc_weights: the caller's choice; None: ``stored`` if :data:`SUPPORTED` has it, else the default.
    :param stored: the format of the weights in the file, if any.
    :raises UserError: for an unknown name, or a combination that the backend does not support.
    """
    one_of("precision", precision, PRECISIONS)
    if fc_weights is not None:
        one_of("fc_weights", fc_weights, FC_STORAGES)
    known = _supported_by(device.backend)
    if precision not in known:
        other = _first(lambda rows: precision in rows)
        raise UserError(
            f"precision='{precision}' is not for device='{device.name}', which computes in {_either(known)}; "
            f"use device='{other}' or precision='fp32'"
        )
    if fc_weights is None:
        return precision, stored if stored in known[precision] else known[precision][0]
    if fc_weights in known[precision]:
        return precision, fc_weights
    fits = [other for other in known if fc_weights in known[other]]
    if not fits:
        other = _first(lambda rows: any(fc_weights in formats for formats in rows.values()))
        raise UserError(
            f"fc_weights='{fc_weights}' is not for device='{device.name}'; "
            f"use device='{other}', or fc_weights {_either(known[precision])}"
        )
    raise UserError(
        f"fc_weights='{fc_weights}' does not go with precision='{precision}'; "
        f"use {_either(known[precision])}, or precision='{fits[0]}'"
    )


def _supported_by(backend: str) -> Dict[str, Tuple[str, ...]]:
    return SUPPORTED.get(backend) or SUPPORTED["tensorrt" if runs_engines(backend) else "cuda"]  # backends of the tests


def _first(has: Callable[[Dict[str, Tuple[str, ...]]], bool]) -> str:
    """Return the first backend whose rows satisfy ``has``."""
    return next(backend for backend, rows in SUPPORTED.items() if has(rows))


def _either(words: Iterable[str]) -> str:
    """Join words: ``fp32``, ``fp32 or fp16``, ``fp32, fp16 or int8``."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
