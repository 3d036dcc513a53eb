"""Damage to bytes of any meaning: flips, cuts, insertions, copies, and numbers at any place."""

from __future__ import annotations

from random import Random
from typing import List

import numpy as np

from . import hostile

LIES = (b"\xff", b"\xff\xff\xff\xff", b"\x00" * 4, b"\x7f\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x10", b"")
_LARGE = 1 << 16  # bytes; what is cut or copied is shorter


def structure(data: bytes) -> List[int]:
    """Positions in text, outside of zeros and the data of large arrays, where damage matters most."""
    text = np.frombuffer(data[: 1 << 20], np.uint8)
    if text.size < 4:
        return [0]
    runs = np.convolve((text >= 32) & (text < 127), np.ones(4), "same") >= 3
    return [int(place) for place in np.flatnonzero(runs)] or [0]


def mutated(data: bytes, chance: Random) -> bytes:
    """``data`` with one to four changes."""
    places = structure(data)
    for _ in range(chance.randint(1, 4)):
        spot = chance.choice([chance.choice(places), chance.randrange(len(data) + 1), chance.randrange(64)])
        data = chance.choice(_CHANGES)(data, min(max(0, spot + chance.randint(-4, 4)), len(data)), chance)
    return data


def _flipped(data: bytes, at: int, chance: Random) -> bytes:
    return data[:at] + bytes(byte ^ (1 << chance.randrange(8)) for byte in data[at : at + 1]) + data[at + 1 :]


def _overwritten(data: bytes, at: int, chance: Random) -> bytes:
    new = chance.choice([bytes(chance.choices(range(256), k=chance.randint(0, 9))), chance.choice(LIES)])
    return data[:at] + new + data[at + chance.choice([len(new), chance.randint(0, 9)]) :]


def _numbered(data: bytes, at: int, chance: Random) -> bytes:
    width = chance.choice((1, 2, 4, 8))
    return data[:at] + hostile.packed(chance, width, chance.choice(("little", "big"))) + data[at + width :]


def _cut(data: bytes, at: int, chance: Random) -> bytes:
    return data[:at]


def _removed(data: bytes, at: int, chance: Random) -> bytes:
    return data[:at] + data[at + chance.randint(1, min(len(data) + 1, _LARGE)) :]


def _repeated(data: bytes, at: int, chance: Random) -> bytes:
    piece = data[at : at + chance.randint(1, 64)]
    return data[:at] + piece * chance.choice((2, 3, 1000)) + data[at + len(piece) :]


def _spliced(data: bytes, at: int, chance: Random) -> bytes:
    start = chance.randrange(len(data) + 1)
    piece = data[start : start + chance.randint(1, _LARGE)]
    return data[:at] + piece + data[at + len(piece) :]


def _texted(data: bytes, at: int, chance: Random) -> bytes:
    return data[:at] + hostile.text(chance).encode("utf-8", "surrogatepass") + data[at:]


_CHANGES = (_flipped, _flipped, _overwritten, _overwritten, _numbered, _numbered, _cut, _removed, _repeated, _spliced)
_CHANGES += (_texted,)
