"""Tar shards as WebDataset writes them, on this machine or at an address with a scheme, which fsspec opens.

A sample is an image and a ``.cls`` file of the same name with the number of its class as text.
"""

from __future__ import annotations

import glob
import os
import tarfile
from typing import IO, Any, Dict, List, NamedTuple, NoReturn, Optional, Tuple

from .._util import filesystems
from .._util.tar_members import DamagedError, members
from ..errors import UserError, printable
from ..images import listing

_LABEL_SUFFIX = ".cls"
_SHOWN = 300  # characters of a name


class Row(NamedTuple):
    """An image in a shard: its class, and where its bytes are."""

    label: int
    offset: int
    size: int
    name: str


def is_address(path: str) -> bool:
    """Whether ``path`` has a scheme, such as ``s3://``."""
    return "://" in path


def join(path: str, name: str) -> str:
    """Return the path or address of ``name`` in a folder."""
    return f"{path.rstrip('/')}/{name}" if is_address(path) else os.path.join(path, name)


def parent(path: str) -> str:
    """Return the path or address of the folder of a file."""
    return path.rpartition("/")[0] if is_address(path) else os.path.dirname(path)


def is_folder(path: str) -> bool:
    """Whether there is a folder at ``path``."""
    if not is_address(path):
        return os.path.isdir(path)
    system, root = _system(path)
    try:
        return bool(system.isdir(root))
    except Exception as error:  # noqa: BLE001 (each file system raises its own)
        _refuse(path, error)


def find(path: str) -> List[str]:
    """List the shards in a folder, those of a pattern with ``*``, or the one at ``path``; [] if there are none."""
    if not is_address(path):
        if os.path.isdir(path):
            return sorted(glob.glob(os.path.join(glob.escape(path), "*.tar")))
        return sorted(glob.glob(path)) if "*" in path else [path] if path.endswith(".tar") else []
    if path.endswith(".tar") and "*" not in path:
        return [path]
    system, root = _system(path)
    try:
        found = system.glob(root) if "*" in root else system.ls(root, detail=False)
    except Exception as error:  # noqa: BLE001
        _refuse(path, error)
    bare = root.lstrip("/")
    head = path.rstrip("/")[: -len(bare)] if path.rstrip("/").endswith(bare) else ""
    shards = sorted(head + str(name).lstrip("/") for name in found if str(name).endswith(".tar"))
    if not shards:
        raise UserError(f"there are no .tar shards at '{path}'")
    return shards


def text(path: str) -> Optional[str]:
    """Return the content of a text file; None if there is none."""
    if not is_address(path):
        if not os.path.exists(path):
            return None
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    system, root = _system(path)
    try:
        return str(system.cat_file(root).decode("utf-8"))
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001
        _refuse(path, error)


def part(path: str, offset: int, size: int) -> bytes:
    """Read ``size`` bytes of a shard.

    :raises UserError: if an address cannot be read.
    """
    if not is_address(path):
        with open(path, "rb") as stream:
            stream.seek(offset)
            return stream.read(size)
    system, root = _system(path)
    try:
        return bytes(system.cat_file(root, offset, offset + size))
    except Exception as error:  # noqa: BLE001
        _refuse(path, error)


def read(path: str) -> List[Row]:
    """List the samples of one shard from its headers; images are read later, when they are needed.

    :raises UserError: if it is no tar file, is compressed or truncated, or has a label that is no class number.
    """
    pictures: Dict[str, Tuple[int, int, str]] = {}
    labels: Dict[str, int] = {}
    try:
        with _opened(path) as stream:
            for archive, member in members(stream):
                folder, _, base = member.name.rpartition("/")
                stem, dot, suffix = base.partition(".")  # WebDataset's key ends at the first dot
                key = folder + "/" + stem
                if not member.isfile():
                    continue
                if dot + suffix == _LABEL_SUFFIX:
                    labels[key] = _label(archive, member, path)
                elif listing.is_image(base):
                    pictures[key] = (member.offset_data, member.size, member.name)
    except DamagedError as error:
        after = printable(error.after[:_SHOWN])
        why = f"it is truncated or damaged after '{after}'; copy it again" if after else str(error)
        raise UserError(f"the shard {path} cannot be read: {why}") from None
    except OSError as error:
        raise UserError(f"the shard {path} cannot be read: {error.strerror or error}") from None
    return [Row(labels[key], *picture) for key, picture in pictures.items() if key in labels]


def _label(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> int:
    content = archive.extractfile(member)
    assert content is not None  # a regular file
    digits = content.read(32)
    try:
        label = int(digits)
    except ValueError:
        label = -1
    if label < 0:
        raise UserError(f"'{printable(member.name[:_SHOWN])}' in {path} has no class number, but {digits!r}")
    return label


def _opened(path: str) -> IO[bytes]:
    if not is_address(path):
        return open(path, "rb")
    system, root = _system(path)
    try:
        stream: IO[bytes] = system.open(root, "rb")
        return stream
    except Exception as error:  # noqa: BLE001
        _refuse(path, error)


def _system(path: str) -> Tuple[Any, str]:
    return filesystems.open_file_system(path.rstrip("/"))


def _refuse(path: str, error: Exception) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        raise UserError(f"there is nothing at '{path}'") from None
    raise UserError(f"'{path}' cannot be read: {filesystems.reason(error)}") from None
