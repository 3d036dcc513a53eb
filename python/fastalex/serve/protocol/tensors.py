"""Tensors of the protocol as numpy arrays: their datatypes, from JSON and binary data and back.

Binary data is little-endian, in row-major order, without gaps; an element of BYTES is its length in 4 bytes and then
its bytes. FP16 exists in binary data only.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ..._util.arguments import brief, is_int
from .errors import malformed, unusable

BYTES = "BYTES"
DTYPES: Dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP16": np.dtype("<f2"), "UINT8": np.dtype("u1")}
DATATYPES = (*DTYPES, BYTES)

MAX_DIMS = 8
MAX_LENGTH = 2**31 - 1  # of one axis and of all values together; more do not fit into a request
_PREFIX = struct.Struct("<I")

Values = Union[np.ndarray, List[bytes]]


class Tensor(NamedTuple):
    """A named tensor; ``values`` are an array of ``shape``, or for BYTES a flat list."""

    name: str
    datatype: str
    shape: Tuple[int, ...]
    values: Values


def read_shape(name: str, value: Any) -> Tuple[int, ...]:
    """Return the shape of the tensor ``name`` as it stands in JSON.

    :raises ServiceError: if it is not a list of whole numbers from 0 on.
    """
    if not isinstance(value, list) or len(value) > MAX_DIMS or not all(is_int(n) and n >= 0 for n in value):
        raise malformed(
            f"'shape' of '{name}' must be a list of at most {MAX_DIMS} whole numbers from 0 on, not {brief(value)}"
        )
    if max(value, default=0) > MAX_LENGTH or math.prod(value) > MAX_LENGTH:
        raise malformed(f"'shape' of '{name}' has more than {MAX_LENGTH} values")
    return tuple(value)


def from_binary(name: str, datatype: str, shape: Tuple[int, ...], data: memoryview) -> Values:
    """Return the values of binary ``data``: an array that shares its memory, if that is aligned, or a list of bytes.

    :raises ServiceError: if its length is not that of ``shape``.
    """
    if datatype == BYTES:
        return _split(name, math.prod(shape), data)
    dtype = DTYPES[datatype]
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise malformed(f"'{name}', {datatype} {list(shape)}, takes {expected} bytes of binary data, not {len(data)}")
    # The JSON before it may have any length, and the engine reads whole words.
    return np.require(np.frombuffer(data, dtype).reshape(shape), requirements="A")


def _split(name: str, count: int, data: memoryview) -> List[bytes]:
    """Split binary data of BYTES into its ``count`` elements."""
    elements: List[bytes] = []
    at, end = 0, len(data)
    while at < end and len(elements) < count:
        if at + _PREFIX.size > end:
            break
        start = at + _PREFIX.size
        at = start + _PREFIX.unpack_from(data, at)[0]
        if at > end:
            raise malformed(
                f"element {len(elements)} of '{name}' is {at - start} bytes by its prefix, but {end - start} follow"
            )
        elements.append(bytes(data[start:at]))
    if at != end or len(elements) != count:
        raise malformed(f"the binary data of '{name}' must be {count} elements, each with its length in 4 bytes before")
    return elements


def from_json(name: str, datatype: str, shape: Tuple[int, ...], data: Any) -> Values:
    """Return the values of ``data``, a flat or nested list from JSON; elements of BYTES are base64.

    :raises ServiceError: if it is not a list of such values, or has another length than ``shape``.
    """
    if datatype == "FP16":
        raise malformed(f"'{name}' is FP16, which JSON does not have: send FP32, or FP16 as binary data")
    if not isinstance(data, list):
        raise malformed(f"'data' of '{name}' must be a list, not {brief(data)}")
    if datatype == BYTES:
        texts = [element for row in data for element in (row if isinstance(row, list) else (row,))]
        _check_count(name, shape, len(texts))
        return [_base64(name, index, text) for index, text in enumerate(texts)]
    values = _numbers(name, datatype, data)
    _check_count(name, shape, values.size)
    if values.ndim > 1 and values.shape != shape:
        raise malformed(f"'data' of '{name}' is nested as {list(values.shape)}, but its 'shape' is {list(shape)}")
    return values.reshape(shape)


def _check_count(name: str, shape: Tuple[int, ...], count: int) -> None:
    if count != math.prod(shape):
        raise malformed(f"'data' of '{name}' has {count} values, but its 'shape' {list(shape)} has {math.prod(shape)}")


def _numbers(name: str, datatype: str, data: List[Any]) -> np.ndarray:
    try:
        values = np.array(data if _are_numbers(data) else None)
    except (ValueError, OverflowError):  # rows of different lengths
        values = np.array(None)
    whole = values.size == 0 or values.dtype.kind in "iu"
    if datatype == "UINT8":
        if not whole or (values.size and not 0 <= values.min() <= values.max() <= 255):
            raise malformed(f"'data' of '{name}' must be whole numbers from 0 to 255")
    elif not whole and values.dtype.kind != "f":
        raise malformed(f"'data' of '{name}' must be numbers, flat or nested as its shape")
    with np.errstate(over="ignore"):
        return values.astype(DTYPES[datatype])


def _are_numbers(data: List[Any], depth: int = MAX_DIMS) -> bool:
    """Whether nested lists hold numbers alone. Of texts numpy would make an array as wide as the longest of them."""
    kinds = set(map(type, data))
    if kinds <= {int, float}:
        return True
    return depth > 1 and kinds == {list} and all(_are_numbers(row, depth - 1) for row in data)


def _base64(name: str, index: int, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else _refuse()
    except (ValueError, binascii.Error):
        raise malformed(
            f"element {index} of '{name}' is not base64, which JSON needs for bytes; binary data needs no such coding"
        ) from None


def _refuse() -> bytes:
    raise ValueError


def to_binary(values: Values) -> bytes:
    """Return a float32 array or a list of bytes as binary data."""
    if isinstance(values, list):
        return b"".join(part for element in values for part in (_PREFIX.pack(len(element)), element))
    return np.ascontiguousarray(values, "<f4").tobytes()


def to_json(name: str, values: Values) -> List[Any]:
    """Return a float32 array, or a list of bytes that are UTF-8, as a flat list for JSON.

    :raises ServiceError: for NaN and infinity, which JSON lacks.
    """
    if isinstance(values, list):
        return [element.decode() for element in values]
    if not np.isfinite(values).all():
        raise unusable(f"'{name}' has NaN or infinity, which JSON lacks; ask for it as binary data")
    numbers: List[Any] = values.ravel().tolist()
    return numbers


def classify(values: np.ndarray, count: int, labels: Optional[Sequence[str]]) -> Tuple[Tuple[int, int], List[bytes]]:
    """Return the ``count`` largest values of each image as Triton writes them, ``value:index:label``.

    :param values: float32 ``[N, ...]``; the axes after the first count as one.
    :param labels: the name of each value of an image, or None.
    :returns: the shape ``[N, count]``, where count is at most the values of an image, and the flat list.
    """
    rows = values.reshape(len(values), -1)
    best = largest(rows, count)
    elements = [
        (f"{row[index]:f}:{index}:{labels[index]}" if labels else f"{row[index]:f}:{index}").encode()
        for row, indices in zip(rows, best)
        for index in indices.tolist()
    ]
    return best.shape, elements


def largest(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the ``count`` largest values of each row, the largest first, of equal ones the lower index.

    :param rows: float32 ``[N, M]``. NaN counts as larger than any number, as in :meth:`fastalex.AlexNet.top_k`.
    :returns: ``[N, min(count, M)]``.
    """
    ranks = np.where(np.isnan(rows), -np.inf, -rows)
    return np.argsort(ranks, axis=1, kind="stable")[:, :count]
