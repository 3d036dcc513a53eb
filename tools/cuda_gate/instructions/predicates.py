"""Comparisons, and what becomes of their results."""

from __future__ import annotations

from typing import Any, Callable, List

import numpy as np

from .. import operands as get
from ..operands import predicate
from .base import CONDITIONS, MASK, Base, Run, combination, condition


class Predicates(Base):
    def isetp(self, words: List[str], args: List[str]) -> Run:
        a, b = get.integers(args[2]), get.integers(args[3])
        holds = self._wide_condition(words) if "X" in words else None
        plain = condition(words)

        def value(state: Any) -> Any:
            return holds(state, a(state), b(state)) if holds else plain(a(state), b(state))

        return self._set_predicates(words, args, value)

    def _wide_condition(self, words: List[str]) -> Callable[[Any, Any, Any], Any]:
        """The upper words of a comparison of 64 bits, after the difference of the lower ones has set the flags."""
        name = next(word for word in words if word in CONDITIONS)
        strict = condition(["GT" if name[0] == "G" else "LT", *words[1:]])

        def holds(state: Any, x: Any, y: Any) -> Any:
            same, zero, carry = np.equal(x, y), state.zero, state.carry.astype(bool)
            if name in ("EQ", "NE"):
                return (same & zero) == (name == "EQ")
            low = {"GE": carry, "GT": carry & ~zero, "LT": ~carry, "LE": ~carry | zero}[name]
            return strict(x, y) | same & low

        return holds

    def fsetp(self, words: List[str], args: List[str]) -> Run:
        a, b, holds = get.floats(args[2]), get.floats(args[3]), condition(words, of_floats=True)
        return self._set_predicates(words, args, lambda state: holds(a(state), b(state)))

    def iset(self, words: List[str], args: List[str]) -> Run:
        a, b, holds = get.integers(args[1]), get.integers(args[2]), condition(words)
        return self._set_register(words, args, lambda state: holds(a(state), b(state)))

    def fset(self, words: List[str], args: List[str]) -> Run:
        a, b, holds = get.floats(args[1]), get.floats(args[2]), condition(words, of_floats=True)
        return self._set_register(words, args, lambda state: holds(a(state), b(state)))

    def psetp(self, words: List[str], args: List[str]) -> Run:
        a, b = predicate(args[2]), predicate(args[3])
        combine = combination(words[:1])
        return self._set_predicates(words, args, lambda state: combine(a(state), b(state)))

    def pset(self, words: List[str], args: List[str]) -> Run:
        a, b, third = (predicate(arg) for arg in args[1:])
        inner, outer = combination(words[:1]), combination(words)
        value = lambda state: outer(inner(a(state), b(state)), third(state))  # noqa: E731
        return self._to(args[0], lambda state: np.where(value(state), np.uint32(MASK), np.uint32(0)))

    def r2p(self, words: List[str], args: List[str]) -> Run:
        a, mask = get.integers(args[1]), int(args[2], 16)

        def run(state: Any) -> None:
            value = a(state)
            for i in range(7):
                if mask >> i & 1:
                    state.write_predicate(i, (value >> np.uint32(i) & np.uint32(1)).astype(bool))

        return run
