"""benchmarks/RESULTS.md from the JSON files under benchmarks/results/ and benchmarks/contributed/ and the device files.
Nothing in it is typed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from benchmarks import contributed, files, records
from benchmarks.report import charts, cpu, gpu, layers, machine, peers, predictions
from benchmarks.report.markdown import digits, table

REPORT = records.HERE / "RESULTS.md"


HEAD = (
    "AlexNet image classification | Nano (optimized) | TX2 (optimized) | RTX (optimized) | GTX-1650 (optimized)",
    "--- | --- | --- | --- | ---",
)
COLUMNS = (("nano",), ("tx2",), ("rtx20", "rtx30", "rtx40", "rtx50"), ("gtx1650",))
BATCHES = (1, 32)
#: What a cell of the first table has where nothing was measured.
BLANK = "[measure yours](../docs/measure-your-board.md)"
CONTRIBUTED = ["device", "set to", "network", "batch", "numbers", "median ms", "p10", "p90", "images/s"]
CONTRIBUTED += ["max error / tolerance", "commit", "file"]
Contributions = Sequence[Tuple[str, Dict[str, Any]]]


def render(found: Sequence[Dict[str, Any]], shared: Contributions = ()) -> str:
    """The whole of RESULTS.md.

    :param shared: contributed results with the names of their files.
    """
    own = [record for record in found if record["device"] not in (records.PEERS, records.LAYERS)]
    parts = [_targets(own, shared), _contributed(shared)]
    parts += [gpu.section(one) if gpu.is_gpu(one) else cpu.section(one) for one in own]
    for record in found:
        if record["device"] == records.PEERS:
            parts.append(peers.section(record, "%s/%s.svg" % (charts.FOLDER.name, charts.name(record))))
    parts += [layers.section(record) for record in found if record["device"] == records.LAYERS]
    parts += [predictions.section(variant) for variant in records.VARIANTS]
    return "".join(parts)


def write(folder: Path = records.RESULTS, path: Path = REPORT) -> None:
    """Render ``folder`` into ``path``."""
    files.write_atomically(path, render(records.load(folder), contributed.load()))


def _targets(own: Sequence[Dict[str, Any]], shared: Contributions) -> str:
    lines = list(HEAD)
    for variant in records.VARIANTS:
        for batch in BATCHES:
            cells = [_best_cell(own, shared, names, variant, batch) or BLANK for names in COLUMNS]
            lines.append("| %s, batch %d (ms, images/s) | %s |" % (variant, batch, " | ".join(cells)))
    return (
        "\n".join(lines)
        + "\n\nMeasured figures only; where a cell asks for a measurement, there is none. Every figure comes from a\n"
        + 'JSON file under `benchmarks/results/` or `benchmarks/contributed/` or, in the tables headed "predicted",\n'
        + "from `devices/*.toml`; `python benchmarks/run.py report` writes this file.\n"
    )


def _contributed(shared: Contributions) -> str:
    """A line for each row of what others have measured; nothing where there is nothing."""
    if not shared:
        return ""
    lines: List[List[str]] = []
    for name, one in shared:
        board = one["board"]
        set_to = [board.get("power_mode"), board.get("jetpack"), board.get("driver") and "driver %(driver)s" % board]
        for row in one["rows"]:
            numbers = "%(precision)s, fc %(fc_weights)s" % row
            figures = [digits(row[key]) for key in ("median_ms", "p10_ms", "p90_ms", "images_per_s")]
            share = digits(row["correct"]["max_abs_diff"] / row["correct"]["tolerance"])
            start = [one["title"], ", ".join(filter(None, set_to)), row["variant"], str(row["batch"]), numbers]
            link = "[%s](%s/%s)" % (name, contributed.FOLDER.name, name)
            lines.append([*start, *figures, share, machine.commit(one.get("commit")), link])
    return (
        "\n## Contributed\n\nMeasured by others with `run.py --share` on their own boards"
        " ([how](../docs/measure-your-board.md)).\n\n" + table(CONTRIBUTED, lines, left=5)
    )


def _best_cell(
    own: Sequence[Dict[str, Any]], shared: Contributions, names: Sequence[str], variant: str, batch: int
) -> str:
    sources = [(record, "") for record in own if not record.get("quick")]
    sources += [(one, ", [contributed](%s/%s)" % (contributed.FOLDER.name, name)) for name, one in shared]
    found = [
        (row["median_ms"], record["title"], note, row)
        for record, note in sources
        if record["device"] in names
        for row in record["rows"]
        if (row["variant"], row["batch"]) == (variant, batch)
    ]
    if not found:
        return ""
    _, title, note, row = min(found, key=lambda one: one[:3])
    figures = "%s ms, %s images/s" % (digits(row["median_ms"]), digits(row["images_per_s"]))
    return "%s (%s, fc %s%s)" % (figures, title, row["fc_weights"], note)
