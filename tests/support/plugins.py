"""The TensorRT plugins through tensorrt_harness/: the ops alone, or objects from a TensorRT registry, by ctypes.

Memory is that of a fastalex backend, "emulated" or "cuda": the emulator's has guard zones, which its kernels check.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from fastalex import _core
from tests.support.locks import locked

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("FastAlexConvReLU", "FastAlexLRNPool", "FastAlexFullyConnectedW8", "FastAlexPreprocess")
TYPES = ("float", "half", "int8", "uint8", "other")  # TensorType of csrc/tensorrt/plugins/plugin_op.h
FORMATS = ("linear", "hwc8", "hwc", "other")  # TensorFormat
_FIELD_TYPES = {"float32": 0, "float64": 1, "int8": 2, "int32": 3}  # FieldType of csrc/tensorrt/plugins/plugin_fields.h
_CHAR, _UNKNOWN = 4, 5
_DTYPES = {"float": np.float32, "half": np.float16, "int8": np.int8, "uint8": np.uint8}
#: A field type that no plugin has.
UNKNOWN = object()

Fields = Dict[str, Any]


class PluginError(Exception):
    """An error reported by a plugin."""


class _Field(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_int),
    )


class _Tensor(ctypes.Structure):
    _fields_ = (("dims", ctypes.c_int * 4), ("type", ctypes.c_int), ("format", ctypes.c_int))


class _Param(ctypes.Structure):  # fastalex_param
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
        ("storage", ctypes.c_int32),
        ("outputs", ctypes.c_int32),
    )


class _Frame(ctypes.Structure):  # fastalex_frame
    _fields_ = (
        ("pixels", ctypes.c_void_p),
        ("row_bytes", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("height", "width", "filter", "resized_h", "resized_w")),
        *((name, ctypes.c_int32) for name in ("crop_y", "crop_x", "swap")),
        ("scale", ctypes.c_float * 3),
        ("shift", ctypes.c_float * 3),
    )


_VISIT = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Field))


def build(kernels: Path, headers: Sequence[Path] = (), name: str = "plugins") -> Path:
    """Build the harness if it has changed; return its folder. The plugins find ``kernels`` beside them."""
    folder = ROOT / "build" / (f"{name}-{kernels.parent.name}")
    with locked(folder.name):
        _build(folder, kernels, headers)
    return folder


def _build(folder: Path, kernels: Path, headers: Sequence[Path]) -> None:
    cmake = shutil.which("cmake")
    command = [cmake] if cmake else [sys.executable, "-m", "cmake"]
    options = [
        "-DCMAKE_BUILD_TYPE=Debug",  # quick to compile; the libraries are small
        "-DFASTALEX_TENSORRT_KERNELS=" + kernels.name,
        "-DFASTALEX_TENSORRT_HEADERS=" + ";".join(map(str, headers)),
    ]
    for step in (
        [*command, "-S", str(ROOT / "tests/support/tensorrt_harness"), "-B", str(folder), *options],
        [*command, "--build", str(folder), "-j", str(len(os.sched_getaffinity(0)))],
    ):
        done = subprocess.run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise RuntimeError(f"{' '.join(step)} failed:\n{done.stdout.decode()[-4000:]}")
    for library in folder.glob("**/lib*.so"):
        beside = library.with_name(kernels.name)
        if not beside.is_symlink():
            beside.symlink_to(kernels)
        elif Path(os.readlink(str(beside))) != kernels:
            beside.unlink()
            beside.symlink_to(kernels)


class Tensor:
    """Description of a plugin's input or output: dims, a name of TYPES, a name of FORMATS."""

    def __init__(self, dims: Sequence[int], kind: str = "float", layout: str = "linear"):
        self.dims, self.kind, self.layout = tuple(dims), kind, layout

    @property
    def raw(self) -> _Tensor:
        return _Tensor((ctypes.c_int * 4)(*self.dims), TYPES.index(self.kind), FORMATS.index(self.layout))


