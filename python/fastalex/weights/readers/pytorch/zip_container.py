"""The zip container of ``torch.save``: the object's pickle in one member, each storage in one of its own."""

from __future__ import annotations

import struct
from typing import Any, Dict, List, Tuple

from ...errors import FormatError
from .. import pickle_machine
from .tensors import MAX_MEMBERS, NAMES, Storage, counted, storage_type

ZIP_MAGIC = b"PK\x03\x04"
MAX_PICKLE = 64 << 20  # bytes of the pickle in a zip


def read(data: memoryview) -> Any:
    """What the pickle makes.

    :raises FormatError: if anything is wrong.
    """
    members = zip_members(data)
    heads = [name for name in members if name.endswith("/data.pkl")]
    if len(heads) != 1:
        raise FormatError("the archive has %d members data.pkl, a file of torch.save has one" % len(heads))
    folder = heads[0][: -len("data.pkl")]
    order = "<"
    if folder + "byteorder" in members:
        order = {b"little": "<", b"big": ">"}.get(bytes(members[folder + "byteorder"][:16]), "")
        if not order:
            raise FormatError("its byte order is neither little nor big")
    if len(members[heads[0]]) > MAX_PICKLE:
        raise FormatError("its pickle has more than %d bytes" % MAX_PICKLE)

    def locate(key: str) -> Tuple[memoryview, str]:
        name = "%sdata/%s" % (folder, key)
        if name not in members:
            raise FormatError("the archive lacks the storage %.100r" % key)
        return members[name], order

    def persistent(given: Any) -> Storage:
        if type(given) is not tuple or len(given) != 5 or given[0] != "storage" or type(given[2]) is not str:
            raise FormatError("its pickle refers to something that is no storage")
        return Storage(storage_type(given[1]), counted(given[4]), given[2], 0, locate)

    return pickle_machine.load(members[heads[0]], 0, NAMES, persistent)[0]


def zip_members(data: memoryview) -> Dict[str, memoryview]:
    """Name -> bytes of the members of a zip archive that are stored as they are; folders are left out.

    Records and their numbers are those of PKWARE's APPNOTE.TXT, 4.3.

    :raises FormatError: for a compressed or encrypted member, or a directory that does not fit the file.
    """
    count, position = _directory(data)
    members: Dict[str, memoryview] = {}
    for _ in range(count):
        if position + 46 > len(data) or data[position : position + 4] != b"PK\x01\x02":
            raise FormatError("its directory is damaged")
        record = struct.unpack("<4x4xHH8xIIHHH8xI", data[position : position + 46])
        flags, method, stored, size, name_length, extra_length, comment_length, offset = record
        position += 46
        name = bytes(data[position : position + name_length]).decode("utf-8", "replace")
        extra = data[position + name_length : position + name_length + extra_length]
        size, stored, offset = _zip64(extra, size, stored, offset)
        position += name_length + extra_length + comment_length
        if name.endswith("/"):
            continue
        if method != 0 or flags & 1 or size != stored:
            raise FormatError("its member %.100r is compressed or encrypted, which torch.save does not do" % name)
        if name in members:
            raise FormatError("it has the member %.100r twice" % name)
        members[name] = _stored(data, name, offset, size)
    return members


def _directory(data: memoryview) -> Tuple[int, int]:
    """Count and offset of the records of the directory."""
    tail = bytes(data[-(22 + 65535) :])
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise FormatError("it has no directory (is the file cut short?)")
    count, offset = struct.unpack("<10xH4xI2x", tail[at : at + 22])
    start = len(data) - len(tail) + at
    locator = bytes(data[max(0, start - 20) : start])
    if len(locator) == 20 and locator[:4] == b"PK\x06\x07":
        (where,) = struct.unpack("<8xQ4x", locator)
        if where + 56 > len(data) or data[where : where + 4] != b"PK\x06\x06":
            raise FormatError("its zip64 directory is damaged")
        count, offset = struct.unpack("<32xQ8xQ", data[where : where + 56])
    if count > MAX_MEMBERS or offset > len(data):
        raise FormatError("its directory is damaged")
    return count, offset


def _zip64(extra: memoryview, size: int, stored: int, offset: int) -> Tuple[int, int, int]:
    """The three numbers, those that are too large for 32 bits taken from the extra field 1."""
    values: List[int] = []
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack("<HH", extra[position : position + 4])
        body = extra[position + 4 : position + 4 + length]
        if kind == 1:
            values = list(struct.unpack("<%dQ" % (len(body) // 8), body[: len(body) // 8 * 8]))
        position += 4 + length
    result = []
    for number in (size, stored, offset):
        if number == 0xFFFFFFFF:
            if not values:
                raise FormatError("its zip64 numbers are missing")
            number = values.pop(0)
        result.append(number)
    return result[0], result[1], result[2]


def _stored(data: memoryview, name: str, offset: int, size: int) -> memoryview:
    if offset + 30 > len(data) or data[offset : offset + 4] != ZIP_MAGIC:
        raise FormatError("its member %.100r is not where the directory says" % name)
    name_length, extra_length = struct.unpack("<26xHH", data[offset : offset + 30])
    start = offset + 30 + name_length + extra_length
    if start + size > len(data):
        raise FormatError("its member %.100r ends past the end of the file" % name)
    return data[start : start + size]
