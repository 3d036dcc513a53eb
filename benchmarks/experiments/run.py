"""The experiments of the 2012 paper, made small: what each of its ideas does, over several seeds.

    python benchmarks/experiments/run.py relu-tanh          # epochs to 25 % training error (the paper's figure 1)
    python benchmarks/experiments/run.py ablations          # one idea left out at a time: held-out error
    python benchmarks/experiments/run.py ablations --cifar cifar-10-batches-bin
    python benchmarks/experiments/run.py --report           # plots and the tables of docs/training.md

The network is ``alexnet2012`` made narrow (``NETWORK``), the data scikit-learn's handwritten digits, upscaled, or
CIFAR-10 in its binary form. Each run goes through ``fastalex.train``. ``results/<experiment>-<data>.json`` has every
run; epochs are counted, not seconds, so a busy machine gives the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
DOCUMENT = HERE.parent.parent / "docs" / "training.md"
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))

import digits_data  # noqa: E402

import results_table  # noqa: E402
from fastalex import UserError, variants  # noqa: E402
from fastalex.train import loop, recipes  # noqa: E402
from fastalex.train.data import Images  # noqa: E402
from fastalex.train.settings import Settings  # noqa: E402

# alexnet2012 with the maps 15, 7, 3, 1. Inputs are divided by their deviation, as a narrow network needs; 77 pixels
# leave 10 of each axis for random crops.
NETWORK = variants.get(
    "alexnet2012", input_size=67, widths=(16, 32, 48, 48, 32, 64, 64), num_classes=10, profile="torchvision"
)
RECIPE = recipes.get("paper", init="he", dropout="inverted", schedule="constant", flip=False, weight_decay=5e-4)
SEEDS = range(5)

# Figure 1: no regularisation of any kind, and for each activation the rate that is quickest on a seed of its own.
# The training error is measured every MEASURED updates; the rate is chosen by the first target, the paper's.
TARGETS, MOST_EPOCHS, TRIAL_SEED, MEASURED = (0.25, 0.05), 15, 100, 4
RATES = (0.003, 0.01, 0.03, 0.1)
BARE = {"dropout": "off", "crop": "centre", "colour": "off", "weight_decay": 0.0}

ABLATION = {"batch": 32, "lr": 0.01, "epochs": 15, "schedule": "epochs", "cuts": (10,)}
_PLAIN = tuple(block.replace(" lrn", "") for block in NETWORK.blocks)
#: name -> what changes in the network, what changes in the recipe
ARMS: Dict[str, Any] = {
    "all of it": ({}, {}),
    "plain pooling (2 x 2, stride 2)": ({"pool_kernel": 2}, {}),
    "no LRN": ({"blocks": _PLAIN}, {}),
    "no dropout": ({}, {"dropout": "off"}),
    "no augmentation": ({}, {"crop": "centre", "colour": "off"}),
    "one column": ({"columns": 1}, {}),
    "tanh": ({"activation": "tanh"}, {}),
}


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
    """The runs of an experiment, in their file: arm -> name of the run -> what it gave."""

    def __init__(self, path: Path, facts: Dict[str, Any]) -> None:
        self.path, self.facts = path, json.loads(json.dumps(facts))
        self.arms: Dict[str, Any] = {}
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            arms = found.pop("arms")
            if found != self.facts:
                raise UserError("%s is of another version of the experiment; move it away first" % path)
            self.arms = arms

    def run(self, arm: str, name: str, work: Callable[[], Any]) -> Any:
        """What the run gave, from the file or by doing it now."""
        runs = self.arms.setdefault(arm, {})
        if name not in runs:
            runs[name] = work()
            _log(arm, name, runs[name] if isinstance(runs[name], dict) else len(runs[name]))
            text = json.dumps({**self.facts, "arms": self.arms}) + "\n"
            results_table.write_atomically(self.path, text)
        return runs[name]


def relu_tanh(record: Record, sets: Sequence[Images]) -> None:
    """The training error of each activation, at the rate that is quickest to the first target."""
    whole = [sets[0], sets[0]]  # the error on the training set is what counts
    for activation in ("relu", "tanh"):
        row = variants.get(NETWORK, activation=activation)
        for rate in RATES:
            record.run(activation, "rate %g" % rate, partial(_curve, whole, row, rate, TRIAL_SEED))
        best = best_rate(record.arms[activation])
        for seed in SEEDS:
            record.run(activation, "seed %d" % seed, partial(_curve, whole, row, best, seed))


def _curve(sets: Sequence[Images], row: Any, rate: float, seed: int) -> List[Any]:
    recipe = recipes.get(RECIPE, lr=rate, epochs=MOST_EPOCHS, batch=128, **BARE)
    try:
        return trained(Timed, sets, row, recipe, seed).errors
    except UserError as error:  # a rate that is too large
        _log(error)
        return []


def reached(errors: Sequence[Any], target: float) -> Optional[float]:
    """Epochs until the training error was first at most ``target``; None if it never was."""
    return next((epochs for epochs, error in errors if error <= target), None)


def ablations(record: Record, sets: Sequence[Images]) -> None:
    """The error on held-out images after the last epoch, with one idea left out at a time."""
    for seed in SEEDS:
        for name, (network, changes) in ARMS.items():
            recipe = recipes.get(RECIPE, **{**ABLATION, **changes})
            work = partial(_errors, sets, arm_network(name, network), recipe, seed)
            record.run(name, "seed %d" % seed, work)


def _errors(sets: Sequence[Images], row: Any, recipe: Any, seed: int) -> Dict[str, float]:
    last = trained(loop.Run, sets, row, recipe, seed).last_row
    return {"held_out": 1 - last["top1"], "training": last["train_error"]}


def arm_network(name: str, changes: Dict[str, Any]) -> Any:
    row = variants.get(NETWORK, **changes)
    return dataclasses.replace(row, lrn=None) if name == "no LRN" else row


EXPERIMENTS = {"relu-tanh": relu_tanh, "ablations": ablations}


def cifar(folder: Path) -> List[Images]:
    """CIFAR-10's binary form (cs.toronto.edu/~kriz/cifar.html): a byte of class, 1024 each of red, green, blue."""
    found = []
    for pattern in ("data_batch_*.bin", "test_batch.bin"):
        samples = []
        for path in sorted(folder.glob(pattern)):
            for number, line in enumerate(np.fromfile(path, np.uint8).reshape(-1, 3073)):
                pixels = np.ascontiguousarray(line[1:].reshape(3, 32, 32).transpose(1, 2, 0))
                samples.append(digits_data.Held(pixels, int(line[0]), "%s:%d" % (path.name, number)))
        if not samples:
            raise UserError("there is no %s in %s" % (pattern, folder))
        found.append(Images(samples, (folder / "batches.meta.txt").read_text(encoding="utf-8").split()))
    return found


