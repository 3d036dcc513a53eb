"""Damage to zip archives: the fields of its directory and of its members, their names, order and contents.

The archives are written here, since zipfile writes none that lie.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from random import Random
from typing import Callable, Dict, List

from . import hostile, plain

Inner = Callable[[str, bytes, Random], bytes]
_LOCAL = (("version", 2), ("flags", 2), ("method", 2), ("time", 4), ("crc", 4), ("packed", 4), ("size", 4))
_LOCAL += (("name_length", 2), ("extra_length", 2))
_CENTRAL = (("made_by", 2), *_LOCAL, ("comment_length", 2), ("disk", 2), ("inside", 2), ("outside", 4), ("offset", 4))
_END = (("disk", 2), ("first_disk", 2), ("here", 2), ("total", 2), ("length", 4), ("start", 4), ("comment_length", 2))
_NAMES = ("", "/", "../x", "/etc/x", "a\\b", "x\x1b[31m", "é", "a" * 65_000, "data.pkl", "x/data.pkl", "a/")
_BOMB = 200  # MiB of zeros
_METHODS = (0, 8, 12, 14, 99)


class Member:
    """A member as its packed bytes, and the fields that are not what these say."""

    def __init__(self, name: str, content: bytes, method: int) -> None:
        self.name = name.encode("utf-8", "surrogatepass")
        self.method = method
        self.size, self.crc = len(content), zlib.crc32(content)
        self.data = _deflated(content) if method == zipfile.ZIP_DEFLATED else content
        self.lies: Dict[str, int] = {}
        self.extra = b""

    def fields(self, offset: int) -> Dict[str, int]:
        lengths = {"name_length": len(self.name), "extra_length": len(self.extra)}
        sizes = {"packed": len(self.data), "size": self.size, "offset": offset}
        return {"version": 20, "method": self.method, "crc": self.crc, **lengths, **sizes}


def mutated(data: bytes, chance: Random, inner: Inner) -> bytes:
    members = [Member(name, content, method) for name, content, method in _members(data)]
    end: Dict[str, int] = {}
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        kind = chance.randrange(20)
        at = chance.randrange(len(members)) if members else 0
        if kind < 11 and members:
            _change_content(members, at, chance, inner)
        elif kind < 15 and members:
            _lie(members[at], chance)
        elif kind < 19 and members:
            _rearrange(members, at, chance)
        else:
            name, width = chance.choice(_END)
            end[name] = hostile.integer(chance) % (1 << 8 * width)
    return written(members, end)


def _members(data: bytes) -> List[tuple]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        packed = {zipfile.ZIP_STORED: 0, zipfile.ZIP_DEFLATED: 8}
        return [
            (info.filename, archive.read(info), packed.get(info.compress_type, zipfile.ZIP_DEFLATED))
            for info in archive.infolist()
        ]


def _change_content(members: List[Member], at: int, chance: Random, inner: Inner) -> None:
    pickled = [place for place, member in enumerate(members) if member.name.endswith(b".pkl")]
    if pickled and chance.random() < 0.6:
        at = pickled[0]
    elif chance.random() < 0.5:  # small members are those with structure
        at = min(chance.sample(range(len(members)), min(3, len(members))), key=lambda place: members[place].size)
    name, old = members[at].name.decode("utf-8", "replace"), members[at]
    content = zlib.decompress(old.data, -15) if old.method == zipfile.ZIP_DEFLATED else old.data
    members[at] = Member(name, inner(name, content, chance), chance.choice((old.method, 0, 8)))


def _lie(member: Member, chance: Random) -> None:
    if chance.random() < 0.1:
        member.data, member.method = hostile.zeros(_BOMB), zipfile.ZIP_DEFLATED
        member.size = chance.choice((_BOMB << 20, member.size))
        member.crc = zlib.crc32(b"") if chance.random() < 0.5 else member.crc
        return
    if chance.random() < 0.15:
        member.extra = b"\x01\x00" + chance.choice((b"\x18\x00" + b"\xff" * 24, b"\xff\xff", b"\x08\x00" + b"\0" * 8))
    name, width = chance.choice(_CENTRAL)
    member.lies[name] = chance.choice(_METHODS) if name == "method" else hostile.integer(chance) % (1 << 8 * width)


def _rearrange(members: List[Member], at: int, chance: Random) -> None:
    kind = chance.randrange(5)
    if kind == 0:
        del members[at]
    elif kind == 1:
        members.insert(chance.randrange(len(members) + 1), members[at])
    elif kind == 2:
        members[at].name = chance.choice(_NAMES).encode("utf-8")[:65_535]
    elif kind == 3:
        members[at].name = plain.mutated(members[at].name, chance)[:65_535]
    else:
        other = chance.randrange(len(members))
        members[at].name, members[other].name = members[other].name, members[at].name


def written(members: List[Member], end: Dict[str, int]) -> bytes:
    """The archive of ``members``, whose end of directory has the fields ``end``; a member met again is not repeated."""
    content, directory = bytearray(), bytearray()
    offsets: Dict[int, int] = {}
    for member in members:
        if id(member) not in offsets:
            offsets[id(member)] = len(content)
            local = {key: value for key, value in member.lies.items() if key != "offset"}
            content += b"PK\3\4" + _record(_LOCAL, {**member.fields(0), **local}) + member.name + member.extra
            content += member.data
        fields = {**member.fields(offsets[id(member)]), **member.lies}
        directory += b"PK\1\2" + _record(_CENTRAL, fields) + member.name + member.extra
    counts = {"here": len(members), "total": len(members), "length": len(directory), "start": len(content)}
    return bytes(content + directory) + b"PK\5\6" + _record(_END, {**counts, **end})


def _record(names: tuple, fields: Dict[str, int]) -> bytes:
    return b"".join(struct.pack("<Q", fields.get(name, 0) % (1 << 8 * width))[:width] for name, width in names)


def _deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def changed(data: bytes, suffix: str, change: Callable[[bytes], bytes]) -> bytes:
    """The archive with the content of the members whose names end in ``suffix`` changed."""
    members = [
        Member(name, change(content) if name.endswith(suffix) else content, method)
        for name, content, method in _members(data)
    ]
    return written(members, {})
