"""Reader and writer of ``.npz``: numpy's zip archive of ``.npy`` files, without pickle.

The format has no place for metadata, so it is stored as a uint8 array ``__metadata__`` of JSON in UTF-8, which
``numpy.load`` shows as one more array.
"""

from __future__ import annotations

import json
import zipfile
from typing import Any, BinaryIO, Dict, Mapping, Tuple

import numpy as np
from numpy.lib import format as npy

from ..._util import bounded_json
from ..errors import FormatError

# Limits of the unpacked size, so that a zip bomb is refused before a byte of it is unpacked. Deflate reaches a factor
# of about 1000 on zeros; trained weights stay below 2, and even quantized ones well below the factor here.
MAX_FACTOR = 32  # sizes of the file
MIN_LIMIT = 64 << 20  # bytes that are always allowed
MAX_METADATA = 128 << 20  # characters; nearly all are a mean image
MAX_METADATA_PARTS = 1_000_000  # lists, objects and commas, with those inside of the values
SHOWN_REASON = 200  # characters of zipfile's reason, which may repeat a name of the archive
MAX_NPY_HEADER = 1024  # bytes; numpy evaluates a header as a Python literal, of about 120 bytes for plain numbers

_METADATA = "__metadata__"
_PLAIN = "biuf"


def read(stream: BinaryIO, size: int) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """Read the arrays and the metadata of an open file of ``size`` bytes.

    The members may unpack to 64 MiB or 32 times the size of the file, whichever is larger.

    :raises FormatError: if anything is wrong.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            members = _check_members(archive, max(MIN_LIMIT, MAX_FACTOR * size))
            arrays = {name: _read_array(archive, name, info) for name, info in members.items()}
    except FormatError:
        raise
    except Exception as error:  # noqa: BLE001 - zipfile, zlib and numpy raise a dozen kinds on damaged bytes
        reason = (str(error) or type(error).__name__)[:SHOWN_REASON]
        raise FormatError(f"it is not a valid npz archive ({reason})") from None
    return arrays, _metadata(arrays.pop(_METADATA, None))


def write(stream: BinaryIO, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write C-contiguous little-endian arrays without compression, which hardly shrinks weights."""
    members = dict(arrays)
    if metadata:
        members[_METADATA] = np.frombuffer(json.dumps(dict(metadata)).encode("ascii"), np.uint8)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, array in members.items():
            info = zipfile.ZipInfo(name + ".npy")  # the date is fixed, so that equal weights give equal files
            with archive.open(info, "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)


def _check_members(archive: zipfile.ZipFile, limit: int) -> Dict[str, zipfile.ZipInfo]:
    """Return the members by array name, after checking the directory of the archive.

    :raises FormatError: for a member that numpy would not write, or a total size above ``limit``.
    """
    members: Dict[str, zipfile.ZipInfo] = {}
    total = 0
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            raise FormatError(f"its member {info.filename!r:.100} is not an array")
        name = info.filename[: -len(".npy")]
        if name in members:
            raise FormatError(f"it has the array {name!r:.100} twice")
        if info.flag_bits & 1:
            raise FormatError(f"the array {name!r:.100} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FormatError(f"the array {name!r:.100} is compressed in a way that numpy does not write")
        total += info.file_size
        members[name] = info
    if total > limit:
        raise FormatError(f"it would unpack to {total} bytes, more than the {limit} allowed")
    return members


def _read_array(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        shape, fortran, dtype, length = npy_header(member, name)
        expected = dtype.itemsize
        for side in shape:
            expected *= side
        if any(type(side) is not int or side < 0 for side in shape) or length + expected != info.file_size:
            raise FormatError(
                f"the array {name!r:.100} of shape {shape} does not fit its {info.file_size - length} bytes"
            )
        data = member.read(expected)
        if len(data) != expected or member.read(1):  # the last read also verifies the checksum
            raise FormatError(f"the array {name!r:.100} is cut short")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def npy_header(member: Any, name: str) -> Tuple[Tuple[int, ...], bool, np.dtype, int]:
    """Read the header of the ``.npy`` file ``member`` of plain numbers, as :func:`any_npy_header` does."""
    shape, fortran, dtype, length = any_npy_header(member, name)
    if dtype.kind not in _PLAIN or dtype.itemsize > 8 or dtype.hasobject:
        raise FormatError(f"the array {name!r:.100} must hold plain numbers, not {dtype}")
    return shape, fortran, dtype, length


def any_npy_header(member: Any, name: str) -> Tuple[Tuple[int, ...], bool, np.dtype, int]:
    """Read the header of the ``.npy`` file ``member``: (shape, Fortran order, dtype, bytes of the header).

    :raises FormatError: if it is not valid.
    """
    counted = _Counted(member)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    try:
        version = npy.read_magic(counted)
        if version not in readers:
            raise FormatError(f"the array {name!r:.100} has the npy version {version[0]}.{version[1]}")
        shape, fortran, dtype = readers[version](counted)
    except FormatError:
        raise
    except Exception:  # noqa: BLE001 - numpy and Python's parser raise a dozen kinds, MemoryError for many brackets
        raise FormatError(f"the array {name!r:.100} has no valid npy header") from None
    return shape, fortran, dtype, counted.count


class _Counted:
    """A stream that counts the bytes read and refuses a header of unreasonable length."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.count = stream, 0

    def read(self, count: int = -1, /) -> bytes:
        if count > MAX_NPY_HEADER:
            raise FormatError(f"an array has a header of {count} bytes")
        data: bytes = self.stream.read(count)
        self.count += len(data)
        return data


def _metadata(array: Any) -> Dict[str, str]:
    if array is None:
        return {}
    try:
        metadata = bounded_json.loads(array.tobytes().decode("utf-8"), MAX_METADATA, MAX_METADATA_PARTS)
    except ValueError:
        raise FormatError("its metadata is not valid JSON, or too long") from None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError("its metadata is not text")
    return metadata
