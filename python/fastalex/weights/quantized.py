"""Fully connected weights as they are kept in fewer bits, in memory and in ``.safetensors`` files.

Such a file has, for a fully connected layer ``fc6`` with ``in`` inputs, counted in the order y, x, channel of its
input map, and ``out`` outputs:

* int8: ``fc6.weight`` I8 ``[out, in]`` and ``fc6.weight.scale`` F32 ``[out]``: weight = value * scale;
* int4: ``fc6.weight`` U8 ``[out, (in + 1) // 2]``, two values in a byte, the first in its low half, as value + 8, and
  ``fc6.weight.scale`` F16 ``[out, (in + 127) // 128]``, one for each 128 values.

Everything else is as in a float32 file. Its metadata says so (:data:`FORMAT_KEY`, :data:`STORAGE_KEY`) and names its
variant. The engine takes these arrays as they are; :func:`read` only checks them.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional, Tuple

import numpy as np

from .. import _core
from ..errors import UserError
from ..networks.architecture import Variant
from ..runtime.precisions import FC_STORAGES
from .errors import FormatError

FORMAT_KEY = "fastalex.quantized"  # the version of the layout above
FORMAT = "1"
STORAGE_KEY = "fastalex.fc_storage"
KEYS = (FORMAT_KEY, STORAGE_KEY)
STORAGES = ("int8", "int4")
SCALE = ".scale"
GROUP = _core.INT4_GROUP  # int4 weights of one scale
_BLOCK = 1 << 20  # values that are converted at once: bounds what conversions add to the memory


class QuantizedWeight:
    """A fully connected weight as levels and scales: the arrays of a file, or of :func:`quantize`.

    It has the shape ``(out, in)`` of the float32 weight, and numpy makes that of it where one is asked for.

    :param levels: int8 ``[out, in]`` or uint8 ``[out, (in + 1) // 2]`` in the order of this module's description.
    :param scale: float32 ``[out]`` or float16 ``[out, (in + 127) // 128]``.
    :param channels: of the input map; its pixels are ``in / channels``.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, quantized: np.ndarray, scale: np.ndarray, shape: Tuple[int, int], channels: int) -> None:
        self.quantized, self.scale, self.shape, self.channels = quantized, scale, shape, channels

    @property
    def storage(self) -> str:
        return "int8" if self.quantized.dtype == np.int8 else "int4"

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of levels and scales."""
        return self.quantized.nbytes + self.scale.nbytes

    @property
    def native(self) -> Tuple[Any, ...]:
        """What ``_core.Net`` takes for it."""
        return (self.quantized, self.scale) if self.storage == "int8" else (self.quantized, self.scale, self.size)

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray:
        """The values, float32 ``[out, in]`` with ``in`` in the order channel, y, x of the other formats."""
        values = np.empty(self.shape, np.float32)
        out, inputs = self.shape
        for rows in _row_blocks(out, inputs):
            part = self._values(rows).reshape(-1, inputs // self.channels, self.channels)
            values[rows] = part.transpose(0, 2, 1).reshape(-1, inputs)
        return values if dtype is None else values.astype(dtype, copy=False)

    def _values(self, rows: slice) -> np.ndarray:
        quantized, scale = self.quantized[rows], self.scale[rows].astype(np.float32)
        if self.storage == "int8":
            return quantized.astype(np.float32) * scale[:, None]
        halves = np.stack((quantized & 15, quantized >> 4), axis=2).reshape(len(quantized), -1)[:, : self.shape[1]]
        return (halves.astype(np.float32) - 8) * np.repeat(scale, GROUP, axis=1)[:, : self.shape[1]]


def quantize(weight: Any, storage: str, channels: int) -> QuantizedWeight:
    """The levels that the engine makes of a float32 weight ``[out, in]``, ``in`` in the order channel, y, x.

    A :class:`QuantizedWeight` of the same storage comes back as it is.

    :raises UserError: for NaN, infinity, and values that the storage has no level for.
    """
    if isinstance(weight, QuantizedWeight) and weight.storage == storage:
        return weight
    given = np.asarray(weight)
    out, inputs = given.shape
    quantized, scale = _empty(storage, out, inputs)
    for rows in _row_blocks(out, inputs):
        part = _core.quantize_rows(_pixels_first(given[rows], channels), FC_STORAGES.index(storage))
        quantized[rows], scale[rows] = part
    return QuantizedWeight(quantized, scale, (out, inputs), channels)


def to_file(arrays: Mapping[str, Any], variant: Variant, storage: str) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """The arrays and the metadata of a file with the fully connected weights of ``arrays`` as ``storage``.

    :raises UserError: what :func:`quantize` raises, naming the array.
    """
    written: Dict[str, np.ndarray] = {}
    channels = _fc_channels(variant)
    for name, array in arrays.items():
        if name not in channels:
            written[name] = np.asarray(array)
            continue
        try:
            packed = quantize(array, storage, channels[name])
        except UserError as error:
            raise UserError(f"'{name}' cannot be written as {storage}: {error}") from None
        written[name], written[name + SCALE] = packed.quantized, packed.scale
    return written, {FORMAT_KEY: FORMAT, STORAGE_KEY: storage}


def read(arrays: Dict[str, Any], metadata: Mapping[str, str], named: Callable[[], Optional[Variant]]) -> Dict[str, Any]:
    """``arrays`` of a file with each quantized weight and its scale as one :class:`QuantizedWeight`.

    :param named: gives the variant that the metadata names.
    :raises FormatError: if the file says that it is quantized, and is not as this module describes.
    """
    if FORMAT_KEY not in metadata and STORAGE_KEY not in metadata:
        return arrays
    if metadata.get(FORMAT_KEY) != FORMAT:
        raise FormatError(
            f"it is quantized in the format {metadata.get(FORMAT_KEY)!r:.20}, this fastalex reads {FORMAT!r}; quantize it again, or install another version"
        )
    storage = metadata.get(STORAGE_KEY)
    if storage not in STORAGES:
        raise FormatError(f"its weights are kept as {storage!r:.20}, not as {' or '.join(STORAGES)}")
    try:
        variant = named()
        shapes = variant.parameter_shapes() if variant else {}
    except UserError as error:
        raise FormatError(str(error)) from None
    if variant is None:
        raise FormatError("it is quantized, but names no variant")
    found = dict(arrays)
    for name, channels in _fc_channels(variant).items():
        shape = (shapes[name][0], shapes[name][1])
        quantized, scale = _empty(storage, 0, shape[1])
        pair = [
            _checked(found, key, (shape[0], *like.shape[1:]), like.dtype)
            for key, like in ((name, quantized), (name + SCALE, scale))
        ]
        del found[name + SCALE]
        found[name] = QuantizedWeight(pair[0], pair[1], shape, channels)
    return found


def storage_of(arrays: Mapping[str, Any]) -> Optional[str]:
    """How the fully connected weights of a file are kept; None for plain numbers."""
    return next((array.storage for array in arrays.values() if isinstance(array, QuantizedWeight)), None)


def original_quantized(arrays: Mapping[str, Any], storage: str) -> Dict[str, QuantizedWeight]:
    """Those of ``arrays`` that are levels of ``storage`` already."""
    return {
        name: array for name, array in arrays.items() if isinstance(array, QuantizedWeight) and array.storage == storage
    }


def restore(arrays: Mapping[str, np.ndarray], variant: Variant, storage: str) -> Dict[str, Any]:
    """``arrays`` that the engine gave back from ``storage``, with the levels that it has: :func:`quantize`, but
    without a second error.

    A weight is a quantized value times a scale. The largest of int8 is 127 times its scale, which is therefore a 127th
    of it, or a neighbor of that, as the product was rounded; of int4, whose products are exact, it is one to eight
    times the scale, of either sign.
    """
    found: Dict[str, Any] = dict(arrays)
    recover = _recover_int8 if storage == "int8" else _recover_int4
    for name, channels in _fc_channels(variant).items():
        found[name] = packed = quantize(arrays[name], storage, channels)
        out, inputs = packed.shape
        for rows in _row_blocks(out, inputs):
            recover(_pixels_first(arrays[name][rows], channels), packed.quantized[rows], packed.scale[rows])
    return found


def _pixels_first(rows: np.ndarray, channels: int) -> np.ndarray:
    """Rows in the order channel, y, x as float32 rows in the order y, x, channel."""
    ordered = rows.reshape(len(rows), channels, -1).transpose(0, 2, 1).reshape(rows.shape)
    return np.require(ordered, np.float32, ["C_CONTIGUOUS"])


def _recover_int8(values: np.ndarray, quantized: np.ndarray, scale: np.ndarray) -> None:
    """Moves ``scale`` in place to the neighbor whose products are ``values``."""
    for candidate in (np.nextafter(scale, np.float32(0)), np.nextafter(scale, np.float32(np.inf))):
        wrong = (quantized * scale[:, None] != values).any(axis=1)
        if not wrong.any():
            return
        better = wrong & (quantized * candidate[:, None] == values).all(axis=1)
        scale[better] = candidate[better]


def _recover_int4(values: np.ndarray, quantized: np.ndarray, scale: np.ndarray) -> None:
    """Writes into ``levels`` and ``scale`` those whose products are ``values``, group by group, where there are any."""
    rows, inputs = values.shape
    groups = scale.shape[1]
    padded = np.zeros((rows, groups * GROUP), np.float32)
    padded[:, :inputs] = values
    padded = padded.reshape(rows, groups, GROUP)
    extreme = np.take_along_axis(padded, np.abs(padded).argmax(axis=2)[..., None], axis=2)[..., 0]
    halves = np.zeros(padded.shape, np.uint8)
    todo = np.ones((rows, groups), bool)
    for level in (-8, 7, -7, 6, -6, 5, -5, 4, -4, 3, -3, 2, -2, 1, -1):
        step = (extreme / np.float32(level)).astype(np.float16)
        wide = step.astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found = np.where(wide[..., None] != 0, padded / wide[..., None], 0)
        found = np.clip(np.rint(found), -8, 7)
        fits = todo & (found * wide[..., None] == padded).all(axis=2)
        halves[fits] = found[fits] + 8
        scale[fits] = step[fits]
        todo &= ~fits
        if not todo.any():
            break
    packed = halves.reshape(rows, -1)
    packed = (packed[:, ::2] | packed[:, 1::2] << 4)[:, : quantized.shape[1]]
    keep = np.repeat(todo, GROUP // 2, axis=1)[:, : quantized.shape[1]]
    quantized[:] = np.where(keep, quantized, packed)


def _fc_channels(variant: Variant) -> Dict[str, int]:
    """Name of each fully connected weight -> channels of its input."""
    return {layer.param + ".weight": layer.in_shape[0] for layer in variant.layers() if layer.op == "fc"}


def _empty(storage: str, out: int, inputs: int) -> Tuple[np.ndarray, np.ndarray]:
    """Levels and scales of a weight, not filled in."""
    if storage == "int8":
        return np.empty((out, inputs), np.int8), np.empty(out, np.float32)
    return np.empty((out, (inputs + 1) // 2), np.uint8), np.empty((out, -(-inputs // GROUP)), np.float16)


def _checked(arrays: Mapping[str, Any], name: str, shape: Tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    array = arrays.get(name)
    if array is None:
        raise FormatError(f"it is quantized, but lacks the array '{name}'")
    if array.dtype != dtype or array.shape != shape:
        raise FormatError(f"its array '{name}' is {array.dtype} {array.shape}, but should be {dtype} {shape}")
    return array


def _row_blocks(out: int, inputs: int) -> Any:
    rows = max(1, _BLOCK // max(1, inputs))
    return (slice(first, first + rows) for first in range(0, out, rows))
