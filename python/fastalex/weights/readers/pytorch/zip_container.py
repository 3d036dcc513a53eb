"""The zip container of ``torch.save``: a member with the object's pickle, and a member for each storage.

An archive of ``torch.jit.save`` has the same members, and further ones with the code, which are not read.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from typing import Any, BinaryIO, Dict, List, Optional, Tuple

from ...errors import FormatError
from .. import pickle_machine
from .tensors import NAMES, ByteOrder, Storage, counted, storage_type

ZIP_MAGIC = b"PK\x03\x04"
MAX_PICKLE = 64 << 20  # bytes of the pickle
# Bytes of the directory, enough for 10,000 storages. The time that zipfile takes grows with the square of the bytes of
# the extra fields.
MAX_DIRECTORY = 1 << 20


def read(data: memoryview, stream: BinaryIO) -> Any:
    """Return the object that was saved, with each tensor as a :class:`~.tensors.Tensor`.

    :param data: the mapping of the file ``stream``.
    :raises FormatError: if anything is wrong.
    """
    members = zip_members(data, stream)
    heads = [name for name in members if name.endswith("/data.pkl")]
    if len(heads) != 1:
        raise FormatError(f"the archive has {len(heads)} members data.pkl, a file of torch.save has one")
    folder = heads[0][: -len("data.pkl")]
    order: ByteOrder = "<"
    if folder + "byteorder" in members:
        word = bytes(stored(members, folder + "byteorder", "its byte order")[:16])
        if word not in (b"little", b"big"):
            raise FormatError("its byte order is neither little nor big")
        order = "<" if word == b"little" else ">"
    pickle = stored(members, heads[0], "its pickle")
    if len(pickle) > MAX_PICKLE:
        raise FormatError(f"its pickle has more than {MAX_PICKLE} bytes")

    def locate(key: str) -> Tuple[memoryview, ByteOrder]:
        name = f"{folder}data/{key}"
        return stored(members, name, f"the storage {key!r:.100}"), order

    def persistent(entry: Any) -> Storage:
        if type(entry) is not tuple or len(entry) != 5 or entry[0] != "storage" or type(entry[2]) is not str:
            raise FormatError("its pickle refers to something that is not a storage")
        return Storage(storage_type(entry[1]), counted(entry[4]), entry[2], 0, locate)

    return pickle_machine.load(pickle, 0, NAMES, persistent, placeholders=True)[0]


def stored(members: Dict[str, Optional[memoryview]], name: str, what: str) -> memoryview:
    """Return the bytes of a member, which messages call ``what``.

    :raises FormatError: if it is missing, compressed or encrypted.
    """
    if name not in members:
        raise FormatError(f"the archive lacks {what}")
    data = members[name]
    if data is None:
        raise FormatError(f"its member {name!r:.100} is compressed or encrypted, which torch.save does not do")
    return data


class _Bounded(io.FileIO):
    """A file with a limit on a single read, since ``zipfile`` reads a directory whole, of whatever size it claims."""

    def read(self, size: Optional[int] = -1) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise FormatError(f"its directory has more than {MAX_DIRECTORY} bytes")
        return super().read(-1 if size is None else size)


def directory(stream: BinaryIO) -> List[zipfile.ZipInfo]:
    """Return the directory of the open zip archive ``stream``, whose position is kept.

    :raises FormatError: if it is damaged, or has more than :data:`MAX_DIRECTORY` bytes.
    """
    descriptor = stream.fileno()
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        with _Bounded(descriptor, closefd=False) as file, zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except FormatError:
        raise
    except Exception:  # noqa: BLE001 - zipfile raises half a dozen kinds on damaged bytes
        raise FormatError("it has no valid directory (is the file cut short?)") from None
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)  # the buffer of ``stream`` relies on it


def zip_members(data: memoryview, stream: BinaryIO) -> Dict[str, Optional[memoryview]]:
    """Return the bytes of the members by name, as views of ``data``, the mapping of ``stream``; folders are left out.

    A compressed or encrypted member, such as the code of ``torch.jit.save``, is None.

    :raises FormatError: for a directory that does not fit the file.
    """
    members: Dict[str, Optional[memoryview]] = {}
    for info in directory(stream):
        name = info.filename
        if name.endswith("/"):
            continue
        if name in members:
            raise FormatError(f"it has the member {name!r:.100} twice")
        plain = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
        if plain and info.file_size == info.compress_size:
            members[name] = raw_bytes(data, name, info.header_offset, info.file_size)
        else:
            members[name] = None
    return members


def raw_bytes(data: memoryview, name: str, offset: int, size: int) -> memoryview:
    """Return the ``size`` stored bytes of the member ``name``, whose own header is at ``offset``, without a copy.

    :raises FormatError: if they are not in the file.
    """
    if not 0 <= offset <= len(data) - 30 or data[offset : offset + 4] != ZIP_MAGIC:
        raise FormatError(f"its member {name!r:.100} is not where the directory says")
    name_length, extra_length = struct.unpack("<26xHH", data[offset : offset + 30])
    start = offset + 30 + name_length + extra_length
    if start + size > len(data):
        raise FormatError(f"its member {name!r:.100} ends past the end of the file")
    return data[start : start + size]
