"""Predictions of the roofline: benchmarks/predicted/roofline.md, and layer by layer for the terminal."""

from __future__ import annotations

from typing import List, Sequence

from benchmarks.report.markdown import digits, table, text_table
from fastalex.hardware import devices, roofline

BATCHES = (1, 32)


INTRODUCTION = """\
# Predicted, not measured

Roofline floors by `python benchmarks/run.py report`, from the data sheets in `devices/`: for each layer the slower of
arithmetic at peak and memory at full bandwidth, summed; `python/fastalex/hardware/roofline.py` says what is counted.
Milliseconds for a batch. int8 and int4 are the fully connected weights only. Blank: the card's rate has no source.
The JSON files beside this page are finer: predictions from the machine code of the kernels, by `tools/predict_cuda.py`;
`docs/simulation.md` compares them with a simulation. `before/` has those of earlier kernels, and `throughput/` what an
earlier model, of throughputs without latencies, said of those.
"""

ZEROS = "%: the share of the inputs of fc6, fc7 and fc8 that are not zero; weights that meet a zero are skipped\n"


def page(names: Sequence[str]) -> str:
    """The predictions of every card, a table for each network of ``names``."""
    return INTRODUCTION + "".join(section(name) for name in names)


def section(variant: str) -> str:
    head = ["predicted ms", *(f"batch {batch} {name}" for batch in BATCHES for name in roofline.PRECISIONS)]
    rows = [
        [card.name, *(_cell(variant, card, name, batch) for batch in BATCHES for name in roofline.PRECISIONS)]
        for device in devices.load_all().values()
        for card in device.cards
    ]
    return f"\n## {variant}\n\n{table(head, rows)}"


def _cell(variant: str, card: devices.Card, precision: str, batch: int) -> str:
    if roofline.math_peak_tflops(card, precision) is None:
        return ""
    return digits(roofline.roofline(variant, card, precision, batch).ms)


def usable_precisions(card: devices.Card) -> List[str]:
    return [name for name in roofline.PRECISIONS if roofline.math_peak_tflops(card, name) is not None]


def terminal(group: Sequence[roofline.Roofline]) -> str:
    """One table: a line a layer, a column a precision."""
    first = group[0]
    head = ["predicted ms"] + [one.title for one in group]
    rows = []
    for index, layer in enumerate(first.layers):
        times = [one.layers[index] for one in group]
        rows.append([layer.name] + [f"{time.ms:.4f} {time.bound[0]}" for time in times])
    rows.append(["total"] + [f"{one.ms:.4f}  " for one in group])
    rows.append(["images/s"] + [f"{digits(one.images_per_s)}  " for one in group])
    rows.append(["fc share"] + [f"{100 * one.fc_share:.0f} % " for one in group])
    title = "predicted, not measured: %s, %s, batch %d (c: compute bound, m: memory bound)\n"
    missing = [name for name in roofline.PRECISIONS if name not in head]
    note = ZEROS if any(one.density for one in group) else ""
    note += f"not predicted: {', '.join(missing)} (the card's rate has no source)\n" if missing else ""
    return title % (first.card, first.variant, first.batch) + text_table(head, rows) + note
