"""DLPack tensors in plain ctypes: what a capsule of another library says, and a capsule for an array of ours.

The structures are those of dlpack.h before version 1.0 (DLManagedTensor, capsules called "dltensor"), which every
library reads and writes.
"""

from __future__ import annotations

import ctypes
from typing import Any, Dict, NamedTuple, Optional, Tuple

CPU, CUDA = 1, 2  # DLDeviceType
FLOAT, UINT = 2, 1  # DLDataTypeCode
NAME = b"dltensor"
_KINDS = {0: "int", UINT: "uint", FLOAT: "float", 4: "bfloat", 5: "complex", 6: "bool"}


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("index", ctypes.c_int32)]


class _Type(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Managed._fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]

# On addresses, not objects: the destructor of a capsule must not touch its count of references.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_get_raw = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)


class View(NamedTuple):
    """What a capsule describes; ``strides`` count elements, None: dense."""

    ptr: int
    shape: Tuple[int, ...]
    strides: Optional[Tuple[int, ...]]
    dtype: str
    itemsize: int
    device: Tuple[int, int]


def read(capsule: Any) -> View:
    """What ``capsule`` says. It stays unconsumed: its tensor lives as long as the capsule.

    :raises ValueError: if it is no DLPack capsule, or was consumed.
    """
    tensor = _Managed.from_address(_get_pointer(capsule, NAME)).tensor
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    strides = tuple(tensor.strides[i] for i in range(tensor.ndim)) if tensor.strides else None
    dtype = "%s%d" % (_KINDS.get(tensor.dtype.code, "opaque"), tensor.dtype.bits)
    if tensor.dtype.lanes != 1:
        dtype += "x%d" % tensor.dtype.lanes
    address = (tensor.data or 0) + tensor.byte_offset
    itemsize = (tensor.dtype.bits * tensor.dtype.lanes + 7) // 8
    return View(address, shape, strides, dtype, itemsize, (tensor.device.type, tensor.device.index))


#: Address -> what must live until its deleter is called: the structure, its arrays, the owner of the memory.
_alive: Dict[int, Any] = {}


@_Deleter
def _delete(address: int) -> None:
    _alive.pop(address, None)


@_Deleter
def _destroy_capsule(capsule: int) -> None:
    if _is_valid(capsule, NAME):  # nobody has taken it over
        _delete(_get_raw(capsule, NAME))


def capsule(owner: Any, ptr: int, shape: Tuple[int, ...], device: Tuple[int, int]) -> Any:
    """A capsule of the dense float32 array at ``ptr``, which keeps ``owner`` until its consumer lets go."""
    sides = (ctypes.c_int64 * len(shape))(*shape)
    managed = _Managed()
    managed.tensor = _Tensor(ptr, _Device(*device), len(shape), _Type(FLOAT, 32, 1), sides, None, 0)
    managed.deleter = _delete
    address = ctypes.addressof(managed)
    _alive[address] = (managed, sides, owner)
    return _new(address, NAME, ctypes.cast(_destroy_capsule, ctypes.c_void_p))
