"""The members of a zip archive. ``zipfile`` reads the directory; :mod:`.compressed` says why it does not unpack."""

from __future__ import annotations

import stat
import zipfile
import zlib
from typing import Any, BinaryIO, Callable, Dict, Iterator

from ..errors import FormatError
from ..graph import shown
from ..readers.pytorch import zip_container
from . import compressed
from .compressed import Content, Limit

MAX_MEMBERS = 10_000
_ENCRYPTED = 1  # flag of a member
_UNIX = 3  # system of a member, whose attributes have the mode of the file in their upper half
_METHODS: Dict[int, Callable[[memoryview, int], Iterator[Any]]] = {
    zipfile.ZIP_DEFLATED: compressed.deflated,
    zipfile.ZIP_BZIP2: compressed.bzipped,
    zipfile.ZIP_LZMA: compressed.lzma_member,
}


class File:
    """A plain file in the archive. Its size is what the directory says, which is checked at the end of the file."""

    def __init__(self, content: Content, name: str, size: int) -> None:
        self.name, self.size = name, size
        self.read, self.require = content.read, content.require


def files(data: memoryview, stream: BinaryIO, limit: Limit) -> Iterator[File]:
    """Yield the plain files of an archive; links and folders are passed over.

    :param data: the mapping of the file ``stream``.
    :param limit: counts the bytes that all of them unpack to.
    :raises FormatError: for a member that is encrypted or compressed by another method, and for more than
        :data:`MAX_MEMBERS` members.
    """
    members = zip_container.directory(stream)
    if len(members) > MAX_MEMBERS:
        raise FormatError(f"it has more than {MAX_MEMBERS} members")
    for info in members:
        mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
        if not info.filename.endswith("/") and stat.S_IFMT(mode) in (0, stat.S_IFREG):
            yield File(Content(_pieces(data, info), limit), info.filename, info.file_size)


def _pieces(data: memoryview, info: zipfile.ZipInfo) -> Iterator[Any]:
    """Yield what a member unpacks to, and check its size and its checksum at the end."""
    name = shown(info.filename)
    if info.flag_bits & _ENCRYPTED:
        raise FormatError(f"its member {name} is encrypted; unpack it and give the file of weights")
    raw = zip_container.raw_bytes(data, info.filename, info.header_offset, info.compress_size)
    if info.compress_type == zipfile.ZIP_STORED:
        pieces: Iterator[Any] = compressed.slices(raw)
    elif info.compress_type in _METHODS:
        pieces = _METHODS[info.compress_type](raw, info.file_size)
    else:
        raise FormatError(
            f"its member {name} is compressed by a method that is not read ({info.compress_type}); unpack it and give "
            "the file of weights"
        )
    count = checksum = 0
    for piece in pieces:
        count, checksum = count + len(piece), zlib.crc32(piece, checksum)
        yield piece
    if count != info.file_size or checksum != info.CRC:
        raise FormatError(f"its member {name} is damaged: its size or its checksum is wrong")
