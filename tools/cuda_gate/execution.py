"""A block of a kernel, executed from its machine code: which instructions each warp issues, and what they access.

All threads of the block go together, those first whose next instruction has the lowest address; so threads that took
different ways at a branch meet again behind it, as on the GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy as np

from . import accesses, instructions, operands
from .machine import Bank, machine_of
from .sass import Instruction, Kernel
from .toolchain import ToolError

WARP = 32
MOST_STEPS = 4_000_000  # more is taken for a loop without an end

Sectors = Tuple[int, ...]


@dataclass(frozen=True)
class WarpTrace:
    """``issued``: indices of instructions in the kernel's code, in order. ``accesses``: of each of them that goes to
    shared memory, its turns of the banks; of one to global memory, its sectors; in the same order."""

    issued: List[int]
    accesses: List[Union[int, Sectors]]


@dataclass(frozen=True)
class Launch:
    """``arguments``: the bytes of the kernel's argument. ``filled``: address -> bytes that lie there in global memory;
    all other memory holds zeros."""

    grid: Tuple[int, int, int]
    threads: int
    shared_bytes: int
    arguments: bytes
    filled: Tuple[Tuple[int, bytes], ...] = ()

    @property
    def blocks(self) -> int:
        return self.grid[0] * self.grid[1] * self.grid[2]


class Program:
    """A kernel's instructions as functions; compiled once, run for many blocks."""

    def __init__(self, kernel: Kernel, architecture: int) -> None:
        self.kernel = kernel
        self.bank = machine_of(architecture).bank
        compiler = instructions.of_architecture(architecture)
        self.run: List[Union[instructions.Run, ToolError]] = []  # by index, as all of these
        self.guards: List[Optional[operands.Read]] = []
        for one in kernel.code:
            try:
                self.run.append(compiler.compile(one))
            except ToolError as error:  # it matters only if the instruction is executed
                self.run.append(error)
            self.guards.append(operands.predicate(one.predicate) if one.predicate else None)
        self.parts = [one.name == "EXIT" or i in kernel.targets for i, one in enumerate(kernel.code)]


