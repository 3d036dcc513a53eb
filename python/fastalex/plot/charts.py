"""Figures that are charts: the best classes, confusion matrices, times beside their roofline, zeros."""

from __future__ import annotations

import os
from typing import Any, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..errors import UserError
from ..inspection.confusion import Confusion
from ..inspection.roofline import StepTime, Times
from .figure import BLUE, GRAY, GREEN, ORANGE, RED, label, new

_ACROSS = 4  # images in a row of the best classes
_NAMED = 50  # classes whose names fit beside a matrix
_COUNTED = 12  # classes whose numbers fit into the cells


def top5(rows: Sequence[Tuple[str, np.ndarray, List[Any]]], title: Optional[str] = None) -> Any:
    """Draw images, each above bars of its most probable classes: figure 4 of the paper, on the left.

    :param rows: for each image its path, its picture and its predictions.
    """
    across = min(_ACROSS, len(rows))
    down = -(-len(rows) // across)
    figure = new(1.9 * across, 2.9 * down + 0.2, title)
    grid = figure.subplots(2 * down, across, squeeze=False, gridspec_kw={"height_ratios": (2, 1) * down})
    for axes in grid.flat:
        axes.set_axis_off()
    for number, (path, picture, ranked) in enumerate(rows):
        top, bars = grid[2 * (number // across) : 2 * (number // across) + 2, number % across]
        top.imshow(picture)
        top.set_title(label(os.path.basename(path), 28), fontsize=7)
        _class_bars(bars, ranked)
    return figure


def _class_bars(axes: Any, ranked: List[Any]) -> None:
    axes.set_axis_on()
    axes.barh(range(len(ranked)), [row.probability for row in ranked], color=BLUE, alpha=0.5)
    for place, row in enumerate(ranked):
        axes.text(0.02, place, label(row.label, 28), va="center", fontsize=6)
    axes.set(xlim=(0, 1), ylim=(len(ranked) - 0.5, -0.5), yticks=())
    axes.set_xlabel("probability", fontsize=6)
    axes.tick_params(labelsize=6)


def confusion(found: Confusion, title: Optional[str] = None) -> Any:
    """Draw the classes that occur as a matrix: for each class, the share of its images that is taken for each.

    :raises UserError: if no class has an image.
    """
    shown = found.shown()
    if not shown:
        raise UserError("no image was counted, so there is no confusion matrix")
    counts = found.counts[np.ix_(shown, shown)]
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    side = min(7.0, max(3.4, 0.16 * len(shown) + 1))
    figure = new(side + 0.8, side, title)
    axes = figure.add_subplot()
    figure.colorbar(axes.imshow(shares, vmin=0, vmax=1), ax=axes, label="share of the images of a class")
    axes.set(xlabel="class that the network answers", ylabel="class of the image")
    if len(shown) <= _NAMED:
        names = [label(found.labels[number], 24) for number in shown]
        axes.set_xticks(range(len(shown)), names, rotation=90, fontsize=6)
        axes.set_yticks(range(len(shown)), names, fontsize=6)
    if len(shown) <= _COUNTED:
        for (row, column), count in np.ndenumerate(counts):
            ink = "black" if shares[row, column] > 0.5 else "white"  # bright and dark half of viridis
            axes.text(column, row, str(count), ha="center", va="center", fontsize=6, color=ink)
    return figure


def roofline(times: Times, title: Optional[str] = None) -> Any:
    """Draw the time of each step with its floor, and, if the ceilings are known, the steps under their roofline."""
    rows = times.rows
    if times.peak_tflops is None:
        figure = new(4.2, 0.25 * len(rows) + 1.2, title)
        _time_bars(figure.add_subplot(), rows, times.batch)
        return figure
    figure = new(7.6, 0.25 * len(rows) + 1.4, title)
    left, right = figure.subplots(1, 2)
    _time_bars(left, rows, times.batch)
    _roof(right, times)
    return figure


def _time_bars(axes: Any, rows: Sequence[StepTime], batch: int) -> None:
    axes.barh(range(len(rows)), [row.ms for row in rows], color=GRAY, label="measured")
    for bound, color in (("compute", ORANGE), ("memory", BLUE)):
        places = [place for place, row in enumerate(rows) if row.bound == bound]
        if places:
            floors = [rows[place].floor_ms for place in places]
            axes.barh(places, floors, 0.4, color=color, label=f"floor, bound by {bound}")
    axes.set_yticks(range(len(rows)), ["\n".join(_short(row.layers)) for row in rows], fontsize=6)
    axes.invert_yaxis()
    axes.set_xlabel("time of one image (ms)" if batch == 1 else f"time of a batch of {batch} (ms)")
    axes.legend(fontsize=6, loc="lower right")


def _short(layers: Sequence[str]) -> List[str]:
    """Return the names of a step's layers on as few lines as are read well."""
    return [", ".join(layers[start : start + 2]) for start in range(0, len(layers), 2)]


def _roof(axes: Any, times: Times) -> None:
    """Draw operations a second over operations a byte, both axes logarithmic, below the two ceilings."""
    heavy = [row for row in times.rows if row.flop and row.ms]
    peak, bandwidth = 1e3 * (times.peak_tflops or 0), times.bandwidth_gb_s or 0
    intensity = [row.flop / row.bytes for row in heavy]
    reached = [row.flop / row.ms / 1e6 for row in heavy]
    ends = np.array([min([*intensity, peak / bandwidth]) / 2, max([*intensity, peak / bandwidth]) * 2])
    along = np.geomspace(ends[0], ends[1], 200)
    roof = f"ceilings ({times.basis}): {peak:.4g} GFLOP/s, {bandwidth:.4g} GB/s"
    axes.plot(along, np.minimum(peak, along * bandwidth), color=RED, label=roof)
    axes.plot(intensity, reached, "o", color=GREEN, markersize=3, label="steps")
    for row, x, y in zip(heavy, intensity, reached):
        axes.annotate(row.layers[0], (x, y), (3, -7), textcoords="offset points", fontsize=6)
    axes.set(xscale="log", yscale="log", xlabel="intensity (FLOP/byte)", ylabel="rate (GFLOP/s)")
    for axis in (axes.xaxis, axes.yaxis):  # the logarithmic axis' own labels are mathematics
        axis.set_major_formatter(lambda value, place: f"{value:g}")
        axis.set_minor_formatter(lambda value, place: "")
    axes.legend(fontsize=6, loc="lower right")


def density(zeros: Mapping[str, float], title: Optional[str] = None) -> Any:
    """Draw the share of values that are not zero in the result of each layer, in percent."""
    figure = new(4.2, 0.16 * len(zeros) + 0.9, title)
    axes = figure.add_subplot()
    shares = [100 * (1 - share) for share in zeros.values()]
    axes.barh(range(len(shares)), shares, color=BLUE)
    axes.set_yticks(range(len(shares)), [label(name) for name in zeros], fontsize=6)
    axes.set(xlim=(0, 100), xlabel="values that are not zero (%)")
    axes.invert_yaxis()
    return figure
