"""What the commands' parsers share: how a command is added, groups of options, and the types of arguments."""

from __future__ import annotations

import argparse
from typing import Any, Callable


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """A parser for the command ``name``, which ``run`` carries out; every command has --json."""
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    return parser


def add_net(parser: argparse.ArgumentParser, variant_default: str) -> None:
    """Options of the network that :func:`fastalex.cli.common.net_from` makes."""
    parser.add_argument("--variant", metavar="V", help="see 'fastalex summary'; " + variant_default)
    add_numbers(parser)
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads; default: all it may use")


def add_numbers(parser: argparse.ArgumentParser) -> None:
    """Options of the device and the precisions."""
    parser.add_argument(
        "--device", default="auto", metavar="D", help="auto (default), cpu, cuda, cuda:1, tensorrt or naive"
    )
    parser.add_argument(
        "--precision",
        default="fp32",
        metavar="T",
        help="of activations: fp32 (default), bf16 or int8 on a CPU, fp16 on a GPU; int8: see 'quantize --calibrate'",
    )
    parser.add_argument(
        "--fc-weights",
        metavar="T",
        help="fully connected weights: fp32, fp16, bf16, int8 or int4; default: as the file has them, else --precision",
    )
    parser.add_argument("--exact", action="store_true", help="on a CPU: no Winograd convolutions")
    add_engine(parser)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """The option of TensorRT engines."""
    parser.add_argument(
        "--engine", metavar="E", help="on TensorRT: plugins (default) or native, TensorRT's own layers alone"
    )


def add_check(parser: argparse.ArgumentParser) -> None:
    """The option of :func:`fastalex.cli.common.check_file`."""
    parser.add_argument(
        "--no-check", action="store_true", help="do not hold the network against the graph of an .onnx or .caffemodel"
    )


def positive(text: str) -> int:
    """A whole number above 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not '{text}'")
    return value


def number(text: str, largest: float, what: str) -> float:
    """A number from 0 to ``largest``, which errors call ``what``."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= largest or value == float("inf"):
        raise argparse.ArgumentTypeError(f"must be {what}, not '{text}'")
    return value
