"""Maxwell and Pascal, sm_5x and sm_6x: whole numbers, by products of halves of registers."""

from __future__ import annotations

from typing import Any, List

import numpy as np

from .. import operands as get
from .base import MASK, Run, condition, signed
from .bits import Bits
from .floats import Floats
from .lanes import Lanes
from .moves import Moves
from .predicates import Predicates


class Maxwell(Bits, Predicates, Lanes, Floats, Moves):
    def iadd(self, words: List[str], args: List[str]) -> Run:
        return self._sum(args[0], args[1:], "X" in words)

    iadd32i = iadd

    def iadd3(self, words: List[str], args: List[str]) -> Run:
        if "RS" not in words:
            return self._sum(args[0], args[1:], "X" in words)
        a, b, c = (get.integers(arg) for arg in args[1:])

        def value(state: Any) -> Any:
            upper = (np.asarray(a(state)).astype(np.uint64) + b(state)) >> np.uint64(16)
            return upper.astype(np.uint32) + c(state)

        return self._to(args[0], value)

    def iscadd(self, words: List[str], args: List[str]) -> Run:
        a, b, shift = get.integers(args[1]), get.integers(args[2]), np.uint32(int(args[3], 16))
        return self._to(args[0], lambda state: (a(state) << shift) + b(state))

    iscadd32i = iscadd

    def lea(self, words: List[str], args: List[str]) -> Run:
        shift, carry = int(args[-1], 16), "X" in words
        a, b = get.integers(args[1]), get.integers(args[2])
        high = get.integers(args[3]) if "HI" in words else None

        def value(state: Any) -> Any:
            low = np.asarray(a(state)).astype(np.uint64)
            if high:
                low = (low | np.asarray(high(state)).astype(np.uint64) << np.uint64(32)) >> np.uint64(32 - shift)
            else:
                low = low << np.uint64(shift)
            total = (low & np.uint64(MASK)) + b(state)
            return total + state.carry if carry else total

        if get.parse(args[0]).sets_carry:
            return self._to(args[0], value)
        return self._to(args[0], lambda state: (value(state) & np.uint64(MASK)).astype(np.uint32))

    def xmad(self, words: List[str], args: List[str]) -> Run:
        """A product of two halves of registers, and a sum with a third register or a part of it."""
        signs = [word for word in words if word in ("S16", "U16")] or ["U16", "U16"]
        a, b = (get.half_words(arg, sign == "S16") for arg, sign in zip(args[1:3], signs))
        whole_a, whole_b, c = (get.integers(arg) for arg in args[1:4])

        def value(state: Any) -> Any:
            product = a(state) * b(state)
            third = np.asarray(c(state)).astype(np.int64)
            if "PSL" in words:
                product = product << 16
            if "CLO" in words:
                third = third & 0xFFFF
            elif "CHI" in words:
                third = third >> 16
            elif "CBCC" in words:
                third = third + (np.asarray(whole_b(state)).astype(np.int64) << 16)
            elif "CSFU" in words:  # what two signed products of halves have too much where they are negative
                x, y = (np.asarray(read(state)).astype(np.int64) for read in (whole_a, whole_b))
                third = third - (((x >> 31 != 0) & (y & 0xFFFF != 0)).astype(np.int64) << 16)
                third = third - (((y >> 31 != 0) & (x & 0xFFFF != 0)).astype(np.int64) << 16)
            total = product + third
            if "MRG" in words:
                total = total & 0xFFFF | (np.asarray(whole_b(state)).astype(np.int64) & 0xFFFF) << 16
            return (total & MASK).astype(np.uint32)

        return self._to(args[0], value)

    def mov(self, words: List[str], args: List[str]) -> Run:
        return self._to(args[0], get.integers(args[1]))

    mov32i = s2r = mov

    def vmnmx(self, words: List[str], args: List[str]) -> Run:
        """The lesser, or with MX the greater, of two; and of that and a third."""
        a, b, c = (get.integers(arg) for arg in args[1:])
        inner = np.maximum if "MX" in words else np.minimum
        outer = np.maximum if words[-1] == "MAX" else np.minimum

        def value(state: Any) -> Any:
            return outer(inner(signed(a(state)), signed(b(state))), signed(c(state))).view(np.uint32)

        return self._to(args[0], value)

    def icmp(self, words: List[str], args: List[str]) -> Run:
        a, b, c = (get.integers(arg) for arg in args[1:])
        holds = condition(words)
        return self._to(args[0], lambda state: np.where(holds(c(state), np.uint32(0)), a(state), b(state)))

    def i2i(self, words: List[str], args: List[str]) -> Run:
        return self._to(args[0], get.integers(args[1]))

    # Pairs of halves, and maxima of bytes

    def _zeros(self, words: List[str], args: List[str]) -> Run:
        register = get.parse(args[0]).register
        zero = np.uint32(0)
        return lambda state: state.write(register, zero)

    hadd2 = hadd2_32i = hmul2 = hmul2_32i = hfma2 = hfma2_32i = _zeros

    # What changes neither registers nor the way of a thread: SYNC and BRK are branches to where nvdisasm says

    def _nothing(self, words: List[str], args: List[str]) -> Run:
        return lambda state: None

    nop = ssy = pbk = membar = depbar = bar = bra = sync = brk = exit = _nothing
