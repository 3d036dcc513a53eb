"""What the lanes of a warp tell each other."""

from __future__ import annotations

from typing import Any, List

import numpy as np

from .. import operands as get
from ..operands import predicate, predicate_index
from .base import Base, Run


class Lanes(Base):
    def shfl(self, words: List[str], args: List[str]) -> Run:
        a, by, bounds = (get.integers(arg) for arg in args[2:5])
        write, index = args[1], predicate_index(args[0])

        def source(state: Any) -> Any:
            """The lane that each one reads from, and whether it lies in its segment."""
            lane = state.lane
            bound = np.asarray(bounds(state)).astype(np.int64)
            segment, clamp = bound >> 8 & 31, bound & 31
            low, high = lane & segment, lane & segment | clamp & ~segment
            distance = np.asarray(by(state)).astype(np.int64)
            if "IDX" in words:
                from_lane = low | distance & ~segment
            elif "BFLY" in words:
                from_lane = lane ^ distance
            else:
                from_lane = lane - distance if "UP" in words else lane + distance
            inside = from_lane >= high if "UP" in words else from_lane <= high
            return np.where(inside, from_lane, lane), inside

        def value(state: Any) -> Any:
            values = np.broadcast_to(a(state), state.lane.shape)
            return values[np.arange(len(values)) // 32 * 32 + source(state)[0] % 32]

        put = self._to(write, value)

        def run(state: Any) -> None:
            inside = source(state)[1]
            put(state)
            state.write_predicate(index, inside)

        return run

    def vote(self, words: List[str], args: List[str]) -> Run:
        text = args[-1]
        held, index = predicate(text), predicate_index(args[-2])
        to = args[0] if len(args) == 3 else "RZ"

        def ballot(state: Any) -> Any:
            taking = held(state) & state.active
            bits = (taking.reshape(-1, 32).astype(np.uint64) << np.arange(32, dtype=np.uint64)).sum(axis=1)
            return np.repeat(bits.astype(np.uint32), 32)

        put = self._to(to, ballot)

        def run(state: Any) -> None:
            taking, warps = held(state) & state.active, state.active.reshape(-1, 32)
            some = taking.reshape(-1, 32)
            answer = (some | ~warps).all(axis=1) if "ALL" in words else some.any(axis=1)
            put(state)
            state.write_predicate(index, np.repeat(answer, 32))

        return run
