"""Predicted time of a launched kernel, from its disassembly, its grid and the bytes that it must move.

Nothing is typed in for a kernel: instructions, loops, stalls and memory widths are read from the machine code; grid,
shape and split from the library's plan; clocks and limits from devices/*.toml. How often a loop runs follows from what
it does: a loop that multiplies, from the products that the layer needs and the tile in the kernel's name (pixels x
channels of a block); another one from the bytes that it stores. Code outside loops counts once, along its longest way,
without the tanh that no standard network has.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from fastalex.hardware import devices, roofline
from fastalex.networks import layers

from . import limits
from .families import Instance
from .sass import Instruction, Kernel, Loop, Profile
from .toolchain import Usage

# Assumptions. TensorRT 1.0 on a Jetson TX1 (sm_53, two multiprocessors, the same 25.6 GB/s as a Nano; per-layer records
# of dividiti's experiment bvlc-alexnet-tensorrt-1.0.0) computed fp16 convolutions at 78 % (batch 2) and 86 % (batch 16)
# of the peak of multiply-adds alone, with waves that were not full and all other instructions included, so that its
# share of issue slots was larger still; and streamed the fp32 weights of fc6 to fc8 at 18.8 GB/s, 73 % of the memory's.
ISSUE_SHARE = 0.85
BANDWIDTH_SHARE = 0.73
TANH = ("MUFU.EX2",)  # instructions that only networks with tanh execute
MULTIPLIES = 0.15  # least share of multiply-adds in the loop of a matrix product


@dataclass(frozen=True)
class Work:
    """The work of a step. ``macs``: of the layer, without padding. ``depth``: products of one result.
    ``side``: of the window of the convolution, or of the pool."""

    op: str
    side: int
    batch: int
    groups: int
    macs: int
    depth: int
    in_bytes: float
    out_bytes: float
    weight_bytes: float
    workspace: float
    value_bytes: int
    split: int


@dataclass(frozen=True)
class Piece:
    """A part of a kernel's code and how often each warp runs it."""

    what: str
    times: float
    profile: Profile


@dataclass(frozen=True)
class Prediction:
    """One launch. ``compute_ms`` and ``memory_ms`` are the times of each alone."""

    name: str
    grid: Tuple[int, ...]
    threads: int
    registers: int
    blocks_per_sm: int
    pieces: Tuple[Piece, ...]
    clocks: float
    limited_by: str
    fma_share: float
    bytes: float
    compute_ms: float
    memory_ms: float

    @property
    def ms(self) -> float:
        return max(self.compute_ms, self.memory_ms)


def step_layers(rows: Sequence[layers.Layer], steps: Sequence[Mapping[str, Any]]) -> List[List[layers.Layer]]:
    """The layers of each step: all up to the one whose name stands last in it."""
    groups, start = [], 0
    names = [row.name for row in rows]
    for step in steps:
        end = names.index(step["layers"][-1]) + 1
        groups.append([row for row in rows[start:end] if row.op != "dropout"])
        start = end
    return groups


def work_of(rows: Sequence[layers.Layer], step: Mapping[str, Any], precision: str, storage: str, batch: int) -> Work:
    value = 2 if precision == "fp16" else 4
    first, last = rows[0], rows[-1]
    weights = first.params
    if first.op == "conv":
        groups, depth = (
            first.options["groups"],
            first.in_shape[0] // first.options["groups"] * first.options["kernel"] ** 2,
        )
        weight_bytes = weights * value * _winograd_growth(step["format"])
    else:
        groups, depth = 1, _count(first.in_shape)
        weight_bytes = weights * roofline.PRECISIONS[storage].fc_bytes
    return Work(
        op=first.op,
        side=next((row.options["kernel"] for row in rows if "kernel" in row.options), 1),
        batch=batch,
        groups=groups,
        macs=first.macs * batch,
        depth=depth,
        in_bytes=_count(first.in_shape) * value * batch,
        out_bytes=_count(last.out_shape) * value * batch,
        weight_bytes=weight_bytes if first.param else 0,
        workspace=step["workspace"],
        value_bytes=value,
        split=step["split"],
    )


