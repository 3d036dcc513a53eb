"""The comparison with other engines: the same network, weights and images, the same CPUs, one after the other.

Each engine lives in a process of its own (worker.py) and sleeps while another is timed. They take turns: a round is
one burst of calls of each, in shuffled order, so that what the machine does meanwhile meets them all alike. No engine
is timed before its result has been compared with that of fastalex's naive backend.
"""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from benchmarks import floors
from benchmarks.measure import limits, power, timing
from benchmarks.measure.agreement import agreement
from benchmarks.measure.budget import Budget
from benchmarks.measure.engine_processes import Tools
from benchmarks.measure.engines import ENGINES, Engine
from benchmarks.measure.errors import EngineError
from benchmarks.measure.preparation import Preparation
from benchmarks.measure.processes import CHILD_TIMEOUT_S
from benchmarks.records import FAILED, MISSING, OK, SKIPPED, WRONG
from fastalex import variants

BURST_S = 0.15  # target length of a burst, so that a turn costs the same for fast and slow engines
MOST_CALLS = 20
PAUSE_S = 0.05  # until the threads of the previous engine sleep
ROUNDS = {1: 15}  # rounds, by batch
ROUNDS_LARGE = 6
COLD_REPEATS = 3
# --quick: all in all under 3 minutes on two CPUs. The limit is checked before each step, and the longest steps (a
# conversion, or a round at batch 32) take under 20 s.
QUICK_S = 165.0
QUICK_CASE_S = 6.0
QUICK_ROUNDS = 2

Ask = Callable[..., Dict[str, Any]]


