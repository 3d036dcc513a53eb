"""Disassembled kernels: instructions with the fields of their control words, branch targets, constants.

The control word says how the code is scheduled: clocks until the warp's next instruction, the barriers that an
instruction of variable latency sets when its result is there or its operands are read, and those that it waits for.
github.com/NervanaSystems/maxas, wiki page Control Codes, has the fields for Maxwell and Pascal (a word for three
instructions); Jia et al. 2018 (arXiv 1804.06826) has the same 21 bits for Volta and Turing, in each instruction.
"""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from .toolchain import ToolError

# Kind -> opcodes (the part before the first dot). The first match counts.
KINDS = {
    "fma": ("FFMA", "FFMA32I", "HFMA2", "HFMA2_32I", "IMAD"),
    "float": ("FADD", "FADD32I", "FMUL", "FMUL32I", "HADD2", "HADD2_32I", "HMUL2", "HMUL2_32I"),
    "compare": (
        *("FSETP", "FSET", "FMNMX", "FCMP", "FCHK", "HSETP2", "HSET2", "ISETP", "ISET", "IMNMX", "ICMP", "PSETP"),
        *("PSET", "SHL", "SHR", "SHF", "BFE", "BFI", "LEA", "PRMT", "VMNMX", "R2P", "P2R", "CSETP", "PLOP3"),
    ),
    "convert": ("F2F", "F2I", "I2F", "I2I", "POPC", "FLO"),
    "special": ("MUFU", "RRO"),
    "shuffle": ("SHFL",),
    "shared": ("LDS", "STS", "ATOMS"),
    "global": ("LDG", "STG", "LD", "ST", "TEX", "TLD", "TEXS", "TLDS", "RED", "ATOM", "LDL", "STL"),
    "barrier": ("BAR", "MEMBAR", "DEPBAR"),
    "branch": (
        *("BRA", "BRX", "SYNC", "SSY", "EXIT", "BRK", "PBK", "CAL", "RET", "PRET", "NOP", "BPT", "JMP", "CONT"),
        *("PCNT", "BSSY", "BSYNC", "WARPSYNC", "YIELD", "CALL"),
    ),
}
INTEGER = "integer"  # all others: IADD, IADD3, ISCADD, XMAD, LOP, LOP3, MOV, SEL, S2R, LDC, VOTE, ...
_KIND = {opcode: name for name, opcodes in KINDS.items() for opcode in opcodes}
_WIDTHS = ((".128", 16), (".64", 8), (".U16", 2), (".S16", 2), (".U8", 1), (".S8", 1))


@dataclass(frozen=True)
class Instruction:
    """``stall``: clocks until the warp's next instruction; 0: that is issued beside this one. ``sets``, ``frees``:
    the barrier (0 to 5) that tells when the result is there and when the operands are read. ``waits``: those that
    must have told so. ``yields``: another warp should go first then."""

    address: int
    opcode: str
    operands: str
    predicate: str
    stall: int
    sets: Optional[int] = None
    frees: Optional[int] = None
    waits: Tuple[int, ...] = ()
    yields: bool = False

    @property
    def name(self) -> str:
        return self.opcode.split(".")[0]

    @property
    def kind(self) -> str:
        return _KIND.get(self.name, INTEGER)

    @property
    def is_load(self) -> bool:
        return self.name in ("LDS", "LDG", "LD")

    @property
    def width(self) -> int:
        """Bytes that a lane moves (memory instructions)."""
        return next((width for word, width in _WIDTHS if word in self.opcode), 4)


_SOURCE = re.compile(r"(?<!\w)R(\d+)\b((?:\.\w+)*)")


def _read(one: Instruction) -> Dict[int, Tuple[int, str]]:
    """Place -> number and suffixes of each register that an instruction reads."""
    places = {}
    for place, text in enumerate(one.operands.split(",")[1:]):
        found = _SOURCE.search(text)
        if found:
            places[place] = (int(found.group(1)), found.group(2))
    return places


def sources(one: Instruction) -> Dict[int, int]:
    """Place of an operand -> the register that an arithmetic instruction reads there."""
    return {place: register for place, (register, _) in _read(one).items()}


def reused(one: Instruction) -> Dict[int, int]:
    """Those of :func:`sources` that are kept for the next instruction, which may read them at the same place."""
    return {place: register for place, (register, suffix) in _read(one).items() if "reuse" in suffix}


@dataclass(frozen=True)
class Kernel:
    """``targets``: index of a branch -> index that it goes to. ``constants``: bank -> its bytes."""

    symbol: str
    code: Tuple[Instruction, ...]
    targets: Mapping[int, int]
    constants: Mapping[int, bytes] = field(default_factory=dict)


