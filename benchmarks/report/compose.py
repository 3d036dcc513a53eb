"""The documents of the results: benchmarks/RESULTS.md, a page for each machine, contributed results, predictions.

They are made from the JSON files under benchmarks/results/ and benchmarks/contributed/ and the device files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Sequence

from benchmarks import contributed, files, records
from benchmarks.report import charts, contributions, cpu, gpu, layers, peers, predictions, summary


def pages(found: Sequence[Dict[str, Any]], shared: summary.Contributions = ()) -> Dict[str, str]:
    """The text of each document, by its path from benchmarks/."""
    made = {"RESULTS.md": summary.render(found, shared)}
    machines: Dict[str, List[Dict[str, Any]]] = {}
    for record in found:
        machines.setdefault(records.file_name(record), []).append(record)
    for name, ones in machines.items():
        made[summary.RESULTS % name] = page(ones)
    if shared:
        made[summary.CONTRIBUTED] = contributions.render(shared)
    made[summary.PREDICTED] = predictions.page(records.VARIANTS)
    return made


def page(ones: Sequence[Dict[str, Any]]) -> str:
    """All that was measured on one machine."""
    text = f"# {summary.title(ones[0])}\n\nMeasured figures, written by `python benchmarks/run.py report`. "
    text += "Other machines: [RESULTS.md](../RESULTS.md).\n"
    order = {records.PEERS: 1, records.LAYERS: 2}
    return text + "".join(_section(one) for one in sorted(ones, key=lambda one: order.get(one["device"], 0)))


def _section(record: Dict[str, Any]) -> str:
    if record["device"] == records.PEERS:
        return peers.section(record, f"../{charts.FOLDER.name}/{charts.name(record)}.svg")
    if record["device"] == records.LAYERS:
        return layers.section(record)
    return gpu.section(record) if gpu.is_gpu(record) else cpu.section(record)


def write(folder: Path = records.RESULTS, root: Path = records.HERE) -> None:
    """Write the documents of the results in ``folder`` under ``root``, and remove pages of what is no longer there."""
    made = pages(records.load(folder), contributed.load())
    for name, text in made.items():
        files.write_atomically(root / name, text)
    for path in (root / "results").glob("*.md"):
        if "results/" + path.name not in made:
            path.unlink()