class Block:
    """The state of a block's threads, and the traces of its warps."""

    def __init__(self, program: Program, launch: Launch, index: int) -> None:
        self.program, self.launch = program, launch
        lanes = -(-launch.threads // WARP) * WARP
        self.warps = lanes // WARP
        self.registers = np.zeros((operands.REGISTERS, lanes), np.uint32)
        self.predicates = np.zeros((operands.PREDICATES, lanes), bool)
        self.predicates[operands.TRUE] = True
        self.carry, self.zero = np.zeros(lanes, np.uint64), np.zeros(lanes, bool)
        self.lane = np.arange(lanes, dtype=np.int64) % WARP
        self.thread = np.arange(lanes, dtype=np.uint32)
        self.active = self.thread < launch.threads
        self.shared = np.zeros(-(-launch.shared_bytes // 4) + 4, np.uint32)
        x, y, _ = launch.grid
        self.place = {"CTAID.X": index % x, "CTAID.Y": index // x % y, "CTAID.Z": index // (x * y)}
        self.banks = {bank: data for bank, data in program.kernel.constants.items() if bank}
        self.banks[0] = _bank_of(launch, program.bank)
        self.constants: Dict[Tuple[int, int], np.uint32] = {}
        self.current: Instruction = program.kernel.code[0]
        self.all_active = False
        self.traces = [WarpTrace([], []) for _ in range(self.warps)]

    # What instructions read and write

    def constant(self, bank: int, offset: int) -> np.uint32:
        if (bank, offset) not in self.constants:
            data = self.banks.get(bank, b"")[offset : offset + 4].ljust(4, b"\0")
            self.constants[bank, offset] = np.uint32(int.from_bytes(data, "little"))
        return self.constants[bank, offset]

    def special(self, name: str) -> Any:
        if name in self.place:
            return np.uint32(self.place[name])
        if name == "TID.X":
            return self.thread
        if name == "LANEID":
            return self.lane.astype(np.uint32)
        if name in ("TID.Y", "TID.Z"):
            return np.uint32(0)
        raise ToolError(f"the special register {name} is not known")

    def pair(self, register: int) -> Any:
        if register == operands.ZERO:
            return np.zeros(self.lane.shape, np.int64)
        high = self.registers[register + 1].astype(np.int64) << 32
        return high | self.registers[register].astype(np.int64)

    def write(self, register: int, value: Any) -> None:
        if self.all_active:
            self.registers[register] = value
        else:
            np.copyto(self.registers[register], value, where=self.active)

    def write_predicate(self, index: int, value: Any) -> None:
        np.copyto(self.predicates[index], value, where=self.active)

    def write_flags(self, wide: Any) -> None:
        """From a sum of more than 32 bits."""
        np.copyto(self.carry, np.asarray(wide, np.uint64) >> np.uint64(32), where=self.active)
        np.copyto(self.zero, np.asarray(wide & np.uint64(0xFFFFFFFF)) == 0, where=self.active)

    def load(self, space: str, addresses: np.ndarray, register: int) -> None:
        width = self.current.width
        self._record(space, addresses, width)
        if not self.active.any():
            return
        for i in range(max(1, width // 4)):
            self.write(register + i, self._words(space, addresses + 4 * i, min(4, width)))

    def store(self, space: str, addresses: np.ndarray, register: int) -> None:
        width = self.current.width
        self._record(space, addresses, width)
        if space != "shared" or not self.active.any():
            return
        to = addresses[self.active]
        for i in range(max(1, width // 4)):
            source = self.registers[register + i] if register != operands.ZERO else self.registers[register]
            if width >= 4:
                self.shared[to // 4 + i] = source[self.active]
            else:
                self.shared.view(np.uint8 if width == 1 else np.uint16)[to // width] = source[self.active]

    def _words(self, space: str, addresses: np.ndarray, width: int) -> np.ndarray:
        words = np.zeros(addresses.shape, np.uint32)
        if space == "shared":
            view = self.shared if width == 4 else self.shared.view({1: np.uint8, 2: np.uint16}[width])
            if self.all_active:
                return view[addresses // width].astype(np.uint32)
            words[self.active] = view[addresses[self.active] // width]
        for start, data in self.launch.filled if space == "global" else ():
            inside = self.active & (addresses >= start) & (addresses + width <= start + len(data))
            if inside.any():
                raw = np.frombuffer(data, np.uint8)
                for i in range(width):
                    words[inside] |= raw[addresses[inside] - start + i].astype(np.uint32) << np.uint32(8 * i)
        return words

    def _record(self, space: str, addresses: np.ndarray, width: int) -> None:
        count = accesses.bank_turns if space == "shared" else accesses.sectors
        for warp in self.running:
            lanes = slice(WARP * warp, WARP * warp + WARP)
            self.traces[warp].accesses.append(count(addresses[lanes], self.active[lanes], width))

    # The way of the threads

    def execute(self) -> List[WarpTrace]:
        """Run the block to its end.

        :raises ToolError: for an instruction that is not known, or if there is no end.
        """
        with np.errstate(all="ignore"):
            groups = {0: self.active.copy()}
            steps = 0
            while groups:
                at = min(groups)
                steps = self._advance(at, groups.pop(at), groups, steps)
                if steps > MOST_STEPS:
                    raise ToolError(f"{self.program.kernel.symbol} does not end")
        return self.traces

    def _advance(self, at: int, mask: np.ndarray, groups: Dict[int, np.ndarray], steps: int) -> int:
        """Run threads that are at the same instruction until they part, or come to where others are."""
        code, targets, parts = self.program.kernel.code, self.program.kernel.targets, self.program.parts
        limit = min(groups, default=len(code))
        self._select(mask)
        while at < limit and steps <= MOST_STEPS:
            one = code[at]
            steps += 1
            for warp in self.running:
                self.traces[warp].issued.append(at)
            guard = self.program.guards[at]
            self.active = mask & guard(self) if guard else mask
            self.all_active = self.whole and not guard
            if parts[at]:
                taken = self._taken(one, mask, groups)
                rest = mask & ~taken
                if at in targets and taken.any():
                    _join(groups, targets[at], taken)
                if rest.any():
                    _join(groups, at + 1, rest)
                return steps
            self.current = one
            run = self.program.run[at]
            if isinstance(run, ToolError):
                raise run
            run(self)
            at += 1
        _join(groups, at, mask)
        return steps

    def _select(self, mask: np.ndarray) -> None:
        self.whole = bool(mask.all())
        self.running = np.flatnonzero(mask.reshape(-1, WARP).any(axis=1)).tolist()

    def _taken(self, one: Instruction, mask: np.ndarray, groups: Dict[int, np.ndarray]) -> np.ndarray:
        """The threads that take a branch: of BRA CC.NEU those whose last flags are not those of zero, of BRA.CONV and
        BRA.DIV those whose warp is together or is not."""
        if one.opcode in ("BRA.CONV", "BRA.DIV"):
            elsewhere = np.logical_or.reduce([*groups.values(), np.zeros_like(mask)]).reshape(-1, WARP).any(axis=1)
            return self.active & (np.repeat(elsewhere, WARP) == (one.opcode == "BRA.DIV"))
        if not one.operands.startswith("CC."):
            return self.active
        word = one.operands[3:].split(",")[0]
        if word not in ("NEU", "NE", "EQ"):
            raise ToolError(f"the condition {word} of a branch is not known")
        return self.active & (self.zero if word == "EQ" else ~self.zero)


def _join(groups: Dict[int, np.ndarray], at: int, mask: np.ndarray) -> None:
    groups[at] = groups[at] | mask if at in groups else mask


def _bank_of(launch: Launch, bank: Bank) -> bytes:
    data = bytearray(bank.arguments)
    for first, sizes in ((bank.block_size, (launch.threads, 1, 1)), (bank.grid_size, launch.grid)):
        for i, size in enumerate(sizes):
            data[first + 4 * i : first + 4 * i + 4] = int(size).to_bytes(4, "little")
    return bytes(data) + launch.arguments
