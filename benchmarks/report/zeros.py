"""The text of a measurement of zeros: a table for each instruction set."""

from __future__ import annotations

from typing import Any, List, Mapping

from benchmarks.report.machine import machine_line
from benchmarks.report.markdown import digits, text_table

EXPLAINED = (
    "fc6 + fc7 + fc8 at batch 1, medians. dense: how many times as long the network of density 1 takes in the same\n"
    "build. ratio: how many times as long the other build takes with the same weights; whole: the same of the whole\n"
    "network. bits: whether both give the same logits to the bit.\n"
)


def terminal(record: Mapping[str, Any]) -> str:
    """What run.py prints."""
    text = f"{machine_line(record)}\n\n{EXPLAINED}"
    for isa in dict.fromkeys(row["isa"] for row in record["rows"]):
        text += f"\n{isa}\n{text_table(HEAD, [_line(row) for row in record['rows'] if row['isa'] == isa])}"
    return text + "".join(f"left out: {reason}\n" for reason in record["left_out"].values())


HEAD = ["fc weights", "density", "fc6", "fc7", "fc8", "ms", "dense", "other ms", "ratio", "whole", "bits"]


def _line(row: Mapping[str, Any]) -> List[str]:
    cells = [row["fc_weights"], row["case"], *(f"{share:.3f}" for share in row["density"].values())]
    cells += [digits(row["fc_ms"]), _times(row["times_dense"])]
    if "against" not in row:
        return [*cells, "", "", "", ""]
    same = "same" if row["same_bits"] else "DIFFERENT"
    return [*cells, digits(row["against"]["fc_ms"]), _times(row["ratio"]), _times(row["total_ratio"]), same]


def _times(ratio: Any) -> str:
    return "" if ratio is None else f"{ratio:.2f}"
