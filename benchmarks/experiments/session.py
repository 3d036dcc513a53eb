"""A session of an evening: the open runs of a plan, one after the other, within some minutes."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Dict, Iterator, Optional

from benchmarks.experiments import plan as plans
from benchmarks.experiments import record as records
from benchmarks.experiments.plan import Plan, Unit
from benchmarks.experiments.record import Record
from fastalex import UserError


def table(plan: Plan, found: Dict[str, Record]) -> str:
    """Done and open runs of each arm, and the minutes that they took and are expected to take."""
    lines = [
        "| experiment | arm | done | open | planned minutes a run | minutes taken |",
        "| --- | --- " + "| ---: " * 4 + "|",
    ]
    units, left = plan.units(), 0.0
    for name, arm in dict.fromkeys((unit.experiment, unit.arm) for unit in units):
        own = [unit for unit in units if (unit.experiment, unit.arm) == (name, arm)]
        done = [unit for unit in own if found[name].has(unit)]
        each, count = plan.minutes(own[0]), len(own) - len(done)
        left += each * count
        took = [found[name].arms[arm][unit.name].get("seconds", 0) / 60 for unit in done]
        cell = f"{sum(took) / len(took):.1f}" if took else ""
        lines.append(f"| {name} | {arm} | {len(done)} | {count} | {each:.1f} | {cell} |")
    done_runs = sum(found[unit.experiment].has(unit) for unit in units)
    return "\n".join([*lines, "", f"{done_runs} of {len(units)} runs are done; about {left:.0f} minutes are left."])


def carry_on(plan: Plan, data: Optional[Path], minutes: Optional[float], folder: Path) -> str:
    """Train open runs of ``plan`` until ``minutes`` would be exceeded; returns a sentence on where it stands.

    :raises UserError: if another process does so, or the data are missing.
    """
    import torch

    from benchmarks.experiments import runs, sources

    with _alone(folder, plan.name):
        found = records.of(plan, folder)
        todo = [unit for unit in plan.units() if not found[unit.experiment].has(unit)]
        if not todo:
            return "all runs are done"
        began, sets = time.monotonic(), sources.sets(plan, data)
        for number, unit in enumerate(todo):
            spent = (time.monotonic() - began) / 60
            if minutes is not None and spent + plan.minutes(unit) > minutes:
                return f"{len(todo) - number} runs are open; the next takes about {plan.minutes(unit):.1f} minutes"
            record = found[unit.experiment]
            result = runs.result_of(plan, unit, _rate(plan, record, unit), sets)
            record.add(unit, result, torch.__version__)
            print(f"{unit.experiment}, {unit.arm}, {unit.name}: {result['seconds']:.0f} s", flush=True)
    return "all runs are done"


@contextlib.contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Keep other processes from the results of a plan. The lock of a process that is killed goes with it."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f".{name}.lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is training the runs of the plan {name}; wait until it ends") from None
        yield


def _rate(plan: Plan, record: Record, unit: Unit) -> Optional[float]:
    one = plan.experiments[unit.experiment]
    if unit.rate is not None or "rates" not in one:
        return unit.rate
    return plans.best_rate(record.arms.get(unit.arm, {}), one)
