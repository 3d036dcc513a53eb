"""Logic, shifts, bit fields and bytes, and choices."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

import numpy as np

from .. import operands as get
from ..operands import predicate, predicate_index
from .base import MASK, Base, Run, condition, signed, wide


class Bits(Base):
    def lop(self, words: List[str], args: List[str]) -> Run:
        to = args[1:] if words[-1] == "NZ" else args
        a, b = get.integers(to[1]), get.integers(to[2])
        operations: Dict[str, Callable[[Any, Any], Any]] = {
            "AND": np.bitwise_and,
            "OR": np.bitwise_or,
            "XOR": np.bitwise_xor,
            "PASS_B": lambda x, y: y,
        }
        operation = operations[words[0]]
        return self._bits(words, args, lambda state: operation(a(state), b(state)))

    lop32i = lop

    def lop3(self, words: List[str], args: List[str]) -> Run:
        to = args[1:] if words[-1] == "NZ" else args
        return self._bits(words, args, self._table(to[1:4], int(to[4], 16)))

    def _table(self, sources: List[str], table: int) -> get.Read:
        """Any function of three bits, by its table."""
        reads = [get.integers(source) for source in sources]

        def value(state: Any) -> Any:
            a, b, c = (read(state) for read in reads)
            result = a & np.uint32(0) & b & c
            for i in range(8):
                if table >> i & 1:
                    result = result | (a if i & 4 else ~a) & (b if i & 2 else ~b) & (c if i & 1 else ~c)
            return result

        return value

    def _bits(self, words: List[str], args: List[str], value: get.Read) -> Run:
        if words[-1] != "NZ":
            return self._to(args[0], value)
        index, write = predicate_index(args[0]), self._to(args[1], value)

        def run(state: Any) -> None:
            state.write_predicate(index, np.not_equal(value(state), 0))
            write(state)

        return run

    def shl(self, words: List[str], args: List[str]) -> Run:
        a, shift = get.integers(args[1]), get.integers(args[2])

        def value(state: Any) -> Any:
            return (wide(a(state)) << wide(np.minimum(shift(state), 32)) & np.uint64(MASK)).astype(np.uint32)

        return self._to(args[0], value)

    def shr(self, words: List[str], args: List[str]) -> Run:
        a, shift = get.integers(args[1]), get.integers(args[2])

        def value(state: Any) -> Any:
            if "U32" in words:
                return (wide(a(state)) >> wide(np.minimum(shift(state), 32))).astype(np.uint32)
            return (signed(a(state)) >> np.minimum(shift(state), 31).astype(np.int32)).view(np.uint32)

        return self._to(args[0], value)

    def shf(self, words: List[str], args: List[str]) -> Run:
        """A word of a shifted pair: to the left the upper one, to the right the lower one."""
        first, shift, last = (get.integers(arg) for arg in args[1:])

        def value(state: Any) -> Any:
            pair = wide(first(state)) | wide(last(state)) << np.uint64(32)
            by = wide(np.minimum(shift(state), 63))
            moved = (pair << by) >> np.uint64(32) if "L" in words else pair >> by
            return (moved & np.uint64(MASK)).astype(np.uint32)

        return self._to(args[0], value)

    def bfe(self, words: List[str], args: List[str]) -> Run:
        a, place = get.integers(args[1]), int(args[2], 16)
        first, mask = np.uint32(place & 255), np.uint32((1 << (place >> 8 & 255)) - 1)
        return self._to(args[0], lambda state: a(state) >> first & mask)

    def bfi(self, words: List[str], args: List[str]) -> Run:
        a, place, into = get.integers(args[1]), int(args[2], 16), get.integers(args[3])
        first, mask = np.uint32(place & 255), np.uint32((1 << (place >> 8 & 255)) - 1)
        keep = np.uint32(~(int(mask) << int(first)) & MASK)
        return self._to(args[0], lambda state: (a(state) & mask) << first | into(state) & keep)

    def sel(self, words: List[str], args: List[str]) -> Run:
        a, b, chosen = get.integers(args[1]), get.integers(args[2]), predicate(args[3])
        return self._to(args[0], lambda state: np.where(chosen(state), a(state), b(state)))

    def imnmx(self, words: List[str], args: List[str]) -> Run:
        a, b, smaller = get.integers(args[1]), get.integers(args[2]), predicate(args[3])
        less = condition(["LT", *words])

        def value(state: Any) -> Any:
            x, y = a(state), b(state)
            return np.where(less(x, y) == smaller(state), x, y)

        return self._to(args[0], value)

    def prmt(self, words: List[str], args: List[str]) -> Run:
        a, choice, b = (get.integers(arg) for arg in args[1:])

        def value(state: Any) -> Any:
            pair = wide(a(state)) | wide(b(state)) << np.uint64(32)
            chosen, result = wide(choice(state)), np.uint64(0)
            for i in range(4):
                nibble = chosen >> np.uint64(4 * i) & np.uint64(15)
                byte = pair >> (nibble & np.uint64(7)) * np.uint64(8) & np.uint64(255)
                byte = np.where(nibble & np.uint64(8), (byte >> np.uint64(7)) * np.uint64(255), byte)
                result = result | byte << np.uint64(8 * i)
            return result.astype(np.uint32)

        return self._to(args[0], value)

    def popc(self, words: List[str], args: List[str]) -> Run:
        a = get.integers(args[1])

        def value(state: Any) -> Any:
            x = np.ascontiguousarray(np.broadcast_to(a(state), state.registers[0].shape))
            return np.unpackbits(x.view(np.uint8).reshape(-1, 4), axis=1).sum(axis=1).astype(np.uint32)

        return self._to(args[0], value)

    def flo(self, words: List[str], args: List[str]) -> Run:
        """The place of the highest bit that is set, all ones if none is."""
        a = get.integers(args[1])

        def value(state: Any) -> Any:
            x = np.asarray(a(state)).astype(np.float64)
            place = np.frexp(x)[1] - 1
            place = 31 - place if "SH" in words else place
            return np.where(x == 0, np.uint32(MASK), place.astype(np.uint32))

        return self._to(args[0], value)
