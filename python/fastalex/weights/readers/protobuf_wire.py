"""A reader of protobuf's wire format, so that Caffe and ONNX files can be read without the package protobuf.

The format is described in protobuf.dev/programming-guides/encoding. A message is read field by field from a
memoryview; only runs of unpacked numbers are copied. Every length is checked against the message that contains it.
"""

from __future__ import annotations

from typing import Any, Iterator, List, Tuple

import numpy as np

from ..errors import FormatError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
MAX_FIELDS = 500_000  # of a file, which bounds the time that a hostile one takes; a network has a few hundred
_WIDTHS = {FIXED64: 8, FIXED32: 4}  # bytes
_FIRST_LOOK = 64  # records in the first step of the search for the end of a run of unpacked numbers

Field = Tuple[int, int, Any]


class Budget:
    """The number of fields of a file that may still be read."""

    def __init__(self, fields: int = MAX_FIELDS) -> None:
        self.fields = fields

    def spend(self, count: int = 1) -> None:
        """Count ``count`` fields.

        :raises FormatError: if the file has too many.
        """
        self.fields -= count
        if self.fields < 0:
            raise FormatError(f"it has more than {MAX_FIELDS} fields")


def fields(data: memoryview, budget: Budget) -> Iterator[Field]:
    """Yield (field number, wire type, value) of each field of the message ``data``.

    The value is an int for VARINT and a memoryview for BYTES. For FIXED32 and FIXED64 it is a uint8 array
    ``[n, width]``, which joins all consecutive fields of the same number.

    :raises FormatError: if the bytes are not a message.
    """
    position, end = 0, len(data)
    while position < end:
        budget.spend()
        start = position
        tag, position = varint(data, position)
        number, wire = tag >> 3, tag & 7
        value: Any
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
    """Return the number at ``position``, below 2**64, and the position after it."""
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
    """Return the text of a BYTES field, cut off after 1000 bytes."""
    return bytes(_bytes(value)[:1000]).decode("utf-8", "replace")


def message(value: Any) -> memoryview:
    """Return the bytes of a field that holds a message."""
    return _bytes(value)


def signed(value: Any) -> int:
    """Return the value of an int64 or int32 field, whose varint is in two's complement."""
    if not isinstance(value, int):
        raise FormatError("it has bytes where a number belongs")
    return value - 2**64 if value >= 2**63 else value


def single(value: Any) -> float:
    """Return the value of a float field, the last one if there are several."""
    if not isinstance(value, np.ndarray) or value.shape[1] != 4:
        raise FormatError("it has something else where a float belongs")
    return float(np.frombuffer(value[-1].tobytes(), "<f4")[0])


def integers(wire: int, value: Any, budget: Budget) -> List[int]:
    """Return the numbers of a repeated varint field, which is packed or has one number."""
    if wire == VARINT:
        return [signed(value)]
    data, position, result = _bytes(value), 0, []
    while position < len(data):
        budget.spend()
        number, position = varint(data, position)
        result.append(signed(number))
    return result


def numbers(value: Any, dtype: str) -> np.ndarray:
    """Return the numbers of a repeated fixed-width field: a view if they are packed, else a copy."""
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
    """Join the parts of a field that the writer has split; a single part is returned without a copy."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _bytes(value: Any) -> memoryview:
    if not isinstance(value, memoryview):
        raise FormatError("it has a number where bytes belong")
    return value


def _run(data: memoryview, start: int, position: int, width: int) -> Tuple[np.ndarray, int]:
    """Return the bytes ``[n, width]`` of consecutive numbers with the same tag, and the position after them.

    The first tag is at ``start``, its number at ``position``.
    """
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
