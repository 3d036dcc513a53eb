"""Bar charts of the comparison, from its committed records.

benchmarks/charts/<machine>.svg has every batch, <machine>-batch-1.svg one image alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

from benchmarks import files, ranking, records
from benchmarks.numeric_classes import CLASSES
from benchmarks.report import svg
from benchmarks.report.markdown import digits

FOLDER = records.HERE / "charts"
NO_MATPLOTLIB = "the charts are left as they are: matplotlib is not installed ('pip install matplotlib')"
# By class of arithmetic: fastalex strong, its peers pale; told apart in gray as well.
OWN = dict(zip(CLASSES, ("#8f2a08", "#c4501a", "#e58a2b", "#f4c169")))
OTHER = dict(zip(CLASSES, ("#5f6f7f", "#8f9dab", "#b7c2cc", "#dbe1e7")))
PANEL_WIDTH, BAR_HEIGHT, PANEL_MARGIN = 6.6, 0.27, 0.85  # inches


def name(record: Mapping[str, Any]) -> str:
    return records.file_name(record)


def write(found: Sequence[Mapping[str, Any]], folder: Path = FOLDER) -> str:
    """Write the charts of all comparisons; returns a sentence that says why not, or an empty string."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return NO_MATPLOTLIB
    for record in found:
        if record["device"] == records.PEERS:
            for file_name, data in drawn(record).items():
                files.write_atomically(folder / file_name, data)
    return ""


def drawn(record: Mapping[str, Any]) -> Dict[str, bytes]:
    """The charts of one comparison by the names of their files."""
    found = {name(record) + ".svg": draw(record, record["rows"])}
    single = [row for row in record["rows"] if row["batch"] == 1]
    if single:
        found[name(record) + "-batch-1.svg"] = draw(record, single)
    return found


def draw(record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The SVG of some rows of a comparison."""
    with svg.style():
        from matplotlib.figure import Figure

        cases = panels(rows)
        columns = min(2, len(cases))
        lines = -(-len(cases) // columns)
        tallest = max(len(bars(rows, case)) for case in cases)
        height = lines * (tallest * BAR_HEIGHT + PANEL_MARGIN) + 0.9
        figure = Figure(figsize=(PANEL_WIDTH * columns, height), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, case in zip(axes, cases):
            _panel(panel, rows, case)
        for panel in axes[len(cases) :]:
            panel.set_axis_off()
        _legend(figure, record)
        return svg.rendered(figure)


def panels(rows: Sequence[Mapping[str, Any]]) -> List[ranking.Case]:
    """A panel for each batch and network, with the most threads: the networks side by side."""
    most = ranking.counts(rows)[0]
    cases = [case for case in ranking.cases(rows) if case[2] == most]
    return sorted(cases, key=lambda case: case[1])


def bars(rows: Sequence[Mapping[str, Any]], case: ranking.Case) -> List[Mapping[str, Any]]:
    """What one panel shows: the fastest right mode of each engine in each class, fastest first."""
    shown = [row for name in CLASSES for row in ranking.ranked(rows, case, name)]
    return sorted(shown, key=lambda row: row["ms_per_image"])


def _panel(axes: Any, rows: Sequence[Mapping[str, Any]], case: ranking.Case) -> None:
    shown = bars(rows, case)
    values = [row["ms_per_image"] for row in shown]
    own = [row["peer"] == "fastalex" for row in shown]
    colors = [(OWN if mine else OTHER)[row["numeric_class"]] for mine, row in zip(own, shown)]
    places = range(len(shown))
    axes.barh(places, values, color=colors, height=0.76)
    axes.set_yticks(places, [row["engine"] for row in shown])
    axes.invert_yaxis()
    for label, mine in zip(axes.get_yticklabels(), own):
        label.set_fontweight("bold" if mine else "normal")
    for place, value, mine in zip(places, values, own):
        weight = "bold" if mine else "normal"
        axes.annotate(
            digits(value),
            (value, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontweight=weight,
        )
    axes.set_xlim(0, max(values, default=1.0) * 1.12)
    axes.set_title("%s, batch %d" % case[:2], loc="left", fontweight="bold", fontsize=10.5)
    axes.set_xlabel("ms per image (shorter is faster)")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="#e3e3e3", linewidth=0.8)


def _legend(figure: Any, record: Mapping[str, Any]) -> None:
    from matplotlib.patches import Patch

    present = [one for one in CLASSES if any(row["numeric_class"] == one for row in record["rows"])]
    patches = [Patch(color=OWN[one], label=f"fastalex, {one}") for one in present]
    others = {
        row["numeric_class"] for row in record["rows"] if row["peer"] != "fastalex" and row["status"] == records.OK
    }
    patches += [Patch(color=OTHER[one], label=f"others, {one}") for one in present if one in others]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    threads = record["machine"]["threads"]
    title = f"AlexNet on {record['title']}, {threads} thread{'' if threads == 1 else 's'}"
    figure.suptitle(title, fontsize=12.5, fontweight="bold")
