"""RDMs as files: ``.npy``, and beside it a manifest in JSON, which says what it is of."""

from __future__ import annotations

import contextlib
import json
import math
import os
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from .._util.files import replacing, write_atomically
from .._version import __version__
from ..errors import UserError
from ..readout import RESULT
from .activations import Activations
from .dissimilarities import METRICS

_SYMMETRIC = 1e-5  # of the largest, what two halves of a matrix may differ by: float32's roundings


class Rdm(NamedTuple):
    """An RDM that was read: the pairs i < j, float64 ``[N (N - 1) / 2]``, and what its manifest says."""

    path: str
    values: np.ndarray
    stimuli: int
    names: Optional[List[str]]
    manifest: Dict[str, Any]


def manifest_path(path: str) -> str:
    """Return the name of the manifest of an RDM."""
    return os.path.splitext(path)[0] + ".json"


def check_target(path: str) -> None:
    """Check the name of an RDM before it is computed.

    :raises UserError: if it does not end in ``.npy``, its folder does not exist, or it or its manifest would replace
        a file of something else.
    """
    if not path.endswith(".npy"):
        raise UserError(f"an RDM is written as .npy, so '{path}' must end in .npy")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise UserError(f"the folder '{folder}' does not exist; make it first")
    beside = manifest_path(path)
    replaced = [beside, path] if os.path.exists(os.path.join(folder, RESULT)) else [beside]
    for file in replaced if not _is_manifest(_json(beside)) else ():
        if os.path.exists(file):
            raise UserError(f"this would replace '{file}', which is of something else; choose another --out")


def write(path: str, values: np.ndarray, metric: str, activations: Activations) -> Dict[str, Any]:
    """Write what :func:`fastalex.rdm.compute` returned, and its manifest, which is returned.

    :raises UserError: if a file cannot be written.
    """
    check_target(path)
    manifest = {
        "version": __version__,
        "metric": metric,
        "formula": METRICS[metric],
        "condensed": values.ndim == 1,
        "shape": list(values.shape),
        "stimuli": activations.count,
        "features": activations.features,
        **activations.facts,
        "names": activations.names,
    }
    with contextlib.suppress(FileNotFoundError):
        os.unlink(manifest_path(path))  # an interruption leaves no manifest of another matrix
    with replacing(path, tidy=True) as stream:
        np.save(stream, values)
    write_atomically(manifest_path(path), json.dumps(manifest, indent=1) + "\n")
    return manifest


def load(path: str) -> Rdm:
    """Read an RDM, square or condensed, of this package or any other.

    :raises UserError: if it cannot be read, has values that are not finite, or is no RDM.
    """
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read '{path}': {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(stored, np.ndarray) or stored.dtype.kind not in "fiu":
        raise UserError(f"'{path}' must be a .npy of numbers")
    count = _count(path, stored)
    values = np.array(stored, np.float64) if stored.ndim == 1 else _upper(path, stored)
    if not np.isfinite(values).all():
        raise UserError(f"'{path}' has dissimilarities that are not finite (NaN or infinity); leave those stimuli out")
    manifest = _manifest(path, stored)
    return Rdm(path, values, count, manifest.get("names"), manifest)


def _count(path: str, stored: np.ndarray) -> int:
    shape = stored.shape
    count = shape[0] if stored.ndim == 2 else (1 + math.isqrt(1 + 8 * stored.size)) // 2
    fits = shape in ((count, count), (count * (count - 1) // 2,))
    if stored.ndim not in (1, 2) or not fits:
        raise UserError(f"'{path}' is no RDM: its shape {shape} is neither [N, N] nor [N (N - 1) / 2]")
    if count < 3:
        raise UserError(f"'{path}' has {count} stimuli, and a comparison needs at least 3")
    return int(count)


def _upper(path: str, stored: np.ndarray) -> np.ndarray:
    """Return the upper triangle, row by row, after a check against the lower one."""
    count = len(stored)
    values, at, differ = np.empty(count * (count - 1) // 2), 0, 0.0
    for row in range(count - 1):
        part = values[at : at + count - row - 1]
        part[:] = stored[row, row + 1 :]
        with np.errstate(invalid="ignore"):
            differ = max(differ, float(np.abs(part - stored[row + 1 :, row]).max()))
        at += len(part)
    if differ > _SYMMETRIC * np.abs(values).max():
        raise UserError(f"'{path}' is no RDM: it is not symmetric")
    return values


def _manifest(path: str, stored: np.ndarray) -> Dict[str, Any]:
    """Return the manifest, or nothing for a matrix without one, or with that of another."""
    manifest = _json(manifest_path(path))
    return dict(manifest) if _is_manifest(manifest) and manifest["shape"] == list(stored.shape) else {}


def _is_manifest(content: Any) -> bool:
    return isinstance(content, dict) and {"metric", "shape"} <= set(content)


def _json(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError):
        return None
