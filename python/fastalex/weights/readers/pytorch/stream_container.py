"""The stream container of ``torch.save``: four pickles, the storage keys, then the raw numbers of each storage."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from ...errors import FormatError
from .. import pickle_machine
from .tensors import NAMES, Storage, counted, counted_bytes, storage_type

STREAM_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py MAGIC_NUMBER
STREAM_START = b"\x8a\x0a" + STREAM_MAGIC.to_bytes(10, "little")  # the number as an instruction
STREAM_PROTOCOL = 1001


def recognizes(start: bytes) -> bool:
    """Whether a pickle of the magic number, in any protocol, begins with ``start``."""
    return start.startswith(b"\x80") and STREAM_START in start


def read(data: memoryview) -> Any:
    """What the pickle of the object makes.

    :raises FormatError: if anything is wrong.
    """
    _, position = pickle_machine.load(data)
    protocol, position = pickle_machine.load(data, position)
    system, position = pickle_machine.load(data, position)
    if protocol != STREAM_PROTOCOL:
        raise FormatError(f"its protocol is not {STREAM_PROTOCOL}")
    order = "<" if not isinstance(system, dict) or system.get("little_endian", True) else ">"
    roots: Dict[str, Tuple[str, int]] = {}
    places: Dict[str, memoryview] = {}

    def persistent(given: Any) -> Storage:
        if type(given) is tuple and given and given[0] == "module":
            raise FormatError("it holds a whole network; load it where it comes from and save model.state_dict()")
        if type(given) is not tuple or len(given) not in (5, 6) or given[0] != "storage" or type(given[2]) is not str:
            raise FormatError("its pickle refers to something that is no storage")
        kind, key, count = storage_type(given[1]), given[2], counted(given[4])
        if roots.setdefault(key, (kind, count)) != (kind, count):
            raise FormatError(f"its storage {key!r:.100} has two sizes")
        view = given[5] if len(given) == 6 else None
        if view is None:
            return Storage(kind, count, key, 0, lambda key: (places[key], order))
        if type(view) is not tuple or len(view) != 3:
            raise FormatError("its pickle refers to something that is no storage")
        return Storage(kind, counted(view[2]), key, counted(view[1]), lambda key: (places[key], order))

    found, position = pickle_machine.load(data, position, NAMES, persistent)
    keys, position = pickle_machine.load(data, position)
    if type(keys) is not list or any(type(key) is not str for key in keys) or set(keys) != set(roots):
        raise FormatError("its storages are not those of its tensors")
    for key in keys:
        places[key], position = counted_bytes(data, position, order, *roots[key])
    return found
