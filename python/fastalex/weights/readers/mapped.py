"""What the readers share: the mapping of a file, and an array of a checked shape over part of it."""

from __future__ import annotations

import contextlib
import mmap
import threading
from typing import Any, BinaryIO, Iterable, Iterator, Optional, Sequence, Tuple

import numpy as np

from ..errors import FormatError

SMALL = 8 << 20  # bytes of a file that may stay
INTERVAL_S = 0.003  # some megabytes of copying
MAX_DIMENSIONS = 32  # numpy before 2.0 has no more
MAX_ELEMENTS = 2**62  # numpy refuses an empty array whose other sides overflow


def view_of(stream: BinaryIO, size: int) -> memoryview:
    """The ``size`` bytes of an open file, read-only; the mapping lives as long as any view of it.

    :raises FormatError: for an empty file, which cannot be mapped.
    """
    if size == 0:
        raise FormatError("it is empty")
    return memoryview(mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ))


@contextlib.contextmanager
def reading_once(arrays: Iterable[Any]) -> Iterator[None]:
    """While something copies ``arrays`` from front to back, and afterwards, little of their files is in memory.

    The pages of a mapped file count as memory of the process from their first reading on, beside the copy that is made
    of them. Here they are given back every few milliseconds. One that is read again comes from the system's cache.
    """
    advice = getattr(mmap, "MADV_DONTNEED", None)  # not on every system
    mappings = {id(found): found for found in map(_mapping, arrays) if found is not None and len(found) > SMALL}
    if advice is None or not mappings:
        yield
        return
    done = threading.Event()

    def let_go() -> None:
        for mapping in mappings.values():
            mapping.madvise(advice)  # of a read-only mapping: nothing is lost

    def watch() -> None:
        while not done.wait(INTERVAL_S):
            let_go()

    watcher = threading.Thread(target=watch, name="fastalex-mapped", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        let_go()


def _mapping(array: Any) -> Optional[mmap.mmap]:
    """The mapping of a file that ``array`` is a view of. It is read-only, so nothing is lost."""
    base = getattr(array, "quantized", array)
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, mmap.mmap) else None


def checked_shape(name: str, shape: Sequence[Any]) -> Tuple[int, ...]:
    """``shape`` as a tuple, if numpy can make an array of it.

    :raises FormatError: if it cannot.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise FormatError(f"{name!r:.100} has {len(shape)} dimensions, more than {MAX_DIMENSIONS}")
    extent = 1
    for side in shape:
        if type(side) is not int or side < 0:
            raise FormatError(f"{name!r:.100} has a side that is not a whole number from 0 up")
        extent *= max(side, 1)
        if extent > MAX_ELEMENTS:
            raise FormatError(f"the shape of {name!r:.100} is too large")
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
        raise FormatError(f"{name!r:.100} has {flat.size} values, but its shape {list(sides)} needs {count}")
    return flat.reshape(sides)


def widened(flat: np.ndarray) -> np.ndarray:
    """bfloat16, given as uint16, as float32, which is exact; numpy has no such type."""
    return (flat.astype(np.uint32) << 16).view(np.float32)
