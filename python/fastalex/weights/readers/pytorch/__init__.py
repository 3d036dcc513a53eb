"""Reader of the files of ``torch.save``, in their three containers, without PyTorch.

* zip (PyTorch 1.6 and later): ``<folder>/data.pkl`` and a member ``<folder>/data/<key>`` for each storage;
* stream (0.1.10 to 1.5): four pickles (magic number, protocol, system, object), a list of the storage keys, then the
  count and the raw numbers of each storage;
* tar (earlier): members ``storages``, ``tensors`` and ``pickle``.

The layouts are those of github.com/pytorch/pytorch, ``torch/serialization.py`` (``_load``, ``_legacy_load`` and its
inner ``legacy_load``). Archives of ``torch.jit.save`` have the first layout. Pickles are read by
:mod:`fastalex.weights.readers.pickle_machine`, which can build only plain containers and tensors; :mod:`.state` looks
for the network's tensors in what they hold. Arrays are views of the mapped file, except bfloat16 ones. The checksums of
a zip's members are not verified, since that would read the whole file; :mod:`fastalex.weights.registry` checks the hash
of a downloaded file.
"""

from __future__ import annotations

from typing import BinaryIO, Dict, Tuple

import numpy as np

from ...errors import FormatError
from .. import mapped
from ..numpy_pickles import StoredArray
from . import state, stream_container, tar_container, zip_container
from .tensors import Tensor

MAX_REPEATED = 1 << 16  # elements of a tensor that repeats elements of its storage (stride 0)
CONVERTED = 2  # limit of converted bfloat16 tensors, in sizes of the file


def read(stream: BinaryIO, size: int) -> Tuple[Dict[str, np.ndarray], Dict[str, str], Tuple[()], None, Tuple[str, ...]]:
    """Return the arrays of a state dict, empty metadata, no layers, no graph, and notes on what was not read.

    The state dict may be inside a checkpoint (:data:`.state.WRAPPERS`), or be that of a whole module. The prefix
    ``module.`` of DataParallel is removed from the names, wherever it is in them.

    :raises FormatError: if anything is wrong.
    """
    data = mapped.view_of(stream, size)
    if bytes(data[:4]) == zip_container.ZIP_MAGIC:
        content = zip_container.read(data, stream)
    elif stream_container.recognizes(bytes(data[:32])):
        content = stream_container.read(data)
    elif tar_container.recognizes(data):
        content = tar_container.read(data)
    else:
        raise FormatError("it is none of the three containers of torch.save")
    arrays = _Arrays(size)
    tensors, notes = state.tensors_of(content)
    return {state.bare(name): arrays.make(name, tensor) for name, tensor in tensors.items()}, {}, (), None, notes


def recognizes(start: bytes) -> bool:
    """Whether ``start``, the first 512 bytes of a file, begins one of the three containers."""
    return (
        start.startswith(zip_container.ZIP_MAGIC)
        or stream_container.recognizes(start[:32])
        or tar_container.recognizes(memoryview(start))
    )


class _Arrays:
    """The arrays of a file, with a limit on the memory that they take."""

    def __init__(self, size: int) -> None:
        self.converted = CONVERTED * size + (1 << 20)

    def make(self, name: str, tensor: state.Stored) -> np.ndarray:
        if isinstance(tensor, StoredArray):
            return tensor.array(name)
        storage = tensor.storage
        kind = storage.dtype
        assert storage.locate is not None  # the containers set it
        raw, order = storage.locate(storage.key)
        dtype = np.dtype("u2" if kind == "bf16" else kind).newbyteorder(order)
        if (storage.offset + storage.size) * dtype.itemsize > len(raw):
            raise FormatError(f"{name!r:.100} needs more than the {len(raw)} bytes of its storage")
        flat = np.frombuffer(raw, dtype, storage.size, storage.offset * dtype.itemsize)
        array = self._strided(name, flat, tensor)
        if kind != "bf16":
            return array
        self.converted -= 4 * array.size
        if self.converted < 0:
            raise FormatError("its bfloat16 tensors overlap too much")
        return _read_only(mapped.widened(array.astype(np.uint16)))

    @staticmethod
    def _strided(name: str, flat: np.ndarray, tensor: Tensor) -> np.ndarray:
        shape = mapped.checked_shape(name, tensor.shape)
        stride, offset = tensor.stride, tensor.offset
        if len(stride) != len(shape) or any(type(step) is not int or step < 0 for step in (offset, *stride)):
            raise FormatError(f"{name!r:.100} has strides or an offset that do not fit its shape")
        count = 1
        for side in shape:
            count *= side
        if count == 0:
            return _read_only(np.zeros(shape, flat.dtype))
        last = offset + sum((side - 1) * step for side, step in zip(shape, stride))
        if last >= flat.size:
            raise FormatError(f"{name!r:.100} reaches element {last} of a storage of {flat.size}")
        if count > max(flat.size, MAX_REPEATED):
            raise FormatError(f"{name!r:.100} has {count} elements of a storage of {flat.size}")
        # The step along a side of 1 is never taken, and may be any number.
        steps = [step * flat.itemsize if side > 1 else flat.itemsize for side, step in zip(shape, stride)]
        return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
