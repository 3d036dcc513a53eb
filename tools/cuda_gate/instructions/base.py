"""What the instructions of all architectures share: how an instruction becomes a function.

A class of this folder has a method for each opcode, which returns a function of the state of a block (execution.py)
that writes the lanes that are active. Integers and single precision are computed; arithmetic on pairs of halves is not,
its results are zeros. Memory that nobody has filled holds zeros too: the time of a kernel does not depend on them.
"""

from __future__ import annotations

import keyword
from typing import Any, Callable, Dict, List

import numpy as np

from .. import operands as get
from ..operands import predicate, predicate_index
from ..sass import Instruction
from ..toolchain import ToolError

Run = Callable[[Any], None]  # one instruction, on the state of a block
MASK = 0xFFFFFFFF
CONDITIONS: Dict[str, Callable[[Any, Any], Any]] = {
    "LT": np.less,
    "LE": np.less_equal,
    "GT": np.greater,
    "GE": np.greater_equal,
    "EQ": np.equal,
    "NE": np.not_equal,
}


def condition(words: List[str], of_floats: bool = False) -> Callable[[Any, Any], Any]:
    """Of ISETP.GE.U32 and the like, on uint32; of floats: with U, also where either is NaN."""
    found = next(word for word in words if word.rstrip("U") in CONDITIONS or word in ("NAN", "NUM"))
    if found in ("NAN", "NUM"):
        return lambda a, b: (np.isnan(a) | np.isnan(b)) == (found == "NAN")
    compare = CONDITIONS[found.rstrip("U")]
    if found.endswith("U"):
        return lambda a, b: compare(a, b) | np.isnan(a) | np.isnan(b)
    if "U32" in words or of_floats:
        return compare
    return lambda a, b: compare(signed(a), signed(b))


def signed(value: Any) -> Any:
    return np.asarray(value, np.uint32).view(np.int32)


def unsigned(value: Any) -> Any:
    return np.asarray(value).astype(np.int64).astype(np.uint32)


def wide(value: Any) -> Any:
    return np.asarray(value).astype(np.uint64)


def combination(words: List[str]) -> Callable[[Any, Any], Any]:
    return {"AND": np.logical_and, "OR": np.logical_or, "XOR": np.logical_xor}[words[-1]]


class Base:
    """Turns instructions into functions. A method is an opcode, with an underscore behind a word of Python; ``words``:
    the opcode's parts after it."""

    def compile(self, one: Instruction) -> Run:
        name, *words = one.opcode.split(".")
        method = getattr(self, name.lower() + "_" * keyword.iskeyword(name.lower()), None)
        if not method:
            raise ToolError(f"what {one.opcode} does is not known")
        run: Run = method(words, get.split(one.operands))
        return run

    def _to(self, text: str, value: get.Read) -> Run:
        """Write uint32 to a register, and the carry where it is asked for."""
        register = get.target(text)
        if not get.parse(text).sets_carry:
            return lambda state: state.write(register, value(state))

        def run(state: Any) -> None:
            found = value(state)
            state.write_flags(found)
            state.write(register, np.asarray(found & MASK).astype(np.uint32))

        return run

    def _sum(self, to: str, terms: List[str], carry: bool) -> Run:
        """The sum of whole numbers. Where its carry is asked for, 33 bits; a negative term is its complement and 1."""
        if not get.parse(to).sets_carry and not carry:
            reads = [get.integers(term) for term in terms]
            if len(reads) == 2:
                first, second = reads
                return self._to(to, lambda state: first(state) + second(state))
            return self._to(to, lambda state: sum((read(state) for read in reads[1:]), reads[0](state)))
        parts = [get.parse(term) for term in terms]
        plain = [get.integers("~" + term.strip()[1:] if part.negative else term) for term, part in zip(terms, parts)]
        ones = sum(part.negative for part in parts)

        def value(state: Any) -> Any:
            total = sum(wide(read(state)) for read in plain) + np.uint64(ones)
            return total + state.carry if carry else total

        if get.parse(to).sets_carry:
            return self._to(to, value)
        return self._to(to, lambda state: (value(state) & np.uint64(MASK)).astype(np.uint32))

    def _set_predicates(self, words: List[str], args: List[str], value: get.Read) -> Run:
        first, second = predicate_index(args[0]), predicate_index(args[1])
        with_third, combine = predicate(args[4]), combination(words)

        def run(state: Any) -> None:
            holds, third = value(state), with_third(state)
            state.write_predicate(first, combine(holds, third))
            state.write_predicate(second, combine(~np.asarray(holds), third))

        return run

    def _set_register(self, words: List[str], args: List[str], value: get.Read) -> Run:
        third, combine = predicate(args[3]), combination(words)
        yes = int(np.float32(1).view(np.uint32)) if "BF" in words else MASK
        kind = np.uint64 if get.parse(args[0]).sets_carry else np.uint32
        return self._to(args[0], lambda state: np.where(combine(value(state), third(state)), kind(yes), kind(0)))
