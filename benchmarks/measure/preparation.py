"""Preparation of the engines' files in separate processes, before anything is timed."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

from benchmarks.measure.budget import Budget
from benchmarks.measure.conversions import NEEDS, conversions
from benchmarks.measure.engine_processes import Tools
from benchmarks.measure.engines import ENGINES, Engine
from benchmarks.measure.errors import EngineError
from benchmarks.measure.processes import CHILD_TIMEOUT_S
from benchmarks.records import FAILED, SKIPPED

OWN_FILES = {"weights", *(file for one in ENGINES.values() if one.peer == "fastalex" for file in one.files)}


class Preparation:
    """Makes the files.

    :param quick: the folder persists, and finished files are not made again.
    """

    def __init__(self, tools: Tools, budget: Budget, quick: bool, log: Callable[[str], None]) -> None:
        self.tools, self.budget, self.quick, self.log = tools, budget, quick, log

    def make(self, spec: Mapping[str, Any], chosen: Sequence[Engine], out: Dict[str, Tuple[str, str]]) -> None:
        """Make the files of the engines ``chosen``, as many at a time as there are CPUs; one whose file cannot be made
        is out, with the reason. A folder that is kept has a mark for each conversion that was finished there.
        """
        ready = [engine for engine in chosen if engine.name not in out]
        made: Dict[str, Future] = {}
        # In order, so that a task starts after those it waits for: all need the weights, which come first.
        with ThreadPoolExecutor(max(1, len(spec["cpus"]))) as pool:
            for name in conversions(ready):
                needs = [made[need] for need in ("weights", *NEEDS.get(name, ())) if need in made]
                made[name] = pool.submit(self._one, spec, name, needs)
        done = {name: one.result() for name, one in made.items()}
        for engine in ready:
            for name in engine.files:
                if done.get(name):
                    out.setdefault(engine.name, done[name])

    def _one(self, spec: Mapping[str, Any], name: str, needs: Sequence[Future]) -> Optional[Tuple[str, str]]:
        """Make one file; return status and note of a row on failure, None on success."""
        missing = [reason for reason in (need.result() for need in needs) if reason]
        if missing:
            return missing[0]
        mark = Path(spec["folder"]) / (name.replace(" ", "-") + ".done")
        if mark.exists():
            return None
        if self.budget.spent and name not in OWN_FILES:
            return SKIPPED, "the time of a quick run was spent"
        self.log(f"{spec['variant']}: files for {name}")
        try:
            self.tools.once("prepare", dict(spec, conversion=name), self._limit(name))
        except EngineError as error:
            if name == "weights":
                raise
            status = SKIPPED if self.budget.spent else FAILED
            return status, f"the conversion for {name} failed: {error}"
        if self.quick:
            mark.touch()
        return None

    def _limit(self, conversion: str) -> float:
        """Time limit of a conversion in seconds; None for fastalex's own files, which are always written."""
        return CHILD_TIMEOUT_S if conversion in OWN_FILES else max(1.0, self.budget.left)
