"""Reader of the files of ``torch.save``, in their three containers, without PyTorch.

* zip (PyTorch 1.6 and later): ``<folder>/data.pkl`` and a member ``<folder>/data/<key>`` for each storage;
* stream (0.1.10 to 1.5): four pickles (magic number, protocol, system, object), a list of the storage keys, then the
  count and the raw numbers of each storage;
* tar (earlier): members ``storages``, ``tensors`` and ``pickle``.

The layouts are those of github.com/pytorch/pytorch, ``torch/serialization.py`` (``_load``, ``_legacy_load`` and its
inner ``legacy_load``). Pickles are read by :mod:`fastalex.weights.readers.pickle_machine`, which can build only
tensors. Arrays are views of the mapped file, except bfloat16 ones. The checksums of a zip's members are not verified,
since that would read the whole file; :mod:`fastalex.weights.registry` checks the hash of a downloaded file.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Dict, Tuple

import numpy as np

from ...errors import FormatError
from ...graph import shown
from .. import mapped
from . import stream_container, tar_container, zip_container
from .tensors import MAX_TENSORS, Tensor

# Keys under which checkpoints hold their state dict; earlier ones take precedence.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")
MAX_WRAPPERS = 3  # levels of nesting
CONVOLUTIONS = 5  # of a network of the family
MAX_PARTS = 100  # entries of a list that are looked at
SHOWN_KEYS = 8  # of a file without a state dict
MAX_REPEATED = 1 << 16  # elements of a tensor that repeats elements of its storage (stride 0)
CONVERTED = 2  # limit of converted bfloat16 tensors, in sizes of the file


def read(stream: BinaryIO, size: int) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """Return the arrays of a state dict, and empty metadata.

    The state dict may be inside a checkpoint (:data:`WRAPPERS`). The prefix ``module.`` of DataParallel is removed
    from the names, wherever it is in them.

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
    return {_bare(name): arrays.make(name, tensor) for name, tensor in _tensors(content).items()}, {}


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

    def make(self, name: str, tensor: Tensor) -> np.ndarray:
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
        steps = [step * flat.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _tensors(content: Any) -> Dict[str, Tensor]:
    """Return the tensors by name of the state dict that ``content`` is or contains."""
    tensors = _named(_unwrapped(content))
    if len(tensors) > MAX_TENSORS:
        raise FormatError(f"it has more than {MAX_TENSORS} tensors")
    if len({_bare(name) for name in tensors}) != len(tensors):
        raise FormatError("it has a tensor with and without the prefix 'module.'")
    return tensors


def _unwrapped(content: Any) -> Any:
    """Return the state dict in ``content``: under a key of :data:`WRAPPERS`, or the one dict that holds a network."""
    for _ in range(MAX_WRAPPERS):
        parts = _parts(content)
        named = [parts[key] for key in WRAPPERS if isinstance(parts.get(key), dict)]
        if named:
            content = named[0]
            continue
        if _named(content):
            return content
        holders = {key: value for key, value in parts.items() if _holds_network(value, MAX_WRAPPERS)}
        if not holders:
            break
        if len(holders) > 1:
            keys = ", ".join(repr(shown(str(key))) for key in holders)
            raise FormatError(f"several of its entries hold a network ({keys}); save the one that is meant by itself")
        content = next(iter(holders.values()))
    if _named(content):
        return content
    if not isinstance(content, (dict, list, tuple)):
        raise FormatError(f"it holds a {type(content).__name__}, not a state dict")
    keys = ", ".join(repr(shown(str(key))) for key in list(_parts(content))[:SHOWN_KEYS])
    raise FormatError(f"it holds no state dict with tensors; its entries are {keys or 'none'}")


def _parts(content: Any) -> Dict[Any, Any]:
    """Return the entries of a dict, or those of a list or tuple by their places."""
    if type(content) in (list, tuple):  # a Tensor is a tuple, too
        return dict(enumerate(content[:MAX_PARTS]))
    return content if isinstance(content, dict) else {}


def _named(content: Any) -> Dict[str, Tensor]:
    """Return the tensors of a dict that have a name."""
    if not isinstance(content, dict):
        return {}
    return {name: value for name, value in content.items() if isinstance(name, str) and type(value) is Tensor}


def _holds_network(content: Any, depth: int) -> bool:
    """Whether ``content`` is a dict with the weights of five convolutions, or has one ``depth`` levels down or less.

    An optimizer's state has a dict for each parameter, with one or two tensors.
    """
    if sum(len(tensor.shape) == 4 for tensor in _named(content).values()) >= CONVOLUTIONS:
        return True
    return depth > 1 and any(_holds_network(part, depth - 1) for part in _parts(content).values())


def _bare(name: str) -> str:
    """Return ``name`` without the prefixes of DataParallel."""
    return ".".join(part for part in name.split(".") if part != "module") or name
