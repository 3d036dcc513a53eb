"""The file of an experiment with its finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Mapping

from benchmarks import files
from benchmarks.experiments.plan import RESULTS, Plan, Unit
from benchmarks.measure import machine
from fastalex import UserError


class Record:
    """Arm -> name of the run -> its result. Written whole after every run, so that one that is killed loses no other.

    Its ``commit`` and ``torch`` are those of the newest run.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path, self.facts = path, json.loads(json.dumps(facts))
        self.arms: Dict[str, Any] = {}
        if path.exists():
            saved = read(path)
            self.arms = saved["arms"]
            if any(saved.get(name) != value for name, value in self.facts.items()):
                raise UserError(f"{path} is of another version of the plan; move it away first")

    def has(self, unit: Unit) -> bool:
        return unit.name in self.arms.get(unit.arm, {})

    def add(self, unit: Unit, result: Dict[str, Any], torch: str) -> None:
        self.arms.setdefault(unit.arm, {})[unit.name] = result
        whole = {**self.facts, "torch": torch, "commit": machine.commit(), "arms": self.arms}
        files.write_atomically(self.path, files.as_json(whole, sort_keys=False))


def read(path: Path) -> Dict[str, Any]:
    """The record in a file. :raises UserError: if it is none."""
    try:
        saved: Dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(saved["arms"], dict):
            return saved
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path} is not a record of an experiment; move it away first")


def of(plan: Plan, folder: Path = RESULTS) -> Dict[str, Record]:
    """The record of each experiment of ``plan``."""
    return {name: Record(folder / f"{name}-{plan.name}.json", plan.facts(name)) for name in plan.experiments}
