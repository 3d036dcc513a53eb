"""Reader of what ``torch.save`` wrote, in its three containers, without PyTorch.

* zip (PyTorch 1.6 and later): ``<folder>/data.pkl`` and a member ``<folder>/data/<key>`` for each storage;
* stream (0.1.10 to 1.5): four pickles (magic number, protocol, system, object), a list of the storage keys, then for
  each its count and its raw numbers;
* tar (before): members ``storages``, ``tensors`` and ``pickle``.

The layouts are those of github.com/pytorch/pytorch, ``torch/serialization.py`` (``_load``, ``_legacy_load`` and its
inner ``legacy_load``). Pickles go through :mod:`fastalex.weights.readers.pickle_machine`, which can build tensors and
nothing else. Arrays are views of the mapped file, except bfloat16 ones. The checksums of a zip's data are not verified,
as that would read all of it: :mod:`fastalex.weights.registry` compares the hash of what it downloads.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Dict, Tuple

import numpy as np

from ...errors import FormatError
from .. import mapped
from . import stream_container, tar_container, zip_container
from .tensors import MAX_TENSORS, Tensor

# A name under which a checkpoint keeps its state dict, the first that is found first.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")
MAX_WRAPPERS = 3  # one inside the other
MAX_REPEATED = 1 << 16  # elements of a tensor that repeats those of its storage (stride 0)
CONVERTED = 2  # times the size of the file: what bfloat16 tensors may grow to


def read(stream: BinaryIO, size: int) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """The arrays of a state dict, and no metadata.

    A state dict inside a checkpoint (``state_dict``, ``model``, ...) is found, and the prefixes ``module.`` of
    DataParallel (``features.module.`` too) are taken off.

    :raises FormatError: if anything is wrong.
    """
    data = mapped.view_of(stream, size)
    if bytes(data[:4]) == zip_container.ZIP_MAGIC:
        found = zip_container.read(data, stream)
    elif stream_container.recognizes(bytes(data[:32])):
        found = stream_container.read(data)
    elif tar_container.recognizes(data):
        found = tar_container.read(data)
    else:
        raise FormatError("it is none of the three containers of torch.save")
    arrays = _Arrays(size)
    return {_bare(name): arrays.make(name, tensor) for name, tensor in _tensors(found).items()}, {}


def recognizes(start: bytes) -> bool:
    """Whether a file with these first 512 bytes is one of the three containers."""
    return (
        start.startswith(zip_container.ZIP_MAGIC)
        or stream_container.recognizes(start[:32])
        or tar_container.recognizes(memoryview(start))
    )


class _Arrays:
    """Makes the arrays of one file and counts what they cost."""

    def __init__(self, size: int) -> None:
        self.converted = CONVERTED * size + (1 << 20)

    def make(self, name: str, tensor: Tensor) -> np.ndarray:
        storage = tensor.storage
        kind = storage.dtype
        raw, order = storage.locate(storage.key)
        dtype = np.dtype("u2" if kind == "bf16" else kind).newbyteorder(order)
        if (storage.offset + storage.count) * dtype.itemsize > len(raw):
            raise FormatError(f"{name!r:.100} needs more than the {len(raw)} bytes of its storage")
        flat = np.frombuffer(raw, dtype, storage.count, storage.offset * dtype.itemsize)
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
        steps = [step * flat.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _tensors(found: Any) -> Dict[str, Tensor]:
    """Name -> tensor of the state dict that ``found`` is, or has inside."""
    for _ in range(MAX_WRAPPERS):
        inner = [found[key] for key in WRAPPERS if isinstance(found, dict) and isinstance(found.get(key), dict)]
        if not inner:
            break
        found = inner[0]
    if not isinstance(found, dict):
        raise FormatError(f"it holds a {type(found).__name__}, not a state dict")
    tensors = {name: value for name, value in found.items() if isinstance(name, str) and type(value) is Tensor}
    if not tensors:
        raise FormatError("it holds no state dict with tensors")
    if len(tensors) > MAX_TENSORS:
        raise FormatError(f"it has more than {MAX_TENSORS} tensors")
    if len({_bare(name) for name in tensors}) != len(tensors):
        raise FormatError("it has a tensor with and without the prefix 'module.'")
    return tensors


def _bare(name: str) -> str:
    """``name`` without the prefixes of DataParallel."""
    return ".".join(part for part in name.split(".") if part != "module") or name