def disassemble(nvdisasm: Path, cubin: Path) -> Dict[str, Kernel]:
    """Symbol -> kernel.

    :raises ToolError: if nvdisasm fails.
    """
    command = [str(nvdisasm), "-c", "-hex", "-novliw", str(cubin)]
    done = subprocess.run(command, capture_output=True)
    if done.returncode != 0:
        raise ToolError("nvdisasm: " + done.stderr.decode("utf-8", "replace"))
    return parse(done.stdout.decode("utf-8", "replace"), constant_banks(cubin.read_bytes()))


_LINE = re.compile(
    r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][\w.]*)\s*([^;]*?)\s*;\s*/\* 0x([0-9a-f]+) \*/"
)
_WORD = re.compile(r"^\s*/\* 0x([0-9a-f]{16}) \*/\s*$")
_LABEL = re.compile(r"^(\.L_\w+):")
_TARGET = re.compile(r"\.L_\w+")
_SECTION = re.compile(r"^\.text\.(\S+):")
_SHORT_BITS = 8  # bytes from one instruction of Maxwell and Pascal to the next; Volta and later have 16


def parse(text: str, constants: Optional[Mapping[str, Mapping[int, bytes]]] = None) -> Dict[str, Kernel]:
    """Kernels from what nvdisasm -c -hex -novliw prints. ``constants``: symbol -> bank -> bytes."""
    kernels: Dict[str, Kernel] = {}
    symbol = ""
    rows: List[re.Match[str]] = []
    labels: Dict[str, int] = {}
    words: List[Tuple[int, int]] = []
    for line in [*text.splitlines(), ".text.end:"]:
        section, label, word, row = (rule.match(line) for rule in (_SECTION, _LABEL, _WORD, _LINE))
        if section:
            if symbol and rows:
                code = _code(rows, words)
                kernels[symbol] = Kernel(symbol, code, _targets(code, labels), (constants or {}).get(symbol, {}))
            symbol, rows, labels, words = section.group(1), [], {}, []
        elif label:
            labels[label.group(1)] = len(rows)
        elif word:
            words.append((len(rows), int(word.group(1), 16)))
        elif row:
            rows.append(row)
    return kernels


def _code(rows: Sequence[re.Match[str]], words: Sequence[Tuple[int, int]]) -> Tuple[Instruction, ...]:
    """Instructions with their 21 bits of control. Maxwell and Pascal: a word of its own goes before three of them;
    later: the second word of an instruction follows its first."""
    after = dict(words)
    is_long = bool(words) and words[0][0] > 0
    code, pending = [], []
    for i, row in enumerate(rows):
        if is_long:
            bits = after.get(i + 1, 0) >> 41
        else:
            if i in after:
                pending = [after[i] >> 21 * k for k in range(3)]
            bits = pending.pop(0) if pending else 1 | 1 << 4 | 7 << 5 | 7 << 8
        address, predicate, opcode, operands = int(row.group(1), 16), row.group(2) or "", row.group(3), row.group(4)
        code.append(Instruction(address, opcode, operands, predicate, *_control(bits)))
    return tuple(code)


def _control(bits: int) -> Tuple[int, Optional[int], Optional[int], Tuple[int, ...], bool]:
    sets, frees = bits >> 5 & 7, bits >> 8 & 7
    waits = tuple(i for i in range(6) if bits >> 11 + i & 1)
    return bits & 15, sets if sets < 6 else None, frees if frees < 6 else None, waits, not bits >> 4 & 1


def _targets(code: Sequence[Instruction], labels: Mapping[str, int]) -> Dict[int, int]:
    """Of SYNC and BRK nvdisasm says where they go."""
    targets = {}
    for i, one in enumerate(code):
        names = [name for name in _TARGET.findall(one.operands) if labels.get(name, len(code)) < len(code)]
        if names and one.name in ("BRA", "SYNC", "BRK"):
            targets[i] = labels[names[0]]
    return targets


def constant_banks(elf: bytes) -> Dict[str, Dict[int, bytes]]:
    """Symbol -> bank -> bytes, from the sections .nv.constant<bank>.<symbol> of a cubin (64-bit ELF)."""
    offset, size, count, names_at = (*struct.unpack_from("<Q", elf, 40), *struct.unpack_from("<3H", elf, 58))
    headers = [struct.unpack_from("<IIQQQQ", elf, offset + i * size) for i in range(count)]
    names = headers[names_at][4]
    banks: Dict[str, Dict[int, bytes]] = {}
    for name_at, _, _, _, start, length in headers:
        name = elf[names + name_at : elf.index(b"\0", names + name_at)].decode()
        found = re.fullmatch(r"\.nv\.constant(\d)\.(.+)", name)
        if found:
            banks.setdefault(found.group(2), {})[int(found.group(1))] = elf[start : start + length]
    return banks
