"""Arrays and scalars of numpy in a pickle: the functions that their pickles call, and arrays made on request.

The functions and the states are those of github.com/numpy/numpy, ``numpy/_core/src/multiarray/methods.c``
(``array_reduce``, ``array_setstate``) and ``descriptor.c`` (``arraydescr_reduce``, ``arraydescr_setstate``).
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict

import numpy as np

from ..errors import FormatError
from . import mapped
from .placeholders import Placeholder

_PLAIN = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split())


class StoredType:
    """A dtype: ``code`` such as ``f4``, and the byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def build(self, state: Any) -> None:
        """Take the state of a pickled dtype, of which only the byte order matters."""
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise FormatError("its pickle has an invalid type of numpy")
        self.order = state[1]

    def dtype(self, name: str) -> np.dtype:
        """Return the dtype of the array ``name``.

        :raises FormatError: if it is not of plain numbers.
        """
        if self.code not in _PLAIN:
            raise FormatError(f"the array {name!r:.100} must hold plain numbers, not {self.code!r:.20}")
        return np.dtype((">" if self.order == ">" else "<") + self.code)


class StoredArray:
    """An array of numpy. ``data`` is bytes or a view of them, or a list of the elements of an array of objects.

    Text is converted once, when it is given: the same array may be at many places.
    """

    __slots__ = ("data", "fortran", "shape", "type")

    def __init__(self, shape: Any = (0,), kind: Any = None, data: Any = b"", fortran: bool = False) -> None:
        self.shape, self.type, self.data, self.fortran = shape, kind, data, fortran

    def build(self, state: Any) -> None:
        """Take the state of a pickled array: version, shape, dtype, whether in Fortran's order, values."""
        if type(state) is not tuple or len(state) != 5 or type(state[1]) is not tuple:
            raise FormatError("its pickle has an invalid array of numpy")
        self.shape, self.type, self.fortran = state[1], state[2], bool(state[3])
        self.data = _converted(state[4])

    def array(self, name: str) -> np.ndarray:
        """Return the array, a view of the file if its values are stored there in one piece.

        :raises FormatError: if it is not of plain numbers, or its values do not fit its shape.
        """
        if type(self.type) is not StoredType:
            raise FormatError(f"the array {name!r:.100} has no type")
        dtype = self.type.dtype(name)
        shape = mapped.checked_shape(name, self.shape)
        data = _bytes(self.data)
        if len(data) != math.prod(shape) * dtype.itemsize:
            raise FormatError(f"the array {name!r:.100} of shape {shape} does not fit its {len(data)} bytes")
        array = np.frombuffer(data, dtype).reshape(shape, order="F" if self.fortran else "C")
        array.flags.writeable = False
        return array

    def objects(self) -> Any:
        """Return the single element of an array of objects without dimensions, else None."""
        return self.data[0] if self.shape == () and type(self.data) is list and len(self.data) == 1 else None


def _converted(data: Any) -> Any:
    """Return ``data``, or its bytes if it is a str of Python 2."""
    if not isinstance(data, str):
        return data
    try:
        return data.encode("latin-1")
    except UnicodeEncodeError:
        raise FormatError("its pickle has an array of text") from None


def _bytes(data: Any) -> Any:
    if not isinstance(data, (bytes, memoryview)):
        raise FormatError("its pickle has an array without values")
    return data


def _reconstruct(*_: Any) -> StoredArray:
    return StoredArray()


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any = "C", *_: Any) -> StoredArray:
    return StoredArray(shape if type(shape) is tuple else (), kind, _converted(data), order == "F")


def _dtype(code: Any = "", *_: Any) -> StoredType:
    return StoredType(code if type(code) is str else "")


def _scalar(*_: Any) -> Placeholder:
    return Placeholder("numpy.number")


def _encode(text: Any = "", encoding: Any = "", *_: Any) -> bytes:
    """Return the bytes that protocol 2 writes as text."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise FormatError("its pickle encodes something that is not text")
    raw: bytes = _converted(text)
    return raw


FUNCTIONS: Dict[str, Callable[..., Any]] = {"numpy.dtype": _dtype, "_codecs.encode": _encode}
for _module in ("numpy.core", "numpy._core"):
    FUNCTIONS[_module + ".multiarray._reconstruct"] = _reconstruct
    FUNCTIONS[_module + ".multiarray.scalar"] = _scalar
    FUNCTIONS[_module + ".numeric._frombuffer"] = _from_buffer
