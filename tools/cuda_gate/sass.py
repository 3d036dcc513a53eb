"""Disassembled kernels of sm_5x and sm_6x (Maxwell, Pascal): instructions by class, loops, clocks.

Throughputs are warp instructions a clock and multiprocessor, from the CUDA programming guide's table of arithmetic
instructions for compute capability 5.x and 6.2 (its results a clock, by 32 lanes): 128 for fp32, integer additions and
logic and, two halves each, for fp16 (256 halves for 5.3 and 6.2); 64 for shifts, bit fields, comparisons, minima and
maxima; 32 for conversions, special functions and shuffles. PCSX2 has a copy of the table
(plugins/GSdx_legacy/res/glsl/nvidia_throughput.txt, column MAX), forums.developer.nvidia.com/t/108706 its row of fp16.
Shared memory moves 128 bytes a clock (guide, shared memory of 5.x: 32 banks of 32 bits); of its loads it is assumed
that half of the lanes ask for what another lane asks for, as the fragments of a matrix product do. For global memory 64
bytes a clock are assumed. A scheduler issues one instruction a clock, and a second one beside it where the control word
of the first has a stall of 0.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

from .toolchain import ToolError

SCHEDULERS = 4
SHARED_BYTES, GLOBAL_BYTES = 128, 64  # bytes per clock
# Class -> opcodes (the part before the first dot). The first match counts.
CLASSES = {
    "fma": ("FFMA", "FFMA32I", "HFMA2", "HFMA2_32I"),
    "float": ("FADD", "FADD32I", "FMUL", "FMUL32I", "HADD2", "HADD2_32I", "HMUL2", "HMUL2_32I"),
    "compare": (
        *(
            "FSETP",
            "FSET",
            "FMNMX",
            "FCMP",
            "FCHK",
            "HSETP2",
            "HSET2",
            "ISETP",
            "ISET",
            "IMNMX",
            "ICMP",
            "PSETP",
            "PSET",
        ),
        *("SHL", "SHR", "SHF", "BFE", "BFI", "LEA", "PRMT", "VMNMX", "R2P", "P2R", "CSETP", "FLO"),
    ),
    "convert": ("F2F", "F2I", "I2F", "I2I", "POPC"),
    "special": ("MUFU", "RRO"),
    "shuffle": ("SHFL", "VOTE"),
    "shared": ("LDS", "STS", "ATOMS"),
    "global": ("LDG", "STG", "LD", "ST", "TEX", "TLD", "TEXS", "TLDS", "RED", "ATOM", "LDL", "STL"),
    "barrier": ("BAR", "MEMBAR", "DEPBAR"),
    "branch": (
        "BRA",
        "BRX",
        "SYNC",
        "SSY",
        "EXIT",
        "BRK",
        "PBK",
        "CAL",
        "RET",
        "PRET",
        "NOP",
        "BPT",
        "JMP",
        "CONT",
        "PCNT",
    ),
}
INTEGER = "integer"  # all others: IADD, IADD3, ISCADD, XMAD, LOP, LOP3, MOV, SEL, S2R, LDC, ...
RATES = {
    "fma": 4,
    "float": 4,
    INTEGER: 4,
    "compare": 2,
    "convert": 1,
    "special": 1,
    "shuffle": 1,
    "branch": 4,
    "barrier": 4,
}
OF_OPCODE = {opcode: name for name, opcodes in CLASSES.items() for opcode in opcodes}


@dataclass(frozen=True)
class Instruction:
    """``stall``: clocks until the warp's next instruction, from the control word; 0: the next one is issued beside."""

    address: int
    opcode: str
    operands: str
    predicate: str
    stall: int

    @property
    def kind(self) -> str:
        return OF_OPCODE.get(self.opcode.split(".")[0], INTEGER)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a lane; a sum of halves may begin with a product alone."""
        return {"FFMA": 1, "FFMA32I": 1, "HFMA2": 2, "HFMA2_32I": 2, "HMUL2": 2}.get(self.opcode.split(".")[0], 0)

    @property
    def width(self) -> int:
        """Bytes that a lane moves (memory instructions)."""
        for word, width in ((".128", 16), (".64", 8), (".U16", 2), (".S16", 2), (".U8", 1), (".S8", 1)):
            if word in self.opcode:
                return width
        return 4


@dataclass(frozen=True)
class Loop:
    """Instructions ``first`` to ``last`` (indices), the latter being the backward branch."""

    first: int
    last: int

    def contains(self, other: Loop) -> bool:
        return self != other and self.first <= other.first and other.last <= self.last


@dataclass(frozen=True)
class Profile:
    """What one warp does in a piece of code: instructions by class, bytes through memory, and clocks."""

    counts: Dict[str, int]
    macs: int  # of a lane
    issue: int  # slots, of pairs the first only
    shared: float  # clocks of shared memory
    global_bytes: int  # of a lane
    stall: int  # clocks that the warp itself needs at least

    @property
    def instructions(self) -> int:
        return sum(self.counts.values())

    def clocks(self) -> Dict[str, float]:
        """Clocks of a multiprocessor that each of its parts is busy for one warp."""
        busy = {"issue": self.issue / SCHEDULERS}
        for name, rate in RATES.items():
            if name in ("branch", "barrier"):
                continue
            part = "core" if rate == SCHEDULERS else name
            busy[part] = busy.get(part, 0.0) + self.counts.get(name, 0) / rate
        busy["shared"] = self.shared
        busy["global"] = self.global_bytes * 32 / GLOBAL_BYTES
        return busy

    @property
    def busiest(self) -> Tuple[str, float]:
        name, clocks = max(self.clocks().items(), key=lambda item: item[1])
        return name, clocks

    @property
    def fma_share(self) -> float:
        return self.counts.get("fma", 0) / self.instructions if self.instructions else 0.0


@dataclass(frozen=True)
class Kernel:
    symbol: str
    code: Tuple[Instruction, ...]
    loops: Tuple[Loop, ...]
    targets: Mapping[int, Tuple[int, ...]]  # index of a branch -> indices that it may go to

    def main_loop(self) -> Optional[Loop]:
        """The innermost loop with the most multiply-accumulates; None if no loop has any."""
        inner = [one for one in self.loops if not any(one.contains(other) for other in self.loops)]
        best = max(inner, key=lambda one: self.profile(one).macs, default=None)
        return best if best and self.profile(best).macs else None

    def profile(self, loop: Optional[Loop] = None) -> Profile:
        """Of a loop's body once, whatever its branches, or of everything outside all loops."""
        if loop:
            return profile(self.code[loop.first : loop.last + 1])
        inside = {i for one in self.loops for i in range(one.first, one.last + 1)}
        return profile([one for i, one in enumerate(self.code) if i not in inside])

    def longest(self, loop: Optional[Loop] = None, without: Sequence[str] = ()) -> Profile:
        """Of the longest way through a loop's body or the whole kernel, without the loops in it. ``without``: opcodes
        of code that is not run; the block that chooses it is none either, if there is another way."""
        first, last = (loop.first, loop.last) if loop else (0, len(self.code) - 1)
        nested = [one for one in self.loops if one != loop and (loop is None or loop.contains(one))]
        inside = {i for one in nested for i in range(one.first, one.last + 1)}
        ways = _ways(self, first, last)
        shut = {i for i in range(first, last + 1) if any(self.code[i].opcode.startswith(word) for word in without)}
        shut |= self._choosers(shut, ways)
        path = _longest(ways, first, last, inside, shut) or _longest(ways, first, last, inside, set())
        return profile([self.code[i] for i in path if i not in inside])

    def _choosers(self, shut: Set[int], ways: Mapping[int, Sequence[int]]) -> Set[int]:
        """The branches after which one way leads to one of ``shut`` with no branch between."""
        starts = set()
        for i in shut:
            while i - 1 in ways and ways[i - 1] == [i]:
                i -= 1
            starts.add(i)
        return {i for i, following in ways.items() if len(following) > 1 and starts & set(following)}


