"""Options that several commands have, and their meaning."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from benchmarks import records
from benchmarks.numeric_classes import MODES
from fastalex import variants
from fastalex.errors import UserError

PRECISIONS = tuple(dict.fromkeys(precision for precision, _ in MODES))
FC_WEIGHTS = tuple(dict.fromkeys(fc_weights for _, fc_weights in MODES))


def add_cases(parser: argparse.ArgumentParser, batches: str) -> None:
    """Add the options for networks and batches. :param batches: the default, for the help."""
    parser.add_argument("--variants", nargs="+", default=list(records.VARIANTS), metavar="NAME")
    parser.add_argument("--batches", nargs="+", type=int, metavar="N", help="default: " + batches)


def add_modes(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, help="default: " + default)
    parser.add_argument("--fc-weights", nargs="+", choices=FC_WEIGHTS, help="default: " + default)


def add_threads(parser: argparse.ArgumentParser, also: str = "") -> None:
    text = "default: every CPU this process may use" + also
    parser.add_argument("--threads", nargs="+", type=int, metavar="N", help=text)


def add_output(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add the options that set how to measure and where the result goes."""
    parser.add_argument("--quick", action="store_true", help="few runs; written only where --output says")
    text = f"result file instead of results/{folder}.json; writes no document"
    parser.add_argument("--output", type=Path, help=text)
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--json", action="store_true", help="print JSON")


def check_cases(options: argparse.Namespace) -> None:
    """Check networks and batches. :raises UserError: for an unknown network, or a batch without images."""
    for name in options.variants:
        variants.get(name)
    if any(batch < 1 for batch in options.batches or ()):
        raise UserError("--batches must be above 0")


def cpu_batches(options: argparse.Namespace) -> Sequence[int]:
    return options.batches or ((1, 32) if options.quick else records.CPU_BATCHES)


def modes(options: argparse.Namespace, default: Sequence[Tuple[str, str]]) -> List[Tuple[str, str]]:
    """The (precision, fully connected weights) that the options ask for: those of ``default``, or where the options
    name any, all that there are of them.

    :raises UserError: if they ask for what there is not.
    """
    precisions: Optional[Sequence[str]] = options.precisions
    fc_weights: Optional[Sequence[str]] = options.fc_weights
    if not precisions and not fc_weights:
        return list(default)
    selected = [
        mode for mode in MODES if mode[0] in (precisions or PRECISIONS) and mode[1] in (fc_weights or FC_WEIGHTS)
    ]
    if not selected:
        there = ", ".join("{} with {}".format(*mode) for mode in MODES)
        raise UserError(f"the CPU has no such precision with such --fc-weights (there are: {there})")
    return selected


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
