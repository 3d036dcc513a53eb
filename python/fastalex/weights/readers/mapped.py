"""The mapping of a file, and arrays of a checked shape over parts of it, for all readers."""

from __future__ import annotations

import contextlib
import mmap
import threading
from typing import Any, BinaryIO, Iterable, Iterator, Optional, Sequence, Tuple

import numpy as np

from ..errors import FormatError

SMALL = 8 << 20  # bytes; the pages of smaller files may stay in memory
INTERVAL_S = 0.003  # seconds, in which a few megabytes are copied
MAX_DIMENSIONS = 32  # numpy before 2.0 has no more
MAX_ELEMENTS = 2**62  # numpy refuses an empty array whose other sides overflow


def view_of(stream: BinaryIO, size: int) -> memoryview:
    """Map the ``size`` bytes of an open file, read-only. The mapping lives as long as any view of it.

    :raises FormatError: for an empty file, which cannot be mapped.
    """
    if size == 0:
        raise FormatError("it is empty")
    return memoryview(mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ))


@contextlib.contextmanager
def reading_once(arrays: Iterable[Any]) -> Iterator[None]:
    """Keep little of the mapped files in memory while ``arrays`` are copied from front to back.

    The pages of a mapped file count as memory of the process once they are read, in addition to the copy. Here they
    are released every few milliseconds; a page that is read again comes from the system's cache.
    """
    advice = getattr(mmap, "MADV_DONTNEED", None)  # missing on some systems
    mappings = {id(whole): whole for whole in map(_mapping, arrays) if whole is not None and len(whole) > SMALL}
    if advice is None or not mappings:
        yield
        return
    done = threading.Event()

    def release() -> None:
        for mapping in mappings.values():
            mapping.madvise(advice)  # the mapping is read-only, so that nothing is lost

    def watch() -> None:
        while not done.wait(INTERVAL_S):
            release()

    watcher = threading.Thread(target=watch, name="fastalex-mapped", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        release()


def _mapping(array: Any) -> Optional[mmap.mmap]:
    """Return the mapping of a file that ``array`` is a view of, or None."""
    base = getattr(array, "quantized", array)
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, mmap.mmap) else None


def checked_shape(name: str, shape: Sequence[Any]) -> Tuple[int, ...]:
    """Return ``shape`` as a tuple after checking that numpy can make an array of it.

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
    """Return ``flat`` as an array of ``shape``, without a copy.

    :raises FormatError: if the numbers of values differ.
    """
    sides = checked_shape(name, shape)
    count = 1
    for side in sides:
        count *= side
    if count != flat.size:
        raise FormatError(f"{name!r:.100} has {flat.size} values, but its shape {list(sides)} needs {count}")
    return flat.reshape(sides)


def widened(flat: np.ndarray) -> np.ndarray:
    """Convert bfloat16, which numpy lacks and which is passed as uint16, to float32. This is exact."""
    return (flat.astype(np.uint32) << 16).view(np.float32)
