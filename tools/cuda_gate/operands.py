"""The operands of a disassembled instruction, as functions that read them from the state of a block."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, List

import numpy as np

from .toolchain import ToolError

REGISTERS, ZERO, NOWHERE = 257, 255, 256  # RZ reads zeros; what is written to it goes elsewhere
PREDICATES, TRUE = 8, 7

Read = Callable[[Any], Any]  # state of a block -> values of its lanes, or one value for all

_REGISTER = re.compile(r"(?:R(\d+)|RZ)((?:\.\w+)*)$")
_CONSTANT = re.compile(r"c\[0x([0-9a-f]+)\]\s*\[(?:R\w+\+)?0x([0-9a-f]+)\]((?:\.\w+)*)$")
_MEMORY = re.compile(r"\[(?:R(\d+)|RZ)?(?:\.\w+)*(?:\+?(-?0x[0-9a-f]+))?\]$")


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
        return int(self.base[1:]) if self.base not in ("RZ", "URZ") else ZERO


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
    words = (text + suffix).split(".") if re.match(r"(R|c\[)", text) else [text]
    base = text.split(".")[0] if re.match(r"(R|c\[)", text) else text
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
    if re.match(r"R(\d+|Z)$", operand.base):
        register = operand.register
        return lambda state: state.registers[register]
    found = _CONSTANT.match(operand.base)
    if found:
        bank, offset = int(found.group(1), 16), int(found.group(2), 16)
        return lambda state: state.constant(bank, offset)
    if operand.base.startswith("SR_"):
        name = operand.base[3:]
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


def predicate(text: str) -> Read:
    """Values as bool, of P0 or !P0."""
    inverted, name = text.startswith("!"), text.lstrip("!")
    index = TRUE if name.endswith("T") else int(name.lstrip("UP"))
    if inverted:
        return lambda state: ~state.predicates[index]
    return lambda state: state.predicates[index]


def predicate_index(text: str) -> int:
    """Where to write a predicate: PT and RZ are nowhere."""
    return PREDICATES if text in ("PT", "RZ", "UPT") else int(text.lstrip("UP"))


def address(text: str, wide: bool) -> Read:
    """The byte that [R2+0x10] names, as int64; ``wide``: R2 and R3 are its two words."""
    found = _MEMORY.match(text)
    if not found:
        raise ToolError(f"{text} is no address")
    register = int(found.group(1)) if found.group(1) else ZERO
    offset = int(found.group(2), 16) if found.group(2) else 0
    if wide and register != ZERO:
        return lambda state: state.pair(register) + offset
    return lambda state: (state.registers[register].astype(np.int64) + offset) & 0xFFFFFFFF
