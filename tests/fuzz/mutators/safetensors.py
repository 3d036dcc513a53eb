"""Damage to .safetensors: its header, a JSON of types, shapes, offsets and metadata, and the length of that."""

from __future__ import annotations

import json
from random import Random

from . import hostile, json_text

METADATA = "__metadata__"


def mutated(data: bytes, chance: Random) -> bytes:
    return _changed(data, chance, chance.random() < 0.5)


def metadata(data: bytes, chance: Random) -> bytes:
    """Only the metadata is changed."""
    return _changed(data, chance, True)


def _changed(data: bytes, chance: Random, metadata_only: bool) -> bytes:
    length = int.from_bytes(data[:8], "little")
    text, body = data[8 : 8 + length].decode("utf-8"), data[8 + length :]
    if metadata_only:
        header = json.loads(text)
        inner = json_text.mutated(json.dumps(header.pop(METADATA, {})), chance)
        text = json.dumps(header)[:-1] + f', "{METADATA}": {inner}}}'
    else:
        text = json_text.mutated(text, chance)
    encoded = text.encode("utf-8", "surrogatepass")
    encoded += b" " * (-len(encoded) % 8)
    stated = len(encoded) if metadata_only or chance.random() < 0.9 else hostile.integer(chance) % (1 << 64)
    return stated.to_bytes(8, "little") + encoded + body
