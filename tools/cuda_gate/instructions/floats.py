"""Single precision, and conversions."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

import numpy as np

from .. import operands as get
from ..operands import predicate, predicate_index
from ..toolchain import ToolError
from .base import Base, Run, condition, signed, unsigned


class Floats(Base):
    def _float(self, text: str, value: get.Read) -> Run:
        return self._to(text, lambda state: np.asarray(value(state), np.float32).view(np.uint32))

    def fadd(self, words: List[str], args: List[str]) -> Run:
        a, b = get.floats(args[1]), get.floats(args[2])
        return self._float(args[0], lambda state: a(state) + b(state))

    fadd32i = fadd

    def fmul(self, words: List[str], args: List[str]) -> Run:
        a, b = get.floats(args[1]), get.floats(args[2])
        return self._float(args[0], lambda state: a(state) * b(state))

    fmul32i = fmul

    def ffma(self, words: List[str], args: List[str]) -> Run:
        a, b, c = (get.floats(arg) for arg in args[1:4])
        if "SAT" in words:
            return self._float(args[0], lambda state: np.clip(a(state) * b(state) + c(state), 0, 1))
        return self._float(args[0], lambda state: a(state) * b(state) + c(state))

    ffma32i = ffma

    def fmnmx(self, words: List[str], args: List[str]) -> Run:
        a, b, smaller = get.floats(args[1]), get.floats(args[2]), predicate(args[3])

        def value(state: Any) -> Any:
            x, y = a(state), b(state)
            return np.where(smaller(state), np.fmin(x, y), np.fmax(x, y))

        return self._float(args[0], value)

    def fcmp(self, words: List[str], args: List[str]) -> Run:
        a, b, c = get.integers(args[1]), get.integers(args[2]), get.floats(args[3])
        holds = condition(words, of_floats=True) if words else (lambda x, y: np.isnan(x) | True)
        return self._to(args[0], lambda state: np.where(holds(c(state), np.float32(0)), a(state), b(state)))

    def mufu(self, words: List[str], args: List[str]) -> Run:
        a = get.floats(args[1])
        functions: Dict[str, Callable[[Any], Any]] = {
            "RCP": lambda x: np.float32(1) / x,
            "RSQ": lambda x: np.float32(1) / np.sqrt(x),
            "SQRT": np.sqrt,
            "EX2": np.exp2,
            "LG2": np.log2,
            "SIN": np.sin,
            "COS": np.cos,
            "TANH": np.tanh,
        }
        function = functions[words[0]]
        return self._float(args[0], lambda state: function(a(state)))

    def rro(self, words: List[str], args: List[str]) -> Run:
        return self._float(args[0], get.floats(args[1]))

    def fchk(self, words: List[str], args: List[str]) -> Run:
        index = predicate_index(args[0])
        return lambda state: state.write_predicate(index, np.zeros_like(state.active))

    def i2f(self, words: List[str], args: List[str]) -> Run:
        a = get.integers(args[1])
        if "U64" in words or "S64" in words:
            raise ToolError("I2F of 64 bits is not known")
        if "U32" in words:
            return self._float(args[0], lambda state: np.asarray(a(state)).astype(np.float32))
        return self._float(args[0], lambda state: signed(a(state)).astype(np.float32))

    def f2i(self, words: List[str], args: List[str]) -> Run:
        a = get.floats(args[1])
        if "U64" in words or "S64" in words:
            raise ToolError("F2I of 64 bits is not known")
        rounding = np.trunc if "TRUNC" in words else np.floor if "FLOOR" in words else np.rint
        low, high = (0.0, 4294967295.0) if "U32" in words else (-2147483648.0, 2147483647.0)

        def value(state: Any) -> Any:
            whole = rounding(np.nan_to_num(np.asarray(a(state), np.float64), posinf=high, neginf=low))
            return unsigned(np.clip(whole, low, high))

        return self._to(args[0], value)

    def f2f(self, words: List[str], args: List[str]) -> Run:
        to, source = words[:2]
        if source == "F16":
            half = get.half_words(args[1], signed=False)
            negative = get.parse(args[1]).negative

            def wide(state: Any) -> Any:
                value = np.asarray(half(state)).astype(np.uint16).view(np.float16).astype(np.float32)
                return -value if negative else value

            return self._float(args[0], wide)
        a = get.floats(args[1])
        if to == "F16":
            return self._to(
                args[0],
                lambda state: np.asarray(a(state), np.float32).astype(np.float16).view(np.uint16).astype(np.uint32),
            )
        rounding = {"FLOOR": np.floor, "TRUNC": np.trunc, "ROUND": np.rint, "CEIL": np.ceil}.get(words[-1], np.array)
        return self._float(args[0], lambda state: rounding(a(state)))
