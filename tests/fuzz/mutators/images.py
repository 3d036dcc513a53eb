"""Damage to images: where the fields and pieces of each format are, its checksums, and parts that unpack to very much.

Layouts follow the formats' own documents: PNG (w3.org/TR/png-3), GIF89a, TIFF 6.0, RFC 9649 (WebP), ITU-T T.81 (JPEG),
ITU-T T.800 (JPEG 2000), ISO/IEC 14496-12 (the boxes of AVIF).
"""

from __future__ import annotations

import re
import struct
import zlib
from random import Random
from typing import Callable, Dict, List, Tuple

from . import fields, hostile, plain
from .fields import Layout

_DIGITS = ("0", "-1", "1", "65535", "65536", "2147483647", "4294967296", "9" * 30, "00000000008", "1e5", "#\n8", "")
_BOMB = 270  # MiB of zeros: the largest picture in color


def mutated(name: str, data: bytes, chance: Random) -> bytes:
    suffix = name.rsplit(".", 1)[-1]
    if chance.random() < 0.2:
        return plain.mutated(data, chance)
    if suffix == "ppm":
        return _ppm(data, chance)
    layout, mend = _LAYOUTS[suffix]
    if suffix == "png" and chance.random() < 0.15:
        return _with_chunk(data, chance) if chance.random() < 0.7 else _large_png(data, chance)
    if suffix == "webp" and b"VP8L" in data[:20] and chance.random() < 0.1:
        return _large_webp(data, chance)
    if suffix == "jpg" and chance.random() < 0.1:
        return _of_many_scans(data, chance)
    if suffix in ("jpg", "png", "webp") and chance.random() < 0.1:
        return _with_exif(suffix, data, chance)
    return fields.mutated(data, layout(data), chance, mend)


# PNG ------------------------------------------------------------------------------------------------------------------


def _chunks(data: bytes) -> List[Tuple[int, int]]:
    found, position = [], 8
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            break
        found.append((position, end))
        position = end
    return found


def _png(data: bytes) -> Layout:
    numbers = [(16, 4, "big"), (20, 4, "big"), *((place, 1, "big") for place in range(24, 29))] * 3
    for start, end in _chunks(data):
        numbers += [(start, 4, "big"), *((place, 4, "big") for place in range(start + 8, min(end - 4, start + 40), 4))]
    return Layout(numbers, _chunks(data), [((16, 4, "big"), (20, 4, "big"))])


def _large_png(data: bytes, chance: Random) -> bytes:
    """A picture of black pixels, near the limit or above it."""
    width, height = chance.choice(((9400, 9400), (9000, 9000), (89_000_000, 1), (20_000, 20_000)))
    head = struct.pack(">II", width, height) + bytes((chance.choice((1, 8, 16)), chance.choice((0, 2, 3, 4, 6)), 0, 0))
    chunks = _chunk(b"IHDR", head + bytes((chance.choice((0, 0, 1)),))) + _chunk(b"PLTE", bytes(6))
    return data[:8] + chunks + _chunk(b"IDAT", _zeros()) + _chunk(b"IEND", b"")


def _with_checksums(data: bytes) -> bytes:
    mended = bytearray(data)
    for start, end in _chunks(data):
        mended[end - 4 : end] = struct.pack(">I", zlib.crc32(data[start + 4 : end - 4]))
    return bytes(mended)


def _zeros() -> bytes:
    """A zlib stream of zeros, of which Adler's sums are 1 and their number."""
    return b"\x78\x9c" + hostile.zeros(_BOMB) + struct.pack(">HH", (_BOMB << 20) % 65_521, 1)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _with_chunk(data: bytes, chance: Random) -> bytes:
    text = hostile.text(chance).encode("utf-8", "surrogatepass")
    kinds = (
        *((b"iCCP", b"p\0\0" + _zeros()), (b"zTXt", b"k\0\0" + _zeros()), (b"iTXt", b"k\0\1\0\0\0" + _zeros())),
        *((b"IDAT", _zeros()), (b"tEXt", b"k\0" + text), (b"eXIf", b"II*\0" + hostile.packed(chance, 12, "little"))),
        *((b"PLTE", bytes(3 * chance.choice((0, 1, 256, 300)))), (b"tRNS", bytes(chance.choice((0, 1, 256, 300))))),
        *((b"acTL", hostile.packed(chance, 8, "big")), (b"fcTL", hostile.packed(chance, 26, "big"))),
        (b"fdAT", hostile.packed(chance, 4, "big") + _zeros()),
    )
    at = chance.choice(_chunks(data))[0] or 8
    return data[:at] + _chunk(*chance.choice(kinds)) + data[at:]


# The others -----------------------------------------------------------------------------------------------------------


