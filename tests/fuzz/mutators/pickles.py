"""Damage to pickles, also to several in one file: instructions changed, repeated, inserted, and bombs of them."""

from __future__ import annotations

import io
import pickletools
import struct
from random import Random
from typing import Callable, List, Tuple

from . import hostile, plain

_START = b"\x80"
_MOST_PICKLES = 40  # of a file that are looked for
_PRIME = 2**61 - 1  # integers that are multiples of it have equal hashes


def split(data: bytes, start: int) -> Tuple[List[bytes], int]:
    """The instructions of the pickle at ``start``, and the position after it.

    :raises ValueError: if there is none.
    """
    try:
        places = [position for _, _, position in pickletools.genops(io.BytesIO(data[start:]))]
        end = start + places[-1] + 1
    except Exception:  # noqa: BLE001 - genops raises many kinds
        raise ValueError("no pickle") from None
    bounds = [start + place for place in places] + [end]
    return [data[first:last] for first, last in zip(bounds, bounds[1:])], end


def pieces(data: bytes) -> List[Tuple[bool, List[bytes]]]:
    """The pickles in ``data``, as their instructions, and what is between them."""
    found: List[Tuple[bool, List[bytes]]] = []
    position = plain_from = 0
    while len(found) < _MOST_PICKLES:
        position = data.find(_START, position)
        if position < 0:
            break
        if data[position + 1 : position + 2] not in (b"\2", b"\3", b"\4", b"\5"):
            position += 1
            continue
        try:
            instructions, end = split(data, position)
        except ValueError:
            position += 1
            continue
        found += [(False, [data[plain_from:position]]), (True, instructions)]
        position = plain_from = end
    return [*found, (False, [data[plain_from:]])]


def mutated(data: bytes, chance: Random) -> bytes:
    parts = pieces(data)
    chosen = [index for index, (is_pickle, _) in enumerate(parts) if is_pickle]
    if not chosen:
        return plain.mutated(data, chance)
    index = max(chosen, key=lambda place: len(parts[place][1])) if chance.random() < 0.6 else chance.choice(chosen)
    instructions = list(parts[index][1])
    for _ in range(chance.choice((1, 1, 2, 4))):
        _change(instructions, chance)
    parts[index] = (True, instructions)
    return b"".join(b"".join(pieces) for _, pieces in parts)


def reset(data: bytes, chance: Random) -> bytes:
    """A pickle that stays sound, with other values of one or two keys."""
    instructions, _ = split(data, 0)
    for _ in range(chance.choice((1, 1, 2))):
        _set_again(instructions, chance)
    return b"".join(instructions)


def _change(instructions: List[bytes], chance: Random) -> None:
    at = chance.randrange(len(instructions))
    kind = chance.randrange(14)
    if kind >= 10:
        _set_again(instructions, chance)
    elif kind == 0:
        del instructions[at]
        if not instructions:
            instructions.append(b".")
    elif kind == 1:
        often = 50_000 if len(instructions[at]) < 100 else 4
        instructions[at : at + 1] = [instructions[at]] * chance.choice((2, 3, often))
    elif kind == 2:
        other = chance.randrange(len(instructions))
        instructions[at], instructions[other] = instructions[other], instructions[at]
    elif kind == 3:
        other = chance.randrange(len(instructions))
        instructions[at:at] = instructions[other : other + chance.randint(1, 40)]
    elif kind == 4:
        instructions[at:at] = [chance.choice(_INSERTED)]
    elif kind == 5:
        instructions[at] = chance.choice(_BOMBS)(chance)
    else:
        instructions[at] = _argument_changed(instructions[at], chance)


_GLOBALS = (b"cos\nsystem\n", b"cbuiltins\neval\n", b"c\n\n", b"ctorch\n\x1b[31m\n", b"ctorch\nSize\n")


def _set_again(instructions: List[bytes], chance: Random) -> None:
    """Give a key of a dict another value: its last one counts."""
    ends = [place for place, one in enumerate(instructions) if one in (b"u", b"s")]
    keys = [one for one in instructions if one[:1] in b"X\x8cU"]
    if not ends or not keys:
        return
    end = ends[-1] if chance.random() < 0.6 else chance.choice(ends)
    pair = chance.choice(keys) + _value(chance)
    if instructions[end] == b"u":
        instructions.insert(end, pair)
    else:
        instructions.insert(end + 1, pair + b"s")


def _value(chance: Random) -> bytes:
    kind = chance.randrange(5)
    if kind == 0:
        return number(hostile.integer(chance))
    if kind == 1:
        return text(hostile.text(chance))
    if kind == 2:
        return b"G" + struct.pack(">d", chance.choice((0.0, -1.0, 1e308, float("nan"), float("inf"), 0.5)))
    if kind == 3:
        return b"](" + b"".join(_value(chance) for _ in range(chance.randint(0, 3))) + b"e"
    return chance.choice((b"N", b"\x88", b"\x89", b"]", b"}", b")", b"h\0", b"h\1", b"h\4", b"ctorch\nfloat32\n"))


