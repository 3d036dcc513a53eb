"""Reader and writer of ``.npz``: numpy's zip archive of ``.npy`` files, without pickle.

The metadata, which the format has no place for, is a uint8 array ``__metadata__`` of JSON in UTF-8; ``numpy.load``
shows it as one more array.
"""

from __future__ import annotations

import json
import zipfile
from typing import Any, BinaryIO, Dict, Mapping, Tuple

import numpy as np
from numpy.lib import format as npy

from ..errors import FormatError

# What an archive may unpack to, so that a zip bomb is refused before a byte of it is unpacked. Deflate reaches a
# factor of about 1000 on zeros; trained weights stay below 2, and even quantized ones well below the factor here.
MAX_FACTOR = 32  # times the size of the file
MIN_LIMIT = 64 << 20  # bytes that are always allowed
MAX_NPY_HEADER = 1024  # bytes; numpy writes about 120 for plain numbers. It is evaluated as a Python literal.

_METADATA = "__metadata__"
_PLAIN = "biuf"


def read(stream: BinaryIO, size: int) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """The arrays and the metadata of an open file of ``size`` bytes.

    The members may unpack to 64 MiB or 32 times the size of the file, whichever is more.

    :raises FormatError: if anything is wrong.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            members = _check_members(archive, max(MIN_LIMIT, MAX_FACTOR * size))
            arrays = {name: _read_array(archive, name, info) for name, info in members.items()}
    except FormatError:
        raise
    except Exception as error:  # noqa: BLE001 - zipfile, zlib and numpy raise a dozen kinds on damaged bytes
        raise FormatError("it is not a sound npz archive (%s)" % (str(error) or type(error).__name__)) from None
    return arrays, _metadata(arrays.pop(_METADATA, None))


def write(stream: BinaryIO, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write C-contiguous little-endian arrays, stored without compression: weights hardly shrink."""
    members = dict(arrays)
    if metadata:
        members[_METADATA] = np.frombuffer(json.dumps(dict(metadata)).encode("ascii"), np.uint8)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, array in members.items():
            info = zipfile.ZipInfo(name + ".npy")  # its fixed date makes equal weights equal files
            with archive.open(info, "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)


def _check_members(archive: zipfile.ZipFile, limit: int) -> Dict[str, zipfile.ZipInfo]:
    """Array name -> member, after what the directory of the archive declares has been checked."""
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
        shape, fortran, dtype, length = _npy_header(member, name)
        expected = dtype.itemsize
        for side in shape:
            expected *= side
        if any(type(side) is not int or side < 0 for side in shape) or length + expected != info.file_size:
            raise FormatError(
                f"the array {name!r:.100} of shape {shape} does not fit its {info.file_size - length} bytes"
            )
        data = member.read(expected)
        if len(data) != expected or member.read(1):  # the last read is also what checks the checksum
            raise FormatError(f"the array {name!r:.100} is cut short")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _npy_header(member: Any, name: str) -> Tuple[Tuple[int, ...], bool, np.dtype, int]:
    """(shape, Fortran order, dtype, length of the header in bytes) of the ``.npy`` file at the start of ``member``."""
    counted = _Counted(member)
    version = npy.read_magic(counted)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise FormatError("the array %.100r has the npy version %d.%d" % (name, *version))
    shape, fortran, dtype = readers[version](counted)
    if dtype.kind not in _PLAIN or dtype.itemsize > 8 or dtype.hasobject:
        raise FormatError(f"the array {name!r:.100} must hold plain numbers, not {dtype}")
    return shape, fortran, dtype, counted.count


class _Counted:
    """A stream that counts what was read and refuses to give a header of unreasonable length."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.count = stream, 0

    def read(self, count: int) -> bytes:
        if count > MAX_NPY_HEADER:
            raise FormatError(f"an array has a header of {count} bytes")
        data = self.stream.read(count)
        self.count += len(data)
        return data


def _metadata(array: Any) -> Dict[str, str]:
    if array is None:
        return {}
    try:
        metadata = json.loads(array.tobytes().decode("utf-8"))
    except (ValueError, RecursionError):
        raise FormatError("its metadata is not valid JSON") from None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError("its metadata is not text")
    return metadata