def _stored(x: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Memory layout of a dense NCHW array in the tensor's format."""
    order = (0, 1, 2, 3) if tensor.layout == "linear" else (0, 2, 3, 1)
    return np.ascontiguousarray(x.astype(_DTYPES[tensor.kind]).transpose(order))


class Memory:
    """Bytes on the device of a backend."""

    def __init__(self, backend: str, values: np.ndarray):
        self._net = _core.Net("relu name=r", [1, 1, 1], [], backend)
        self._shape, self._dtype = values.shape, values.dtype
        self._buffer = _core.DeviceBuffer(self._net, max(values.nbytes, 1))
        if values.nbytes:
            self._buffer.copy_from_host(np.ascontiguousarray(values))

    @property
    def ptr(self) -> int:
        return self._buffer.ptr

    def read(self) -> np.ndarray:
        out = np.empty(self._shape, self._dtype)
        self._buffer.copy_to_host(out)
        return out


class Harness:
    """A library of tensorrt_harness/. ``runtime`` and ``plugins`` are opened as trtexec opens them."""

    def __init__(self, library: Path, backend: str, runtime: str = "", plugins: str = ""):
        self.backend = backend
        lib = self._lib = ctypes.CDLL(str(library))
        pointer, tensor = ctypes.c_void_p, ctypes.POINTER(_Tensor)
        for name, result, arguments in (
            ("harness_error", ctypes.c_char_p, ()),
            ("harness_open", ctypes.c_int, (ctypes.c_char_p, ctypes.c_char_p)),
            ("harness_creators", ctypes.c_char_p, ()),
            ("plugin_create", pointer, (ctypes.c_char_p, ctypes.POINTER(_Field), ctypes.c_int)),
            ("plugin_clone", pointer, (pointer,)),
            ("plugin_destroy", None, (pointer,)),
            ("plugin_output", ctypes.c_int, (pointer, tensor, tensor)),
            ("plugin_supports", ctypes.c_int, (pointer, ctypes.c_int, tensor, tensor)),
            ("plugin_workspace", ctypes.c_longlong, (pointer, tensor, tensor)),
            ("plugin_enqueue", ctypes.c_int, (pointer, tensor, tensor, pointer, pointer, pointer, pointer)),
            ("plugin_serialize", ctypes.c_longlong, (pointer, ctypes.c_char_p, ctypes.c_size_t)),
            ("plugin_deserialize", pointer, (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)),
        ):
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
        if lib.harness_open(runtime.encode(), plugins.encode()):
            self.fail()

    def fail(self) -> None:
        raise PluginError(self._lib.harness_error().decode(errors="replace"))

    def creators(self) -> Dict[str, List[str]]:
        """Name -> its version and its fields."""
        lines = (line.split() for line in self._lib.harness_creators().decode().splitlines())
        return {name: rest for name, *rest in lines}

    def create(self, name: str, fields: Fields) -> Plugin:
        """``fields``: name -> numpy array or number of the field's type, or text."""
        raw, keep = (_Field * len(fields))(), []
        for place, (key, value) in zip(raw, fields.items()):
            if value is UNKNOWN:
                place.type, place.length, place.data = _UNKNOWN, 1, None
            elif isinstance(value, str):
                keep.append(ctypes.create_string_buffer(value.encode()))
                place.type, place.length = _CHAR, len(value)
            else:
                array = np.ascontiguousarray(value)
                keep.append(array)
                place.type, place.length = _FIELD_TYPES[array.dtype.name], array.size
            if value is not UNKNOWN:
                kept = keep[-1]
                address = kept.ctypes.data if isinstance(kept, np.ndarray) else ctypes.addressof(kept)
                place.data = ctypes.c_void_p(address)
            place.name = key.encode()
        return self._plugin(self._lib.plugin_create(name.encode(), raw, len(fields)))

    def deserialize(self, name: str, data: bytes) -> Plugin:
        return self._plugin(self._lib.plugin_deserialize(name.encode(), data, len(data)))

    def _plugin(self, handle: Optional[int]) -> Plugin:
        if not handle:
            self.fail()
        return Plugin(self, self._lib, handle)


class Plugin:
    """An object of the registry, or an op."""

    def __init__(self, harness: Harness, lib: Any, handle: int):
        self._harness, self._lib, self._handle = harness, lib, handle

    def __del__(self) -> None:
        self._lib.plugin_destroy(self._handle)

    def clone(self) -> Plugin:
        return self._harness._plugin(self._lib.plugin_clone(self._handle))

    def output(self, given: Tensor, layout: str = "linear") -> Tensor:
        """Description of the output for this input."""
        out = _Tensor()
        if self._lib.plugin_output(self._handle, given.raw, out):
            self._harness.fail()
        return Tensor(list(out.dims), TYPES[out.type], layout)

    def supports(self, given: Tensor, out: Optional[Tensor] = None) -> bool:
        """Whether the plugin supports ``given`` as input, and ``out`` as its output."""
        return bool(self._lib.plugin_supports(self._handle, int(out is not None), given.raw, (out or given).raw))

    def workspace(self, given: Tensor, out: Tensor) -> int:
        size = self._lib.plugin_workspace(self._handle, given.raw, out.raw)
        if size < 0:
            self._harness.fail()
        return size

    def serialize(self) -> bytes:
        size = self._lib.plugin_serialize(self._handle, None, 0)
        buffer = ctypes.create_string_buffer(size)
        assert self._lib.plugin_serialize(self._handle, buffer, size) == size
        return buffer.raw

    def enqueue(self, given: Tensor, out: Tensor, x: int, y: int, workspace: int) -> None:
        """Run the plugin on addresses in device memory."""
        if self._lib.plugin_enqueue(self._handle, given.raw, out.raw, x, y, workspace, None):
            self._harness.fail()

    def run(self, x: np.ndarray, given: Tensor, out: Tensor, most: int = 0) -> np.ndarray:
        """The output as a dense array. ``x`` is dense; it and the output lie in memory as the descriptions say.
        ``most``: the largest batch that the workspace is asked for (default: this one)."""
        largest = (Tensor((max(most, t.dims[0]), *t.dims[1:]), t.kind, t.layout) for t in (given, out))
        backend, poison = self._harness.backend, np.uint8(0xFF)  # in floats and halves a NaN
        workspace = Memory(backend, np.full(self.workspace(*largest), poison))
        there = Memory(backend, _stored(x, given))
        n, c, height, width = out.dims
        shape = (n, c, height, width) if out.layout == "linear" else (n, height, width, c)
        result = Memory(backend, np.full(shape, np.nan, _DTYPES[out.kind]))
        self.enqueue(given, out, there.ptr, result.ptr, workspace.ptr)
        values = result.read()
        return values if out.layout == "linear" else np.ascontiguousarray(values.transpose(0, 3, 1, 2))


class Plans:
    """Fields as csrc/tensorrt/plugins/plugin_fields.h makes them from a plan's step. Of libharness_op.so."""

    def __init__(self, library: Path):
        self._lib = ctypes.CDLL(str(library))
        self._lib.harness_error.restype = ctypes.c_char_p

    def fields(self, table: str, shape: Sequence[int], params: Sequence[Any]) -> Tuple[str, Fields, int]:
        """The plugin of the first step ("": none), its fields, and how many steps it covers. ``params``: weight and
        bias; a quantized weight is (quantized values, scale, "int8" or "int4")."""
        fields, visit = _collector()
        name, used = ctypes.c_char_p(), ctypes.c_int()
        weight, bias = None, None
        if params:
            levels = params[0] if isinstance(params[0], tuple) else None
            array, scale = levels[:2] if levels else (params[0], None)
            storage = {"int8": 2, "int4": 3}[levels[2]] if levels else 0
            where = scale.ctypes.data if levels else None
            weight = ctypes.byref(_Param(array.ctypes.data, where, array.size, storage))
            bias = ctypes.c_void_p(params[1].ctypes.data)
        sizes = (ctypes.c_int * 4)(*shape)
        if self._lib.plan_fields(table.encode(), sizes, weight, bias, ctypes.byref(name), ctypes.byref(used), visit):
            raise PluginError(self._lib.harness_error().decode())
        return name.value.decode(), fields, used.value

    def frame(self, spec: Dict[str, Any], size: int, precision: int) -> Fields:
        """``spec``: as fastalex.runtime.frames.spec gives it."""
        fields, visit = _collector()
        given = {key: value for key, value in spec.items() if key not in ("scale", "shift")}
        triples = {key: (ctypes.c_float * 3)(*spec[key]) for key in ("scale", "shift")}
        if self._lib.frame_fields(ctypes.byref(_Frame(**given, **triples)), size, size, precision, visit):
            raise PluginError(self._lib.harness_error().decode())
        return fields


def _collector() -> Tuple[Fields, Any]:
    fields: Fields = {}
    names = {number: name for name, number in _FIELD_TYPES.items()}

    def take(field: Any) -> None:
        one = field.contents
        if one.type == _CHAR:
            fields[one.name.decode()] = ctypes.string_at(one.data, one.length).decode() if one.length else ""
            return
        dtype = np.dtype(names[one.type])
        data = ctypes.string_at(one.data, one.length * dtype.itemsize)
        fields[one.name.decode()] = np.frombuffer(data, dtype).copy()

    return fields, _VISIT(take)