class Comparison:
    """One run over networks, numbers of threads and batches; :attr:`rows`, :attr:`cold`, :attr:`limits`, :attr:`steps`
    and :attr:`densities` grow as it goes.

    :param threads: the numbers of threads, each on the first of ``cpus``.
    :param density: that of fc6, fc7 and fc8, to which biases of the weights are shifted. Default: as the weights are.
    """

    def __init__(
        self,
        chosen: Sequence[Engine],
        cpus: Sequence[int],
        threads: Sequence[int],
        quick: bool,
        tools: Optional[Tools] = None,
        log: Callable[[str], None] = lambda line: None,
        budget: Optional[Budget] = None,
        density: Optional[Sequence[float]] = None,
    ) -> None:
        self.density = density
        self.chosen, self.cpus, self.threads, self.quick = list(chosen), list(cpus), list(threads), quick
        self.tools = tools or Tools()
        self.budget = budget or Budget(QUICK_S if quick else None)
        begin = self.budget.clock()
        self.log = lambda line: log(f"{self.budget.clock() - begin:4.0f} s  {line}")
        self.random = random.Random(2012)
        self.meter = power.Meter()
        self.rows: List[Dict[str, Any]] = []
        self.cold: List[Dict[str, Any]] = []
        self.limits: List[Dict[str, Any]] = []  # limits of each case, measured between its rounds
        self.steps: List[Dict[str, Any]] = []  # for each network, batch and engine that reports them
        self.without_limits: Optional[str] = None  # why there are none
        self.densities: List[Dict[str, Any]] = []  # for each network and batch, of the inputs of fc6, fc7 and fc8

    def run(self, names: Sequence[str], batches: Sequence[int]) -> None:
        """Compare for each network of ``names`` and each batch. :raises EngineError: if fastalex itself fails."""
        out = {engine.name: (MISSING, reason) for engine, reason in self._missing()}
        for name, (_, reason) in out.items():
            self.log(f"{name} is left blank: {reason}")
        whole = self.budget
        for index, name in enumerate(names):
            self.budget = whole.share(len(names) - index)
            keep = self.quick and self.density is None  # the files that are kept are those of the weights as drawn
            with self.tools.folder(name, keep) as folder:
                if keep:
                    self.log(f"{name}: the files of the engines are kept in {folder}")
                self._network(name, list(batches), folder, dict(out))

    def run_cold(self, names: Sequence[str]) -> None:
        """Measure only cold starts, for each network of ``names``."""
        for name in names:
            with self.tools.folder(name, self.quick) as folder:
                out = {engine.name: (MISSING, reason) for engine, reason in self._missing()}
                spec = self._spec(name, folder)
                Preparation(self.tools, self.budget, self.quick, self.log).make(spec, self.chosen, out)
                self._cold_starts(spec, [engine.name for engine in self.chosen if engine.name not in out])

    def _spec(self, name: str, folder: str) -> Dict[str, Any]:
        row = variants.get(name)
        spec = {"variant": name, "folder": folder, "threads": max(self.threads), "cpus": self.cpus}
        spec.update(shape=[row.channels, row.input_size, row.input_size], path=os.path.join(folder, "reference.npy"))
        spec["density"] = self.density
        return spec

    def _missing(self) -> List[Tuple[Engine, str]]:
        missing = [(engine, self.tools.missing(engine)) for engine in self.chosen]
        return [(engine, f"{module} is not installed") for engine, module in missing if module]

    def _network(self, name: str, batches: List[int], folder: str, out: Dict[str, Tuple[str, str]]) -> None:
        spec = self._spec(name, folder)
        Preparation(self.tools, self.budget, self.quick, self.log).make(spec, self.chosen, out)
        self.densities += self.tools.once("reference", dict(spec, batches=batches), CHILD_TIMEOUT_S).get("density", [])
        reference = self.tools.result(spec["path"])
        whole = self.budget
        for index, threads in enumerate(self.threads):
            self.budget = whole.share(len(self.threads) - index)
            one = dict(spec, threads=threads, cpus=self.cpus[:threads])
            live = {e.name: self.tools.start(dict(one, engine=e.name)) for e in self.chosen if e.name not in out}
            try:
                for batch in batches:
                    self._case(one, batch, live, reference, out)
            finally:
                for process in live.values():
                    process.close()
        self.budget = whole
        right = {row["engine"] for row in self.rows if row["variant"] == name and row["median_ms"] is not None}
        self._cold_starts(spec, [engine.name for engine in self.chosen if engine.name in right])

    def _case(
        self,
        spec: Mapping[str, Any],
        batch: int,
        live: Mapping[str, Ask],
        reference: np.ndarray,
        out: Dict[str, Tuple[str, str]],
    ) -> None:
        """Measure one network, batch and number of threads: load and check all engines, then time the correct ones."""
        where = f"{spec['variant']}, batch {batch}, threads {spec['threads']}"
        self.log(f"{where}: loading and checking")
        rows: Dict[str, Dict[str, Any]] = {}
        for engine in self.chosen:
            row = {"variant": spec["variant"], "batch": batch, "threads": spec["threads"], "engine": engine.name}
            row.update(peer=engine.peer, numeric_class=engine.numeric_class, status=OK, note=None)
            if engine.name in out:
                row["status"], row["note"] = out[engine.name]
            rows[engine.name] = row
        # one at a time, since loading is timed; a quick run loads in parallel
        with ThreadPoolExecutor(len(self.cpus) if self.quick else 1) as pool:
            list(pool.map(lambda row: self._load(row, live, spec["folder"], reference), rows.values()))
        steps = {name: row.pop("steps", None) for name, row in rows.items()}
        for row in rows.values():
            if row["status"] in (WRONG, FAILED):
                self.log(f"{where}: {row['engine']}: {row['status']}: {row['note']}")
        ready = {name: live[name] for name, row in rows.items() if row["status"] == OK}
        self.log(f"{where}: timing {len(ready)} engines")
        runs: List[Dict[str, Optional[float]]] = []
        times, watts = self._turns(
            ready, {name: rows[name]["call_ms"] for name in ready}, batch, rows, lambda: self._probe(spec, runs)
        )
        case = {"variant": spec["variant"], "batch": batch, "threads": spec["threads"]}
        machine = floors.combine(runs)
        if machine:
            self.limits.append(dict(case, **machine))
        heavy = [layer.name for layer in variants.get(spec["variant"]).layers() if layer.param]
        state = power.state(self.cpus)
        for name, row in rows.items():
            row.update(figures(times.get(name, []), watts.get(name, []), batch), state=state)
            row["floor_ms"] = floors.floor_ms(steps.get(name), heavy, batch, machine)
            self.rows.append(row)
            if steps.get(name):
                self.steps.append(dict(case, engine=name, steps=steps[name]))

    def _probe(self, spec: Mapping[str, Any], runs: List[Dict[str, Optional[float]]]) -> None:
        """Measure the machine's limits once more, on the CPUs of the engines; say once why it cannot be done."""
        if self.without_limits:
            return
        try:
            runs.append(self.tools.limits(spec["cpus"], spec["threads"], self.quick))
        except limits.NoLimitsError as error:
            self.without_limits = str(error)
            self.log(self.without_limits)

    def _load(self, row: Dict[str, Any], live: Mapping[str, Ask], folder: str, reference: np.ndarray) -> None:
        """Load the engine of ``row`` for its batch and check its result, unless it is out or the time is up."""
        name, batch = row["engine"], row["batch"]
        if row["status"] != OK:
            return
        if self.budget.spent and row["peer"] != "fastalex":
            row["status"], row["note"] = SKIPPED, "the time of a quick run was spent"
            return
        path = os.path.join(folder, f"result of {name}.npy")
        try:
            answer = live[name](do="load", batch=batch, path=path)
            expected = reference[[0, 1 if batch > 2 else 0, 0]]  # the last image repeats the first
            row.update(answer, **agreement(self.tools.result(path), expected, answer["numeric_class"]))
        except EngineError as error:
            row["status"], row["note"] = FAILED, str(error)

    def _turns(
        self,
        ready: Mapping[str, Ask],
        call_ms: Mapping[str, float],
        batch: int,
        rows: Mapping[str, Dict[str, Any]],
        probe: Callable[[], None],
    ) -> Tuple[Dict[str, List[float]], Dict[str, List[float]]]:
        """Times (ms) and watts of each engine over the rounds, with ``probe()`` before the first, between the middle
        ones and after the last; in a quick run only between the first two.
        """
        times: Dict[str, List[float]] = {name: [] for name in ready}
        watts: Dict[str, List[float]] = {name: [] for name in ready}
        case = Budget(QUICK_CASE_S if self.quick else None, self.budget.clock)
        rounds = ROUNDS.get(batch, ROUNDS_LARGE)
        for index in range(rounds):
            if index >= QUICK_ROUNDS and case.spent:
                break
            if index in ((1,) if self.quick else (0, rounds // 2)):
                probe()
            order = [name for name in ready if rows[name]["status"] == OK]
            self.random.shuffle(order)
            for name in order:
                if self.budget.spent and times[name]:
                    continue  # every engine has had a turn, and the time is up
                time.sleep(PAUSE_S)
                calls = max(1, min(MOST_CALLS, int(BURST_S * 1e3 / max(call_ms[name], 1e-3))))
                try:
                    with self.meter as meter:
                        times[name] += ready[name](do="burst", calls=calls)["times_ms"]
                    watts[name] += [meter.mean] if meter.mean is not None else []
                except EngineError as error:
                    rows[name]["status"], rows[name]["note"] = FAILED, str(error)
                    times[name] = []
        if not self.quick:
            probe()
        return times, watts

    def _cold_starts(self, spec: Mapping[str, Any], names: Sequence[str]) -> None:
        """Measure cold starts of each engine, in turns; a quick run makes one each while time is left."""
        starts: Dict[str, List[Dict[str, Any]]] = {name: [] for name in names}
        if self.quick:
            names = [name for name in names if ENGINES[name].peer == "fastalex" and not self.cold]
        self.log(f"{spec['variant']}: cold starts")
        for _ in range(1 if self.quick else COLD_REPEATS):
            for name in names:
                if self.budget.spent:
                    continue
                try:
                    starts[name].append(self.tools.once("cold", dict(spec, engine=name), CHILD_TIMEOUT_S))
                except EngineError as error:
                    self.log(f"{spec['variant']}: cold start of {name}: {error}")
        for name, runs in starts.items():
            if runs:
                keys = [key for key in runs[0] if all(run[key] is not None for run in runs)]
                row = {"variant": spec["variant"], "engine": name, "repeats": len(runs), "peak_rss_mib": None}
                self.cold.append(dict(row, **{key: float(np.median([run[key] for run in runs])) for key in keys}))


def figures(times_ms: Sequence[float], watts: Sequence[float], batch: int) -> Dict[str, Any]:
    """Median, percentiles and, where metered, energy; None for figures that were not measured."""
    keys = ("median_ms", "p10_ms", "p90_ms", "runs", "images_per_s")
    summary: Dict[str, Any] = timing.summarize(times_ms, batch) if times_ms else dict.fromkeys(keys)
    summary["ms_per_image"] = summary["median_ms"] / batch if times_ms else None
    summary["watts"] = float(np.mean(watts)) if watts else None
    summary["mj_per_image"] = summary["watts"] * summary["ms_per_image"] if watts and times_ms else None
    return summary
