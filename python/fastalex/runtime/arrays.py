"""Views of callers' arrays for the engine: numpy, DLPack, and on a GPU also ``__cuda_array_interface__``.

An array on the GPU is used in place. Unless the call names a stream, work is queued on the current stream of the
array's library: after the work that computes the array, and before any that uses the result.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple, Optional, Tuple

import numpy as np

from .. import _core
from ..errors import UserError
from . import cuda_streams
from .device_array import DeviceArray
from .device_spec import DeviceSpec

Shape = Tuple[int, ...]

# The names of the usual dtypes: numpy is slow to make them.
_FLOAT32 = np.dtype("float32")
_PLAIN = {np.dtype(name).str: (name, np.dtype(name).itemsize) for name in ("float32", "uint8")}


class ArrayView:
    """An input array, in host memory or on the GPU, read in place.

    ``owner`` is the caller's object. ``host`` is the same memory as a numpy array, None for an array on the GPU.
    ``stream`` is the handle of the CUDA stream to work on. ``tensor`` keeps a DLPack tensor alive as long as the view.
    """

    __slots__ = ("_device", "dtype", "host", "owner", "shape", "stream", "tensor")

    def __init__(
        self,
        owner: Any,
        host: Optional[np.ndarray],
        stream: int,
        device: Optional[DeviceView] = None,
        tensor: Optional[_core.DLTensor] = None,
    ) -> None:
        self.owner, self.host, self.stream, self._device, self.tensor = owner, host, stream, device, tensor
        self.shape: Shape
        self.dtype: str  # numpy's name, "float32"
        if host is not None:
            self.shape, self.dtype = host.shape, "float32" if host.dtype is _FLOAT32 else str(host.dtype)
        elif device is not None:
            self.shape, self.dtype = device.shape, device.dtype

    @property
    def on_device(self) -> bool:
        """Whether the array is on the GPU."""
        return self.host is None

    @property
    def ptr(self) -> int:
        """The address of the first value."""
        return self._memory.ptr if self.host is None else self.host.ctypes.data

    @property
    def itemsize(self) -> int:
        """Bytes per value."""
        return self._memory.itemsize if self.host is None else self.host.itemsize

    @property
    def strides(self) -> Optional[Shape]:
        """Bytes from one value to the next along each axis; None if the array is dense and in C order."""
        return self._memory.strides if self.host is None else self.host.strides

    @property
    def _memory(self) -> DeviceView:
        assert self._device is not None, "a view is of host memory or of the GPU's"
        return self._device

    @property
    def row_major(self) -> bool:
        """Whether the array is C-contiguous."""
        return self.strides is None or _same_layout(self.strides, dense_strides(self.shape, self.itemsize), self.shape)

    def wrap_like(self, result: Any) -> Any:
        """Convert a result to an array of the library that the input came from."""
        return result if isinstance(self.owner, np.ndarray) else _from_dlpack(self.owner, result)


class DeviceView(NamedTuple):
    """The memory of an array on the GPU: address, shape, dtype, bytes per value, strides in bytes (None: dense)."""

    ptr: int
    shape: Shape
    dtype: str
    itemsize: int
    strides: Optional[Shape] = None


@dataclass
class Target:
    """An output buffer of ``count`` float32 values; the caller receives ``wrap(array)``, once the work is queued."""

    array: Any
    ptr: int
    count: int
    on_device: bool
    wrap: Callable[[Any], Any] = lambda array: array


def dense_strides(shape: Shape, itemsize: int) -> Shape:
    """Return the strides of a C-contiguous array, in bytes."""
    strides = []
    stride = itemsize
    for side in reversed(shape):
        strides.append(stride)
        stride *= side
    return tuple(reversed(strides))


def _same_layout(strides: Shape, dense: Shape, shape: Shape) -> bool:
    return 0 in shape or all(a == b for a, b, side in zip(strides, dense, shape) if side > 1)


def is_array(x: Any) -> bool:
    """Whether ``x`` is a numpy array or implements DLPack or ``__cuda_array_interface__``."""
    return isinstance(x, np.ndarray) or hasattr(x, "__dlpack__") or _cuda_interface(x) is not None


def read(x: Any, device: DeviceSpec, stream: Any = None) -> ArrayView:
    """Return a view of ``x`` for the engine, without a copy.

    :param stream: the CUDA stream to work on; None: the current stream of the array's library.
    :raises UserError: if ``x`` is not an array, is on another device, or cannot be read.
    """
    if isinstance(x, np.ndarray):
        return _host(x, x, stream)
    if type(x) is DeviceArray and device.gpu is not None and stream is None:  # the fast path
        _check_gpu(x.device, device)
        return ArrayView(x, None, cuda_streams.handle(x.stream), DeviceView(x.ptr, x.shape, "float32", 4))
    if not is_array(x):
        raise UserError(f"the input must be a numpy array or speak DLPack, not {type(x).__name__}")
    if getattr(x, "requires_grad", False):
        raise UserError("the input requires grad; pass x.detach()")
    try:
        kind, index = (
            (int(part) for part in x.__dlpack_device__()) if hasattr(x, "__dlpack__") else (_core.DLPACK_CUDA, None)
        )
        if kind == _core.DLPACK_CPU:
            return _host(x, np.from_dlpack(x), stream)
        if kind != _core.DLPACK_CUDA or device.gpu is None:
            raise UserError("the input is not in CPU memory; move it there, or use a net of that device")
        _check_gpu(index, device)
        interface = _cuda_interface(x)
        handle = cuda_streams.current(x) if stream is None else cuda_streams.handle(stream)
        if interface is not None and (stream is None or not hasattr(x, "__dlpack__")):
            return _cuda(x, interface, None if stream is None else handle)
        return _dlpack(x, handle)
    except UserError:
        raise
    except (AttributeError, BufferError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"the input cannot be read through DLPack: {error}") from None


class Output(NamedTuple):
    """The caller's own array for a result, not checked yet; ``stream`` is the stream that computes the result."""

    array: Any
    view: ArrayView
    writable: bool
    stream: int

    @property
    def on_device(self) -> bool:
        """Whether the array is on the GPU."""
        return self.view.on_device

    def target(self, shape: Shape) -> Target:
        """Return the array as the buffer for a result of ``shape``.

        :raises UserError: if it cannot hold the result.
        """
        out, view = self.array, self.view
        if view.shape != shape or view.dtype != "float32" or not view.row_major or not self.writable:
            raise UserError(
                f"out must be a writable C-contiguous float32 array of shape {shape}, "
                f"not {'' if view.row_major else 'strided '}{view.dtype} {view.shape}"
            )
        if type(out) is DeviceArray:
            if out.stream is not None:
                cuda_streams.order(self.stream, out.stream)
            out.stream = self.stream
        return Target(out, view.ptr, math.prod(shape), view.on_device)


