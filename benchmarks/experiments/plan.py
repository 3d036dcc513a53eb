"""The plan of the experiments: a committed TOML file with arms, seeds, learning rates, images and expected minutes.

``plans/<name>.toml`` is written before its runs. Each run is a :class:`Unit`; ``results/<experiment>-<name>.json`` has
those that are finished.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from fastalex import UserError

HERE = Path(__file__).resolve().parent
PLANS, RESULTS = HERE / "plans", HERE / "results"
NEVER = float("inf")


class Unit(NamedTuple):
    """One run: ``seed`` at the rate of the plan, or at the arm's best one; or a trial of ``rate``."""

    experiment: str
    arm: str
    seed: int
    rate: Optional[float]

    @property
    def name(self) -> str:
        return f"seed {self.seed}" if self.rate is None else f"rate {self.rate:g}"


@dataclass(frozen=True)
class Plan:
    """A plan as it stands in its file.

    :ivar data: ``fashion-mnist``, ``digits`` or ``cifar10``.
    :ivar training, held_out: images of each set, the first ones; 0: all.
    :ivar experiments: for each its ``network`` (a name), ``fields`` of it, ``recipe`` (fields of the recipe ``paper``)
        and ``arms``: name -> ``minutes`` of a run on two cores, and further ``fields`` and ``recipe``. An experiment
        with ``rates`` tries those with ``trial_seed`` for each arm; the rate of an arm is the one whose trial was first
        at the target ``tuned_at``. Its runs end when their error on the first ``measured`` training images (0: all),
        taken every ``every`` updates, has come down to the last of ``targets``.
    """

    name: str
    data: str
    training: int
    held_out: int
    seeds: Sequence[int]
    experiments: Mapping[str, Any]

    def units(self) -> List[Unit]:
        """All runs, in their order: trials before seeds, and a seed of every arm before the next seed."""
        return [unit for name, one in self.experiments.items() for unit in self._units(name, one)]

    def _units(self, name: str, one: Mapping[str, Any]) -> Iterator[Unit]:
        for rate in one.get("rates", ()):
            for arm in one["arms"]:
                yield Unit(name, arm, one["trial_seed"], rate)
        for seed in self.seeds:
            for arm in one["arms"]:
                yield Unit(name, arm, seed, None)

    def minutes(self, unit: Unit) -> float:
        return float(self.experiments[unit.experiment]["arms"][unit.arm]["minutes"])

    def facts(self, experiment: str) -> Dict[str, Any]:
        """What the results of an experiment depend on, for their file."""
        arms = {name: _without_minutes(arm) for name, arm in self.experiments[experiment]["arms"].items()}
        sets = {"data": self.data, "training": self.training, "held_out": self.held_out, "seeds": list(self.seeds)}
        return {"experiment": experiment, **sets, "plan": {**self.experiments[experiment], "arms": arms}}


def _without_minutes(arm: Mapping[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in arm.items() if key != "minutes"}


def load(name: str) -> Plan:
    """The plan of this name, or in the file of this path.

    :raises UserError: for one that is not there or not whole.
    """
    try:
        import tomllib
    except ImportError:
        import tomli as tomllib  # type: ignore[no-redef]

    path = Path(name) if name.endswith(".toml") else PLANS / (name + ".toml")
    if not path.is_file():
        there = ", ".join(sorted(each.stem for each in PLANS.glob("*.toml")))
        raise UserError(f"there is no plan '{name}' (there are: {there}; or pass the path of a .toml file)")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        found = Plan(name=path.stem, **values)
        for unit in found.units():
            found.minutes(unit)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from None
    except KeyError as error:
        raise UserError(f"{path} is not a plan: an experiment or arm of it lacks {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a plan: {error}") from None
    return found


def reached(errors: Sequence[Any], target: float) -> Optional[float]:
    """Epochs until the training error was first at most ``target``; None if never."""
    return next((epochs for epochs, error in errors if error <= target), None)


def best_rate(arm: Mapping[str, Any], one: Mapping[str, Any]) -> Optional[float]:
    """The rate whose trial was first at the target ``tuned_at``, or where none was, at one of the others; None before
    all trials are done.

    :param arm: the finished runs of an arm.
    :param one: the plan of its experiment.
    """
    trials = {rate: arm.get(f"rate {rate:g}") for rate in one["rates"]}
    if not all(trials.values()):
        return None

    def epochs(rate: float) -> List[float]:
        found = [reached(trials[rate]["errors"], target) for target in (one["tuned_at"], *one["targets"])]  # type: ignore[index]
        return [NEVER if value is None else value for value in found]

    return min(one["rates"], key=epochs)
