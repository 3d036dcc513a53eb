"""Arrays in GPU memory that other libraries read in place, by DLPack or ``__cuda_array_interface__``."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import numpy as np

from .. import _core
from ..errors import UserError
from . import cuda_streams


class DeviceArray:
    """A dense float32 array on the GPU of a network, whose memory it keeps alive.

    It is an input and a result of :class:`~fastalex.AlexNet` on a GPU; :meth:`AlexNet.to_device` makes one of a numpy
    array. CuPy, Numba, PyTorch and others read it in place, through ``__cuda_array_interface__`` or DLPack;
    :meth:`numpy` copies it to the host. :attr:`shape` is a tuple, :attr:`device` the index of the GPU, and
    :attr:`stream` the handle of the CUDA stream that computes the values, None once they are known to be there.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self, buffer: _core.DeviceBuffer, shape: Tuple[int, ...], device: int, stream: Optional[int] = None
    ) -> None:
        self._buffer = buffer
        self.shape = tuple(int(side) for side in shape)
        self.device = device
        self.stream = stream

    @property
    def ptr(self) -> int:
        """The address on the GPU."""
        return self._buffer.ptr

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of GPU memory, 4 per value."""
        return self.size * self.dtype.itemsize

    def numpy(self) -> np.ndarray:
        """Wait for the values and return a copy in host memory."""
        values = np.empty(self.shape, np.float32)
        self._buffer.copy_to_host(values)
        return values

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array on the GPU cannot be read by numpy without a copy")
        values = self.numpy()
        return values if dtype is None else values.astype(dtype, copy=False)

    def reshape(self, *sides: int) -> DeviceArray:
        """Return the same memory in another shape; one of ``sides`` may be -1.

        :raises UserError: if the number of values would change.
        """
        known = int(np.prod([side for side in sides if side != -1], dtype=np.int64))
        shape = tuple(self.size // max(known, 1) if side == -1 else side for side in sides)
        if sides.count(-1) > 1 or int(np.prod(shape, dtype=np.int64)) != self.size:
            raise UserError(f"an array of shape {self.shape} cannot become {sides}")
        return DeviceArray(self._buffer, shape, self.device, self.stream)

    def copy_from(self, values: np.ndarray) -> DeviceArray:
        """Copy host values of the same shape into this array, and return it.

        :raises UserError: if the shape differs.
        """
        array = np.ascontiguousarray(values, np.float32)
        if array.shape != self.shape:
            raise UserError(f"the array on the GPU has the shape {self.shape}, not {array.shape}")
        self._buffer.copy_from_host(array)
        self.stream = None
        return self

    @property
    def __cuda_array_interface__(self) -> Dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": "<f4",
            "data": (self.ptr, False),
            "strides": None,
            "stream": None if self.stream is None else cuda_streams.for_interface(self.stream),
            "version": 3,
        }

    def __dlpack__(self, stream: Any = None, **_: Any) -> Any:
        """Return a DLPack capsule.

        :param stream: the consumer's stream; None: the legacy default stream; -1: no synchronization.
        :raises UserError: if two streams differ and cuda-python, which orders them, is not installed.
        """
        if stream != -1 and self.stream is not None:
            cuda_streams.order(cuda_streams.handle(stream), self.stream)
        return _core.dlpack_capsule(self._buffer, self.ptr, self.shape, self.__dlpack_device__())

    def __dlpack_device__(self) -> Tuple[int, int]:
        return _core.DLPACK_CUDA, self.device

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, float32, GPU {self.device})"
