"""Turing, sm_75: whole numbers with carries in predicates, and the uniform registers of a warp.

A uniform register is kept like any other, with the same value in every lane; so UIADD3 is IADD3, and so on.
"""

from __future__ import annotations

from typing import Any, Callable, List, Tuple

import numpy as np

from .. import operands as get
from ..operands import predicate, predicate_index
from ..toolchain import ToolError
from .base import CONDITIONS, MASK, Run, condition, signed, wide
from .bits import Bits
from .floats import Floats
from .lanes import Lanes
from .moves import Moves
from .predicates import Predicates

WORD = np.uint64(32)


def is_predicate(text: str) -> bool:
    return text.lstrip("!").lstrip("U").startswith("P")


def low(value: Any) -> Any:
    return (value & np.uint64(MASK)).astype(np.uint32)


class Turing(Bits, Predicates, Lanes, Floats, Moves):
    def _with_carries(self, args: List[str]) -> Tuple[str, List[str], List[str], List[str]]:
        """Register, predicates that take carries, sources, predicates that bring some."""
        first = 1
        while is_predicate(args[first]):
            first += 1
        last = len(args)
        while is_predicate(args[last - 1]):
            last -= 1
        return args[0], args[1:first], args[first:last], args[last:]

    def _put(self, to: str, carries: List[str], value: get.Read) -> Run:
        """Write the lower word of a uint64, and its carries: whether there is one, and whether there are two."""
        register = get.target(to)
        indices = [predicate_index(one) for one in carries]

        def run(state: Any) -> None:
            total = value(state)
            for i, index in enumerate(indices):
                state.write_predicate(index, total >> WORD > i)
            state.write(register, low(total))

        return run

    # Whole numbers

    def iadd3(self, words: List[str], args: List[str]) -> Run:
        to, carries, sources, brought = self._with_carries(args)
        parts = [get.parse(one) for one in sources]
        reads = [get.integers("~" + one.strip()[1:] if part.negative else one) for one, part in zip(sources, parts)]
        ones = np.uint64(sum(part.negative for part in parts))
        bring = [predicate(one) for one in brought]

        def value(state: Any) -> Any:
            total = sum(wide(read(state)) for read in reads) + ones
            return total + sum((wide(one(state)) for one in bring), np.uint64(0))

        return self._put(to, carries, value)

    def imad(self, words: List[str], args: List[str]) -> Run:
        to, carries, sources, brought = self._with_carries(args)
        a, b, c = (get.integers(one) for one in sources)
        if "WIDE" in words or "HI" in words:
            return self._wide_product(words, to, sources)
        bring = predicate(brought[0]) if brought else None

        def value(state: Any) -> Any:
            total = (wide(a(state)) * wide(b(state)) & np.uint64(MASK)) + wide(c(state))
            return total + wide(bring(state)) if bring else total

        return self._put(to, carries, value)

    def _wide_product(self, words: List[str], to: str, sources: List[str]) -> Run:
        """A product of 64 bits, plus a pair of registers: both words of it, or the upper one."""
        a, b = get.integers(sources[0]), get.integers(sources[1])
        pair, register = get.pair(sources[2]), get.target(to)

        def run(state: Any) -> None:
            x, y = a(state), b(state)
            if "U32" not in words:
                x, y = signed(x).astype(np.int64), signed(y).astype(np.int64)
            total = wide(x) * wide(y) + pair(state)
            if "HI" in words:
                state.write(register, (total >> WORD).astype(np.uint32))
                return
            state.write(register, low(total))
            state.write(register + 1 if register != get.NOWHERE else register, (total >> WORD).astype(np.uint32))

        return run

    def iabs(self, words: List[str], args: List[str]) -> Run:
        a = get.integers(args[1])
        return self._to(args[0], lambda state: np.abs(signed(a(state))).view(np.uint32))

    def lea(self, words: List[str], args: List[str]) -> Run:
        to, carries, sources, brought = self._with_carries(args)
        shift = np.uint64(int(sources[-1], 16))
        a, b = get.integers(sources[0]), get.integers(sources[1])
        above = get.integers(sources[2]) if "HI" in words and "SX32" not in words else None
        bring = predicate(brought[0]) if brought else None
        negative = get.parse(sources[0]).negative
        plain = get.integers(sources[0].lstrip("-")) if negative else a

        def shifted(state: Any) -> Any:
            x = plain(state)
            if "HI" not in words:
                moved = low(wide(x) << shift)
            else:
                upper = wide(above(state)) if above else wide(signed(x).astype(np.int64) >> 32) & np.uint64(MASK)
                moved = low((wide(x) | upper << WORD) >> (WORD - shift))
            return np.uint32(0) - moved if negative else moved

        def value(state: Any) -> Any:
            total = wide(shifted(state)) + wide(b(state))
            return total + wide(bring(state)) if bring else total

        return self._put(to, carries, value)

    # Bits

    def lop3(self, words: List[str], args: List[str]) -> Run:
        index = predicate_index(args[0]) if is_predicate(args[0]) else None
        rest = args[1:] if index is not None else args
        value = self._table(rest[1:4], int(rest[4], 16))
        put = self._to(rest[0], value)
        if index is None:
            return put

        def run(state: Any) -> None:
            state.write_predicate(index, np.not_equal(value(state), 0))
            put(state)

        return run

    def plop3(self, words: List[str], args: List[str]) -> Run:
        """Two functions of three predicates, by their tables."""
        first, second = predicate_index(args[0]), predicate_index(args[1])
        sources, tables = [predicate(one) for one in args[2:5]], [int(one, 16) for one in args[5:7]]

        def run(state: Any) -> None:
            place = sum(source(state).astype(int) << (2 - i) for i, source in enumerate(sources))
            for index, table in zip((first, second), tables):
                state.write_predicate(index, np.asarray(table >> place & 1, bool))

        return run

    def shf(self, words: List[str], args: List[str]) -> Run:
        """A word of a shifted pair of registers."""
        first, shift, last = (get.integers(arg) for arg in args[1:])
        kind = np.int64 if "S32" in words or "S64" in words else np.uint64

        def value(state: Any) -> Any:
            pair = (wide(first(state)) | wide(last(state)) << WORD).astype(kind)
            by = np.minimum(shift(state), 63).astype(kind)
            moved = wide(pair << by if "L" in words else pair >> by)
            return low(moved >> WORD if "HI" in words else moved)

        return self._to(args[0], value)

    def p2r(self, words: List[str], args: List[str]) -> Run:
        into, mask = get.integers(args[2]), np.uint32(int(args[3], 16))

        def value(state: Any) -> Any:
            bits = sum(state.predicates[i].astype(np.uint32) << np.uint32(i) for i in range(7))
            return bits & mask | into(state) & ~mask

        return self._to(args[0], value)

    # Predicates

    def isetp(self, words: List[str], args: List[str]) -> Run:
        a, b = get.integers(args[2]), get.integers(args[3])
        plain = [word for word in words if word != "EX"]
        if "EX" not in words:
            holds = condition(plain)
            return self._set_predicates(plain, args, lambda state: holds(a(state), b(state)))
        return self._set_predicates(plain, args, self._upper(plain, a, b, predicate(args[5])))

    def _upper(self, words: List[str], a: get.Read, b: get.Read, below: get.Read) -> Callable[[Any], Any]:
        """The upper words of a comparison of 64 bits, after that of the lower ones."""
        name = next(word for word in words if word in CONDITIONS)
        strict = condition([{"G": "GT", "L": "LT"}.get(name[0], "NE"), *words[1:]])

        def value(state: Any) -> Any:
            x, y = a(state), b(state)
            same = np.equal(x, y)
            if name == "EQ":
                return same & below(state)
            return strict(x, y) | same & below(state)

        return value

    # Copies

    def mov(self, words: List[str], args: List[str]) -> Run:
        if "64" in words:
            register, pair = get.target(args[0]), get.pair(args[1])

            def run(state: Any) -> None:
                state.write(register, low(pair(state)))
                state.write(register + 1, low(pair(state) >> WORD))

            return run
        return self._to(args[0], get.integers(args[1]))

    s2r = s2ur = r2ur = umov = uldc = mov

    def cs2r(self, words: List[str], args: List[str]) -> Run:
        if args[1] != "SRZ":
            raise ToolError(f"the special register {args[1]} is not known")
        register, count = get.target(args[0]), 1 if "32" in words else 2

        def run(state: Any) -> None:
            for i in range(count):
                state.write(register + i, np.uint32(0))

        return run

    def fsel(self, words: List[str], args: List[str]) -> Run:
        a, b, chosen = get.floats(args[1]), get.floats(args[2]), predicate(args[3])
        return self._float(args[0], lambda state: np.where(chosen(state), a(state), b(state)))

    uiadd3, uimad, ulea, ulop3, usel, ushf, uisetp, uplop3 = iadd3, imad, lea, lop3, Bits.sel, shf, isetp, plop3
    voteu = Lanes.vote

    # Pairs of halves: their results are zeros

    def _zeros(self, words: List[str], args: List[str]) -> Run:
        register, zero = get.target(args[0]), np.uint32(0)
        return lambda state: state.write(register, zero)

    hadd2 = hmul2 = hfma2 = _zeros

    # What changes neither registers nor the way of a thread

    def _nothing(self, words: List[str], args: List[str]) -> Run:
        return lambda state: None

    nop = yield_ = bssy = bsync = bmov = warpsync = membar = depbar = bar = bra = exit = _nothing
