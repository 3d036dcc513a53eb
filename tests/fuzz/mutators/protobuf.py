"""Damage to messages of protobuf: numbers, lengths, texts and the order of fields, at any depth."""

from __future__ import annotations

from random import Random
from typing import List, Tuple, Union

from . import hostile, json_text, plain

_MOST = 3000  # fields of a message that are taken apart
Field = Tuple[int, int, Union[int, bytes]]  # number, wire type, value


def fields(data: bytes) -> List[Field]:
    """The fields of a message.

    :raises ValueError: if it is none.
    """
    found: List[Field] = []
    position = 0
    while position < len(data):
        key, position = _number(data, position)
        number, kind = key >> 3, key & 7
        value: Union[int, bytes]
        if number == 0 or len(found) >= _MOST:
            raise ValueError("no message")
        if kind == 0:
            value, position = _number(data, position)
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            value, position = data[position : position + width], position + width
        elif kind == 2:
            length, position = _number(data, position)
            value, position = data[position : position + length], position + length
        else:
            raise ValueError("no message")
        if position > len(data):
            raise ValueError("no message")
        found.append((number, kind, value))
    return found


def _number(data: bytes, position: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("no number")
        byte = data[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position


def varint(value: int) -> bytes:
    value %= 1 << 64
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def joined(parts: List[Field]) -> bytes:
    pieces = []
    for number, kind, value in parts:
        key = varint(number << 3 | kind)
        if isinstance(value, int):
            pieces.append(key + varint(value))
        else:
            pieces.append(key + (varint(len(value)) if kind == 2 else b"") + value)
    return b"".join(pieces)


def mutated(data: bytes, chance: Random) -> bytes:
    """``data`` with one to three changes."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        try:
            data = _changed(fields(data), chance)
        except ValueError:
            data = plain.mutated(data, chance)
    return data


def _changed(parts: List[Field], chance: Random) -> bytes:
    """The message of ``parts`` with one change, found by going down at random."""
    if not parts:
        return joined([_invented(chance)])
    at = chance.randrange(len(parts))
    number, kind, value = parts[at]
    if chance.random() < 0.12:
        return joined(_rearranged(parts, at, chance))
    if isinstance(value, int):
        value = hostile.near(chance, value) if chance.random() < 0.3 else hostile.integer(chance)
    elif kind == 2:
        value = _content(value, chance)
    else:
        value = hostile.packed(chance, len(value), "little") if chance.random() < 0.6 else value[::-1]
    if chance.random() < 0.03 and kind == 2 and not isinstance(value, int):  # a length that lies
        rest = varint(number << 3 | 2) + varint(hostile.integer(chance)) + value
        return joined(parts[:at]) + rest + joined(parts[at + 1 :])
    return joined([*parts[:at], (number, kind, value), *parts[at + 1 :]])


def _content(value: bytes, chance: Random) -> bytes:
    """The bytes of a field, a message, a text, JSON or packed numbers, with a change."""
    if value[:1] in (b"{", b"[") and chance.random() < 0.95:
        return json_text.mutated(value.decode("utf-8", "replace"), chance).encode("utf-8", "surrogatepass")
    try:
        inner = fields(value)
    except ValueError:
        inner = []
    if inner and chance.random() < 0.95:
        return _changed(inner, chance)
    kind = chance.randrange(4)
    if kind == 0:
        return hostile.text(chance).encode("utf-8", "surrogatepass")
    if kind == 1:
        return value[: chance.randrange(len(value) + 1)]
    if kind == 2:
        return value * chance.choice((2, 2, 100 if len(value) < 10_000 else 2))
    return plain.mutated(value, chance)


def _rearranged(parts: List[Field], at: int, chance: Random) -> List[Field]:
    kind = chance.randrange(6)
    if kind == 0:
        return parts[:at] + parts[at + 1 :]
    if kind == 1:
        size = len(parts[at][2]) if isinstance(parts[at][2], bytes) else 8
        often = 20_000 if size < 200 and len(parts) < _MOST else 4
        return parts[:at] + [parts[at]] * chance.choice((2, 3, often)) + parts[at + 1 :]
    if kind == 2:
        other = chance.randrange(len(parts))
        return [*parts[:other], parts[at], *parts[other:]]
    if kind == 3:
        return [*parts[:at], (hostile.integer(chance) % (1 << 29) or 1, *parts[at][1:]), *parts[at + 1 :]]
    if kind == 4:
        nested = b""
        for _ in range(chance.choice((10, 5_000))):
            nested = varint(parts[at][0] << 3 | 2) + varint(len(nested)) + nested
        return [*parts[:at], (parts[at][0], 2, nested), *parts[at + 1 :]]
    return [*parts, _invented(chance)]


def _invented(chance: Random) -> Field:
    number = chance.randint(1, 20)
    if chance.random() < 0.5:
        return number, 0, hostile.integer(chance)
    return number, 2, hostile.text(chance).encode("utf-8", "surrogatepass")
