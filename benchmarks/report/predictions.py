"""Predictions of the roofline: the tables of RESULTS.md, and layer by layer for the terminal."""

from __future__ import annotations

from typing import List, Sequence

from benchmarks.report.markdown import digits, table, text_table
from fastalex.hardware import devices, roofline

BATCHES = (1, 32)  # of the tables of RESULTS.md


def section(variant: str) -> str:
    head = ["predicted ms a batch"]
    head += ["batch %d %s" % (batch, name) for batch in BATCHES for name in roofline.PRECISIONS]
    rows = []
    for device in devices.load_all().values():
        for card in device.cards:
            rows.append(
                [card.name] + [_cell(variant, card, name, batch) for batch in BATCHES for name in roofline.PRECISIONS]
            )
    return (
        "\n## Predicted, not measured: %s\n\n" % variant
        + "Roofline floors: per layer the slower of arithmetic at peak and memory at full bandwidth, summed; what is"
        + " counted stands in\n`python/fastalex/hardware/roofline.py`. int8 and int4 are the fully connected weights"
        + " only. Blank: the card's rate has no source.\n\n"
        + table(head, rows)
    )


def _cell(variant: str, card: devices.Card, precision: str, batch: int) -> str:
    if roofline.math_peak_tflops(card, precision) is None:
        return ""
    return digits(roofline.roofline(variant, card, precision, batch).ms)


def usable_precisions(card: devices.Card) -> List[str]:
    return [name for name in roofline.PRECISIONS if roofline.math_peak_tflops(card, name) is not None]


def terminal(group: Sequence[roofline.Roofline]) -> str:
    """One table: a line a layer, a column a precision."""
    first = group[0]
    head = ["predicted ms"] + [one.precision for one in group]
    rows = []
    for index, layer in enumerate(first.layers):
        times = [one.layers[index] for one in group]
        rows.append([layer.name] + ["%.4f %s" % (time.ms, time.bound[0]) for time in times])
    rows.append(["total"] + ["%.4f  " % one.ms for one in group])
    rows.append(["images/s"] + ["%s  " % digits(one.images_per_s) for one in group])
    rows.append(["fc share"] + ["%.0f %% " % (100 * one.fc_share) for one in group])
    title = "predicted, not measured: %s, %s, batch %d (c: compute bound, m: memory bound)\n"
    missing = [name for name in roofline.PRECISIONS if name not in head]
    note = "not predicted: %s (the card's rate has no source)\n" % ", ".join(missing) if missing else ""
    return title % (first.card, first.variant, first.batch) + text_table(head, rows) + note
