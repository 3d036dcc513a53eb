"""Quantized fully connected weights, in memory and in ``.safetensors`` files.

For a fully connected layer ``fc6`` with ``in`` inputs, in the order y, x, channel of its input map, and ``out``
outputs, such a file has

* int8: ``fc6.weight`` I8 ``[out, in]`` and ``fc6.weight.scale`` F32 ``[out]``: weight = value * scale;
* int4: ``fc6.weight`` U8 ``[out, (in + 1) // 2]``, two values in a byte, the first in its low half, as value + 8, and
  ``fc6.weight.scale`` F16 ``[out, (in + 127) // 128]``, one for each 128 values.

Everything else is as in a float32 file. The metadata states the format and the storage (:data:`FORMAT_KEY`,
:data:`STORAGE_KEY`) and the variant. The engine takes these arrays unchanged; :func:`read` only checks them.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Tuple

import numpy as np

from .. import _core
from ..errors import UserError
from ..networks.architecture import Variant
from ..runtime.precisions import FC_STORAGES
from .errors import FormatError
from .readers import mapped

FORMAT_KEY = "fastalex.quantized"  # the version of the layout above
FORMAT = "1"
STORAGE_KEY = "fastalex.fc_storage"
KEYS = (FORMAT_KEY, STORAGE_KEY)
STORAGES = ("int8", "int4")
SCALE = ".scale"
GROUP = _core.INT4_GROUP  # int4 weights that share a scale
_BLOCK = 1 << 20  # values that are converted at once, which bounds the memory of a conversion


class QuantizedWeight:
    """A fully connected weight as quantized values and scales, from a file or from :func:`quantize`.

    ``numpy.asarray`` converts it to the float32 weight.

    :param quantized: int8 ``[out, in]`` or uint8 ``[out, (in + 1) // 2]`` in the order of this module's description.
    :param scale: float32 ``[out]`` or float16 ``[out, (in + 127) // 128]``.
    :param shape: ``(out, in)``, the shape of the float32 weight.
    :param channels: number of channels of the input map, which has ``in / channels`` pixels.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, quantized: np.ndarray, scale: np.ndarray, shape: Tuple[int, int], channels: int) -> None:
        self.quantized, self.scale, self.shape, self.channels = quantized, scale, shape, channels

    @property
    def storage(self) -> str:
        """``"int8"`` or ``"int4"``."""
        return "int8" if self.quantized.dtype == np.int8 else "int4"

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the quantized values and the scales."""
        return self.quantized.nbytes + self.scale.nbytes

    @property
    def native(self) -> Tuple[Any, ...]:
        """The arrays as a parameter of ``_core.Net``."""
        return (self.quantized, self.scale) if self.storage == "int8" else (self.quantized, self.scale, self.size)

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray:
        """Dequantize to float32 ``[out, in]``, with ``in`` in the order channel, y, x of the other formats."""
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
    """Quantize a weight ``[out, in]``, with ``in`` in the order channel, y, x, as the engine does.

    A :class:`QuantizedWeight` of the same storage is returned unchanged.

    :raises UserError: for NaN, infinity, and values outside the range of the storage.
    """
    if isinstance(weight, QuantizedWeight) and weight.storage == storage:
        return weight
    values = np.asarray(weight)
    out, inputs = values.shape
    quantized, scale = _empty(storage, out, inputs)
    for rows in _row_blocks(out, inputs):
        part = _core.quantize_rows(_pixels_first(values[rows], channels), FC_STORAGES.index(storage))
        quantized[rows], scale[rows] = part
    return QuantizedWeight(quantized, scale, (out, inputs), channels)


def to_file(arrays: Mapping[str, Any], variant: Variant, storage: str) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """Return the arrays and the metadata of a file with the fully connected weights of ``arrays`` as ``storage``.

    :raises UserError: like :func:`quantize`, naming the array, or if a mapped file was cut short.
    """
    mapped.check_whole(arrays.values())
    written: Dict[str, np.ndarray] = {}
    channels = fc_channels(variant)
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
    """Join each quantized weight in the ``arrays`` of a file with its scale to a :class:`QuantizedWeight`.

    :param named: returns the variant that the metadata names.
    :raises UserError: if the variant is not valid.
    :raises FormatError: if the metadata says that the file is quantized, but it is not in the format of this module.
    """
    if FORMAT_KEY not in metadata and STORAGE_KEY not in metadata:
        return arrays
    if metadata.get(FORMAT_KEY) != FORMAT:
        raise FormatError(
            f"it is quantized in the format {metadata.get(FORMAT_KEY)!r:.20}, this fastalex reads {FORMAT!r}; "
            "quantize it again, or install another version"
        )
    storage = metadata.get(STORAGE_KEY)
    if storage not in STORAGES:
        raise FormatError(f"its weights are stored as {storage!r:.20}, not as {' or '.join(STORAGES)}")
    variant = named()
    if variant is None:
        raise FormatError("it is quantized, but names no variant")
    try:
        shapes = variant.parameter_shapes()
    except UserError as error:
        raise FormatError(str(error)) from None
    joined = dict(arrays)
    for name, channels in fc_channels(variant).items():
        shape = (shapes[name][0], shapes[name][1])
        quantized, scale = (
            _checked(joined, key, (shape[0], *template.shape[1:]), template.dtype)
            for key, template in zip((name, name + SCALE), _empty(storage, 0, shape[1]))
        )
        del joined[name + SCALE]
        joined[name] = QuantizedWeight(quantized, scale, shape, channels)
    return joined


def storage_of(arrays: Mapping[str, Any]) -> Optional[str]:
    """Return the storage of the fully connected weights of a file; None for weights that are not quantized."""
    return next((array.storage for array in arrays.values() if isinstance(array, QuantizedWeight)), None)


def _pixels_first(rows: np.ndarray, channels: int) -> np.ndarray:
    """Reorder rows from channel, y, x to y, x, channel, as float32."""
    ordered = rows.reshape(len(rows), channels, -1).transpose(0, 2, 1).reshape(rows.shape)
    return np.require(ordered, np.float32, ["C_CONTIGUOUS"])


def fc_channels(variant: Variant) -> Dict[str, int]:
    """Return, for the name of each fully connected weight, the number of channels of its input."""
    return {layer.param + ".weight": layer.in_shape[0] for layer in variant.layers() if layer.op == "fc"}


def _empty(storage: str, out: int, inputs: int) -> Tuple[np.ndarray, np.ndarray]:
    """Allocate the quantized values and the scales of a weight."""
    if storage == "int8":
        return np.empty((out, inputs), np.int8), np.empty(out, np.float32)
    return np.empty((out, (inputs + 1) // 2), np.uint8), np.empty((out, -(-inputs // GROUP)), np.float16)


def _checked(arrays: Mapping[str, Any], name: str, shape: Tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    array: Optional[np.ndarray] = arrays.get(name)
    if array is None:
        raise FormatError(f"it is quantized, but lacks the array '{name}'")
    if array.dtype != dtype or array.shape != shape:
        raise FormatError(f"its array '{name}' is {array.dtype} {array.shape}, but should be {dtype} {shape}")
    return np.require(array, requirements="C")  # numpy writes a transposed array in the order of Fortran


def _row_blocks(out: int, inputs: int) -> Iterator[slice]:
    rows = max(1, _BLOCK // max(1, inputs))
    return (slice(first, first + rows) for first in range(0, out, rows))
