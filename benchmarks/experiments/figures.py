"""The figures of the experiments, as SVG: bars with error bars, and learning curves."""

from __future__ import annotations

import statistics
from typing import Any, Dict, List, Mapping, Optional, Sequence

from benchmarks.experiments import effects
from benchmarks.experiments.plan import reached
from benchmarks.report import svg

SHADES = ("#8f2a08", "#5f6f7f", "#e58a2b", "#2f6f5f", "#b7a22a", "#6a4a8f", "#c4501a", "#8f9dab", "#000000")
STYLES = ("-", "--", ":")  # neighbors differ without their shades too


def draw(record: Mapping[str, Any]) -> bytes:
    """The figure of one experiment."""
    with svg.style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.5, 4), layout="constrained")
        (_activations if "targets" in record["plan"] else _ablations)(record, *figure.subplots(1, 2))
        return svg.rendered(figure)


def _look(number: int) -> Dict[str, str]:
    """Shade and style of the curve of an arm."""
    return {"color": SHADES[number % len(SHADES)], "linestyle": STYLES[number % len(STYLES)]}


def _activations(record: Mapping[str, Any], curves: Any, bars: Any) -> None:
    one = record["plan"]
    for number, name in enumerate(one["arms"]):
        for index, run in enumerate(effects.runs_of(record, name).values()):
            epochs, errors = zip(*run["errors"]) if run["errors"] else ((), ())
            label = f"{name}, learning rate {run['lr']:g}" if index == 0 else None
            curves.plot(epochs, [100 * error for error in errors], lw=1, label=label, **_look(number))
        groups = []
        for target in one["targets"]:
            found = [reached(run["errors"], target) for run in effects.runs_of(record, name).values()]
            groups.append([value for value in found if value is not None])
        places = [index + 0.4 * (number - 0.5) for index in range(len(groups))]
        _bars(bars.bar, places, groups, SHADES[number], name, width=0.36, error="yerr")
    for target in one["targets"]:
        curves.axhline(100 * target, color="black", lw=0.5)
    curves.set(xlabel="epoch", ylabel="training error, %", ylim=(0, None))
    bars.set_xticks(range(len(one["targets"])), [f"to {100 * target:g} %" for target in one["targets"]])
    bars.set(ylabel="epochs (mean, standard deviation)")
    for axes in (curves, bars):
        if axes.get_legend_handles_labels()[0]:
            axes.legend()


def _ablations(record: Mapping[str, Any], bars: Any, curves: Any) -> None:
    names = list(record["plan"]["arms"])
    groups = [[100 * run["held_out"][-1] for run in effects.runs_of(record, name).values()] for name in names]
    _bars(bars.barh, list(range(len(names))), groups, SHADES[0], None, height=0.7, error="xerr")
    bars.set_yticks(range(len(names)), names)
    bars.invert_yaxis()
    bars.set(xlabel="held-out error after the last epoch, % (mean, standard deviation)")
    longest = 0
    for number, name in enumerate(names):
        runs = [run["held_out"] for run in effects.runs_of(record, name).values()]
        epochs = min(map(len, runs), default=0)
        longest = max(longest, epochs)
        means = [100 * statistics.mean(run[epoch] for run in runs) for epoch in range(epochs)]
        if epochs > 1:
            curves.plot(range(1, epochs + 1), means, lw=1.2, label=name, **_look(number))
    if longest < 2:
        curves.set_axis_off()  # the runs kept their last epoch alone
        return
    curves.set(xlabel="epoch", ylabel="held-out error, % (mean)")
    curves.legend(fontsize=7)


def _bars(
    draw_bars: Any,
    places: Sequence[float],
    groups: Sequence[List[float]],
    shade: str,
    label: Optional[str],
    error: str,
    **more: Any,
) -> None:
    """Draw the mean of each group that has runs, with its standard deviation as the keyword ``error``."""
    shown = [(place, group) for place, group in zip(places, groups) if group]
    means = [statistics.mean(group) for _, group in shown]
    errors = [statistics.stdev(group) if len(group) > 1 else 0.0 for _, group in shown]
    at = [place for place, _ in shown]
    draw_bars(at, means, color=shade, label=label, capsize=3, alpha=0.8, **{error: errors}, **more)