def _gif(data: bytes) -> Layout:
    numbers = [(6, 2, "little"), (8, 2, "little"), (10, 1, "little"), (11, 1, "little")]
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 128 else 0)
    pieces, sides = [(13, at)], [((6, 2, "little"), (8, 2, "little"))]
    while at < len(data) and data[at] in (0x21, 0x2C):
        start = at
        if data[at] == 0x2C:  # an image: its place and size, its own palette, the width of its codes
            numbers += [(at + 1 + 2 * index, 2, "little") for index in range(4)] + [(at + 9, 1, "little")]
            sides.append(((at + 5, 2, "little"), (at + 7, 2, "little")))
            at += 10 + (3 << (data[at + 9] & 7) + 1 if data[at + 9] & 128 else 0)
            numbers.append((at, 1, "little"))
            at += 1
        else:
            at += 2
        while at < len(data) and data[at]:
            numbers += [(at, 1, "little"), (at + 1, 2, "little")]
            at += data[at] + 1
        at += 1
        pieces.append((start, at))
    return Layout(numbers, pieces, sides)


def _tiff(data: bytes) -> Layout:
    order = "little" if data[:2] == b"II" else "big"
    start = int.from_bytes(data[4:8], order)
    count = int.from_bytes(data[start : start + 2], order)
    numbers = [(4, 4, order), (start, 2, order), (start + 2 + 12 * count, 4, order)]
    entries = [start + 2 + 12 * index for index in range(count)]
    for entry in entries:
        numbers += [(entry, 2, order), (entry + 2, 2, order), (entry + 4, 4, order), *[(entry + 8, 4, order)] * 3]
        numbers.append((entry + 8, 2, order))
    width, height = ([entry for entry in entries if _tag(data, entry, order) == tag] for tag in (256, 257))
    wide = [(width[0] + 8, 4, order), (height[0] + 8, 4, order)]
    return Layout(numbers, [(entry, entry + 12) for entry in entries], [(wide[0], wide[1])])


def _tag(data: bytes, entry: int, order: str) -> int:
    return int.from_bytes(data[entry : entry + 2], order)


def _webp(data: bytes) -> Layout:
    numbers, pieces, sides, at = [(4, 4, "little")], [], [], 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        numbers += [(at + 4, 4, "little"), *((at + 8 + place, 3, "little") for place in (0, 3, 4, 7, 10))]
        numbers += [(at + 8 + place, 1, "little") for place in range(12)]
        numbers += [(at + 14, 2, "little"), (at + 16, 2, "little")]  # the sides of VP8
        place = {b"VP8 ": (14, 2, 16), b"VP8X": (12, 3, 15), b"ANMF": (14, 3, 17)}.get(data[at : at + 4])
        if place:
            first, width, second = place
            sides.append(((at + first, width, "little"), (at + second, width, "little")))
        end = min(at + 8 + size + size % 2, len(data))
        pieces.append((at, end))
        at = end
    return Layout([place for place in numbers if place[0] + place[1] <= len(data)], pieces, sides)


def _large_webp(data: bytes, chance: Random) -> bytes:
    """A lossless file of another size; of pixels that are all alike it has as many bits as before."""
    width, height = chance.choice(((9400, 9400), (16_383, 5400), (5400, 16_383), (16_384, 16_384), (4000, 4000)))
    at = data.find(b"VP8L") + 9  # after the length and the signature
    bits = int.from_bytes(data[at : at + 4], "little") & ~0xFFFFFFF | (width - 1) | (height - 1) << 14
    return data[:at] + bits.to_bytes(4, "little") + data[at + 4 :]


