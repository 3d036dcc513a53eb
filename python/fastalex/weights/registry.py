"""Published weights: their addresses, and the hashes that their files must have.

Each row states the source of its hash. A file that is in :func:`folder` already is not downloaded, so that a board
without a network can use it as well.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from .._util import cache_folder
from ..errors import UserError
from . import BUNDLED, PathLike, bundled, download, hub, packs

FOLDER_VARIABLE = "FASTALEX_WEIGHTS_DIR"


class File(NamedTuple):
    """A published file. ``bytes`` is None if no source states the size; ``algorithm`` is hashlib's name of the hash."""

    name: str
    filename: str
    urls: Tuple[str, ...]
    bytes: Optional[int]
    algorithm: str
    digest: str
    variant: str
    source: str
    license: str


_CAFFE = "http://dl.caffe.berkeleyvision.org/"
_ZOO = "https://github.com/onnx/models/raw/main/"

FILES: Dict[str, File] = {
    row.name: row
    for row in (
        File(
            name="torchvision",
            filename="alexnet-owt-7be5be79.pth",
            urls=("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",),
            bytes=244_408_911,
            algorithm="sha256",
            digest="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            variant="torchvision",
            source="torchvision.models.AlexNet_Weights; the file name has the first eight digits of the hash",
            license="as torchvision's models",
        ),
        File(
            name="bvlc_alexnet",
            filename="bvlc_alexnet.caffemodel",
            urls=(
                _CAFFE + "bvlc_alexnet.caffemodel",
                # A copy, from tools/download-models.sh of github.com/dusty-nv/jetson-inference.
                "https://nvidia.box.com/shared/static/5j264j7mky11q8emy4q14w3r8hl5v6zh.caffemodel",
            ),
            bytes=None,
            algorithm="sha1",
            digest="9116a64c0fbe4459d18f4bb6b56d647b63920377",
            variant="bvlc_alexnet",
            source="github.com/BVLC/caffe, models/bvlc_alexnet/readme.md",
            license="unrestricted",
        ),
        File(
            name="caffenet",
            filename="bvlc_reference_caffenet.caffemodel",
            urls=(_CAFFE + "bvlc_reference_caffenet.caffemodel",),
            bytes=None,
            algorithm="sha1",
            digest="4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
            variant="caffenet",
            source="github.com/BVLC/caffe, models/bvlc_reference_caffenet/readme.md",
            license="unrestricted",
        ),
        File(
            name="bvlc_alexnet-onnx",
            filename="bvlcalexnet-12.onnx",
            urls=(_ZOO + "validated/vision/classification/alexnet/model/bvlcalexnet-12.onnx",),
            bytes=243_863_787,
            algorithm="sha256",
            digest="6b0da9510f27f234ee96a85dc3809dd210150fdefad87f6850f9788513216945",
            variant="bvlc_alexnet",
            source="github.com/onnx/models, its Git LFS pointer",
            license="BSD-3-Clause",
        ),
        File(
            name="caffenet-onnx",
            filename="caffenet-12.onnx",
            urls=(_ZOO + "validated/vision/classification/caffenet/model/caffenet-12.onnx",),
            bytes=243_863_798,
            algorithm="sha256",
            digest="ea563e5c47d1f58e1717cf1a2d8bf288b8adc07af0ad228b622096cd243aeecb",
            variant="caffenet",
            source="github.com/onnx/models, its Git LFS pointer",
            license="as the repository",
        ),
        File(
            name="torchvision-onnx",
            filename="alexnet_Opset16.onnx",
            urls=(_ZOO + "Computer_Vision/alexnet_Opset16_torch_hub/alexnet_Opset16.onnx",),
            bytes=None,
            algorithm="sha256",
            digest="4bc388cc32cc789f4d08687a69e46ccf724cfee1e5775f1486847799ae538b53",
            variant="torchvision",
            source="github.com/onnx/models, its Git LFS pointer",
            license="as the repository",
        ),
    )
}


def folder() -> str:
    """Return the folder of downloaded weights.

    It is ``$FASTALEX_WEIGHTS_DIR``, else ``$XDG_CACHE_HOME/fastalex`` or ``~/.cache/fastalex``.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return os.path.abspath(os.path.expanduser(chosen))
    return cache_folder.folder()


def fetch(name: str, quiet: bool = False) -> str:
    """Return the path of the published file ``name``, which is downloaded if it is missing.

    The hash is checked in either case; a hash that was right is not computed again until the file's size or time
    changes.

    :param name: a name in :data:`FILES`, or ``hf:OWNER/NAME``, a repository of the Hugging Face Hub (:mod:`.hub`). If
        :func:`folder` is a pack (:mod:`.packs`), its files go first.
    :param quiet: show no progress bar.
    :raises UserError: if there is no such row or repository, the hash is wrong, or the file cannot be downloaded or
        written.
    """
    packed = packs.find(folder(), name)
    if packed is not None:
        return packed
    if hub.is_name(name):
        return hub.fetch(name, folder(), quiet)
    row = _row(name)
    path = os.path.join(folder(), row.filename)
    if not os.path.isfile(path):
        download.download(row.urls, path, row.bytes, row.algorithm, row.digest, quiet)
    elif not download.is_verified(path, row.algorithm, row.digest):
        raise _wrong(row, path)
    return path


def locate(name_or_path: PathLike, quiet: bool = False) -> str:
    """Return the path of weights by name or by path; published weights are fetched.

    :param quiet: show no progress bar.
    :raises UserError: if there is neither a file nor a name like this, or :func:`fetch` fails.
    """
    name = os.fspath(name_or_path)
    if name in BUNDLED:
        return str(bundled(name))
    if name in FILES or hub.is_name(name):
        return fetch(name, quiet)
    if os.path.lexists(name):
        return name
    packed = packs.find(folder(), name)
    if packed is None:
        raise UserError(f"there is no weights file {name}, and no weights of that name (there are: {_names()})")
    return packed


def packed() -> List[Dict[str, Any]]:
    """Return what the pack in :func:`folder` has as plain values; nothing if that is no pack.

    :raises UserError: if the pack's list is damaged.
    """
    return [
        {"name": entry.name, "commit": entry.commit, "path": os.path.join(folder(), entry.files[0].path)}
        for entry in packs.read(folder())
    ]


def listing() -> List[Dict[str, Any]]:
    """Return the rows as plain values, with the ``path`` of the file and whether it is ``present``."""
    rows = []
    for row in FILES.values():
        path = os.path.join(folder(), row.filename)
        rows.append(dict(row._asdict(), urls=list(row.urls), path=path, present=os.path.isfile(path)))
    return rows


def verify() -> List[str]:
    """Compute the hashes of the files in :func:`folder`: published ones, and those of a pack; return their names.

    :raises UserError: naming the first file that is missing or damaged.
    """
    names = [entry.name for entry in packs.verify(folder())]
    for row in FILES.values():
        path = os.path.join(folder(), row.filename)
        if row.name not in names and os.path.isfile(path):
            if not download.has_hash(path, row.algorithm, row.digest):
                raise _wrong(row, path)
            names.append(row.name)
    return names


def _wrong(row: File, path: str) -> UserError:
    return UserError(
        f"{path} does not have the {row.algorithm} {row.digest} of the weights '{row.name}': delete it to download it "
        "again"
    )


def _row(name: str) -> File:
    if name not in FILES:
        raise UserError(f"there are no weights '{name}' to fetch (there are: {', '.join(FILES)})")
    return FILES[name]


def _names() -> str:
    own = [entry.name for entry in packs.read(folder()) if entry.name not in FILES]
    return ", ".join([*BUNDLED, *FILES, *own])
