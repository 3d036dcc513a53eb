"""benchmarks/RESULTS.md from the JSON files under benchmarks/results/ and the device files. Nothing in it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Sequence

from benchmarks import files, records
from benchmarks.report import charts, cpu, gpu, layers, peers, predictions
from benchmarks.report.markdown import digits

REPORT = records.HERE / "RESULTS.md"


HEAD = (
    "AlexNet image classification | Nano (optimized) | TX2 (optimized) | RTX (optimized) | GTX-1650 (optimized)",
    "--- | --- | --- | --- | ---",
)
COLUMNS = (("nano",), ("tx2",), ("rtx20", "rtx30", "rtx40", "rtx50"), ("gtx1650",))
BATCHES = (1, 32)


def render(found: Sequence[Dict[str, Any]]) -> str:
    """The whole of RESULTS.md."""
    own = [record for record in found if record["device"] not in (records.PEERS, records.LAYERS)]
    parts = [_targets(own)]
    parts += [gpu.section(one) if gpu.is_gpu(one) else cpu.section(one) for one in own]
    for record in found:
        if record["device"] == records.PEERS:
            parts.append(peers.section(record, "%s/%s.svg" % (charts.FOLDER.name, charts.name(record))))
    parts += [layers.section(record) for record in found if record["device"] == records.LAYERS]
    parts += [predictions.section(variant) for variant in records.VARIANTS]
    return "".join(parts)


def write(folder: Path = records.RESULTS, path: Path = REPORT) -> None:
    """Render ``folder`` into ``path``."""
    files.write_atomically(path, render(records.load(folder)))


def _targets(own: Sequence[Dict[str, Any]]) -> str:
    lines = list(HEAD)
    for variant in records.VARIANTS:
        for batch in BATCHES:
            cells = [_best_cell(own, names, variant, batch) for names in COLUMNS]
            lines.append("| %s, batch %d (ms, images/s) | %s |" % (variant, batch, " | ".join(cells)))
    return (
        "\n".join(lines)
        + "\n\nMeasured figures only; a blank cell has not been measured. Every figure comes from a JSON file under"
        + ' `benchmarks/results/`\nor, in the tables headed "predicted", from `devices/*.toml`;'
        + " `python benchmarks/run.py report` writes this file.\n"
    )


def _best_cell(own: Sequence[Dict[str, Any]], names: Sequence[str], variant: str, batch: int) -> str:
    found = [
        (row["median_ms"], record["title"], row)
        for record in own
        if record["device"] in names and not record.get("quick")
        for row in record["rows"]
        if (row["variant"], row["batch"]) == (variant, batch)
    ]
    if not found:
        return ""
    _, title, row = min(found, key=lambda one: one[:2])
    figures = "%s ms, %s images/s" % (digits(row["median_ms"]), digits(row["images_per_s"]))
    return "%s (%s, fc %s)" % (figures, title, row["fc_weights"])
