"""The C interface of csrc/include/fastalex.h through ctypes: its structures, its functions, and nets made by it."""

from __future__ import annotations

import ctypes
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from fastalex import _core

OK, INVALID, OUT_OF_MEMORY, UNAVAILABLE, INTERNAL, INTERRUPTED = range(6)
I32, U32, F32, SIZE, POINTER, TEXT = (
    ctypes.c_int32,
    ctypes.c_uint32,
    ctypes.c_float,
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_char_p,
)


class Options(ctypes.Structure):
    """``fastalex_options``"""

    _fields_ = (
        ("struct_size", U32),
        ("backend", TEXT),
        ("fc_storage", I32),
        ("precision", I32),
        ("threads", I32),
        ("device_index", I32),
        ("tuning", TEXT),
        ("exact", I32),
        ("fc_layout", I32),
    )


class Param(ctypes.Structure):
    """``fastalex_param``"""

    _fields_ = (("data", POINTER), ("scale", POINTER), ("count", SIZE), ("storage", I32), ("outputs", I32))


class Frame(ctypes.Structure):
    """``fastalex_frame``"""

    _fields_ = (
        ("pixels", POINTER),
        ("row_bytes", ctypes.c_int64),
        ("height", I32),
        ("width", I32),
        ("filter", I32),
        ("resized_h", I32),
        ("resized_w", I32),
        ("crop_y", I32),
        ("crop_x", I32),
        ("swap", I32),
        ("scale", F32 * 3),
        ("shift", F32 * 3),
    )


class Call(ctypes.Structure):
    """``fastalex_call``"""

    _fields_ = (
        ("struct_size", U32),
        ("batch", I32),
        ("height", I32),
        ("width", I32),
        ("flags", U32),
        ("top_k", I32),
        ("names", ctypes.POINTER(TEXT)),
        ("name_count", SIZE),
        ("input", POINTER),
        ("frame", ctypes.POINTER(Frame)),
        ("outputs", ctypes.POINTER(POINTER)),
        ("output_counts", ctypes.POINTER(SIZE)),
        ("allocate", POINTER),
        ("user", POINTER),
        ("indices", POINTER),
        ("input_on_device", I32),
        ("outputs_on_device", I32),
        ("stream", POINTER),
        ("interrupted", POINTER),
        ("interrupted_user", POINTER),
    )


class Distances(ctypes.Structure):
    """``fastalex_distances``"""

    _fields_ = (
        ("struct_size", U32),
        ("pairing", I32),
        ("a", ctypes.POINTER(POINTER)),
        ("b", ctypes.POINTER(POINTER)),
        ("rows", SIZE),
        ("columns", SIZE),
        ("weights", POINTER),
        ("channels", SIZE),
        ("positions", SIZE),
        ("sums", POINTER),
        ("maps", POINTER),
        ("threads", I32),
    )


_ARGUMENTS: Dict[str, Sequence[Any]] = {
    "layers": (TEXT, I32, I32, I32, POINTER, SIZE, POINTER),
    "create": (TEXT, I32, I32, I32, POINTER, SIZE, POINTER, POINTER),
    "quantize": (POINTER, SIZE, SIZE, I32, POINTER, POINTER),
    "shapes": (POINTER, POINTER, POINTER),
    "run": (POINTER, POINTER),
    "profile": (POINTER, POINTER, POINTER, POINTER),
    "describe": (POINTER, POINTER, POINTER, SIZE, POINTER),
    "save_engine": (POINTER, POINTER, TEXT),
    "device_info": (TEXT, I32, POINTER, SIZE, POINTER),
    "memory_create": (POINTER, SIZE, POINTER),
    "memory_copy": (POINTER, POINTER, POINTER, SIZE, I32),
    "get_param": (POINTER, SIZE, POINTER, SIZE),
    "get_quantized": (POINTER, SIZE, POINTER, SIZE, POINTER, SIZE),
    "param_bytes": (POINTER, POINTER),
    "unit_normalize": (POINTER, SIZE, SIZE, SIZE, F32, I32, I32),
    "map_distances": (POINTER,),
    "backend": (SIZE, POINTER, POINTER),
    "load_backend": (TEXT,),
    "default_threads": (POINTER,),
    "cpu_isa": (POINTER,),
}
#: The names of the functions that return a status, without ``fastalex_``.
FUNCTIONS = tuple(_ARGUMENTS)


def _library() -> ctypes.CDLL:
    made = ctypes.CDLL(_core.__file__)
    for name, arguments in _ARGUMENTS.items():
        getattr(made, "fastalex_" + name).argtypes = arguments
    made.fastalex_destroy.argtypes, made.fastalex_destroy.restype = (POINTER,), None
    made.fastalex_last_error.restype = TEXT
    return made


library = _library()


def call(name: str, *arguments: Any) -> Tuple[int, str]:
    """Call ``fastalex_<name>``; return its status and, for a failure, its message."""
    status = getattr(library, "fastalex_" + name)(*arguments)
    return status, library.fastalex_last_error().decode() if status else ""


def count_of_arguments(name: str) -> int:
    """Return the number of arguments of ``fastalex_<name>``."""
    return len(_ARGUMENTS[name])


def address(array: Any) -> int:
    """Return where an array's values are."""
    return int(array.ctypes.data)


def options(backend: str = "cpu", **values: Any) -> Options:
    """Make options."""
    return Options(struct_size=ctypes.sizeof(Options), backend=backend.encode(), **values)


def call_of(**values: Any) -> Call:
    """Make a call of one image of 4 x 4 pixels, with ``values`` as its fields; arrays stand for their addresses."""
    made = Call(struct_size=ctypes.sizeof(Call), batch=1, height=4, width=4)
    for name, value in values.items():
        setattr(made, name, address(value) if isinstance(value, np.ndarray) else value)
    return made


def params_of(arrays: Sequence[np.ndarray]) -> Any:
    """Return ``fastalex_param`` of float32 arrays, which must outlive it."""
    return (Param * len(arrays))(*(Param(address(array), None, array.size) for array in arrays))


class Net:
    """A net for images [channels, 4, 4], destroyed at the end of a ``with`` block."""

    def __init__(self, table: str, arrays: List[np.ndarray], channels: int = 3, **values: Any) -> None:
        self.handle, chosen = POINTER(), options(**values)
        status, message = call(
            "create",
            table.encode(),
            channels,
            4,
            4,
            params_of(arrays),
            len(arrays),
            ctypes.byref(chosen),
            ctypes.byref(self.handle),
        )
        assert status == OK, message

    def __enter__(self) -> Any:
        return self.handle

    def __exit__(self, *_: Any) -> None:
        library.fastalex_destroy(self.handle)
