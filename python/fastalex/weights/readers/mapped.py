"""The bytes of a file, mapped or read, and arrays of a checked shape over parts of them, for all readers.

A large file is mapped: its arrays are views of it, and a program needs no memory for those that it does not use. A
mapping shows the file as it is at any time. If another program cuts the file short, reading what is gone gives zeros up
to the end of its page, and ends this process by a signal after it, so a mapping is checked just before its arrays are
used (:func:`check_whole`); a file that is cut short in that very moment cannot be noticed in time. A file that is
replaced, as :func:`fastalex.weights.save` does, keeps its mapping. Files of up to :data:`SMALL` bytes, the arrays of up
to :data:`SMALL_ARRAY` bytes of larger ones, and all files within :func:`reading` are read instead.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any, BinaryIO, Dict, Iterable, Iterator, Mapping, Optional, Sequence, Tuple

import numpy as np

from ... import _core
from ...errors import UserError
from ..errors import FormatError
from ..graph import shown

SMALL = 8 << 20  # bytes of a file that is read whole
SMALL_ARRAY = 64 << 10  # bytes of an array that is read when its file is
_CUT_SHORT = "was cut short while it was in use; load it again, and replace such a file instead of writing to it"
_SHOWN_NAME = 1000  # characters
INTERVAL_S = 0.003  # seconds, in which a few megabytes are copied
MAX_DIMENSIONS = 32  # numpy before 2.0 has no more
MAX_ELEMENTS = 2**62  # numpy refuses an empty array whose other sides overflow


_here = threading.local()


class _MappedFile(_core.Mapping):
    """A mapping that can tell whether the file of its path is still the one that was mapped."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__(stream.fileno(), size, _name_of(stream))
        name = getattr(stream, "name", None)
        self._path = name if isinstance(name, (str, bytes)) else None  # a number, if it is a temporary file
        with contextlib.suppress(OSError):  # the working folder is gone
            self._path = self._path and os.path.abspath(self._path)
        self._status = os.fstat(stream.fileno())

    def is_cut(self) -> bool:
        """Return whether the file has become shorter; False if it is no longer at its path.

        The probe of :meth:`is_whole` knows nothing of the bytes that are missing from a last page.
        """
        try:
            now = os.stat(self._path) if self._path else None
        except OSError:
            return False
        return now is not None and os.path.samestat(now, self._status) and now.st_size < len(self)


@contextlib.contextmanager
def reading(wanted: bool = True) -> Iterator[None]:
    """Within this block the calling thread reads files whole instead of mapping them, if that is ``wanted``."""
    before = _is_reading()
    _here.reading = wanted
    try:
        yield
    finally:
        _here.reading = before


def _is_reading() -> bool:
    return getattr(_here, "reading", False)


def view_of(stream: BinaryIO, size: int) -> memoryview:
    """Return the ``size`` bytes of an open file, read-only; those of a large file are mapped.

    A mapping keeps no descriptor open, and lives as long as any view of it.

    :raises FormatError: for an empty file, and one that has become shorter than ``size``.
    """
    if size == 0:
        raise FormatError("it is empty")
    if size > SMALL and not _is_reading():
        try:
            return memoryview(_MappedFile(stream, size))
        except ValueError:
            raise FormatError("it " + _CUT_SHORT) from None
    position = stream.tell()
    stream.seek(0)
    content = stream.read(size)
    stream.seek(position)
    if len(content) != size:
        raise FormatError("it " + _CUT_SHORT)
    return memoryview(content)


def without_small(arrays: Mapping[str, Any]) -> Dict[str, Any]:
    """Return ``arrays`` with copies of those that are small and mapped.

    :raises UserError: if their file has been cut short.
    """
    check_whole(arrays.values())
    return {name: _copied(array) if _is_small_view(array) else array for name, array in arrays.items()}


def check_whole(arrays: Iterable[Any]) -> None:
    """Check that the files that ``arrays`` are mapped from still have all their bytes.

    :raises UserError: if one has not, or too many files are open to find out.
    """
    for mapping in _mappings(arrays):
        name = shown(mapping.name, _SHOWN_NAME) or "the file of the weights"
        try:
            whole = mapping.is_whole() and not mapping.is_cut()
        except OSError as error:  # the probe needs two descriptors
            raise UserError(f"{name} cannot be checked before it is used: {error.strerror}; close some files") from None
        if not whole:
            raise UserError(f"{name} {_CUT_SHORT}")


def _name_of(stream: BinaryIO) -> str:
    """Return the name of an open file, as far as it can be shown; empty for a temporary one."""
    name = getattr(stream, "name", "")
    return name.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(name, str) else ""


def _copied(array: np.ndarray) -> np.ndarray:
    copy: np.ndarray = array.copy()
    copy.flags.writeable = False
    return copy


def _is_small_view(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.nbytes <= SMALL_ARRAY and _mapping(array) is not None


@contextlib.contextmanager
def reading_once(arrays: Iterable[Any]) -> Iterator[None]:
    """Keep little of the mapped files in memory while ``arrays`` are copied from front to back.

    The pages of a mapped file count as memory of the process once they are read, in addition to the copy. Here they
    are released every few milliseconds; a page that is read again comes from the system's cache.

    :raises UserError: if one of the files has been cut short.
    """
    arrays = list(arrays)
    check_whole(arrays)
    mappings = list(_mappings(arrays))
    if not mappings:
        yield
        return
    done = threading.Event()

    def release() -> None:
        for mapping in mappings:
            mapping.drop_pages()  # the mapping is read-only, so that nothing is lost

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


def _mappings(arrays: Iterable[Any]) -> Iterable[_MappedFile]:
    """Return the mappings of files that ``arrays`` are views of, each once."""
    return {id(whole): whole for whole in map(_mapping, arrays) if whole is not None}.values()


def _mapping(array: Any) -> Optional[_MappedFile]:
    """Return the mapping of a file that ``array`` is a view of, or None."""
    base = getattr(array, "quantized", array)
    while base is not None and not isinstance(base, _MappedFile):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)  # of numpy's as_strided too
    return base


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
