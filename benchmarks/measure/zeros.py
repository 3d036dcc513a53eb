"""Measuring what zeros among the inputs of fc6, fc7 and fc8 save at batch 1, on this CPU.

For each instruction set and storage of the fully connected weights, networks of several densities take turns: a round
is one burst of calls of each, in shuffled order. Another build of fastalex, if one is given, takes its turns among
them, in a process of its own that sleeps while this one is timed.
"""

from __future__ import annotations

import platform
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from benchmarks.measure import timing
from benchmarks.measure.budget import Budget
from benchmarks.measure.engine_files import WEIGHTS
from benchmarks.measure.engine_processes import Process
from benchmarks.measure.errors import EngineError, MeasurementError

VARIANT = "torchvision"
DENSITIES = (1.0, 0.67, 0.5, 0.35, 0.2)
DRAWN, DIGITS = "as drawn", "alexnet-digits"  # cases: random weights without a shift; the trained network
DENSE = "1"  # the case that the others are compared with
STORAGES = ("fp32", "fp16", "bf16", "int8", "int4")
ISAS = ("neon",) if platform.machine() == "aarch64" else ("v3", "v4", "v4vnni")
TOTAL_S = 320.0  # for everything; the last round may take a few seconds more
FEWEST_ROUNDS = 3
CALLS = 3
PAUSE_S = 0.05  # until the threads of the process before sleep
OWN, OTHER = "own", "against"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "digits"

Start = Callable[..., Any]  # starts a worker, as Process does


class Measurement:
    """One run; :attr:`rows` grow as it goes, :attr:`builds` has the facts of each build, :attr:`left_out` the
    instruction sets that this processor lacks, with the reason.

    :param against: a folder that has another build's package ``fastalex``.
    """

    def __init__(
        self,
        base: Mapping[str, Any],
        against: Optional[Path],
        log: Callable[[str], None],
        seconds: float = TOTAL_S,
        start: Start = Process,
    ) -> None:
        self.base, self.against, self.log, self.start = base, against, log, start
        self.budget = Budget(seconds)
        self.random = random.Random(2012)
        self.rows: List[Dict[str, Any]] = []
        self.builds: Dict[str, Dict[str, Any]] = {}
        self.left_out: Dict[str, str] = {}

    def run(self, folder: Path, isas: Sequence[str], storages: Sequence[str], densities: Sequence[float]) -> None:
        """Measure. :raises MeasurementError: if a build fails, or no instruction set is there."""
        self.log("weights of each density")
        spec = {"threads": self.base["threads"], "cpus": self.base["cpus"]}
        spec["networks"] = networks(folder, densities, self.base["threads"])
        workers = self._workers(spec, isas)
        if not workers:
            raise MeasurementError("; ".join(self.left_out.values()) or "there is no instruction set to measure")
        cases = [(isa, storage) for isa in workers for storage in storages]
        names = [one["name"] for one in spec["networks"]]
        try:
            for index, (isa, storage) in enumerate(cases):
                share = self.budget.share(len(cases) - index)
                self.log(f"{isa}, fc weights {storage}")
                self._case(isa, storage, workers[isa], names, share)
                if storage == storages[-1]:
                    _close(workers.pop(isa))
        finally:
            for pair in workers.values():
                _close(pair)

    def _workers(self, spec: Mapping[str, Any], isas: Sequence[str]) -> Dict[str, Dict[str, Any]]:
        """Start a worker of each build for each instruction set; they hold no network yet."""
        workers: Dict[str, Dict[str, Any]] = {}
        for isa in isas:
            pair: Dict[str, Any] = {}
            try:
                for build in (OWN, OTHER) if self.against else (OWN,):
                    variables = {"FASTALEX_CPU_ISA": isa}
                    if build == OTHER:
                        variables["PYTHONPATH"] = str(self.against)
                    pair[build] = self.start(spec, "measure.zeros_worker", variables)
                    self.builds[build] = self._checked(build, pair[build](do="facts"))
                workers[isa] = pair
            except EngineError as error:
                self.left_out[isa] = f"{isa}: {error}"
                self.log(self.left_out[isa])
                _close(pair)
            except BaseException:
                for one in (pair, *workers.values()):
                    _close(one)
                raise
        return workers

    def _checked(self, build: str, facts: Dict[str, Any]) -> Dict[str, Any]:
        """Return the facts without the path. :raises MeasurementError: if another build was loaded than was asked."""
        path = Path(facts["file"]).resolve()
        if build == OTHER and self.against and self.against.resolve() not in path.parents:
            raise MeasurementError(f"the other build was to be loaded from {self.against}, but it is {path}")
        return {key: facts[key] for key in ("version", "build")}

    def _case(self, isa: str, storage: str, workers: Mapping[str, Any], names: Sequence[str], budget: Budget) -> None:
        def load(build: str) -> Dict[str, Any]:
            answer: Dict[str, Any] = workers[build](do="load", fc_weights=storage, count=build == OWN)
            return answer

        with ThreadPoolExecutor(len(workers)) as pool:  # nothing is timed meanwhile
            loaded = dict(zip(workers, pool.map(load, workers)))
        times = self._turns(workers, names, budget)
        own = {name: figures(times[OWN, name]) for name in names}
        for name in names:
            row: Dict[str, Any] = {"isa": isa, "fc_weights": storage, "case": name}
            row.update(density=loaded[OWN]["density"][name], **own[name])
            dense = own.get(DENSE) if name != DIGITS else None
            row["times_dense"] = dense["fc_ms"] / row["fc_ms"] if dense else None
            if self.against:
                other = figures(times[OTHER, name])
                row["against"] = other
                row["ratio"] = other["fc_ms"] / row["fc_ms"]
                row["total_ratio"] = other["total_ms"] / row["total_ms"]
                row["same_bits"] = loaded[OTHER]["logits"][name] == loaded[OWN]["logits"][name]
            self.rows.append(row)

    def _turns(
        self, workers: Mapping[str, Any], names: Sequence[str], budget: Budget
    ) -> Dict[Tuple[str, str], List[Dict[str, Any]]]:
        """Answers of every build and case, over rounds until the time is spent."""
        turns = [(build, name) for build in workers for name in names]
        answers: Dict[Tuple[str, str], List[Dict[str, Any]]] = {turn: [] for turn in turns}
        rounds = 0
        while rounds < FEWEST_ROUNDS or not budget.spent:
            self.random.shuffle(turns)
            for build, name in turns:
                time.sleep(PAUSE_S)
                answers[build, name].append(workers[build](do="burst", case=name, calls=CALLS))
            rounds += 1
        return answers


