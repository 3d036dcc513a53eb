"""Loads and stores."""

from __future__ import annotations

from typing import List

from .. import operands as get
from .base import Base, Run


class Moves(Base):
    def lds(self, words: List[str], args: List[str]) -> Run:
        return self._load(args, "shared", False)

    def ldg(self, words: List[str], args: List[str]) -> Run:
        return self._load(args, "global", "E" in words)

    def _load(self, args: List[str], space: str, wide: bool) -> Run:
        place, register = get.address(args[1], wide), get.parse(args[0]).register
        return lambda state: state.load(space, place(state), register)

    def sts(self, words: List[str], args: List[str]) -> Run:
        return self._store(args, "shared", False)

    def stg(self, words: List[str], args: List[str]) -> Run:
        return self._store(args, "global", "E" in words)

    def _store(self, args: List[str], space: str, wide: bool) -> Run:
        place, register = get.address(args[0], wide), get.parse(args[1]).register
        return lambda state: state.store(space, place(state), register)
