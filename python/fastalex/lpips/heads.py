"""The linear heads of LPIPS, which weight the channels of the five layers."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from .. import weights as weights_files
from ..errors import UserError

# Version -> SHA-256 of weights/v<version>/alex.pth in the package lpips 0.1.4 (torchmetrics ships that of version 0.1
# as functional/image/lpips_models/alex.pth).
SHA256: Dict[str, str] = {
    "0.1": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "0.0": "18720f55913d0af89042f13faa7e536a6ce1444a0914e6db9461355ece1e8cd5",
}
NAME = "lin%d.model.1.weight"  # name of the array of layer k, [1, channels, 1, 1]
_PACKAGES = (("lpips", "weights/v%s/alex.pth"), ("torchmetrics", "functional/image/lpips_models/alex.pth"))

Heads = Union[None, str, "os.PathLike[str]", Mapping[str, Any]]


def load(source: Heads, version: str, channels: Sequence[int], check_hash: bool = True) -> List[np.ndarray]:
    """Load the heads as float32 ``[channels[k]]`` for each layer k.

    :param source: None, for the file in the installed package ``lpips`` (or ``torchmetrics``, version 0.1), which is
        not imported; the path of a file; or a mapping from :data:`NAME` to arrays.
    :param check_hash: refuse a file that is not the published one.
    :raises UserError: if the file is missing or another one, or its arrays have the wrong shape.
    """
    if isinstance(source, Mapping):
        return _fit(source, channels, "the mapping")
    path = os.fspath(source) if source is not None else _installed(version)
    arrays = weights_files.load(path).arrays
    if check_hash:
        _check_hash(path, version)
    return _fit(arrays, channels, path)


def _installed(version: str) -> str:
    for package, file in _PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            path = os.path.join(folder, file % version if "%s" in file else file)
            if os.path.isfile(path) and _version_of(path) == version:
                return path
    raise UserError(
        f"the linear heads of LPIPS {version} are not installed: pip install --no-deps lpips, or pass heads= the path "
        f"of its file weights/v{version}/alex.pth"
    )


def _digest(path: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def _version_of(path: str) -> Optional[str]:
    file_digest = _digest(path)
    return next((version for version, digest in SHA256.items() if digest == file_digest), None)


def _check_hash(path: str, version: str) -> None:
    file_version = _version_of(path)
    if file_version == version:
        return
    if file_version is not None:
        raise UserError(f"{path} has the heads of version {file_version}; pass version='{file_version}'")
    raise UserError(
        f"{path} does not have the SHA-256 of the published heads {version}; if it is your own, pass check_hash=False"
    )


def _fit(arrays: Mapping[str, Any], channels: Sequence[int], where: str) -> List[np.ndarray]:
    heads = []
    for index, count in enumerate(channels):
        name = NAME % index
        if name not in arrays:
            raise UserError(f"the linear heads lack the array '{name}' ({where})")
        shape: Tuple[int, ...] = np.shape(arrays[name])
        if shape != (1, count, 1, 1):
            raise UserError(f"'{name}' of {where} has shape {shape}, but AlexNet needs (1, {count}, 1, 1)")
        values = np.array(arrays[name], np.float32).reshape(count)
        if not np.isfinite(values).all():
            raise UserError(f"'{name}' of {where} has values that are not finite")
        heads.append(values)
    return heads
