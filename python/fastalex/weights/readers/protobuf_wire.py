"""A reader of protobuf's wire format, so that Caffe and ONNX files need no protobuf package.

The format is described in protobuf.dev/programming-guides/encoding. A message is read field by field from a
memoryview; nothing is copied but runs of unpacked numbers. Every length is checked against the message that holds it.
"""

from __future__ import annotations

from typing import Any, Iterator, List, Tuple

import numpy as np

from ..errors import FormatError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
MAX_FIELDS = 500_000  # of a file: a network has some hundred; bounds the time that a hostile file takes
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_FIRST_LOOK = 64  # records looked at first for a run of unpacked numbers

Field = Tuple[int, int, Any]


class Budget:
    """How many fields of one file may still be read."""

    def __init__(self, fields: int = MAX_FIELDS) -> None:
        self.fields = fields

    def spend(self, count: int = 1) -> None:
        self.fields -= count
        if self.fields < 0:
            raise FormatError(f"it has more than {MAX_FIELDS} fields")


def fields(data: memoryview, budget: Budget) -> Iterator[Field]:
    """(field number, wire type, value) of each field of the message ``data``.

    The value is an int for VARINT, a memoryview for BYTES, and for FIXED32 and FIXED64 a uint8 array ``[n, width]`` of
    all that follow each other under the same number.

    :raises FormatError: if the bytes are not a message.
    """
    position, end = 0, len(data)
    while position < end:
        budget.spend()
        start = position
        tag, position = varint(data, position)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise FormatError("it has a field without a number")
        if wire == VARINT:
            value, position = varint(data, position)
        elif wire == BYTES:
            length, position = varint(data, position)
            if length > end - position:
                raise FormatError(f"field {number} claims {length} bytes, but {end - position} are left")
            value = data[position : position + length]
            position += length
        elif wire in _WIDTHS:
            value, position = _run(data, start, position, _WIDTHS[wire])
        else:
            raise FormatError(f"field {number} has the wire type {wire}, which is not in use")
        yield number, wire, value


def varint(data: memoryview, position: int) -> Tuple[int, int]:
    """The number at ``position``, below 2**64, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise FormatError("it ends within a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), position
    raise FormatError("it has a number of more than ten bytes")


def text(value: Any) -> str:
    """The text of a BYTES field."""
    return bytes(_bytes(value)[:1000]).decode("utf-8", "replace")


def message(value: Any) -> memoryview:
    """The bytes of a field that holds a message."""
    return _bytes(value)


def signed(value: Any) -> int:
    """An int64 or int32, which a varint holds in two's complement."""
    if not isinstance(value, int):
        raise FormatError("it has bytes where a number belongs")
    return value - 2**64 if value >= 2**63 else value


def single(value: Any) -> float:
    """A float field."""
    if not isinstance(value, np.ndarray) or value.shape[1] != 4:
        raise FormatError("it has something else where a float belongs")
    return float(np.frombuffer(value[-1].tobytes(), "<f4")[0])


def integers(wire: int, value: Any, budget: Budget) -> List[int]:
    """The numbers of a repeated varint field, packed or one."""
    if wire == VARINT:
        return [signed(value)]
    data, position, result = _bytes(value), 0, []
    while position < len(data):
        budget.spend()
        number, position = varint(data, position)
        result.append(signed(number))
    return result


def numbers(value: Any, dtype: str) -> np.ndarray:
    """The numbers of a repeated fixed-width field: a view if they are packed, a copy if not."""
    kind = np.dtype(dtype)
    if isinstance(value, np.ndarray):
        if value.shape[1] != kind.itemsize:
            raise FormatError(f"it has numbers of {value.shape[1]} bytes where {kind.itemsize} belong")
        return np.ascontiguousarray(value).reshape(-1).view(kind)
    data = _bytes(value)
    if len(data) % kind.itemsize:
        raise FormatError(f"{len(data)} bytes do not divide into numbers of {kind.itemsize}")
    return np.frombuffer(data, kind)


def joined(parts: List[np.ndarray], dtype: str) -> np.ndarray:
    """The parts of a field that a writer may have split; one part stays the view that it is."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _bytes(value: Any) -> memoryview:
    if not isinstance(value, memoryview):
        raise FormatError("it has a number where bytes belong")
    return value


def _run(data: memoryview, start: int, position: int, width: int) -> Tuple[np.ndarray, int]:
    """The numbers from ``position`` on that repeat the tag at ``start``, and the position after the last."""
    record = position - start + width
    count = (len(data) - start) // record
    if count == 0:
        raise FormatError("it ends within a number")
    records = np.frombuffer(data, np.uint8, count * record, start).reshape(count, record)
    tag = records[0, : position - start]
    same, look = 0, _FIRST_LOOK
    while same < count:
        equal = (records[same : same + look, : position - start] == tag).all(axis=1)
        if not equal.all():
            same += int(np.argmin(equal))
            break
        same += len(equal)
        look *= 2
    return records[:same, position - start :], start + same * record
