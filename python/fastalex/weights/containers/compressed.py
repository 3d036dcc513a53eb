"""Unpacking of gzip, bzip2, xz and the compressed members of zip, in pieces of bounded size.

Python's ``zipfile``, ``gzip`` and ``lzma.open`` are not used for it: ``zipfile`` unpacks bzip2 and LZMA in pieces of
any size, and none of them bounds the memory that LZMA may ask for.
"""

from __future__ import annotations

import importlib
import zlib
from typing import Any, Callable, Dict, Generator, Iterator, Optional

from ..errors import FormatError
from ..graph import shown

PIECE = 1 << 18  # bytes that are unpacked at once
INPUT = 1 << 16  # bytes that are given to a decompressor at once
MAX_STREAMS = 100_000  # in a row; pbzip2 makes one for each 900 kB, bgzip one for each 64 kB
MAX_LZMA_MEMORY = 128 << 20  # bytes; 'xz -9' needs 65 MiB
_TOO_MUCH = "Memory usage limit exceeded"  # lzma's words for a file that needs more
_GZIP = 31  # zlib's window bits for a gzip header and the largest window
_RAW_DEFLATE = -15  # no header


class Limit:
    """The number of bytes that a container may still unpack to."""

    def __init__(self, count: int) -> None:
        self._all = self._left = count

    def spend(self, count: int) -> None:
        """Count ``count`` bytes.

        :raises FormatError: if they are too many.
        """
        self.require(count)
        self._left -= count

    def require(self, count: int) -> None:
        """Check that ``count`` bytes may still be unpacked.

        :raises FormatError: if not.
        """
        if count > self._left:
            raise FormatError(
                f"it unpacks to more than {self._all} bytes, which weights do not; if you trust it, unpack it yourself"
            )


class Content:
    """Bytes that are unpacked while they are read, from front to back.

    :param pieces: the bytes.
    :param limit: counts the bytes that are unpacked.
    """

    def __init__(self, pieces: Iterator[Any], limit: Limit) -> None:
        self._pieces, self._rest, self._limit = pieces, memoryview(b""), limit
        self.require = limit.require

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes, fewer only at the end.

        :raises FormatError: if the bytes are damaged, or more than the limit.
        """
        parts = []
        while count > 0 and (self._rest or self._refill()):
            part = self._rest[:count]
            self._rest = self._rest[len(part) :]
            count -= len(part)
            parts.append(part)
        return b"".join(parts)

    def skip(self, count: int) -> int:
        """Pass over ``count`` bytes and return how many there were, fewer only at the end."""
        passed = 0
        while passed < count and (self._rest or self._refill()):
            step = min(len(self._rest), count - passed)
            self._rest = self._rest[step:]
            passed += step
        return passed

    def skip_all(self) -> None:
        """Pass over the rest, which verifies the checksum at the end.

        :raises FormatError: if the bytes are damaged or cut short.
        """
        while self.skip(PIECE):
            pass

    def _refill(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._limit.spend(len(piece))
        self._rest = memoryview(piece)
        return True


def slices(data: memoryview) -> Iterator[memoryview]:
    """Yield bytes that are not compressed."""
    for place in range(0, len(data), PIECE):
        yield data[place : place + PIECE]


def streams(kind: str, data: memoryview) -> Iterator[bytes]:
    """Yield what a file of the ``kind`` gz, bz2 or xz unpacks to: its streams, one after another.

    :raises FormatError: if it is damaged or cut short.
    """
    position = 0
    for _ in range(MAX_STREAMS):
        position = yield from _stream(_DECOMPRESSORS[kind](), data, position, None)
        position = _past_zeros(data, position)
        if position == len(data):
            return
    raise FormatError(f"it has more than {MAX_STREAMS} compressed streams")


def deflated(data: memoryview, size: int) -> Iterator[bytes]:
    """Yield the ``size`` bytes of a deflated member of a zip archive."""
    yield from _stream(_Zlib(_RAW_DEFLATE), data, 0, size)


def bzipped(data: memoryview, size: int) -> Iterator[bytes]:
    """Yield the ``size`` bytes of a member that is compressed by bzip2."""
    yield from _stream(_bz2(), data, 0, size)


def lzma_member(data: memoryview, size: int) -> Iterator[bytes]:
    """Yield the ``size`` bytes of a member that is compressed by LZMA.

    Its first nine bytes are (APPNOTE.TXT of PKWARE, 5.8): a version, the size of the properties, a byte with lc, lp
    and pb, and the size of the dictionary.
    """
    lzma = _module("lzma")
    head = bytes(data[:9])
    dictionary = int.from_bytes(head[5:9], "little")
    if len(head) < 9 or head[2:4] != b"\x05\x00" or head[4] >= 9 * 5 * 5:
        raise FormatError("its LZMA header is damaged")
    if dictionary > MAX_LZMA_MEMORY:
        raise FormatError(f"it needs more than {MAX_LZMA_MEMORY} bytes of memory to be unpacked")
    options = {"lc": head[4] % 9, "lp": head[4] // 9 % 5, "pb": head[4] // 45, "dict_size": max(dictionary, 4096)}
    try:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, **options}])
    except lzma.LZMAError:
        raise FormatError("its LZMA header is damaged") from None
    yield from _stream(decompressor, data, 9, size)


class _Zlib:
    """zlib's decompressor, with the interface of those of ``bz2`` and ``lzma``."""

    def __init__(self, window_bits: int) -> None:
        self._zlib = zlib.decompressobj(window_bits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: Any, max_length: int) -> bytes:
        piece = self._zlib.decompress(data or self._zlib.unconsumed_tail, max_length)
        # A full piece may have a rest inside zlib, even if all the input is consumed.
        self.needs_input = not self._zlib.unconsumed_tail and len(piece) < max_length
        return piece


