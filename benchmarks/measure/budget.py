"""The time of a quick run."""

from __future__ import annotations

import time
from typing import Callable, Optional


class Budget:
    """A time budget; without a limit it never runs out."""

    def __init__(self, seconds: Optional[float] = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.end = None if seconds is None else clock() + seconds

    @property
    def left(self) -> float:
        return float("inf") if self.end is None else self.end - self.clock()

    def share(self, parts: int) -> Budget:
        """A budget with an equal share of the remaining time, starting now."""
        return self if self.end is None else Budget(max(0.0, self.left) / parts, self.clock)

    @property
    def spent(self) -> bool:
        return self.left <= 0
