"""The tar container of the earliest ``torch.save``: members ``storages``, ``tensors`` and ``pickle``."""

from __future__ import annotations

import struct
import tarfile
from typing import Any, Callable, Dict, Optional, Tuple

from ...errors import FormatError
from .. import mapped, pickle_machine
from ..pickle_machine import Name
from .tensors import (
    DTYPES,
    MAX_MEMBERS,
    MAX_TENSORS,
    NAMES,
    ByteOrder,
    Storage,
    Tensor,
    counted,
    counted_bytes,
    storage_type,
)


def recognizes(data: memoryview) -> bool:
    """Whether ``data`` starts with the header of a tar member."""
    return _header(data) is not None


def read(data: memoryview) -> Any:
    """Return the object that was saved, with each tensor as a :class:`~.tensors.Tensor`.

    :raises FormatError: if anything is wrong.
    """
    members = tar_members(data)
    for name in ("storages", "tensors", "pickle"):
        if name not in members:
            raise FormatError(f"the archive lacks the member '{name}'")
    budget = pickle_machine.Budget()
    tensors = _tensors(members["tensors"], _storages(members["storages"], budget), budget)

    def persistent(key: Any) -> Tensor:
        number = key if type(key) is int else int(key) if type(key) is str and key.isdigit() else None
        if number not in tensors:
            raise FormatError("its pickle refers to something that is not a tensor")
        return tensors[number]

    return pickle_machine.load(members["pickle"], 0, NAMES, persistent, budget, placeholders=True)[0]


def _at(raw: memoryview) -> Callable[[Any], Tuple[memoryview, ByteOrder]]:
    return lambda key: (raw, "<")


def _storages(data: memoryview, budget: pickle_machine.Budget) -> Dict[Any, Storage]:
    count, position = pickle_machine.load(data, budget=budget)
    storages: Dict[Any, Storage] = {}
    for _ in range(min(counted(count), MAX_TENSORS)):
        entry, position = pickle_machine.load(data, position, NAMES, budget=budget)
        if type(entry) is not tuple or len(entry) != 3 or type(entry[0]) is not int:
            raise FormatError("it has a storage without a key and a type")
        kind = storage_type(entry[2])
        if position + 8 > len(data):
            raise FormatError("it ends before its storages do (is the file cut short?)")
        (numbers,) = struct.unpack("<q", data[position : position + 8])
        raw, position = counted_bytes(data, position, "<", kind, counted(numbers))
        storages[entry[0]] = Storage(kind, numbers, entry[0], 0, _at(raw))
    views, _ = pickle_machine.load(data, position, budget=budget)
    for view in views if type(views) is list else ():
        if type(view) is not tuple or len(view) != 4 or any(type(part) is not int for part in view):
            raise FormatError("it has an invalid view of a storage")
        target, root, offset, numbers = view
        if root not in storages:
            raise FormatError("it has a view of a storage that is missing")
        storages[target] = storages[root]._replace(offset=counted(offset), size=counted(numbers))
    return storages


def _tensors(data: memoryview, storages: Dict[Any, Storage], budget: pickle_machine.Budget) -> Dict[int, Tensor]:
    count, position = pickle_machine.load(data, budget=budget)
    tensors: Dict[int, Tensor] = {}
    for _ in range(min(counted(count), MAX_TENSORS)):
        entry, position = pickle_machine.load(data, position, _TENSOR_TYPES, budget=budget)
        if type(entry) is not tuple or len(entry) != 3 or type(entry[0]) is not int or type(entry[1]) is not int:
            raise FormatError("it has a tensor without a key and a storage")
        if entry[1] not in storages:
            raise FormatError("it has a tensor of a storage that is missing")
        head = bytes(data[position : position + 8])
        sides = struct.unpack("<i4x", head)[0] if len(head) == 8 else -1
        end = position + 8 + 16 * sides + 8
        if not 0 <= sides <= mapped.MAX_DIMENSIONS or end > len(data):
            raise FormatError("it ends before its tensors do (is the file cut short?)")
        numbers = struct.unpack(f"<{2 * sides + 1}q", data[position + 8 : end])
        position = end
        tensors[entry[0]] = Tensor(storages[entry[1]], numbers[-1], numbers[:sides], numbers[sides:-1])
    return tensors


_TENSOR_TYPES = {f"{module}.{kind}Tensor": Name(kind) for module in ("torch", "torch.cuda") for kind in DTYPES}


def tar_members(data: memoryview) -> Dict[str, memoryview]:
    """Return the bytes of the plain files in a tar archive by name.

    ``tarfile`` reads the headers, but does not step from one to the next: a negative size would make it loop forever.

    :raises FormatError: for a header that does not fit the file.
    """
    members: Dict[str, memoryview] = {}
    position = 0
    for _ in range(MAX_MEMBERS):
        if position + tarfile.BLOCKSIZE > len(data) or not data[position]:
            return members
        header = _header(data[position:])
        position += tarfile.BLOCKSIZE
        if header is None or not 0 <= header.size <= len(data) - position:
            raise FormatError("its archive is damaged or cut short")
        if header.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            name = header.name
            members[name[2:] if name.startswith("./") else name] = data[position : position + header.size]
        position += -(-header.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    raise FormatError(f"it has more than {MAX_MEMBERS} members")


def _header(data: memoryview) -> Optional[tarfile.TarInfo]:
    """Return the header of a member at the start of ``data``, or None if its checksum shows that there is none."""
    try:
        return tarfile.TarInfo.frombuf(bytes(data[: tarfile.BLOCKSIZE]), "utf-8", "replace")
    except tarfile.HeaderError:
        return None