def _bz2() -> Any:
    return _module("bz2").BZ2Decompressor()


def _xz() -> Any:
    lzma = _module("lzma")
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_LZMA_MEMORY)


def _module(name: str) -> Any:
    """Import ``bz2`` or ``lzma``, which a Python that was built without their libraries lacks."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise FormatError(
            f"this Python was built without {name}, so it cannot unpack it; unpack it with another program"
        ) from None


_DECOMPRESSORS: Dict[str, Callable[[], Any]] = {"gz": lambda: _Zlib(_GZIP), "bz2": _bz2, "xz": _xz}


def _stream(decompressor: Any, data: memoryview, position: int, size: Optional[int]) -> Generator[bytes, None, int]:
    """Yield what the stream at ``position`` of ``data`` unpacks to, and return the position after it.

    :param size: number of bytes after which to stop; None for all.
    """
    count = 0
    while not decompressor.eof and count != size:
        chunk: Any = b""
        if decompressor.needs_input:
            chunk = data[position : position + INPUT]
            position += len(chunk)
            if not chunk:
                raise FormatError("its compressed data ends early (is the file cut short?)")
        piece = _decompressed(decompressor, chunk, PIECE if size is None else min(PIECE, size - count))
        count += len(piece)
        if piece:
            yield piece
    return position - len(decompressor.unused_data)


def _decompressed(decompressor: Any, chunk: Any, limit: int) -> bytes:
    try:
        piece: bytes = decompressor.decompress(chunk, limit)
        return piece
    except Exception as error:  # noqa: BLE001 - zlib, bz2 and lzma raise half a dozen kinds on damaged bytes
        if str(error) == _TOO_MUCH:
            raise FormatError(f"it needs more than {MAX_LZMA_MEMORY} bytes of memory to be unpacked") from None
        raise FormatError(f"its compressed data is damaged ({shown(str(error)) or type(error).__name__})") from None


def _past_zeros(data: memoryview, position: int) -> int:
    """Return the position after the zeros at ``position``, with which tapes and xz pad."""
    while position < len(data):
        chunk = bytes(data[position : position + INPUT])
        rest = len(chunk.lstrip(b"\0"))
        position += len(chunk) - rest
        if rest:
            break
    return position
