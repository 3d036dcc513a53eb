"""The tensors and storages in a pickle of ``torch.save``, and the table of globals that it may name."""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Any, Callable, Dict, Literal, NamedTuple, Optional, Tuple

import numpy as np

from ...errors import FormatError
from ...graph import shown
from .. import numpy_pickles
from ..pickle_machine import Function, Name, safe_key
from ..placeholders import ClassName

ByteOrder = Literal["<", ">"]

MAX_MEMBERS = 100_000  # of an archive
MAX_TENSORS = 100_000
DTYPES = {
    "Float": "f4",
    "Double": "f8",
    "Half": "f2",
    "BFloat16": "bf16",
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
}
_NEW_DTYPES = {  # torch.<name> of an untyped storage
    "float32": "f4",
    "float64": "f8",
    "float16": "f2",
    "bfloat16": "bf16",
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint8": "u1",
    "uint16": "u2",
    "uint32": "u4",
    "uint64": "u8",
    "bool": "?",
}
_UNTYPED = "u1"  # an untyped storage counts bytes
_REBUILD = "torch._utils._rebuild_"  # start of the names of functions that make tensors


class Storage(NamedTuple):
    """A run of numbers. Their bytes are located by ``key`` after the whole pickle is read."""

    dtype: str
    size: int  # in elements
    key: Any
    offset: int = 0  # in elements, of a view in the storage ``key``
    locate: Optional[Callable[[Any], Tuple[memoryview, ByteOrder]]] = None  # key -> bytes and their order


class Tensor(NamedTuple):
    """A strided view of a storage; offset and strides are in elements and come unchecked from the pickle."""

    storage: Storage
    offset: int
    shape: Tuple[int, ...]
    stride: Tuple[int, ...]


def _rebuild(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Tensor:
    if type(storage) is not Storage or type(shape) is not tuple or type(stride) is not tuple:
        raise FormatError("its pickle makes a tensor of something else")
    return Tensor(storage, offset, shape, stride)


def _rebuild_typed(
    storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Any:
    """Make the tensor of an untyped storage, whose offset counts elements of ``dtype``."""
    tensor = _rebuild(storage, offset, shape, stride)
    if type(dtype) is not Name or dtype.name not in _NEW_DTYPES or storage.dtype != _UNTYPED:
        raise FormatError("its pickle makes a tensor of an unknown type")
    kind = _NEW_DTYPES[dtype.name]
    width = 2 if kind == "bf16" else np.dtype(kind).itemsize
    return tensor._replace(storage=storage._replace(dtype=kind, size=storage.size // width))


def _parameter(data: Any = None, *_: Any) -> Tensor:
    if type(data) is not Tensor:
        raise FormatError("its pickle makes a parameter of something else")
    return data


def _ordered(pairs: Any = (), *rest: Any) -> Dict[Any, Any]:
    """Make an ``OrderedDict``, to which Python 2 passes the pairs as argument."""
    result: Dict[Any, Any] = OrderedDict()
    if rest or type(pairs) not in (tuple, list):
        raise FormatError("its pickle makes a dict of something else")
    for pair in pairs:
        if type(pair) not in (tuple, list) or len(pair) != 2:
            raise FormatError("its pickle makes a dict of something else")
        result[safe_key(pair[0])] = pair[1]
    return result


def _default_dict(*_: Any) -> Dict[Any, Any]:
    """Make a plain dict in place of a ``defaultdict``."""
    return {}


def _rebuild_subclass(function: Any = None, kind: Any = None, arguments: Any = None, *_: Any) -> Any:
    """Make the plain tensor of a subclass of ``torch.Tensor``.

    Only functions that make tensors may be called so: others, and this one, could be called over and over uncounted.
    """
    if type(function) is not Function or not function.name.startswith(_REBUILD) or type(arguments) is not tuple:
        raise FormatError("its pickle makes a tensor of something else")
    return function.call(*arguments)


def _size(sides: Any = (), *rest: Any) -> Tuple[Any, ...]:
    if rest or type(sides) is not tuple:
        raise FormatError("its pickle makes a size of something else")
    return sides


def _device(kind: Any = "", *_: Any) -> str:
    return kind if type(kind) is str else ""


def _guarded(name: str, function: Callable[..., Any]) -> Function:
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except TypeError:
            raise FormatError(f"its pickle calls {name} with {len(arguments)} arguments") from None

    return Function(name, call)


_FUNCTIONS: Dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_tensor_v3": _rebuild_typed,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_subclass,
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _default_dict,
    "torch.Size": _size,
    "torch.device": _device,
}
NAMES: Dict[str, Any] = {
    name: _guarded(name, function) for name, function in {**_FUNCTIONS, **numpy_pickles.FUNCTIONS}.items()
}
NAMES.update({f"torch.{kind}Storage": Name(kind) for kind in DTYPES})
NAMES.update({f"torch.cuda.{kind}Storage": Name(kind) for kind in DTYPES})
NAMES.update({f"torch.{kind}": Name(kind) for kind in _NEW_DTYPES})
NAMES["torch.storage.UntypedStorage"] = Name("Untyped")


def storage_type(name: Any) -> str:
    """Return the dtype of a storage whose type the pickle calls ``name``; bfloat16 is ``bf16``.

    :raises FormatError: for anything else.
    """
    if type(name) is Name and name.name == "Untyped":
        return _UNTYPED
    if type(name) is not Name or name.name not in DTYPES:
        kind = shown(name.name) if isinstance(name, (ClassName, Name)) else type(name).__name__
        raise FormatError(f"its pickle has a storage of the type {kind}, which is not of plain numbers")
    return DTYPES[name.name]


def counted(value: Any) -> int:
    """Return ``value`` if it is a whole number from 0 up.

    :raises FormatError: if it is not.
    """
    if type(value) is not int or value < 0:
        raise FormatError("its pickle has a size that is not a whole number from 0 up")
    return value


def counted_bytes(data: memoryview, position: int, order: str, kind: str, count: int) -> Tuple[memoryview, int]:
    """Return the bytes of a storage that follow its count at ``position``, and the position after them.

    :raises FormatError: if the count is not ``count``, or the data ends early.
    """
    if position + 8 > len(data):
        raise FormatError("it ends before its storages do (is the file cut short?)")
    (stored,) = struct.unpack(order + "q", data[position : position + 8])
    if stored != count:
        raise FormatError(f"a storage has {stored} numbers where its tensor says {count}")
    width = 2 if kind == "bf16" else np.dtype(kind).itemsize
    end = position + 8 + count * width
    if end > len(data):
        raise FormatError("it ends before its storages do (is the file cut short?)")
    return data[position + 8 : end], end