def _argument_changed(one: bytes, chance: Random) -> bytes:
    code = one[:1]
    if code in b"KMJ":  # integers of 1, 2 and 4 bytes
        old = int.from_bytes(one[1:], "little", signed=code == b"J")
        return number(hostile.near(chance, old) if chance.random() < 0.5 else hostile.integer(chance))
    if code in b"XU\x8c":  # texts
        return text(hostile.text(chance)) if chance.random() < 0.7 else code + plain.mutated(one[1:], chance)
    if code == b"c":
        return chance.choice(_GLOBALS)
    if code in b"hjqr":
        return code + hostile.packed(chance, len(one) - 1, "little")
    return chance.choice((number(hostile.integer(chance)), text(hostile.text(chance)), b"N", b"\x88", b"]", b"}", b")"))


def number(value: int) -> bytes:
    """The instruction that pushes ``value``."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def text(value: str) -> bytes:
    """The instruction that pushes ``value``."""
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


_INSERTED = (
    *(b"0", b"1", b"2", b"(", b"N", b"R", b"b", b"a", b"e", b"s", b"u", b"t", b"\x85", b"\x86", b"\x87", b"\x81"),
    *(b"\x8a\xff", b"\x8b\xff\xff\xff\x7f", b"\x8d" + b"\xff" * 8, b"X\xff\xff\xff\xff", b"\x95" + b"\xff" * 8),
    *(b"h\xff", b"j\xff\xff\xff\xff", b"q\x00", b"r\xff\xff\xff\x7f", b"\x94", b"\x93", b"\x97", b"P1\n", b"I10\n"),
    *(b"\x82\x01", b"ccollections\nOrderedDict\n", b"cos\nsystem\nX\x02\x00\x00\x00id\x85R", b"G\x7f\xf8" + b"\0" * 6),
)


def _nested(chance: Random) -> bytes:
    level = chance.choice((b"]", b"}", b"("))
    return level * chance.choice((900, 1100, 200_000))


def _lists_in_lists(chance: Random) -> bytes:
    return b"]" * 5000 + b"a" * 4999


def _doubled(chance: Random) -> bytes:
    """A tuple of two tuples of two tuples ...: its hash, comparison and text take 2^60 steps."""
    chosen = b"N" + b"q\xf00h\xf0h\xf0\x86" * 60
    return chosen if chance.random() < 0.5 else b"}" + chosen + b"Ns"


def _doubled_lists(chance: Random) -> bytes:
    return b"]" + b"q\xf00](h\xf0h\xf0e" * 60


def _reduced(chance: Random) -> bytes:
    """Many OrderedDicts of one list of pairs, each a copy."""
    pairs = b"](" + b"".join(b"(J" + struct.pack("<i", index) + b"Nt" for index in range(20_000)) + b"eq\xf0"
    return pairs + b"](" + b"ccollections\nOrderedDict\nh\xf0\x85R" * 2_000 + b"e"


def _equal_hashes(chance: Random) -> bytes:
    """A dict whose keys have one hash."""
    keys = (b"\x8a\x10" + (index * _PRIME % 2**127).to_bytes(16, "little") + b"N" for index in range(1, 20_000))
    return b"}(" + b"".join(keys) + b"u"


def _equal_hashes_of_others(chance: Random) -> bytes:
    if chance.random() < 0.5:  # floats that are multiples of it
        values = (b"G" + struct.pack(">d", float(index * _PRIME)) + b"N" for index in range(1, 20_000))
    else:
        values = (number(index * _PRIME) + b"\x85N" for index in range(1, 20_000))
    return b"}(" + b"".join(values) + b"u"


def _many_texts(chance: Random) -> bytes:
    return b"](" + text("a" * 200) * 50_000 + b"e"


def _many_memos(chance: Random) -> bytes:
    return b"N" + b"".join(b"r" + struct.pack("<I", index) for index in range(100_000))


def _rebuilt(chance: Random) -> bytes:
    """A tensor of a hostile size, of a storage that is not there."""
    sides = b"(" + b"".join(number(hostile.integer(chance)) for _ in range(chance.choice((1, 2, 4, 200)))) + b"t"
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    storage += number(hostile.integer(chance)) + b"tQ"
    steps = b"(" + b"".join(number(hostile.integer(chance)) for _ in range(chance.choice((1, 2, 4)))) + b"t"
    arguments = storage + number(hostile.integer(chance)) + sides + steps + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


_BOMBS: Tuple[Callable[[Random], bytes], ...] = (
    *(_nested, _lists_in_lists, _doubled, _doubled_lists, _reduced, _equal_hashes, _equal_hashes_of_others),
    *(_many_texts, _many_memos, _rebuilt, _rebuilt, _rebuilt),
)
