"""What the readers share: the mapping of a file, and an array of a checked shape over part of it."""

from __future__ import annotations

import mmap
from typing import Any, BinaryIO, Iterable, Optional, Sequence, Tuple

import numpy as np

from .safetensors_file import FormatError

MAX_DIMENSIONS = 32  # numpy before 2.0 has no more
MAX_ELEMENTS = 2**62  # numpy refuses an empty array whose other sides overflow


def view_of(stream: BinaryIO, size: int) -> memoryview:
    """The ``size`` bytes of an open file, read-only; the mapping lives as long as any view of it.

    :raises FormatError: for an empty file, which cannot be mapped.
    """
    if size == 0:
        raise FormatError("it is empty")
    return memoryview(mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ))


def let_go(arrays: Iterable[Any]) -> None:
    """Give back the memory that was read of the mappings under ``arrays``; it is read again where it is needed again.

    Until then the pages of a file that has been copied into a net count as memory of the process.
    """
    advice = getattr(mmap, "MADV_DONTNEED", None)  # not on every system
    if advice is None:
        return
    for mapping in {id(found): found for found in map(_mapping, arrays) if found is not None}.values():
        mapping.madvise(advice)


def _mapping(array: Any) -> Optional[mmap.mmap]:
    """The mapping of a file that ``array`` is a view of. It is read-only, so nothing is lost."""
    base = getattr(array, "levels", array)
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, mmap.mmap) else None


def checked_shape(name: str, shape: Sequence[Any]) -> Tuple[int, ...]:
    """``shape`` as a tuple, if numpy can make an array of it.

    :raises FormatError: if it cannot.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise FormatError("%.100r has %d dimensions, more than %d" % (name, len(shape), MAX_DIMENSIONS))
    extent = 1
    for side in shape:
        if type(side) is not int or side < 0:
            raise FormatError("%.100r has a side that is not a whole number from 0 up" % name)
        extent *= max(side, 1)
        if extent > MAX_ELEMENTS:
            raise FormatError("the shape of %.100r is too large" % name)
    return tuple(shape)


def shaped(name: str, flat: np.ndarray, shape: Sequence[Any]) -> np.ndarray:
    """``flat`` as an array of ``shape``, without a copy.

    :raises FormatError: if the counts differ.
    """
    sides = checked_shape(name, shape)
    count = 1
    for side in sides:
        count *= side
    if count != flat.size:
        raise FormatError("%.100r has %d values, but its shape %s needs %d" % (name, flat.size, list(sides), count))
    return flat.reshape(sides)


def widened(flat: np.ndarray) -> np.ndarray:
    """bfloat16, given as uint16, as float32, which is exact; numpy has no such type."""
    return (flat.astype(np.uint32) << 16).view(np.float32)
