"""docs/accuracy.md from the records of what each precision costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

from benchmarks import files, records
from benchmarks.report.machine import measured
from fastalex.errors import UserError

RESULTS = records.RESULTS / "accuracy" / "cpu"
REPORT = records.DOCS / "accuracy.md"

INTRODUCTION = """\
# Accuracy of the CPU engine's precisions

This page says how far the results of each precision are from the exact ones, on a CPU. The reference is the `naive`
backend: float32 weights, sums in double. `python benchmarks/run.py report accuracy` writes the page from
`benchmarks/results/accuracy/`.

- **Error**: the largest difference of a logit from the reference, as a fraction of the largest logit of its image; the
  worst of all images.
- **Cosine**: between the logits and those of the reference; the lowest of all images.
- **Same top-1**: images whose most probable class is that of the reference.
- **Held-out digits**: the accuracy on the handwritten digits that `examples/train_digits.py` never trained on.

Images: twelve views of each photograph that comes with scikit-learn, and the digits in `examples/digits`. int8 is
calibrated on other images: `alexnet-digits` on digits that it was trained on, the others on random crops of the
photographs. Networks with random weights show what the arithmetic does to logits; their top-1 is a matter of chance,
often by a narrow margin, so that any rounding may change it.
"""


def table(rows: Sequence[Mapping[str, Any]]) -> List[str]:
    held = any(row["held_out_accuracy"] is not None for row in rows)
    head = ["precision", "fully connected weights", "calibration", "error", "cosine", "same top-1"]
    lines = [f"| {' | '.join(head + ['held-out digits'] * held)} |"]
    lines.append("| --- | --- | --- | ---: | ---: | ---: |" + " ---: |" * held)
    for row in rows:
        cells = [
            row["precision"] + (", exact" if row["exact"] else ""),
            row["fc_weights"],
            row["method"] or "",
            f"{row['max_relative_error']:.1e}",
            f"{row['cosine']:.7f}",
            f"{100 * row['top1_agreement']:.1f} %",
        ]
        if held:
            cells.append(f"{100 * row['held_out_accuracy']:.2f} %")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def render(found: Sequence[Mapping[str, Any]]) -> str:
    """The whole of docs/accuracy.md."""
    lines = [INTRODUCTION] if found else [INTRODUCTION + "\nNothing is measured yet.\n"]
    for one in found:
        lines.append(f"## {one['title']} ({one['machine']['isa']})\n")
        lines.append(f"{measured(one).capitalize()}; fastalex {one['versions']['fastalex']}.\n")
        for name in dict.fromkeys(row["variant"] for row in one["rows"]):
            rows = [row for row in one["rows"] if row["variant"] == name]
            facts = (name, rows[0]["weights"], rows[0]["images"])
            lines.append("### `%s`, %s weights, %d images\n" % facts)
            lines += table(rows)
            lines.append("")
    return "\n".join(lines)


def load(folder: Path = RESULTS) -> List[Dict[str, Any]]:
    """:raises UserError: for a file that is no result of the command accuracy."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            one = json.loads(path.read_text(encoding="utf-8"))
            if one["device"] != "accuracy":
                raise KeyError("device")
            render([one])
        except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
            raise UserError(f"{path} is not a result of the command accuracy: {error}") from None
        found.append(one)
    return found


def write() -> None:
    files.write_atomically(REPORT, render(load()))
