"""Damage to files of fields and pieces: a number at a known place is replaced, a piece moved, repeated or cut.

A format says where its fields and pieces are, and mends its checksums afterwards, so that readers look at the rest.
"""

from __future__ import annotations

from random import Random
from typing import Callable, List, NamedTuple, Sequence, Tuple

from . import hostile, plain

Field = Tuple[int, int, str]  # position, width, "little" or "big"
SIDES = (  # of pictures: about as large as may be decoded, larger, of one line, empty
    *((9400, 9400), (16_383, 5400), (65_535, 1365), (1365, 65_535), (89_000_000, 1), (1, 89_000_000), (4000, 4000)),
    *((30_000, 30_000), (65_535, 65_535), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1), (0, 0), (1, 0), (16_384, 16_384)),
)


class Layout(NamedTuple):
    """``fields`` of numbers; ``pieces``: (start, end) of parts; ``sides``: the fields (width, height) of pictures."""

    fields: List[Field]
    pieces: List[Tuple[int, int]]
    sides: Sequence[Tuple[Field, Field]] = ()


def mutated(data: bytes, layout: Layout, chance: Random, mend: Callable[[bytes], bytes] = lambda data: data) -> bytes:
    """``data`` with one to three fields or pieces changed, mended in nine of ten cases."""
    changed = bytearray(data)
    if layout.sides and chance.random() < 0.15:
        resize(changed, layout, chance)
        return mend(bytes(changed))
    for _ in range(chance.choice((1, 1, 2, 3))):
        if not layout.fields or (layout.pieces and chance.random() < 0.25):
            break
        position, width, order = chance.choice(layout.fields)
        old = int.from_bytes(changed[position : position + width], order)
        value = hostile.near(chance, old) if chance.random() < 0.3 else hostile.integer(chance)
        changed[position : position + width] = (value % (1 << 8 * width)).to_bytes(width, order)
    else:
        return mend(bytes(changed)) if chance.random() < 0.9 else bytes(changed)
    return mend(_rearranged(bytes(changed), layout.pieces, chance))


def resize(data: bytearray, layout: Layout, chance: Random) -> None:
    """Give every picture in ``data`` one size, large in most cases."""
    size = chance.choice(SIDES)
    for fields in layout.sides:
        for (position, width, order), side in zip(fields, size):
            data[position : position + width] = (side % (1 << 8 * width)).to_bytes(width, order)


def _rearranged(data: bytes, pieces: List[Tuple[int, int]], chance: Random) -> bytes:
    if not pieces:
        return plain.mutated(data, chance)
    start, end = chance.choice(pieces)
    piece = data[start:end]
    kind = chance.randrange(5)
    if kind == 0:
        return data[:start] + data[end:]
    if kind == 1:
        return data[:end] + piece * chance.choice((1, 2, 2000)) + data[end:]
    if kind == 2:
        other = chance.choice(pieces)[0]
        return data[:other] + piece + data[other:]
    if kind == 3:
        return data[: chance.randint(start, end)]
    return data[:start] + plain.mutated(piece, chance) + data[end:]