def output(out: Any, device: DeviceSpec, stream: int) -> Output:
    """Read ``out``, the caller's array for a result that ``stream`` computes.

    :raises UserError: if it is not an array, or is on another device.
    """
    if isinstance(out, np.ndarray):
        return Output(out, ArrayView(out, out, stream), out.flags.writeable, stream)
    if type(out) is DeviceArray:
        return Output(out, read(out, device), True, stream)
    if not is_array(out):
        raise UserError(f"out must be an array, not {type(out).__name__}")
    view = read(out, device, stream)
    if not view.on_device:
        raise UserError("out must be a numpy array or on the GPU; pass a numpy view of it")
    interface = _cuda_interface(out)
    return Output(out, view, not (interface and interface["data"][1]), stream)


def fresh(source: ArrayView, shape: Shape, net: _core.Net, device: DeviceSpec) -> Target:
    """Allocate a result on the GPU, as an array of the library that the input ``source`` came from."""
    count = math.prod(shape)
    if cuda_streams.library_of(source.owner) == "torch":
        tensor = _torch_tensor(source, shape)
        return Target(tensor, int(tensor.data_ptr()), count, True)
    array = DeviceArray(_core.DeviceBuffer(net, 4 * count), shape, device.index, source.stream)
    if cuda_streams.library_of(source.owner) == "fastalex":
        return Target(array, array.ptr, count, True)
    # Another library takes the array over once the work is queued, and makes its own stream wait for it.
    return Target(array, array.ptr, count, True, source.wrap_like)


