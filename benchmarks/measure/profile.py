"""Hardware counters where most time is lost: Nsight Compute over the layers that are furthest from the ceilings.

What a layer loses is its time less what the ceiling that binds it allows, as a share of its network's time, so that a
row of batch 128 does not hide one of batch 1. Each row that has one of the slowest layers is run in a process of its
own (profile_worker.py) under ``ncu``, every kernel of one call.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from benchmarks.measure import processes
from benchmarks.measure.errors import MeasurementError
from benchmarks.report import gpu as report
from fastalex.errors import UserError

COUNT = 3
LIMIT_S = 120.0  # per row
SECTIONS = ("SpeedOfLight", "LaunchStats", "Occupancy", "WarpStateStats", "MemoryWorkloadAnalysis")
#: The clocks are left alone; only the one call is counted.
NCU = ["ncu", "--clock-control", "none", "--profile-from-start", "off", "--target-processes", "all"]
NCU += [word for section in SECTIONS for word in ("--section", section)]
Run = Callable[[Sequence[str]], str]


class Slow(NamedTuple):
    """A layer of a row, what share of the row's time it takes, and what share is above its ceiling."""

    row: Mapping[str, Any]
    layer: str
    share: float
    lost: float

    @property
    def title(self) -> str:
        return f"{self.row['variant']}, {self.row['engine']}, batch {self.row['batch']}"


def slowest(record: Mapping[str, Any], count: int = COUNT) -> List[Slow]:
    """The ``count`` layers that lose most, each where it loses most. Without ceilings all time counts as lost.

    :raises UserError: if the record has no times of layers.
    """
    worst: Dict[Tuple[str, str], Slow] = {}
    for row in record["rows"]:
        total = sum((row.get("layers") or {}).values())
        for one in report.layer_rows(row) if total else []:
            share = one["ms"] / total
            slow = Slow(row, one["layer"], share, share * (1 - min(one["percent"] or 0.0, 100.0) / 100))
            key = (row["variant"], one["layer"])
            if key not in worst or slow.lost > worst[key].lost:
                worst[key] = slow
    if not worst:
        raise UserError("this result has no times of layers; it must be one of 'gpu'")
    return sorted(worst.values(), key=lambda slow: -slow.lost)[:count]


def run_ncu(command: Sequence[str]) -> str:
    """Run ncu and return its output. :raises MeasurementError: if it fails or takes too long, with its last line."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"ncu did not end within {LIMIT_S:.0f} s") from None
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        lines = text.strip().splitlines() or ["no message"]
        told = [line for line in lines if "==ERROR==" in line] or lines[-1:]
        raise MeasurementError(f"ncu failed ({done.returncode}): {told[0][:300]}")
    return text


def profile(
    chosen: Sequence[Slow],
    device: str,
    log: Callable[[str], None],
    run: Run = run_ncu,
    write: Callable[[str], None] = print,
) -> None:
    """Write what ncu says of each row that has a layer of ``chosen``; rows that several share are run once.

    :raises UserError: if there is no ncu.
    """
    if run is run_ncu and not shutil.which("ncu"):
        raise UserError("there is no ncu (NVIDIA Nsight Compute) on the PATH, which reads the counters")
    rows: Dict[str, List[Slow]] = {}
    for slow in chosen:
        rows.setdefault(slow.title, []).append(slow)
    for title, slows in rows.items():
        log(title)
        row = slows[0].row
        spec = {key: row[key] for key in ("variant", "batch", "precision", "fc_weights")}
        spec["device"] = device
        write(f"## {title}")
        for slow in slows:
            write(f"{slow.layer}: {100 * slow.share:.0f} % of the time, {100 * slow.lost:.0f} % above its ceiling")
        write(run([*NCU, *processes.command("measure.profile_worker", json.dumps(spec))]))
