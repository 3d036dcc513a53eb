"""An array that stays in the memory of the GPU, for any library that reads one of the two interfaces."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import numpy as np

from .. import _core
from ..errors import UserError
from . import cuda_streams


class DeviceArray:
    """A dense float32 array on the GPU of a network; it keeps the network's memory alive.

    It is the input and the result of :class:`~fastalex.AlexNet` on a GPU. CuPy, Numba, PyTorch and others read it in
    place, through ``__cuda_array_interface__`` or DLPack; :meth:`numpy` copies it to the host.
    :attr:`device` is the index of the GPU, :attr:`stream` the CUDA stream that its values are computed on, None for
    values that are there.
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
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def numpy(self) -> np.ndarray:
        """A copy in host memory; waits until the values are there."""
        values = np.empty(self.shape, np.float32)
        self._buffer.copy_to_host(values)
        return values

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array on the GPU cannot be read by numpy without a copy")
        values = self.numpy()
        return values if dtype is None else values.astype(dtype, copy=False)

    def reshape(self, *sides: int) -> DeviceArray:
        """The same memory in another shape; one of ``sides`` may be -1.

        :raises UserError: for a shape of another size.
        """
        known = int(np.prod([side for side in sides if side != -1], dtype=np.int64))
        shape = tuple(self.size // max(known, 1) if side == -1 else side for side in sides)
        if sides.count(-1) > 1 or int(np.prod(shape, dtype=np.int64)) != self.size:
            raise UserError(f"an array of shape {self.shape} cannot become {sides}")
        return DeviceArray(self._buffer, shape, self.device, self.stream)

    def copy_from(self, values: np.ndarray) -> DeviceArray:
        """Overwrite it with host values of the same shape, and return it.

        :raises UserError: for another shape.
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
        """A DLPack capsule; ``stream`` is the consumer's, None the legacy default stream, -1 asks for no order."""
        if stream != -1 and self.stream is not None:
            cuda_streams.order(cuda_streams.handle(stream), self.stream)
        return _core.dlpack_capsule(self._buffer, self.ptr, self.shape, self.__dlpack_device__())

    def __dlpack_device__(self) -> Tuple[int, int]:
        return _core.DLPACK_CUDA, self.device

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, float32, GPU {self.device})"
