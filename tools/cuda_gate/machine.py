"""What a multiprocessor does in how many clocks. Every figure has its source; none was fitted to a kernel of ours.

Throughputs: the CUDA programming guide's table of arithmetic instructions (results a clock and multiprocessor, by 32
lanes and by four schedulers), of which PCSX2 has a copy (plugins/GSdx_legacy/res/glsl/nvidia_throughput.txt, column
MAX) and forums.developer.nvidia.com/t/108706 the row of fp16.

Latencies: "accel" is the configuration of that GPU in github.com/accel-sim/gpgpu-sim_distribution
(configs/tested-cfgs/SM6_TITANX and SM75_RTX2060), whose figures come from microbenchmarks on the hardware; "maxas" the
wiki page Control Codes of github.com/NervanaSystems/maxas; "chase" the chase of pointers on a Pascal GTX 1080 in
github.com/romnn/gpucachesim: 274 clocks to the L2, 474 to memory. The clocks that the memory itself takes are converted
to time by that card's 1607 MHz, because memory has a clock of its own. Nothing of this has been measured on a Jetson.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Collection, Mapping, Tuple

SCHEDULERS = 4
L2_CLOCKS = 274  # chase
DRAM_NS = (474 - L2_CLOCKS) / 1.607  # chase
OPERANDS_READ = 20  # maxas: clocks after which a memory instruction has read its registers
PIPELINE = 6  # maxas: arithmetic; also where a barrier tells of it, as of pairs of halves on sm_53 and sm_62
VARIABLE = 20  # accel: special functions; maxas: S2R. Conversions share their unit


@dataclass(frozen=True)
class Bank:
    """Bytes of constant bank 0 where the sizes of block and grid stand and the kernel's arguments begin, as ptxas uses
    them."""

    block_size: int
    grid_size: int
    arguments: int


@dataclass(frozen=True)
class Machine:
    """``busy``: kind of instruction -> the part of a scheduler's units that carries it out, and for how many clocks a
    warp's instruction takes it. ``bank_reads``: registers that a bank of them gives in a clock; the bank of a register
    is its number modulo their number. ``global_bytes``: a clock, between a multiprocessor and the L2."""

    shared_latency: int
    shuffle_latency: int
    dual_issue: bool
    busy: Mapping[str, Tuple[str, int]]
    bank: Bank
    register_banks: int
    bank_reads: int
    global_bytes: int = 64  # assumed

    def latency(self, kind: str) -> int:
        """Clocks to the result of an instruction that does not go to memory, where a barrier tells of it."""
        if kind in ("fma", "float"):
            return PIPELINE
        return self.shuffle_latency if kind == "shuffle" else VARIABLE

    def reading(self, kind: str) -> int:
        """Clocks after which an instruction has read its registers."""
        return PIPELINE if kind in ("fma", "float") else OPERANDS_READ

    def conflicts(self, registers: Collection[int]) -> int:
        """Clocks more that an instruction takes to read these registers."""
        reads = [sum(one % self.register_banks == bank for one in registers) for bank in range(self.register_banks)]
        return max(0, -(-max(reads) // self.bank_reads) - 1)


# 5.x and 6.2: 128 results a clock of fp32, sums, logic and (pairs of) halves; 64 of shifts, bit fields, comparisons;
# 32 of conversions, special functions and shuffles. Shared memory: accel 24; shuffles: accel 32. A scheduler issues a
# second instruction beside one whose control word says a stall of 0 (maxas). Four banks of registers, and a cache for
# those with .reuse (maxas, wiki page SGEMM).
MAXWELL = Machine(
    shared_latency=24,
    shuffle_latency=32,
    dual_issue=True,
    busy={
        "fma": ("core", 1),
        "float": ("core", 1),
        "integer": ("core", 1),
        "compare": ("shift", 2),
        "convert": ("special", 4),
        "special": ("special", 4),
        "shuffle": ("shuffle", 4),
    },
    bank=Bank(block_size=0x8, grid_size=0x14, arguments=0x140),
    register_banks=4,
    bank_reads=1,
)
# 7.5: 64 results a clock of fp32, of whole numbers and of pairs of halves, each in a unit of its own; 16 of conversions
# and special functions, 32 of shuffles. Shared memory: accel 30. Two banks of registers, from which only three of one
# take longer (Jia et al. 2018, arXiv 1804.06826).
TURING = Machine(
    shared_latency=30,
    shuffle_latency=30,
    dual_issue=False,
    busy={
        "fma": ("float", 2),
        "float": ("float", 2),
        "integer": ("integer", 2),
        "compare": ("integer", 2),
        "convert": ("special", 8),
        "special": ("special", 8),
        "shuffle": ("shuffle", 4),
    },
    bank=Bank(block_size=0x0, grid_size=0xC, arguments=0x160),
    register_banks=2,
    bank_reads=2,
)


def machine_of(architecture: int) -> Machine:
    return MAXWELL if architecture < 70 else TURING