# The report -----------------------------------------------------------------------------------------------------------


def report() -> None:
    """Plots from the results, and the tables of ``docs/training.md`` between its markers."""
    for path in sorted(RESULTS.glob("*-*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        draw(record, path.with_suffix(".png"))
        results_table.replace_between(DOCUMENT, path.stem, table(record))


def spread(values: Sequence[float]) -> str:
    return "%.2f ± %.2f" % (statistics.mean(values), statistics.stdev(values))


def table(record: Dict[str, Any]) -> str:
    lines = {"relu-tanh": _relu_tanh_lines, "ablations": _ablation_lines}[record["experiment"]](record["arms"])
    note = "Mean and standard deviation of %d seeds; %s, PyTorch %s."
    note %= (len(seeds_of(record["arms"])), record["data"], record["torch"])
    return "\n".join([*lines, "", note, ""])


def seeds_of(arms: Dict[str, Any]) -> List[str]:
    """The runs that every arm has."""
    return [name for name in ("seed %d" % seed for seed in SEEDS) if all(name in arm for arm in arms.values())]


def best_rate(arm: Dict[str, Any]) -> float:
    return min(RATES, key=lambda rate: reached(arm["rate %g" % rate], TARGETS[0]) or MOST_EPOCHS + 1)


def _relu_tanh_lines(arms: Dict[str, Any]) -> List[str]:
    heads = ["epochs to %g %%" % (100 * target) for target in TARGETS]
    lines = ["| activation | learning rate | %s |" % " | ".join(heads), "| --- |" + " ---: |" * (len(heads) + 1)]
    for name, arm in arms.items():
        cells = []
        for target in TARGETS:
            epochs = [reached(arm[seed], target) for seed in seeds_of(arms)]
            got = [value for value in epochs if value is not None]
            cells.append(spread(got) if len(got) == len(epochs) else "%d of %d runs" % (len(got), len(epochs)))
        lines.append("| %s | %g | %s |" % (name, best_rate(arm), " | ".join(cells)))
    return lines


def _ablation_lines(arms: Dict[str, Any]) -> List[str]:
    base = [next(iter(arms.values()))[seed] for seed in seeds_of(arms)]
    lines = ["| network | parameters | held-out error, % | more than the first, % | training error, % |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for name, arm in arms.items():
        runs = [arm[seed] for seed in seeds_of(arms)]
        held, training = ([100 * run[key] for run in runs] for key in ("held_out", "training"))
        more = [100 * (run["held_out"] - one["held_out"]) for run, one in zip(runs, base)]
        params = arm_network(name, ARMS[name][0]).params
        cells = (name, f"{params:,}", spread(held), "" if runs == base else spread(more), spread(training))
        lines.append("| %s | %s | %s | %s | %s |" % cells)
    return lines


def draw(record: Dict[str, Any], path: Path) -> None:
    """The figure of one experiment: a line for each seed, or a point for each seed."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    if record["experiment"] == "relu-tanh":
        for (name, arm), style, shade in zip(record["arms"].items(), ("-", "--"), ("#8f2a08", "#5f6f7f")):
            for number, run in enumerate(arm[seed] for seed in seeds_of(record["arms"])):
                epochs, errors = zip(*run)
                label = "%s, learning rate %g" % (name, best_rate(arm)) if number == 0 else None
                axes.plot(epochs, [100 * error for error in errors], style, color=shade, label=label)
        for target in TARGETS:
            axes.axhline(100 * target, color="black", lw=0.5)
        axes.set(xlabel="epoch", ylabel="training error, %", ylim=(0, None))
        axes.legend()
    else:
        names = list(record["arms"])[::-1]
        for place, name in enumerate(names):
            errors = [
                100 * run["held_out"] for run in (record["arms"][name][seed] for seed in seeds_of(record["arms"]))
            ]
            axes.plot(errors, [place] * len(errors), "o", color="#8f2a08", alpha=0.6)
            axes.plot([statistics.mean(errors)], [place], "|", color="black", ms=16)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="held-out error, % (a point a seed, a bar their mean)")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    results_table.write_atomically(path, picture.getvalue())


def _log(*words: Any) -> None:
    print(*words, flush=True)


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="The experiments of the 2012 paper, made small.")
    parser.add_argument("experiment", nargs="?", choices=list(EXPERIMENTS))
    parser.add_argument("--cifar", type=Path, metavar="DIR", help="CIFAR-10's binary files, in place of the digits")
    parser.add_argument("--report", action="store_true", help="write plots and tables from the results")
    options = parser.parse_args(argv)
    if options.experiment is None and not options.report:
        parser.error("name an experiment, or say --report")
    try:
        carry_out(options)
    except UserError as error:
        print("run.py: %s" % error, file=sys.stderr)
        return 2
    return 0


def carry_out(options: argparse.Namespace) -> None:
    if options.experiment:
        import torch

        sets = cifar(options.cifar) if options.cifar else digits_data.sets()
        name = "cifar10" if options.cifar else "digits"
        facts = {"experiment": options.experiment, "data": name, "torch": torch.__version__}
        facts.update(network=NETWORK.to_dict(), recipe=dataclasses.asdict(RECIPE), ablation=ABLATION, bare=BARE)
        EXPERIMENTS[options.experiment](Record(RESULTS / ("%s-%s.json" % (options.experiment, name)), facts), sets)
    if options.report:
        report()


if __name__ == "__main__":
    sys.exit(main())
