"""Damage to .gz, .bz2 and .xz: of what is packed, and of the packed bytes; and files that unpack to very much."""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
from random import Random
from typing import Callable

from . import plain

_MODULES = {"gz": gzip, "bz2": bz2, "xz": lzma}
KINDS = tuple(_MODULES)
_BOMB = 300 << 20  # bytes of zeros


def mutated(data: bytes, kind: str, chance: Random, inner: Callable[[bytes, Random], bytes]) -> bytes:
    module = _MODULES[kind]
    choice = chance.randrange(20)
    if choice < 9:
        return _packed(kind, inner(module.decompress(data), chance))
    if choice == 9:
        return bomb(kind)
    if choice == 10:
        return data + bomb(kind)
    if choice == 11:
        return data * chance.choice((2, 300))
    if choice == 12:
        return data + plain.mutated(data, chance)
    return plain.mutated(data, chance)


def _packed(kind: str, content: bytes) -> bytes:
    if kind == "gz":
        return gzip.compress(content, 1, mtime=0)
    return bz2.compress(content, 1) if kind == "bz2" else lzma.compress(content, preset=0)


@functools.lru_cache(maxsize=None)
def bomb(kind: str) -> bytes:
    """A file that unpacks to zeros, in as many streams as make it quickly."""
    piece = _packed(kind, bytes(_BOMB // 100))
    return piece * 100
