"""Damage to tar archives: the fields of a header, with its checksum mended, and the contents."""

from __future__ import annotations

import io
import tarfile
from random import Random
from typing import List, Tuple

from . import hostile
from .zips import Inner

_FIELDS = {"name": (0, 100), "mode": (100, 8), "uid": (108, 8), "size": (124, 12), "time": (136, 12), "type": (156, 1)}
_FIELDS.update({"link": (157, 100), "magic": (257, 8), "owner": (265, 32), "major": (329, 8), "prefix": (345, 155)})
_CHECKSUM = slice(148, 156)
_VALUES = (b"", b"\0" * 12, b"7" * 12, b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-1\0", b"00000000000\0", b"9" * 12)
_TYPES = (b"0", b"1", b"2", b"3", b"5", b"6", b"x", b"g", b"L", b"K", b"S", b"\0", b"\x1b")


def mutated(data: bytes, chance: Random, inner: Inner) -> bytes:
    """``data``, an archive without compression, with one to three changes."""
    parts = _parts(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(parts))
        header, name, content = parts[at]
        kind = chance.randrange(10)
        if kind < 6:
            content = inner(name, content, chance)
            honest = b"%011o\0" % len(content)
            header = _mended(header[:124] + honest + header[136:])
        elif kind < 9:
            header = _lying(header, chance)
        else:
            parts[at:at] = [(header, name, content)] * chance.choice((1, 2, 2000 if len(content) < 2000 else 3))
            continue
        parts[at] = (header, name, content)
    blocks = (header + content + b"\0" * (-len(content) % 512) for header, _, content in parts)
    return b"".join(blocks) + b"\0" * chance.choice((1024, 1024, 0, 512, 10_240))


def _parts(data: bytes) -> List[Tuple[bytes, str, bytes]]:
    """The header, name and content of each member; an extended header is a member without a name."""
    parts: List[Tuple[bytes, str, bytes]] = []
    position = 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive:
            while position < info.offset_data - 512:  # extended headers
                size = int(data[position + 124 : position + 136].strip(b" \0") or b"0", 8)
                parts.append((data[position : position + 512], "", data[position + 512 : position + 512 + size]))
                position += 512 + size + (-size % 512)
            content = data[info.offset_data : info.offset_data + info.size]
            parts.append((data[info.offset_data - 512 : info.offset_data], info.name, content))
            position = info.offset_data + info.size + (-info.size % 512)
    return parts


def _lying(header: bytes, chance: Random) -> bytes:
    name = chance.choice(list(_FIELDS))
    start, width = _FIELDS[name]
    if name == "type":
        value = chance.choice(_TYPES)
    elif name in ("name", "link", "prefix", "owner") or chance.random() < 0.2:
        value = hostile.text(chance).encode("utf-8", "surrogatepass")
    else:
        value = chance.choice(_VALUES)
    changed = header[:start] + value[:width].ljust(width, b"\0") + header[start + width :]
    return _mended(changed) if chance.random() < 0.9 else changed


def _mended(header: bytes) -> bytes:
    blank = header[: _CHECKSUM.start] + b" " * 8 + header[_CHECKSUM.stop :]
    return header[: _CHECKSUM.start] + b"%06o\0 " % sum(blank) + header[_CHECKSUM.stop :]
