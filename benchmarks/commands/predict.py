"""``predict``: the roofline of a device; measures nothing."""

from __future__ import annotations

import argparse
import json
from typing import List

from benchmarks.commands import options as shared
from benchmarks.report import predictions
from fastalex import density
from fastalex.errors import UserError
from fastalex.hardware import devices, roofline

HELP = "print the roofline of a device, layer by layer; measures nothing"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="the name of a file in devices/")
    parser.add_argument("--card", help="one card of the family")
    shared.add_cases(parser, "1")
    text = "also predict batch 1 with this share of the inputs of fc6, fc7 and fc8 not zero, or three such numbers"
    parser.add_argument("--density", action="append", metavar="D", help=text + " (0.35,0.35,0.375); may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the roofline of each card, variant and batch, layer by layer."""
    shared.check_cases(options)
    if options.device == "cpu":
        there = ", ".join(devices.load_all())
        raise UserError(f"predict needs a --device with a file in devices/ (there are: {there})")
    device = devices.get(options.device)
    cards = [device.card(options.card)] if options.card else list(device.cards)
    shares = [density.parse(text) for text in options.density or ()]
    if shares and 1 not in (options.batches or [1]):
        raise UserError("--density predicts batch 1, which --batches does not name")
    groups = [
        [
            roofline.roofline(variant, card, name, batch, share)
            for share in (None, *(shares if batch == 1 else ()))
            for name in usable_precisions(card)
        ]
        for card in cards
        for variant in options.variants
        for batch in options.batches or [1]
    ]
    if options.json:
        rooflines = [line.to_dict() for group in groups for line in group]
        print(json.dumps({"predicted": True, "rooflines": rooflines}, indent=1))
    else:
        print("\n".join(predictions.terminal(group) for group in groups))
    return 0


def usable_precisions(card: devices.Card) -> List[str]:
    return [name for name in roofline.PRECISIONS if roofline.math_peak_tflops(card, name) is not None]