def profile(code: Sequence[Instruction]) -> Profile:
    counts: Dict[str, int] = {}
    macs = issue = other = stall = 0
    shared = 0.0
    beside = False
    for one in code:
        counts[one.kind] = counts.get(one.kind, 0) + 1
        macs += one.macs
        issue += not beside
        beside = one.stall == 0
        stall += one.stall
        if one.kind == "shared":
            asked = one.width * 32 / SHARED_BYTES
            shared += max(1.0, asked / 2) if one.opcode.startswith("LDS") else max(1.0, asked)
        other += one.width if one.kind == "global" else 0
    return Profile(counts, macs, issue, shared, other, stall)


def disassemble(nvdisasm: Path, cubin: Path) -> Dict[str, Kernel]:
    """Symbol -> kernel.

    :raises ToolError: if nvdisasm fails.
    """
    command = [str(nvdisasm), "-c", "-hex", "-novliw", str(cubin)]
    done = subprocess.run(command, capture_output=True)
    if done.returncode != 0:
        raise ToolError("nvdisasm: " + done.stderr.decode("utf-8", "replace"))
    return parse(done.stdout.decode("utf-8", "replace"))


_LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][\w.]*)\s*([^;]*?)\s*;\s*/\* 0x[0-9a-f]+ \*/")
_CONTROL = re.compile(r"^\s*/\* 0x([0-9a-f]{16}) \*/\s*$")
_LABEL = re.compile(r"^(\.L_\w+):")
_TARGET = re.compile(r"\.L_\w+")
_SECTION = re.compile(r"^\.text\.(\S+):")