def bytes_of(work: Work, index: int, count: int) -> float:
    """Bytes through the memory of kernel ``index`` of ``count``: weights and tensors once; the workspace is written by
    one kernel and read by the next."""
    main = 1 if count == 3 else 0  # transform, products, transform; or products, sum
    total = work.weight_bytes if index == main else 0.0
    total += work.in_bytes if index == 0 else 0
    total += work.out_bytes if index == count - 1 else 0
    passes = (index > 0) + (index < count - 1)
    return total + passes * work.workspace / max(1, count - 1)


def pieces_of(kernel: Kernel, work: Work, launch: Mapping[str, Any]) -> Tuple[Piece, ...]:
    """The code of a kernel and how often a warp runs each part. ``launch``: a kernel of the plan."""
    main = kernel.main_loop() if work.macs else None
    if main and work.op == "fc" and kernel.profile(main).global_bytes:
        streamed = work.weight_bytes * -(-work.batch // launch["vectors"])
        of_thread = streamed / _threads(launch)
        return _others(kernel, work, launch, main, of_thread / kernel.profile(main).global_bytes)
    if main and kernel.profile(main).fma_share > MULTIPLIES:
        return _multiplying(kernel, main, work, launch)
    return _others(kernel, work, launch)


def _multiplying(kernel: Kernel, main: Loop, work: Work, launch: Mapping[str, Any]) -> Tuple[Piece, ...]:
    """A loop over products of tiles in shared memory, and the loop around it that brings them there in stages."""
    threads = launch["threads"]
    tile = re.search(r"(\d+)x(\d+)", launch["name"])
    body = kernel.profile(main)
    outer = max((one for one in kernel.loops if one.contains(main)), key=lambda one: one.last - one.first, default=main)
    outside = Piece("outside", 1, kernel.longest(None, TANH))
    if not tile:  # without padding of tiles
        of_thread = work.macs / _threads(launch)
        around = kernel.longest(outer, TANH)
        stages = of_thread / (body.macs + (around.macs if outer != main else 0))
        return (outside, Piece("main loop", stages, body)) + ((Piece("stages", stages, around),) * (outer != main))
    rows, columns = int(tile.group(1)), int(tile.group(2))
    depth = work.depth / launch["window"] / work.split
    of_thread = rows * columns * depth / threads
    if outer == main:
        return outside, Piece("main loop", of_thread / body.macs, body)
    own = kernel.longest(outer, TANH)
    loaded = kernel.profile(outer).global_bytes * threads
    stage = max(8, loaded // ((rows + columns) * work.value_bytes) // 8 * 8)
    if work.depth % 8:  # colors: a stage is a row of the window
        stage = work.depth // work.side
    stages = -(-depth // stage)
    inner = max(0.0, (rows * columns * stage / threads - own.macs) / body.macs) * stages
    return outside, Piece("stages", stages, own), Piece("main loop", inner, body)


def _others(
    kernel: Kernel, work: Work, launch: Mapping[str, Any], main: Optional[Loop] = None, times: float = 0
) -> Tuple[Piece, ...]:
    """Each loop as often as its stores say; ``main`` runs ``times``, whatever is around it."""
    pieces = [Piece("outside", 1, kernel.longest(None, TANH if work.macs else ()))]
    for loop in kernel.loops:
        if loop == main:
            pieces.append(Piece("main loop", times, kernel.profile(loop)))
            continue
        around = [piece.times for piece, other in zip(pieces[1:], kernel.loops) if other.contains(loop)]
        count = 1.0 if main and loop.contains(main) else _times(kernel, loop, work, launch)
        body = kernel.longest(loop, TANH if work.macs else ())
        pieces.append(Piece(_name(kernel, loop), count * (around[-1] if around else 1), body))
    return tuple(pieces)


def _times(kernel: Kernel, loop: Loop, work: Work, launch: Mapping[str, Any]) -> float:
    """How often a thread runs a loop that does not multiply, for each time that it comes to it.

    A loop that stores runs as often as its stores are needed: to memory for the output, to shared memory for the input
    (a product's tile is filled by each block). One that only reads goes over a pool's window, row by row; of two that
    read the same, one is for sizes that the standard pools do not have."""
    code = kernel.code[loop.first : loop.last + 1]
    stored = _moved(code, "STG")
    if stored:
        return max(1.0, work.out_bytes / (_threads(launch) * stored))
    shared = _moved(code, "STS")
    if shared:
        filled = launch["shared_bytes"] / (launch["threads"] * shared)
        needed = math.ceil(work.in_bytes / (_threads(launch) * shared))
        return max(1.0, filled if work.macs else min(filled, needed))
    reads = _moved(code, "LD")
    if any(_moved(kernel.code[one.first : one.last + 1], "LD") > reads for one in _alternatives(kernel, loop)):
        return 0.0
    if any(loop.contains(one) for one in kernel.loops):
        return float(work.side)
    width = max((one.width for one in code if one.opcode.startswith("LD")), default=1)
    return max(1.0, work.side / max(1, reads // width))


def _alternatives(kernel: Kernel, loop: Loop) -> List[Loop]:
    """Other loops without stores, around which lie the same loops."""
    around = [one for one in kernel.loops if one.contains(loop) and _stores(kernel, one)]
    return [
        one
        for one in kernel.loops
        if not (one == loop or one.contains(loop) or loop.contains(one) or _stores(kernel, one))
        and [other for other in kernel.loops if other.contains(one) and _stores(kernel, other)] == around
    ]


def _stores(kernel: Kernel, loop: Loop) -> bool:
    return _moved(kernel.code[loop.first : loop.last + 1], "ST") > 0


def _moved(code: Sequence[Instruction], opcode: str) -> int:
    """Bytes of a lane that loads or stores of this kind move."""
    return sum(one.width for one in code if one.opcode.startswith(opcode) and one.kind in ("global", "shared"))


def _threads(launch: Mapping[str, Any]) -> int:
    return _count(launch["grid"]) * launch["threads"]


def predict(
    kernel: Kernel,
    instance: Instance,
    usage: Usage,
    work: Work,
    launch: Mapping[str, Any],
    place: Tuple[int, int],
    device: devices.Device,
    card: devices.Card,
    shares: Tuple[float, float] = (ISSUE_SHARE, BANDWIDTH_SHARE),
) -> Prediction:
    """One launch on a card. ``place``: which of how many kernels of the step it is."""
    pieces = pieces_of(kernel, work, launch)
    resident = limits.blocks_per_sm(limits.limits_of(device), instance.threads, instance.shared_bytes, usage)
    warps = -(-instance.threads // limits.WARP)
    busy: Dict[str, float] = {}
    for piece in pieces:
        for part, clocks in piece.profile.clocks().items():
            busy[part] = busy.get(part, 0.0) + piece.times * clocks * warps
    alone = sum(piece.times * piece.profile.stall for piece in pieces)  # latency of a single warp
    part, of_block = max(busy.items(), key=lambda item: item[1])
    mine = -(-_count(launch["grid"]) // card.sms)
    clocks, waiting = 0.0, 0.0
    for wave in [resident] * (mine // resident) + [mine % resident] * (mine % resident > 0):
        working = wave * of_block / shares[0]
        clocks += max(working, alone)
        waiting += max(0.0, alone - working)
    issued = sum(piece.times * piece.profile.instructions for piece in pieces)
    multiplied = sum(piece.times * piece.profile.counts.get("fma", 0) for piece in pieces)
    moved = bytes_of(work, *place)
    return Prediction(
        name=instance.name,
        grid=tuple(launch["grid"]),
        threads=instance.threads,
        registers=usage.registers,
        blocks_per_sm=resident,
        pieces=pieces,
        clocks=clocks,
        limited_by="latency" if waiting > clocks / 2 else part,
        fma_share=multiplied / issued,
        bytes=moved,
        compute_ms=clocks / (card.clock_mhz * 1e3),
        memory_ms=moved / (card.bandwidth_gb_s * 1e6 * shares[1]),
    )


def _winograd_growth(weights: str) -> float:
    """Weights of a transformed kernel by weights of the kernel: F(m, r) has (m + r - 1)^2 of r^2."""
    tile = re.search(r"(\d)x(\d)", weights)
    if not tile:
        return 1.0
    out, kernel = int(tile.group(1)), int(tile.group(2))
    return (out + kernel - 1) ** 2 / kernel**2


def _name(kernel: Kernel, loop: Loop) -> str:
    return f"loop at 0x{kernel.code[loop.first].address:x}"


def _count(shape: Sequence[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
