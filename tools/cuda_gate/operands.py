"""The operands of a disassembled instruction, as functions that read them from the state of a block."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, List

import numpy as np

from .toolchain import ToolError

ZERO, NOWHERE, UNIFORM = 255, 256, 258  # RZ reads zeros; what is written to it goes elsewhere; UR0 is kept behind
REGISTERS = UNIFORM + 64
TRUE, UNWRITTEN, UNIFORM_PREDICATES = 7, 8, 9
PREDICATES = UNIFORM_PREDICATES + 7

Read = Callable[[Any], Any]  # state of a block -> values of its lanes, or one value for all

_REGISTER = re.compile(r"(U?)R(\d+|Z)$")
_CONSTANT = re.compile(r"c\[0x([0-9a-f]+)\]\s*\[(?:R\w+\+)?0x([0-9a-f]+)\]((?:\.\w+)*)$")
_WORDED = re.compile(r"U?R[\dZ]|c\[")  # operands that may have suffixes


@dataclass(frozen=True)
class Operand:
    """``base``: the text without signs and suffixes; ``half``: 0 or 1 if a half of the register is meant."""

    base: str
    negative: bool = False
    absolute: bool = False
    inverted: bool = False
    half: int = 0
    sets_carry: bool = False

    @property
    def register(self) -> int:
        uniform, number = _REGISTER.match(self.base).groups()  # type: ignore[union-attr]
        return ZERO if number == "Z" else int(number) + (UNIFORM if uniform else 0)


def split(text: str) -> List[str]:
    """The operands of an instruction; a comma within brackets separates none."""
    return [one.strip() for one in re.split(r",(?![^\[\(]*[\]\)])", text)] if text.strip() else []


def parse(text: str) -> Operand:
    text = text.strip()
    negative = text.startswith("-") and not re.match(r"-(0x|\d|INF)", text)
    text = text[1:].strip() if negative else text
    inverted = text.startswith("~")
    text = text[1:] if inverted else text
    absolute = text.startswith("|")
    suffix = ""
    if absolute:
        text, _, suffix = text[1:].partition("|")
    words = (text + suffix).split(".") if _WORDED.match(text) else [text]
    base = text.split(".")[0] if _WORDED.match(text) else text
    half = 1 if any(word in ("H1", "H1_H1") for word in words) else 0
    return Operand(base, negative, absolute, inverted, half, "CC" in words)


def bits(text: str) -> int:
    """The 32 bits of an immediate: a whole number, or a float."""
    if re.match(r"-?0x", text):
        return int(text, 16) & 0xFFFFFFFF
    if re.fullmatch(r"-?\d+", text) or re.match(r"[+-]?(\d|INF|QNAN|NAN)", text):
        return int(np.float32(text.replace("QNAN", "nan").replace("INF", "inf")).view(np.uint32))
    raise ToolError(f"{text} is no immediate")


def _raw(operand: Operand) -> Read:
    if _REGISTER.match(operand.base):
        register = operand.register
        return lambda state: state.registers[register]
    found = _CONSTANT.match(operand.base)
    if found:
        bank, offset = int(found.group(1), 16), int(found.group(2), 16)
        return lambda state: state.constant(bank, offset)
    if operand.base.startswith("SR"):
        name = operand.base.replace("SR_", "")
        return lambda state: state.special(name)
    value = np.uint32(bits(operand.base))
    return lambda state: value


def integers(text: str) -> Read:
    """Values as uint32, with the signs that the operand has."""
    operand = parse(text)
    raw = _raw(operand)
    if operand.absolute:
        plain = raw
        raw = lambda state: np.abs(plain(state).astype(np.int32)).astype(np.uint32)  # noqa: E731
    if operand.negative:
        return lambda state: np.uint32(0) - raw(state)
    if operand.inverted:
        return lambda state: ~raw(state)
    return raw


def half_words(text: str, signed: bool) -> Read:
    """The half of a register that the operand names, as int64."""
    operand = parse(text)
    raw, shift = _raw(operand), 16 * operand.half
    if signed:
        return lambda state: (raw(state) >> np.uint32(shift)).astype(np.uint16).view(np.int16).astype(np.int64)
    return lambda state: (raw(state) >> np.uint32(shift)).astype(np.int64) & 0xFFFF


def floats(text: str) -> Read:
    """Values as float32."""
    operand = parse(text)
    raw = _raw(operand)

    def read(state: Any) -> Any:
        value = np.asarray(raw(state), np.uint32).view(np.float32)
        value = np.abs(value) if operand.absolute else value
        return -value if operand.negative else value

    return read


def target(text: str) -> int:
    """The register that an instruction writes."""
    register = parse(text).register
    return NOWHERE if register == ZERO else register


def pair(text: str) -> Read:
    """Two registers, or two words of a constant, as uint64; or an immediate, with its sign."""
    operand = parse(text)
    if _REGISTER.match(operand.base):
        register = operand.register
        return lambda state: state.pair(register).astype(np.uint64)
    found = _CONSTANT.match(operand.base)
    if found:
        bank, offset = int(found.group(1), 16), int(found.group(2), 16)
        return lambda state: np.uint64(int(state.constant(bank, offset)) | int(state.constant(bank, offset + 4)) << 32)
    value = np.int64(int(operand.base, 16)).astype(np.uint64)
    return lambda state: value


def predicate(text: str) -> Read:
    """Values as bool, of P0 or !P0."""
    inverted, name = text.startswith("!"), text.lstrip("!")
    index = TRUE if name.endswith("T") else predicate_index(name)
    if inverted:
        return lambda state: ~state.predicates[index]
    return lambda state: state.predicates[index]


def predicate_index(text: str) -> int:
    """Where to write a predicate: PT and RZ are nowhere."""
    if text in ("PT", "RZ", "UPT"):
        return UNWRITTEN
    return int(text.lstrip("UP")) + (UNIFORM_PREDICATES if text.startswith("U") else 0)


def address(text: str, wide: bool) -> Read:
    """The byte that [R2+0x10] names, as int64; ``wide``: R2 and R3 are its two words."""
    reads: List[Read] = []
    offset = 0
    for term in text.strip("[]").split("+"):
        name = term.split(".")[0]
        found = _REGISTER.match(name)
        if found:
            reads.append(_word(parse(name).register, wide))
        elif re.match(r"-?0x[0-9a-f]+$", term):
            offset += int(term, 16)
        else:
            raise ToolError(f"{text} is no address")
    return lambda state: _sum(state, reads, offset, wide)


def _word(register: int, wide: bool) -> Read:
    if wide and register != ZERO:
        return lambda state: state.pair(register)
    return lambda state: state.registers[register].astype(np.int64)


def _sum(state: Any, reads: List[Read], offset: int, wide: bool) -> Any:
    total = sum((read(state) for read in reads), np.zeros(state.lane.shape, np.int64)) + offset
    return total if wide else total & 0xFFFFFFFF
