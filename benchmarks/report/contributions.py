"""benchmarks/results/contributed.md: what others have measured on their boards."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

from benchmarks import contributed
from benchmarks.numeric_classes import mode_name
from benchmarks.report import machine
from benchmarks.report.markdown import digits, table

HEAD = ["device", "set to", "network", "batch", "precision", "median ms", "p10", "p90", "images/s"]
HEAD += ["max error / tolerance", "commit", "file"]
INTRODUCTION = """\
# Contributed results

Measured by others with `run.py --share` on their own boards ([how](../../docs/measure-your-board.md)).

"""


def render(shared: Sequence[Tuple[str, Dict[str, Any]]]) -> str:
    """The whole page: a line for each row of each file.

    :param shared: contributed results with the names of their files.
    """
    lines: List[List[str]] = []
    for name, one in shared:
        board = one["board"]
        set_to = [
            board.get("power_mode"),
            board.get("jetpack"),
            board.get("driver") and "driver {driver}".format(**board),
        ]
        for row in one["rows"]:
            figures = [digits(row[key]) for key in ("median_ms", "p10_ms", "p90_ms", "images_per_s")]
            share = digits(row["correct"]["max_abs_diff"] / row["correct"]["tolerance"])
            mode = mode_name(row["precision"], row["fc_weights"])
            start = [one["title"], ", ".join(filter(None, set_to)), row["variant"], str(row["batch"]), mode]
            link = f"[{name}](../{contributed.FOLDER.name}/{name})"
            lines.append([*start, *figures, share, machine.commit(one.get("commit")), link])
    return INTRODUCTION + table(HEAD, lines, left=5)
