"""Reader and writer of ``.safetensors``: eight bytes of header length, a JSON header, and the arrays in a row.

The format is described in github.com/huggingface/safetensors, ``README.md``; this reader refuses every file that the
original refuses (``safetensors/src/tensor.rs``, ``Metadata::validate``). It exists because numpy and Pillow are the
only hard dependencies of the package.
"""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO, Dict, List, Mapping, Tuple

import numpy as np

from ..errors import FormatError
from . import mapped

MAX_HEADER = 100_000_000  # bytes; MAX_HEADER_SIZE of safetensors/src/tensor.rs
MAX_JSON_PARTS = 1_000_000  # lists, objects and commas: bounds what parsing a hostile header can allocate
MAX_DIMENSIONS = 32  # numpy before 2.0 has no more
MAX_DIGITS = 19  # of a number in the header; enough for 2**63 - 1
ALIGNMENT = 8  # bytes, of the data in the file; the original writer pads the header alike

_DTYPES: Dict[str, np.dtype] = {
    name: np.dtype(code)
    for name, code in {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "I64": "<i8",
        "I32": "<i4",
        "I16": "<i2",
        "I8": "|i1",
        "U64": "<u8",
        "U32": "<u4",
        "U16": "<u2",
        "U8": "|u1",
        "BOOL": "|b1",
    }.items()
}
_BF16 = "BF16"  # numpy has no such type; it is converted to float32, which is exact
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def read(stream: BinaryIO, size: int) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """Read the arrays and the metadata of an open file of ``size`` bytes.

    The arrays are read-only views of the bytes of :func:`.mapped.view_of`; only BF16 arrays are copies.

    :raises FormatError: if anything in the header is wrong, before any array is made.
    """
    header, start = _read_header(stream, size)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError("its metadata is not text")
    entries = {name: _entry(name, info) for name, info in header.items()}
    _check_cover(entries, size - start)
    data = mapped.view_of(stream, size)
    return {name: _view(data, start, entry) for name, entry in entries.items()}, metadata


def write(stream: BinaryIO, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write C-contiguous little-endian arrays, wider types first, so that each array is aligned."""
    header: Dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    order = sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize)
    begin = 0
    for name in order:
        array = arrays[name]
        if array.dtype not in _NAMES:
            raise FormatError(f"the format has no type for {array.dtype}")
        end = begin + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
        begin = end
    try:
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError("a name or the metadata is not valid text") from None
    text += b" " * (-len(text) % ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise FormatError(f"its header would be {len(text)} bytes, the format allows {MAX_HEADER}")
    stream.write(struct.pack("<Q", len(text)) + text)
    for name in order:
        stream.write(arrays[name].reshape(-1).data)


def _read_header(stream: BinaryIO, size: int) -> Tuple[Dict[str, Any], int]:
    """Return the parsed header and the offset of the data."""
    if size < 8:
        raise FormatError(f"{size} bytes are too few for a safetensors file")
    (length,) = struct.unpack("<Q", _exactly(stream, 8))
    if length > MAX_HEADER:
        raise FormatError(f"its header claims {length} bytes, more than the {MAX_HEADER} allowed")
    if 8 + length > size:
        raise FormatError(f"its header claims {length} bytes, but the file has {size}")
    raw = _exactly(stream, length)
    if sum(raw.count(mark) for mark in (b"[", b"{", b",")) > MAX_JSON_PARTS:
        raise FormatError(f"its header has more than {MAX_JSON_PARTS} parts")
    try:
        header = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_small_int,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except (ValueError, RecursionError):
        raise FormatError("its header is not valid JSON") from None
    if not isinstance(header, dict):
        raise FormatError("its header is not a JSON object")
    return header, 8 + length


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise FormatError("it ended early")
    return data


def _unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise FormatError("its header has the same key twice")
    return result


def _small_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise FormatError(f"its header has a number of {len(digits)} digits")
    return int(digits)


def _no_number(text: str) -> float:
    raise FormatError(f"its header has the number {text[:MAX_DIGITS]} where only whole ones belong")


def _entry(name: str, info: Any) -> Tuple[str, Tuple[int, ...], int, int]:
    """Return (type, shape, begin, end) of the array ``name``.

    :raises FormatError: if they are not valid, or contradict each other.
    """
    if not isinstance(info, dict) or set(info) != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"the entry of {name!r:.100} must have dtype, shape and data_offsets")
    kind, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(kind, str) or (kind not in _DTYPES and kind != _BF16):
        raise FormatError(f"{name!r:.100} has the unknown type {kind!r:.40}")
    if not _counts(shape) or len(shape) > MAX_DIMENSIONS:
        raise FormatError(f"the shape of {name!r:.100} is not a list of at most {MAX_DIMENSIONS} sizes")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise FormatError(f"the offsets of {name!r:.100} are not a begin and an end")
    itemsize = _DTYPES[kind].itemsize if kind in _DTYPES else 2
    expected, extent = itemsize, itemsize
    for side in shape:
        expected *= side
        extent *= max(side, 1)  # numpy refuses an empty array whose other sides overflow
        if extent > 2**62:
            raise FormatError(f"the shape of {name!r:.100} is too large")
    if expected != offsets[1] - offsets[0]:
        raise FormatError(
            f"{name!r:.100} has {offsets[1] - offsets[0]} bytes, but its shape {shape} of {kind} needs {expected}"
        )
    return kind, tuple(shape), offsets[0], offsets[1]


def _counts(values: Any) -> bool:
    """Whether ``values`` is a list of whole numbers from 0 up; true and false are not numbers."""
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_cover(entries: Mapping[str, Tuple[str, Tuple[int, ...], int, int]], available: int) -> None:
    """Check that the arrays lie end to end and fill the data: no overlap, no hole, nothing past the end."""
    position = 0
    for begin, end, name in sorted((entry[2], entry[3], name) for name, entry in entries.items()):
        if begin != position:
            kind = "overlaps the array before it" if begin < position else "leaves a hole before it"
            raise FormatError(f"{name!r:.100} {kind}")
        position = end
        if position > available:
            raise FormatError(
                f"{name!r:.100} ends at byte {position} of the data, but there are {available} (is the file cut short?)"
            )
    if position != available:
        raise FormatError(f"its arrays fill {position} bytes of the data, but there are {available}")


def _view(data: memoryview, start: int, entry: Tuple[str, Tuple[int, ...], int, int]) -> np.ndarray:
    kind, shape, begin, end = entry
    dtype = _DTYPES.get(kind, np.dtype("<u2"))
    flat = np.frombuffer(data, dtype, (end - begin) // dtype.itemsize, start + begin)
    if kind == _BF16:
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(shape)