def parse(text: str) -> Dict[str, Kernel]:
    """Kernels from what nvdisasm -c -hex -novliw prints. A word of control goes before three instructions: 21 bits
    for each, the low four of which are the stall."""
    kernels: Dict[str, Kernel] = {}
    symbol, code, labels, stalls = "", [], {}, []
    for line in [*text.splitlines(), ".text.end:"]:
        section, label, control, row = (rule.match(line) for rule in (_SECTION, _LABEL, _CONTROL, _LINE))
        if section:
            if symbol and code:
                targets = _targets(code, labels)
                kernels[symbol] = Kernel(symbol, tuple(code), _loops(targets), targets)
            symbol, code, labels, stalls = section.group(1), [], {}, []
        elif label:
            labels[label.group(1)] = len(code)
        elif control:
            word = int(control.group(1), 16)
            stalls = [(word >> 21 * i) & 15 for i in range(3)]
        elif row:
            stall = stalls.pop(0) if stalls else 1
            code.append(Instruction(int(row.group(1), 16), row.group(3), row.group(4), row.group(2) or "", stall))
    return kernels


def _targets(code: Sequence[Instruction], labels: Mapping[str, int]) -> Dict[int, Tuple[int, ...]]:
    """Index of each branch -> where it may go; of SYNC and BRK nvdisasm says it."""
    destinations = {}
    for i, one in enumerate(code):
        if one.opcode.split(".")[0] in ("BRA", "SYNC", "BRK"):
            names = _TARGET.findall(one.operands)
            destinations[i] = tuple(labels[name] for name in names if labels.get(name, len(code)) < len(code))
    return destinations


def _loops(targets: Mapping[int, Tuple[int, ...]]) -> Tuple[Loop, ...]:
    """Backward branches; the branch to itself at a kernel's end is padding."""
    last_of: Dict[int, int] = {}
    for i, starts in targets.items():
        for start in starts:
            if start < i:
                last_of[start] = max(i, last_of.get(start, 0))
    return tuple(Loop(start, last) for start, last in sorted(last_of.items()))


def _ways(kernel: Kernel, first: int, last: int) -> Dict[int, List[int]]:
    """Index -> the indices that may follow it, forwards only."""
    ways = {}
    for i in range(first, last + 1):
        one = kernel.code[i]
        ends = not one.predicate and one.opcode.split(".")[0] in ("BRA", "SYNC", "BRK", "EXIT")
        following = set(kernel.targets.get(i, ())) | (set() if ends else {i + 1})
        ways[i] = sorted(to for to in following if i < to <= last)
    return ways


def _longest(ways: Mapping[int, Sequence[int]], first: int, last: int, inside: Set[int], shut: Set[int]) -> List[int]:
    """The path from ``first`` with the most instructions that are not ``inside``, to an end; empty if all are shut."""
    length: Dict[int, int] = {}
    after: Dict[int, Optional[int]] = {}
    for i in range(last, first - 1, -1):
        open_ways = [to for to in ways[i] if to in length]
        if i in shut or (ways[i] and not open_ways):
            continue
        after[i] = max(open_ways, key=lambda to: length[to], default=None)
        length[i] = (i not in inside) + (length[after[i]] if after[i] is not None else 0)
    path, at = [], first if first in length else None
    while at is not None:
        path.append(at)
        at = after[at]
    return path
