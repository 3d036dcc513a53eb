"""Plots of the experiments, and the tables of docs/training.md."""

from __future__ import annotations

import json
import statistics
from typing import Any, Dict, List, Sequence

from benchmarks import files, records
from benchmarks.experiments.arms import (
    ARMS,
    TARGETS,
    arm_network,
    best_rate,
    reached,
    seeds_of,
)
from benchmarks.experiments.runs import RESULTS
from benchmarks.report import machine, svg

DOCUMENT = records.DOCS / "training.md"


def write() -> None:
    """Plots from the results, and the tables of ``docs/training.md`` between its markers."""
    for path in sorted(RESULTS.glob("*-*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        files.write_atomically(path.with_suffix(".svg"), draw(record))
        files.replace_between(DOCUMENT, path.stem, table(record))


def spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def table(record: Dict[str, Any]) -> str:
    lines = {"relu-tanh": _relu_tanh_lines, "ablations": _ablation_lines}[record["experiment"]](record["arms"])
    note = "Mean and standard deviation of %d seeds; %s, PyTorch %s, commit %s."
    note %= (len(seeds_of(record["arms"])), record["data"], record["torch"], machine.commit(record["commit"]))
    return "\n".join([*lines, "", note, ""])


def _relu_tanh_lines(arms: Dict[str, Any]) -> List[str]:
    heads = [f"epochs to {100 * target:g} %" for target in TARGETS]
    lines = [f"| activation | learning rate | {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) + 1)]
    for name, arm in arms.items():
        cells = []
        for target in TARGETS:
            epochs = [reached(arm[seed], target) for seed in seeds_of(arms)]
            got = [value for value in epochs if value is not None]
            cells.append(spread(got) if len(got) == len(epochs) else f"{len(got)} of {len(epochs)} runs")
        lines.append(f"| {name} | {best_rate(arm):g} | {' | '.join(cells)} |")
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
        lines.append("| {} | {} | {} | {} | {} |".format(*cells))
    return lines


def draw(record: Dict[str, Any]) -> bytes:
    """The figure of one experiment, as SVG: a line for each seed, or a point for each seed."""
    with svg.style():
        return svg.rendered(_figure(record))


def _figure(record: Dict[str, Any]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    if record["experiment"] == "relu-tanh":
        for (name, arm), style, shade in zip(record["arms"].items(), ("-", "--"), ("#8f2a08", "#5f6f7f")):
            for number, run in enumerate(arm[seed] for seed in seeds_of(record["arms"])):
                epochs, errors = zip(*run)
                label = f"{name}, learning rate {best_rate(arm):g}" if number == 0 else None
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
    return figure
