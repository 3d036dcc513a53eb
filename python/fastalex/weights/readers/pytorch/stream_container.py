"""The stream container of ``torch.save``: four pickles, the storage keys, and the raw numbers of each storage."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from ...errors import FormatError
from .. import pickle_machine
from .tensors import NAMES, ByteOrder, Storage, counted, counted_bytes, storage_type

STREAM_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py MAGIC_NUMBER
STREAM_START = b"\x8a\x0a" + STREAM_MAGIC.to_bytes(10, "little")  # the instruction that pushes the number
STREAM_PROTOCOL = 1001


def recognizes(start: bytes) -> bool:
    """Whether a pickle of the magic number, in any protocol, begins with ``start``."""
    return start.startswith(b"\x80") and STREAM_START in start


def read(data: memoryview) -> Any:
    """Return the object that was saved, with each tensor as a :class:`~.tensors.Tensor`.

    :raises FormatError: if anything is wrong.
    """
    budget = pickle_machine.Budget()
    _, position = pickle_machine.load(data, budget=budget)
    protocol, position = pickle_machine.load(data, position, budget=budget)
    system, position = pickle_machine.load(data, position, budget=budget)
    if protocol != STREAM_PROTOCOL:
        raise FormatError(f"its protocol is not {STREAM_PROTOCOL}")
    order: ByteOrder = "<" if not isinstance(system, dict) or system.get("little_endian", True) else ">"
    roots: Dict[str, Tuple[str, int]] = {}  # storage key -> type and count
    numbers: Dict[str, memoryview] = {}  # storage key -> raw numbers, known after the pickle is read

    def locate(key: str) -> Tuple[memoryview, ByteOrder]:
        return numbers[key], order

    def persistent(entry: Any) -> Any:
        if type(entry) is tuple and len(entry) == 4 and entry[0] == "module":
            return entry[1]  # a class, with its source
        if type(entry) is not tuple or len(entry) not in (5, 6) or entry[0] != "storage" or type(entry[2]) is not str:
            raise FormatError("its pickle refers to something that is not a storage")
        kind, key, count = storage_type(entry[1]), entry[2], counted(entry[4])
        if roots.setdefault(key, (kind, count)) != (kind, count):
            raise FormatError(f"its storage {key!r:.100} has two sizes")
        view = entry[5] if len(entry) == 6 else None
        if view is None:
            return Storage(kind, count, key, 0, locate)
        if type(view) is not tuple or len(view) != 3:
            raise FormatError("its pickle refers to something that is not a storage")
        return Storage(kind, counted(view[2]), key, counted(view[1]), locate)

    content, position = pickle_machine.load(data, position, NAMES, persistent, budget, placeholders=True)
    keys, position = pickle_machine.load(data, position, budget=budget)
    if type(keys) is not list or any(type(key) is not str for key in keys) or set(keys) != set(roots):
        raise FormatError("its storages are not those of its tensors")
    for key in keys:
        numbers[key], position = counted_bytes(data, position, order, *roots[key])
    return content