def _torch_tensor(source: ArrayView, shape: Shape) -> Any:
    """Allocate by PyTorch's allocator, which is fast, but orders reuse of memory by PyTorch's current stream only."""
    torch = sys.modules["torch"]
    device = source.owner.device
    tensor = torch.empty(shape, dtype=torch.float32, device=device)
    if cuda_streams.current(source.owner) != source.stream:
        other = torch.cuda.ExternalStream(source.stream, device=device)
        other.wait_stream(torch.cuda.current_stream(device))
        tensor.record_stream(other)
    return tensor


def _host(owner: Any, array: np.ndarray, stream: Any) -> ArrayView:
    return ArrayView(owner, array, cuda_streams.LEGACY if stream is None else cuda_streams.handle(stream))


def _name_and_size(dtype: np.dtype) -> Tuple[str, int]:
    return _PLAIN.get(dtype.str) or (str(dtype), dtype.itemsize)


def _cuda_interface(x: Any) -> Any:
    if getattr(x, "requires_grad", False):  # PyTorch's property would raise a RuntimeError
        return None
    return getattr(x, "__cuda_array_interface__", None)


def _cuda(x: Any, interface: Any, stream: Optional[int]) -> ArrayView:
    """Read an array through ``__cuda_array_interface__``.

    Version 2 of the interface has no stream: the current one of the library is used. In version 3 the stream None says
    that the data needs no synchronization.
    """
    if interface.get("mask") is not None:
        raise UserError("the input on the GPU has a mask; pass an array without one")
    own = cuda_streams.current(x)
    producer = interface.get("stream")
    if producer is not None:
        if producer == 0:
            raise UserError("the input's __cuda_array_interface__ has the stream 0, which the interface forbids")
        own = cuda_streams.handle(producer)
    if stream is not None and (producer is not None or interface["version"] < 3):
        cuda_streams.order(stream, own)
    name, itemsize = _PLAIN.get(interface["typestr"]) or _name_and_size(np.dtype(interface["typestr"]))
    strides = interface.get("strides")
    shape = tuple(int(side) for side in interface["shape"])
    strides = None if strides is None else tuple(int(stride) for stride in strides)
    used = own if stream is None else stream
    return ArrayView(x, None, used, DeviceView(int(interface["data"][0]), shape, name, itemsize, strides))


def _dlpack(x: Any, stream: int) -> ArrayView:
    """Read an array through DLPack; its producer makes ``stream`` wait for the data."""
    tensor = _core.DLTensor(x.__dlpack__(stream=cuda_streams.for_interface(stream)))
    itemsize, strides = tensor.itemsize, tensor.strides
    strides = None if strides is None else tuple(stride * itemsize for stride in strides)
    return ArrayView(x, None, stream, DeviceView(tensor.ptr, tensor.shape, tensor.dtype, itemsize, strides), tensor)


def _check_gpu(index: Optional[int], device: DeviceSpec) -> None:
    if index is not None and index != device.index:
        raise UserError(
            f"the input is on GPU {index} and the net on {device.name}; move it, "
            f"or make a net with device='{device.backend}:{index}'"
        )


def _from_dlpack(owner: Any, result: Any) -> Any:
    """Convert ``result`` by ``from_dlpack`` of the library of ``owner``; return it unchanged if there is none."""
    convert: Callable[[Any], Any] = getattr(
        sys.modules.get(cuda_streams.library_of(owner)), "from_dlpack", lambda value: value
    )
    return convert(result)
