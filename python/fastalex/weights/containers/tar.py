"""The members of a tar archive, compressed or not, in one pass from front to back.

``tarfile`` reads the headers, but does not step from one to the next: it reads extended headers of any size, and a
negative size made it loop forever.
"""

from __future__ import annotations

import itertools
import tarfile
from typing import Dict, Iterable, Iterator, List, Tuple

from ..errors import FormatError
from ..graph import shown
from .compressed import Content, Limit, slices

MAX_MEMBERS = 10_000
MAX_HEADER = 1 << 16  # bytes of a long name or of the records of pax
_BLOCK = tarfile.BLOCKSIZE
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_MAX_DIGITS = 19  # of a size; enough for 2**63 - 1
_DAMAGED = "its archive is damaged or cut short"
_TORCH = {"storages", "tensors", "pickle"}  # the members of the earliest files of torch.save
_FIRST = 8  # members that are looked at for them; there is one more, sys_info


class File:
    """A plain file in the archive, which can be read until the next one is asked for."""

    def __init__(self, content: Content, name: str, size: int) -> None:
        self.name, self.size = name, size
        self._content, self._left = content, size
        self.require = content.require

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes, fewer only at its end.

        :raises FormatError: if the archive ends before the file does.
        """
        count = min(count, self._left)
        data = self._content.read(count)
        if len(data) != count:
            raise FormatError(_DAMAGED)
        self._left -= count
        return data

    def skip(self) -> None:
        """Pass over what has not been read, and over the rest of the last block."""
        rest = self._left + -self.size % _BLOCK
        if self._content.skip(rest) < self._left:
            raise FormatError(_DAMAGED)
        self._left = 0


def files(content: Content) -> Iterator[File]:
    """Yield the plain files of an archive; links, folders and devices are passed over.

    :raises FormatError: for a header that is damaged, and for more than :data:`MAX_MEMBERS` members.
    """
    records: Dict[str, str] = {}  # what an extended header says of the next member
    for _ in range(MAX_MEMBERS):
        block = content.read(_BLOCK)
        if not block.strip(b"\0"):
            content.skip_all()
            return
        header = _header(block)
        size = _size(records["size"]) if "size" in records else header.size
        if size < 0:
            raise FormatError(_DAMAGED)
        file = File(content, records.get("path", header.name), size)
        if header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in records):
            raise FormatError(f"its member {shown(file.name)} is stored as a sparse file; pack it again without that")
        if header.type == tarfile.GNUTYPE_LONGNAME:
            records["path"] = _extended(file).split(b"\0")[0].decode("utf-8", "replace")
        elif header.type in _PAX:
            records.update(_pax_records(_extended(file)))
        elif header.type not in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
            records = {}
            if header.type in _FILES:
                yield file
        file.skip()
    raise FormatError(f"it has more than {MAX_MEMBERS} members")


def first_names(data: memoryview) -> List[str]:
    """Return the names of the first plain files of an archive in memory."""
    content = Content(slices(data), Limit(len(data)))
    return [file.name for file in itertools.islice(files(content), _FIRST)]


def is_torch(names: Iterable[str]) -> bool:
    """Whether an archive with these members is one of the earliest files of torch.save."""
    return len(_TORCH & {name[2:] if name.startswith("./") else name for name in names}) >= 2  # one may be lost


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError:
        raise FormatError(_DAMAGED) from None


def _extended(file: File) -> bytes:
    if file.size > MAX_HEADER:
        raise FormatError(f"it has a header of {file.size} bytes, more than {MAX_HEADER}")
    return file.read(file.size)


def _pax_records(data: bytes) -> Iterator[Tuple[str, str]]:
    """Yield (key, value) of each record ``<length> <key>=<value>`` and a newline; the length is that of all of it."""
    while data.strip(b"\0"):
        digits = data[: data.find(b" ")]
        length = _size(digits.decode("ascii", "replace"))
        key, equals, value = data[len(digits) + 1 : length].partition(b"=")
        if not len(digits) + 2 < length <= len(data) or not equals:
            raise FormatError(_DAMAGED)
        yield key.decode("utf-8", "replace"), value[:-1].decode("utf-8", "replace")
        data = data[length:]


def _size(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        raise FormatError(_DAMAGED)
    return int(digits)
