"""Predicted time of a launch, from its machine code alone: traces of its blocks on a model of a multiprocessor.

Nothing is typed in for a kernel. Its blocks are executed from the disassembly with the arguments that the library
passes (execution.py), in sets of as many as a multiprocessor holds; a multiprocessor with its share of the memory then
runs them clock by clock (scoreboard.py, memory.py). A launch of many sets repeats what its last whole set took, one
that began when blocks no longer started together and the L2 was full, so that stored values leave it. Blocks go to the
multiprocessors in turn, and all of these take as long as the first.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Set, Tuple

import numpy as np

from fastalex.hardware import devices
from fastalex.networks import layers

from . import accesses, execution, limits, machine, scoreboard
from .families import Instance
from .memory import Memory
from .sass import Kernel
from .toolchain import ToolError, Usage

# TensorRT 1.0 streamed the fp32 weights of fc6 to fc8 at 18.8 GB/s on a Jetson TX1, 73 % of its memory's 25.6 GB/s,
# which are a Nano's too (per-layer records of dividiti's experiment bvlc-alexnet-tensorrt-1.0.0).
BANDWIDTH_SHARE = 0.73
SETS = 3  # sets of resident blocks that are run at least
WHOLE = 8  # a launch of at most so many sets is run whole
WAITING = 0.6  # least share of its clocks for which the busiest part counts as the limit


@dataclass(frozen=True)
class Prediction:
    """One launch. ``busy``: share of the clocks for which each part works. ``blocks_run``: of those of the launch that
    one multiprocessor gets, how many were run. ``instructions``: of a block, by kind."""

    name: str
    grid: Tuple[int, ...]
    threads: int
    registers: int
    blocks_per_sm: int
    blocks: int
    blocks_run: int
    clocks: float
    ipc: float
    busy: Mapping[str, float]
    bytes: float
    instructions: Mapping[str, int]
    ms: float

    @property
    def limited_by(self) -> str:
        part, share = max(self.busy.items(), key=lambda item: item[1])
        return part if share >= WAITING else "latency"


def step_layers(rows: Sequence[layers.Layer], steps: Sequence[Mapping[str, Any]]) -> List[List[layers.Layer]]:
    """The layers of each step: all up to the one whose name stands last in it."""
    groups, start = [], 0
    names = [row.name for row in rows]
    for step in steps:
        end = names.index(step["layers"][-1]) + 1
        groups.append([row for row in rows[start:end] if row.op != "dropout"])
        start = end
    return groups


def launches_of(
    steps: Sequence[Mapping[str, Any]], launches: Sequence[Mapping[str, Any]]
) -> List[List[execution.Launch]]:
    """The launches of each step of a plan, found among all of a call: that also converts input and output.

    :raises ToolError: if one is missing.
    """
    rest = iter(launches)
    found = []
    for step in steps:
        own = []
        for kernel in step["kernels"]:
            one = next((each for each in rest if each["kernel"] == kernel["name"]), None)
            if not one or one["grid"] != kernel["grid"]:
                raise ToolError(f"the call does not launch {kernel['name']} as its plan says")
            arguments = bytes.fromhex(one["arguments"])
            own.append(execution.Launch(tuple(one["grid"]), one["threads"], one["shared_bytes"], arguments))
        found.append(own)
    return found


def with_inputs(launch: execution.Launch, values: int, value_bytes: int, density: float) -> execution.Launch:
    """A launch whose input, to which its argument's first member points, has so many values, of which a share of
    ``density``, at random, are 1 and the others 0. A layer that does not read the weights of zeros needs it."""
    ones = np.random.default_rng(0).random(values) < density
    data = ones.astype(np.float16 if value_bytes == 2 else np.float32).tobytes()
    return dataclasses.replace(launch, filled=((int.from_bytes(launch.arguments[:8], "little"), data),))


def predict(
    kernel: Kernel,
    instance: Instance,
    usage: Usage,
    launch: execution.Launch,
    device: devices.Device,
    card: devices.Card,
    bandwidth_share: float = BANDWIDTH_SHARE,
) -> Prediction:
    """One launch on a card."""
    sms = min(card.sms, launch.blocks)
    blocks = -(-launch.blocks // card.sms)  # of the busiest multiprocessor
    resident = min(blocks, limits.blocks_per_sm(limits.limits_of(device), launch.threads, launch.shared_bytes, usage))
    if not resident:
        raise ToolError(f"no block of {instance.name} fits a multiprocessor of {device.name}")
    architecture = limits.architecture_of(device)
    program = execution.Program(kernel, architecture)
    room = (card.l2_kib or 0) * 1024 // sms // accesses.SECTOR
    traces, sets = _traces(program, launch, range(0, launch.blocks, card.sms)[:blocks], resident, room)
    count = len(traces)
    common = _common(program, launch, card.sms, traces[:resident]) if sms > 1 else set()
    memory = _memory(card, sms, bandwidth_share, common, architecture)
    result = _run(kernel, traces, memory, resident, architecture)
    last = sets * resident - 1
    repeated = result.ends[last] - result.ends[last - resident] if count < blocks else 0.0
    clocks = result.clocks + (blocks - count) // resident * repeated
    return Prediction(
        name=instance.name,
        grid=launch.grid,
        threads=launch.threads,
        registers=usage.registers,
        blocks_per_sm=resident,
        blocks=blocks,
        blocks_run=count,
        clocks=clocks,
        ipc=result.issued / result.clocks,
        busy={part: share / result.clocks for part, share in _of_one(result.busy).items()},
        bytes=result.bytes * sms * blocks / count,
        instructions=_mix(kernel, traces[0]),
        ms=clocks / (card.clock_mhz * 1e3),
    )


def _traces(
    program: execution.Program, launch: execution.Launch, indices: Sequence[int], resident: int, room: int
) -> Tuple[List[Any], int]:
    """Traces of the blocks to run, and how many whole sets there are in them: of a long launch as many as fill the
    ``room`` sectors of the L2, if it ever does, and one more; then as many blocks as are left in the last set."""
    traces: List[Any] = []
    touched: Set[int] = set()
    is_long = len(indices) > WHOLE * resident
    sets, rest = 0, indices
    while rest:
        was_full = len(touched) >= room
        traces += [execution.Block(program, launch, index).execute() for index in rest[:resident]]
        touched.update(*map(_touched, traces[-resident:]))
        sets, rest = sets + 1, rest[resident:]
        never_full = len(touched) * len(indices) < room * len(traces)
        if is_long and sets >= SETS and (was_full or never_full):
            left = rest[: len(rest) % resident]
            return traces + [execution.Block(program, launch, index).execute() for index in left], sets
    return traces, sets


def _run(kernel: Kernel, traces: Sequence[Any], memory: Memory, resident: int, architecture: int) -> scoreboard.Result:
    following: Iterator[Any] = iter(traces)
    steps = scoreboard.steps_of(kernel.code, machine.machine_of(architecture))
    return scoreboard.Multiprocessor(steps, memory, resident).run(lambda: next(following, None))


def _memory(card: devices.Card, sms: int, share: float, common: Set[int], architecture: int) -> Memory:
    clock = card.clock_mhz * 1e6
    return Memory(
        (card.l2_kib or 0) * 1024 // sms,
        card.bandwidth_gb_s * 1e9 * share / clock / sms,
        machine.DRAM_NS * clock / 1e9,
        machine.machine_of(architecture).global_bytes,
        common,
        sms,
    )


def _common(program: execution.Program, launch: execution.Launch, sms: int, traces: Sequence[Any]) -> Set[int]:
    """The sectors that the next multiprocessor asks for too, with blocks that run at the same time."""
    others = [i * sms + 1 for i in range(len(traces)) if i * sms + 1 < launch.blocks]
    theirs: Set[int] = set()
    for index in others:
        theirs |= _touched(execution.Block(program, launch, index).execute())
    return theirs & set(itertools.chain.from_iterable(map(_touched, traces)))


def _touched(block: Sequence[execution.WarpTrace]) -> Set[int]:
    return {sector for warp in block for access in warp.accesses if isinstance(access, tuple) for sector in access}


def _of_one(busy: Mapping[str, float]) -> Dict[str, float]:
    """Clocks of each part; of those that each scheduler has, the mean."""
    single = ("shared", "memory", "global")
    return {part: clocks if part in single else clocks / machine.SCHEDULERS for part, clocks in busy.items()}


def _mix(kernel: Kernel, block: Sequence[execution.WarpTrace]) -> Dict[str, int]:
    mix = Counter(kernel.code[i].kind for warp in block for i in warp.issued)
    return dict(mix.most_common())