def _jpeg(data: bytes) -> Layout:
    numbers: List[Tuple[int, int, str]] = []
    pieces, sides, at = [], [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        numbers.append((at + 2, 2, "big"))
        if 0xC0 <= data[at + 1] <= 0xCF and data[at + 1] not in (0xC4, 0xC8, 0xCC):
            numbers += [(at + 5, 2, "big"), (at + 7, 2, "big")] * 4
            sides.append(((at + 7, 2, "big"), (at + 5, 2, "big")))
        numbers += [(place, 1, "big") for place in range(at + 4, min(end, at + 24))] + [(at + 1, 1, "big")]
        pieces.append((at, end))
        if data[at + 1] == 0xDA:
            pieces.append((end, len(data)))
            break
        at = end
    return Layout(numbers, pieces, sides)


def _of_many_scans(data: bytes, chance: Random) -> bytes:
    """A large picture whose scans, of one component or as they were, are repeated."""
    pieces = _jpeg(data).pieces
    headers = [start for start, _ in pieces if data[start : start + 2] == b"\xff\xda"]
    frames = [start for start, _ in pieces if data[start : start + 1] == b"\xff" and data[start + 1] in (0xC0, 0xC2)]
    if not headers or not frames:
        return data
    height, width = chance.choice(((4096, 4096), (9000, 9000), (64, 64)))
    sized = data[: frames[0] + 5] + struct.pack(">HH", height, width) + data[frames[0] + 9 : headers[0]]
    scan = b"\xff\xda\0\x08\1" + bytes((chance.choice((1, 1, 2, 3)),)) + b"\0\0" + chance.choice((b"\x3f\0", b"\0\0"))
    scan = chance.choice((scan + b"\0\0", scan, data[headers[0] : -2]))
    return sized + scan * chance.choice((1, 5, 30, 100, 130, 700, 5000)) + chance.choice((b"\xff\xd9", b""))


_BMP_SIDES = [((18, 4, "little"), (22, 4, "little"))]


def _bmp(data: bytes) -> Layout:
    numbers = [(place, 4, "little") for place in (2, 10, 14, 18, 22, 30, 34, 38, 42, 46, 50)]
    return Layout([*numbers, (26, 2, "little"), (28, 2, "little")], [(0, 14), (14, 54), (54, len(data))], _BMP_SIDES)


_CONTAINERS = (b"jp2h", b"meta", b"iprp", b"ipco", b"iinf", b"moov", b"iref")


def _boxes(data: bytes) -> Layout:
    """JPEG 2000 and AVIF: boxes in boxes, and of JPEG 2000 the codestream's first segments."""
    numbers: List[Tuple[int, int, str]] = []
    pieces: List[Tuple[int, int]] = []
    sides: List[Tuple[fields.Field, fields.Field]] = []

    def look(at: int, end: int) -> None:
        while at + 8 <= end:
            size = int.from_bytes(data[at : at + 4], "big") or end - at
            if size < 8 or at + size > end:
                return
            kind = data[at + 4 : at + 8]
            pieces.append((at, at + size))
            numbers.append((at, 4, "big"))
            numbers.extend((place, 4, "big") for place in range(at + 8, min(at + size - 3, at + 60), 4))
            numbers.extend((place, 1, "big") for place in range(at + 8, min(at + size, at + 30)))
            if kind == b"ispe":
                sides.append(((at + 12, 4, "big"), (at + 16, 4, "big")))
            elif kind == b"ihdr":
                sides.append(((at + 12, 4, "big"), (at + 8, 4, "big")))
            if kind in _CONTAINERS:
                skipped = {b"meta": 4, b"iinf": 6, b"iref": 4}.get(kind, 0)
                look(at + 8 + skipped, at + size)
            at += size

    look(0, len(data))
    stream = data.find(b"\xff\x4f\xff\x51")  # SOC, SIZ
    if stream >= 0:
        numbers.extend([(stream + 8 + 4 * index, 4, "big") for index in range(8)] * 3)
        numbers.extend((place, 1, "big") for place in range(stream + 40, min(stream + 90, len(data))))
        sides += [((stream + 8 + place, 4, "big"), (stream + 12 + place, 4, "big")) for place in (0, 16)]
    return Layout(numbers, pieces, sides)


def _ppm(data: bytes, chance: Random) -> bytes:
    head, body = data[:20], data[20:]
    found = chance.choice(list(re.finditer(rb"\d+", head[2:])))
    value = chance.choice(_DIGITS).encode()
    if chance.random() < 0.2:
        return b"%s\n%d %d\n255\n" % (head[:2], *chance.choice(fields.SIDES)) + body
    head = head[: 2 + found.start()] + value + head[2 + found.end() :]
    if chance.random() < 0.3:
        head = b"P" + chance.choice((b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"f", b"F")) + head[2:]
    return head + body[: chance.choice((len(body), len(body), 3))]


# EXIF -----------------------------------------------------------------------------------------------------------------


def _exif(chance: Random) -> bytes:
    """EXIF data with the orientation and an entry that lies."""
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, chance.choice((1, 6, 8, 9, 65_535)), 0)
    kind, count = chance.randrange(16), hostile.integer(chance) % (1 << 32)
    entries += struct.pack("<HHII", chance.randrange(1 << 16), kind, count, hostile.integer(chance) % (1 << 32))
    after = chance.choice((0, 8, hostile.integer(chance) % (1 << 32)))  # 8: the same entries again
    return b"II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", after)


def _with_exif(suffix: str, data: bytes, chance: Random) -> bytes:
    exif = _exif(chance)
    if suffix == "png":
        return data[:33] + _chunk(b"eXIf", exif) + data[33:]
    if suffix == "jpg":
        segment = b"Exif\0\0" + exif
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    return data + b"EXIF" + struct.pack("<I", len(exif)) + exif


def _same(data: bytes) -> bytes:
    return data


_LAYOUTS: Dict[str, Tuple[Callable[[bytes], Layout], Callable[[bytes], bytes]]] = {
    "png": (_png, _with_checksums),
    **{
        suffix: (layout, _same)
        for suffix, layout in (
            *(("gif", _gif), ("tif", _tiff), ("webp", _webp), ("jpg", _jpeg), ("bmp", _bmp)),
            *(("jp2", _boxes), ("avif", _boxes)),
        )
    },
}