def networks(folder: Path, densities: Sequence[float], threads: int) -> List[Dict[str, Any]]:
    """Write weights, biases and images to ``folder``, and describe the cases to the workers.

    The weights are the same for all densities; only biases differ.
    """
    from fastalex import AlexNet, density, variants, weights
    from fastalex.weights import initial

    row = variants.get(VARIANT)
    images = timing.random_images((row.channels, row.input_size, row.input_size), 1)
    path, drawn = folder / WEIGHTS, initial.random_weights(row)
    weights.save(path, drawn, {})
    np.save(folder / "images.npy", images)
    common = {"variant": VARIANT, "weights": str(path), "images": str(folder / "images.npy")}
    cases: List[Dict[str, Any]] = [dict(common, name=DRAWN, biases=None)]
    for share in densities:
        arrays = density.random_weights(row, images, share, threads=threads)
        biases = folder / f"biases-{share:g}.npz"
        np.savez(biases, **{name: array for name, array in arrays.items() if name.endswith(".bias")})
        cases.append(dict(common, name=f"{share:g}", biases=str(biases)))
    net = AlexNet(weights="digits", device="cpu")
    net.save(folder / "digits.safetensors")
    np.save(folder / "digits.npy", net.preprocess([str(one) for one in sorted(EXAMPLES.glob("*.png"))]))
    digits = {"name": DIGITS, "variant": DIGITS, "weights": str(folder / "digits.safetensors"), "biases": None}
    return [*cases, dict(digits, images=str(folder / "digits.npy"))]


def figures(answers: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """Medians in ms over all calls: of fc6 + fc7 + fc8, of each of them, and of the whole network.

    ``fc_min_ms`` is the least of the sum, which tells how far other work on the machine disturbed the median.
    """
    layers = [one for answer in answers for one in answer["layers"]]
    totals = [one for answer in answers for one in answer["total_ms"]]
    sums = [sum(one.values()) for one in layers]
    report: Dict[str, Any] = {"fc_ms": statistics.median(sums), "fc_min_ms": min(sums)}
    report.update({f"{name}_ms": statistics.median(one[name] for one in layers) for name in layers[0]})
    return dict(report, total_ms=statistics.median(totals), runs=len(layers))


def _close(pair: Mapping[str, Any]) -> None:
    for worker in pair.values():
        worker.close()
