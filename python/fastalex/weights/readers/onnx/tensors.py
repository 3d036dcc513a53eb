"""The tensors of an ONNX model, stored in its file or in a data file beside it."""

from __future__ import annotations

import math
from typing import Dict, List, Optional

import numpy as np

from ...errors import FormatError
from .. import mapped
from .. import protobuf_wire as wire
from .external import DataFiles

#: Of TensorProto.DataType.
FLOAT, INT32, INT64, BOOL, FLOAT16, DOUBLE, BFLOAT16 = 1, 6, 7, 9, 10, 11, 16
_RAW = {FLOAT: "<f4", INT32: "<i4", INT64: "<i8", BOOL: "|b1", FLOAT16: "<f2", DOUBLE: "<f8", BFLOAT16: "<u2"}
_EXTERNAL = 1  # TensorProto.DataLocation


class Tensor:
    """A TensorProto, whose array is made on request."""

    def __init__(self, data: memoryview, files: DataFiles, budget: wire.Budget) -> None:
        self.name, self.type, self.files = "", 0, files
        self.sides: List[int] = []
        self.raw: Optional[memoryview] = None
        self.entry: Dict[str, str] = {}
        external = False
        floats: List[np.ndarray] = []
        doubles: List[np.ndarray] = []
        whole: Dict[int, List[int]] = {INT32: [], INT64: []}
        for number, wire_type, value in wire.fields(data, budget):
            if number == 1:
                self.sides += wire.integers(wire_type, value, budget)
            elif number == 2:
                self.type = wire.signed(value)
            elif number == 4:
                floats.append(wire.numbers(value, "<f4"))
            elif number == 10:
                doubles.append(wire.numbers(value, "<f8"))
            elif number in (5, 7):
                whole[INT32 if number == 5 else INT64] += wire.integers(wire_type, value, budget)
            elif number == 8:
                self.name = wire.text(value)
            elif number == 9:
                self.raw = wire.message(value)
            elif number == 13:
                self.entry.update(_pair(wire.message(value), budget))
            elif number == 14:
                external = value == _EXTERNAL
        self.external = external or bool(self.entry)
        if self.external:
            self.raw = None
        self.parts = {FLOAT: (floats, "<f4"), DOUBLE: (doubles, "<f8")}
        for kind, source, code in ((INT32, INT32, "<i4"), (INT64, INT64, "<i8"), (BOOL, INT32, "|b1")):
            self.parts[kind] = ([np.array(whole[source]).astype(code)], code)

    def array(self) -> np.ndarray:
        """Return the values; those of raw data are a view of the mapped file.

        :raises FormatError: if they do not fit the type and the shape, or their data file cannot be read.
        """
        if self.type not in _RAW:
            raise FormatError(f"{self.name!r:.100} has the type {self.type} where floats belong")
        if self.external and self.raw is None:
            sides = mapped.checked_shape(self.name, self.sides)
            length = math.prod(sides) * np.dtype(_RAW[self.type]).itemsize
            self.raw = self.files.part(self.entry, length)
        if self.raw is not None:
            flat = wire.numbers(self.raw, _RAW[self.type])
        elif self.type in self.parts:
            flat = wire.joined(*self.parts[self.type])
        else:
            raise FormatError(f"{self.name!r:.100} does not hold its half precision numbers as raw data")
        flat = mapped.shaped(self.name, flat, self.sides)
        return mapped.widened(flat) if self.type == BFLOAT16 else flat


def _pair(data: memoryview, budget: wire.Budget) -> Dict[str, str]:
    """Read a StringStringEntryProto of a tensor's external data."""
    parts = {number: wire.text(value) for number, _, value in wire.fields(data, budget)}
    return {parts.get(1, ""): parts.get(2, "")}
