"""The L2 and the memory behind it, as one multiprocessor sees them."""

from __future__ import annotations

from collections import OrderedDict
from typing import AbstractSet, Sequence

from . import machine
from .accesses import SECTOR


class Memory:
    """Keeps the sectors that were used last in the L2; the rest comes from memory, one sector after the other. What is
    stored goes to memory when it has to leave the L2.

    ``bytes_a_clock``: of memory, this multiprocessor's share. ``common``: sectors that blocks on the other
    ``sharers - 1`` multiprocessors ask for too: one of them all fetches each.
    """

    def __init__(
        self,
        l2_bytes: int,
        bytes_a_clock: float,
        dram_clocks: float,
        global_bytes: int,
        common: AbstractSet[int] = frozenset(),
        sharers: int = 1,
    ) -> None:
        self._room = max(1, l2_bytes // SECTOR)
        self._sector_clocks = SECTOR / bytes_a_clock
        self._dram_clocks = dram_clocks
        self._port_clocks = SECTOR / global_bytes
        self._common, self._sharers = common, sharers
        self._cached: OrderedDict[int, bool] = OrderedDict()  # sector -> whether memory has an older value
        self._port_free = self._dram_free = 0.0
        self.busy = 0.0  # clocks of memory
        self.port_busy = 0.0
        self.bytes = 0.0  # to and from memory

    def access(self, sectors: Sequence[int], now: float, is_load: bool) -> float:
        """The clock at which a warp's access is done."""
        start = max(now, self._port_free)
        self._port_free = start + len(sectors) * self._port_clocks
        self.port_busy += len(sectors) * self._port_clocks
        done = start
        for i, sector in enumerate(sectors):
            leaves = start + i * self._port_clocks
            arrived = leaves + machine.L2_CLOCKS
            if sector in self._cached:
                self._cached[sector] |= not is_load
                self._cached.move_to_end(sector)
            else:
                self._make_room(leaves)
                self._cached[sector] = not is_load
                if is_load:
                    arrived = self._transfer(leaves, sector) + machine.L2_CLOCKS + self._dram_clocks
            done = max(done, arrived)
        return done

    def _make_room(self, now: float) -> None:
        if len(self._cached) == self._room:
            sector, is_newer = self._cached.popitem(last=False)
            if is_newer:
                self._transfer(now, sector)

    def _transfer(self, now: float, sector: int) -> float:
        share = 1 / self._sharers if sector in self._common else 1.0
        begin = max(now, self._dram_free)
        self._dram_free = begin + self._sector_clocks * share
        self.busy += self._sector_clocks * share
        self.bytes += SECTOR * share
        return self._dram_free
