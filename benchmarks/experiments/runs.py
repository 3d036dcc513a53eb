"""One run of a plan, through ``fastalex.train``."""

from __future__ import annotations

import tempfile
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence

from benchmarks.experiments import networks
from benchmarks.experiments.plan import Plan, Unit
from fastalex import UserError
from fastalex.train import loop, recipes
from fastalex.train.data import Images
from fastalex.train.settings import Settings

#: Prepares the images of the next batch while this one is computed; the number of workers changes no result.
WORKERS = 1


class DivergedError(UserError):
    """The loss or the weights are not finite: a result, too."""


class Run(loop.Run):
    """A run that keeps the error of every epoch and writes no weights; ``variant`` is the network itself."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.curves: Dict[str, List[float]] = {"training": [], "held_out": []}

    def _variant(self, variant: Any) -> Any:
        return variant

    def _export(self, names: Sequence[str]) -> None:
        pass

    def _diverged(self, what: str) -> UserError:
        return DivergedError(str(super()._diverged(what)))

    def _finish_epoch(self, rate: float) -> bool:
        going = super()._finish_epoch(rate)
        self.curves["training"].append(self.last_row["train_error"])
        self.curves["held_out"].append(1 - self.last_row["top1"])
        return going


class Timed(Run):
    """Measures the error on its validation set, here images it trains on, every few updates: ``errors``, pairs of
    epochs and error. Ends at the last target."""

    def __init__(self, one: Mapping[str, Any], *arguments: Any) -> None:
        super().__init__(*arguments)
        self.one, self.errors = one, []  # type: Mapping[str, Any], List[Any]
        self._measured: Optional[List[Any]] = None

    def _update(self, parts: Any, micro: int) -> None:
        super()._update(parts, micro)
        if self.step % self.one["every"] == 0:
            self.errors.append((self.step / self.updates, 1 - self.validate()["top1"]))
            self.scheme.network.train()

    def _loader(self, images: Images, prepare: Any, share: Any) -> Any:
        if images is not self.validation:
            return super()._loader(images, prepare, share)
        if self._measured is None:  # prepared once: they are measured a hundred times
            self._measured = list(super()._loader(images, prepare, share))
        return self._measured

    def _ended(self) -> bool:
        return bool(self.errors) and self.errors[-1][1] <= self.one["targets"][-1]


def result_of(plan: Plan, unit: Unit, rate: Optional[float], sets: Sequence[Images]) -> Dict[str, Any]:
    """Train the run ``unit``.

    Returns its ``seconds``, its learning rate ``lr``, and ``errors`` or the curves ``training`` and ``held_out``.

    :param rate: the learning rate of an experiment that has several.
    """
    one = plan.experiments[unit.experiment]
    arm = one["arms"][unit.arm]
    row = networks.make(one["network"], {**one.get("fields", {}), **arm.get("fields", {})})
    changes = {**one.get("recipe", {}), **arm.get("recipe", {}), **({} if rate is None else {"lr": rate})}
    recipe = recipes.get("paper", **{k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()})
    training, held_out = sets
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data="", out=folder, seed=unit.seed, workers=WORKERS, device="cpu", tensorboard=False, quiet=True
        )
        if "targets" in one:
            measured = Images(training.samples[: one["measured"] or None], training.classes)
            run: Any = Timed(one, settings, recipe, row, training, measured)
        else:
            run = Run(settings, recipe, row, training, held_out)
        try:
            run.run()
            diverged = False
        except DivergedError:
            diverged = True
    found: Dict[str, Any] = {"errors": run.errors} if "targets" in one else dict(run.curves)
    if diverged:
        found["diverged"] = True
    return {"seconds": round(time.perf_counter() - began, 1), "lr": recipe.lr, **found}
