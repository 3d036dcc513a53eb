"""A multiprocessor that runs the blocks of a launch, clock by clock, from the traces of their warps.

Each of four schedulers issues an instruction a clock: of the warp that issued the last one if it can go on at once and
its code does not tell it to yield, else of the one that has waited longest (Accel-Sim has greedy, then oldest, for
Pascal; the control word of an instruction has the hint). An instruction waits for the stall of the one before it, for
the barriers in its control word, and for its unit; shared memory serves one turn of the banks a clock, for all
schedulers. So the share of the issue slots that is used follows from the warps that are resident and from the distances
in the code.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

from . import sass
from .execution import WarpTrace
from .machine import SCHEDULERS, Machine
from .memory import Memory
from .sass import Instruction

BARRIERS = 6
CORES = ("core", "shift", "float", "integer")  # units that read the banks of registers through the reuse cache


@dataclass(frozen=True)
class Step:
    """What the schedulers need to know of an instruction."""

    stall: int
    waits: Tuple[int, ...]
    sets: int  # -1: none
    frees: int
    unit: str
    busy: int
    latency: int
    space: str  # "shared", "global" or ""
    is_load: bool
    is_barrier: bool
    goes_on: bool  # before other warps, if it needs no stall
    reading: int  # clocks after which it has read its registers
    conflicts: Tuple[
        int, int
    ]  # of register banks, in clocks: after the instruction before it, and after another warp's
    pending: Tuple[int, int]  # DEPBAR: a barrier, and how many may still be under way; (-1, 0) otherwise


def steps_of(code: Sequence[Instruction], machine: Machine) -> List[Step]:
    steps = []
    kept: Dict[int, int] = {}
    for one in code:
        unit, busy = machine.busy.get(one.kind, ("", 0))
        stall = one.stall if machine.dual_issue else max(1, one.stall)
        sources = sass.sources(one) if unit in CORES else {}
        fresh = {register for place, register in sources.items() if kept.get(place) != register}
        conflicts = (machine.conflicts(fresh), machine.conflicts(set(sources.values())))
        kept = sass.reused(one) if unit in CORES else kept
        pending = (-1, 0)
        if one.opcode.startswith("DEPBAR.LE"):
            barrier, count = one.operands.split(",")[:2]
            pending = (int(barrier.strip()[2:]), int(count, 16))
        steps.append(
            Step(
                stall,
                one.waits,
                -1 if one.sets is None else one.sets,
                -1 if one.frees is None else one.frees,
                unit,
                busy,
                machine.shared_latency if one.name == "LDS" else machine.latency(one.kind),
                one.kind if one.kind in ("shared", "global") else "",
                one.is_load,
                one.name == "BAR",
                stall == 1 and not one.yields,
                machine.reading(one.kind),
                conflicts,
                pending,
            )
        )
    return steps


class _Warp:
    def __init__(self, trace: WarpTrace, block: _Running, scheduler: int) -> None:
        self.issued, self.accesses = trace.issued, trace.accesses
        self.block, self.scheduler = block, scheduler
        self.at = self.next_access = 0
        self.loaded = 0.0  # when the last load from memory is done
        self.barriers: List[List[float]] = [[] for _ in range(BARRIERS)]  # when what was started is done


class _Running:
    def __init__(self, warps: int) -> None:
        self.alive = warps
        self.waiting: List[Tuple[_Warp, int]] = []


@dataclass
class Result:
    """``ends``: the clock at which each block was over, in order. ``busy``: clocks of each part, over all schedulers
    for those that every scheduler has."""

    clocks: float
    issued: int
    ends: List[float]
    busy: Dict[str, float]
    bytes: float


class Multiprocessor:
    """``blocks``: gives the traces of the next block, or None. ``resident``: how many run at a time."""

    def __init__(self, steps: Sequence[Step], memory: Memory, resident: int) -> None:
        self._steps, self._memory, self._resident = steps, memory, resident
        self._events: List[Tuple[float, float, int, _Warp]] = []  # when, since when it waits for its turn
        self._order = 0
        self._slot = [0.0] * SCHEDULERS
        self._units: List[Dict[str, float]] = [{} for _ in range(SCHEDULERS)]
        self._warps = [0] * SCHEDULERS
        self._last: List[Optional[_Warp]] = [None] * SCHEDULERS  # whose registers the reuse cache holds
        self._shared_free = 0.0
        self._ends: List[float] = []
        self._busy: Dict[str, float] = {"issue": 0.0, "shared": 0.0}
        self._issued = 0

    def run(self, blocks: Callable[[], Union[Sequence[WarpTrace], None]]) -> Result:
        self._next_block = blocks
        for _ in range(self._resident):
            self._start(0.0)
        while self._events:
            now, since, _, warp = heapq.heappop(self._events)
            self._issue(warp, now, since)
        busy = dict(self._busy, memory=self._memory.busy, **{"global": self._memory.port_busy})
        return Result(max(self._ends, default=0.0), self._issued, sorted(self._ends), busy, self._memory.bytes)

    def _start(self, now: float) -> None:
        traces = self._next_block()
        if traces is None:
            return
        block = _Running(len(traces))
        for trace in traces:
            scheduler = self._warps.index(min(self._warps))
            self._warps[scheduler] += 1
            self._push(now, _Warp(trace, block, scheduler))

    def _push(self, when: float, warp: _Warp, since: Optional[float] = None) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, when if since is None else since, self._order, warp))

    def _issue(self, warp: _Warp, now: float, since: float) -> None:
        """Issue the warp's next instruction, and the one beside it, or come back when that is possible."""
        beside = False
        while True:
            if warp.at == len(warp.issued):
                self._finish(warp, now)
                return
            step = self._steps[warp.issued[warp.at]]
            units = self._units[warp.scheduler]
            ready = now
            for barrier in step.waits:
                under_way = warp.barriers[barrier]
                if under_way:
                    ready = max(ready, max(under_way))
            if step.pending[0] >= 0:
                ready = max(ready, _all_but(warp.barriers[step.pending[0]], step.pending[1]))
            if ready > now:
                self._push(max(ready, now + 1) if beside else ready, warp)
                return
            turn = units.get(step.unit, 0.0)
            turn = turn if beside else max(turn, self._slot[warp.scheduler])
            if turn > now:
                self._push(turn, warp, since)
                return
            if not beside:
                self._slot[warp.scheduler] = now + 1
                self._busy["issue"] += 1
            self._carry_out(warp, step, units, now)
            if step.is_barrier:
                self._arrive(warp, step, now)
                return
            if step.stall:
                self._push(now + step.stall, warp, 0.0 if step.goes_on else None)
                return
            if beside:
                self._push(now + 1, warp)
                return
            beside = True

    def _carry_out(self, warp: _Warp, step: Step, units: Dict[str, float], now: float) -> None:
        self._issued += 1
        warp.at += 1
        for barrier in step.waits:
            warp.barriers[barrier].clear()
        if step.busy:
            is_next = self._last[warp.scheduler] is warp
            busy = step.busy + step.conflicts[0 if is_next else 1]
            units[step.unit] = now + busy
            self._busy[step.unit] = self._busy.get(step.unit, 0.0) + busy
            self._last[warp.scheduler] = warp
        done, read = now + step.latency, now + step.reading
        if step.space:
            access: Any = warp.accesses[warp.next_access]
            warp.next_access += 1
            if step.space == "shared":
                begin = max(now, self._shared_free)
                self._shared_free = begin + access
                self._busy["shared"] += access
                done, read = begin + max(0, access - 1) + step.latency, begin + step.reading
            elif access:
                done = self._memory.access(access, now, step.is_load)
                if step.is_load:  # a later load's barrier tells of the earlier ones too
                    done = warp.loaded = max(warp.loaded, done)
        if step.sets >= 0:
            warp.barriers[step.sets].append(done)
        if step.frees >= 0:
            warp.barriers[step.frees].append(read)

    def _arrive(self, warp: _Warp, step: Step, now: float) -> None:
        block = warp.block
        block.waiting.append((warp, step.stall))
        self._release(block, now)

    def _release(self, block: _Running, now: float) -> None:
        if block.waiting and len(block.waiting) == block.alive:
            for warp, stall in block.waiting:
                self._push(now + max(1, stall), warp)
            block.waiting = []

    def _finish(self, warp: _Warp, now: float) -> None:
        self._warps[warp.scheduler] -= 1
        warp.block.alive -= 1
        if warp.block.alive:
            self._release(warp.block, now)
        else:
            self._ends.append(now)
            self._start(now)


def _all_but(under_way: List[float], count: int) -> float:
    """When no more than ``count`` of these are under way."""
    return sorted(under_way)[-count - 1] if len(under_way) > count else 0.0
