"""The tables and sentences of docs/reproduce.md, from the finished runs of the experiments."""

from __future__ import annotations

import statistics
from typing import Any, Dict, List, Mapping, Sequence

from benchmarks import files, records
from benchmarks.experiments import effects, figures, networks
from benchmarks.experiments import record as finished
from benchmarks.experiments.plan import PLANS, load, reached
from benchmarks.report import machine

DOCUMENT = records.DOCS / "reproduce.md"
NOTHING = "No run is finished yet.\n"


def write() -> None:
    """The figures of all plans beside their results, and the text between the markers of ``docs/reproduce.md``."""
    for path in sorted(PLANS.glob("*.toml")):
        plan = load(path.stem)
        for name, one in finished.of(plan).items():
            text = NOTHING
            if one.arms:
                found = finished.read(one.path)
                files.write_atomically(one.path.with_suffix(".svg"), figures.draw(found))
                text = section(found, one.path.stem)
            files.replace_between(DOCUMENT, f"{name}-{plan.name}", text)


def section(record: Mapping[str, Any], stem: str) -> str:
    """The table, the sentences and the figure ``results/<stem>.svg``."""
    what = "training error by epoch" if "targets" in record["plan"] else "held-out error of each network"
    return f"{table(record)}\n![{what}](../benchmarks/experiments/results/{stem}.svg)\n"


def seeds_of(record: Mapping[str, Any], arm: str) -> Dict[str, Any]:
    """The finished runs of an arm with the plan's seeds, by name; one that diverged has no place in a mean."""
    runs = record["arms"].get(arm, {})
    names = [f"seed {seed}" for seed in record["seeds"]]
    return {name: runs[name] for name in names if name in runs and not runs[name].get("diverged")}


def diverged(record: Mapping[str, Any], arm: str) -> int:
    return sum(bool(record["arms"].get(arm, {}).get(f"seed {seed}", {}).get("diverged")) for seed in record["seeds"])


def spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else ""
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def table(record: Mapping[str, Any]) -> str:
    timed = "targets" in record["plan"]
    lines = _epochs_lines(record) if timed else _error_lines(record)
    counts = [len(seeds_of(record, arm)) for arm in record["plan"]["arms"]]
    seeds = str(max(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    note = f"Mean and standard deviation of {seeds} seeds; {record['data']}, PyTorch {record['torch']}, commit "
    note += machine.commit(record["commit"]) + "."
    said = effects.of_activations(record) if timed else effects.of_ablations(record)
    return "\n".join([*lines, "", note, "", *said, ""]) if said else "\n".join([*lines, "", note, ""])


def _epochs_lines(record: Mapping[str, Any]) -> List[str]:
    one = record["plan"]
    heads = [f"epochs to {100 * target:g} %" for target in one["targets"]]
    lines = [f"| activation | learning rate | {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) + 1)]
    for name in one["arms"]:
        runs, cells = list(seeds_of(record, name).values()), []
        for target in one["targets"]:
            epochs = [reached(run["errors"], target) for run in runs]
            got = [value for value in epochs if value is not None]
            cells.append(spread(got) if len(got) == len(epochs) else f"{len(got)} of {len(epochs)} runs")
        rates = sorted({run["lr"] for run in runs})
        lines.append(f"| {name} | {', '.join(f'{rate:g}' for rate in rates)} | {' | '.join(cells)} |")
    return lines


def _error_lines(record: Mapping[str, Any]) -> List[str]:
    one = record["plan"]
    lines = ["| network | parameters | held-out error, % | more than the first, % | training error, % |"]
    lines.append("| --- | ---: | ---: | ---: | ---: |")
    for number, (name, arm) in enumerate(one["arms"].items()):
        runs = seeds_of(record, name)
        held, training = ([100 * run[key][-1] for run in runs.values()] for key in ("held_out", "training"))
        params = networks.make(one["network"], {**one.get("fields", {}), **arm.get("fields", {})}).params
        more = spread(effects.differences(record, name)) if number else ""
        lost = diverged(record, name)
        cells = (name + (f" ({lost} diverged)" if lost else ""), f"{params:,}", spread(held), more, spread(training))
        lines.append("| {} | {} | {} | {} | {} |".format(*cells))
    return lines
