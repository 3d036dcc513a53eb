"""Running the experiments: each run goes through ``fastalex.train``, and the file of an experiment has them all."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

from benchmarks import files
from benchmarks.experiments.arms import (
    ABLATION,
    ARMS,
    BARE,
    MEASURED,
    MOST_EPOCHS,
    NETWORK,
    RATES,
    RECIPE,
    SEEDS,
    TARGETS,
    TRIAL_SEED,
    arm_network,
    best_rate,
)
from benchmarks.measure import machine
from fastalex import UserError, variants
from fastalex.train import loop, recipes
from fastalex.train.data import Images
from fastalex.train.settings import Settings

RESULTS = Path(__file__).resolve().parent / "results"


class Timed(loop.Run):
    """Measures the error on its validation set (here the training set) every few updates: ``errors``, pairs of epochs
    and error. Ends at the last of ``TARGETS``."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.errors: List[Any] = []

    def _update(self, parts: Any, micro: int) -> None:
        super()._update(parts, micro)
        if self.step % MEASURED == 0:
            self.errors.append((self.step / self.updates, 1 - self.validate()["top1"]))
            self.scheme.network.train()

    def _ended(self) -> bool:
        return bool(self.errors) and self.errors[-1][1] <= TARGETS[-1]


def settings(folder: str, seed: int) -> Settings:
    return Settings(data="", out=folder, seed=seed, workers=0, device="cpu", tensorboard=False, quiet=True)


def trained(kind: Any, sets: Sequence[Images], row: Any, recipe: Any, seed: int) -> Any:
    """A finished run of ``kind``."""
    with tempfile.TemporaryDirectory() as folder:
        run = kind(settings(folder, seed), recipe, row, sets[0], sets[1])
        run.run()
        return run


class Record:
    """The file of an experiment: arm -> name of the run -> its result.

    Its ``commit`` is that of the newest run.
    """

    def __init__(self, path: Path, facts: Dict[str, Any]) -> None:
        self.path, self.facts = path, json.loads(json.dumps(facts))
        self.arms: Dict[str, Any] = {}
        if path.exists():
            saved = json.loads(path.read_text(encoding="utf-8"))
            arms = saved.pop("arms")
            saved.pop("commit")
            if saved != self.facts:
                raise UserError(f"{path} is of another version of the experiment; move it away first")
            self.arms = arms

    def run(self, arm: str, name: str, work: Callable[[], Any]) -> Any:
        """Result of a run, from the file or by training now."""
        runs = self.arms.setdefault(arm, {})
        if name not in runs:
            runs[name] = work()
            _log(arm, name, runs[name] if isinstance(runs[name], dict) else len(runs[name]))
            whole = {**self.facts, "commit": machine.commit(), "arms": self.arms}
            files.write_atomically(self.path, files.as_json(whole, sort_keys=False))
        return runs[name]


def relu_tanh(record: Record, sets: Sequence[Images]) -> None:
    """The training error of each activation, at the rate that is quickest to the first target."""
    whole = [sets[0], sets[0]]  # the figure of interest is the training error
    for activation in ("relu", "tanh"):
        row = variants.get(NETWORK, activation=activation)
        for rate in RATES:
            record.run(activation, f"rate {rate:g}", partial(_curve, whole, row, rate, TRIAL_SEED))
        best = best_rate(record.arms[activation])
        for seed in SEEDS:
            record.run(activation, f"seed {seed}", partial(_curve, whole, row, best, seed))


def _curve(sets: Sequence[Images], row: Any, rate: float, seed: int) -> List[Any]:
    recipe = recipes.get(RECIPE, lr=rate, epochs=MOST_EPOCHS, batch=128, **BARE)
    try:
        return trained(Timed, sets, row, recipe, seed).errors
    except UserError as error:  # the rate is too large
        _log(error)
        return []


def ablations(record: Record, sets: Sequence[Images]) -> None:
    """The error on held-out images after the last epoch, with one idea left out at a time."""
    for seed in SEEDS:
        for name, (network, changes) in ARMS.items():
            recipe = recipes.get(RECIPE, **{**ABLATION, **changes})
            work = partial(_errors, sets, arm_network(name, network), recipe, seed)
            record.run(name, f"seed {seed}", work)


def _errors(sets: Sequence[Images], row: Any, recipe: Any, seed: int) -> Dict[str, float]:
    last = trained(loop.Run, sets, row, recipe, seed).last_row
    return {"held_out": 1 - last["top1"], "training": last["train_error"]}


EXPERIMENTS = {"relu-tanh": relu_tanh, "ablations": ablations}


def _log(*words: Any) -> None:
    print(*words, flush=True)


def carry_out(name: str, data: str, sets: Sequence[Images]) -> None:
    """Train the runs of an experiment that its file lacks."""
    import torch

    facts = {"experiment": name, "data": data, "torch": torch.__version__}
    facts.update(network=NETWORK.to_dict(), recipe=dataclasses.asdict(RECIPE), ablation=ABLATION, bare=BARE)
    EXPERIMENTS[name](Record(RESULTS / (f"{name}-{data}.json"), facts), sets)
