"""Building blocks of the commands' parsers: adding a command, groups of shared options, and argument types.

Help texts are lower-case phrases without a final period; a default comes last, as ``(default: X)``.
"""

from __future__ import annotations

import argparse
from typing import Any, Callable


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """Add the command ``name``, carried out by ``run``, and return its parser. Every command has --json.

    :param text: an imperative phrase for the help texts, such as "list the variants".
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    return parser


def add_net(parser: argparse.ArgumentParser, variant_default: str) -> None:
    """Add the options of the network built by :func:`fastalex.cli.common.net_from`."""
    add_variant(parser, variant_default)
    add_precision(parser)
    add_threads(parser)


def add_variant(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the option of the network variant; ``default`` is shown in the help."""
    parser.add_argument("--variant", metavar="V", help=f"network variant; see 'fastalex summary' (default: {default})")


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add the option of the CPU threads."""
    parser.add_argument("--threads", type=positive, metavar="N", help="number of CPU threads (default: all available)")


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Add the options of the device and the precisions."""
    parser.add_argument(
        "--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1, tensorrt or naive (default: auto)"
    )
    parser.add_argument(
        "--precision",
        default="fp32",
        metavar="T",
        help="activation precision: fp32; bf16 or int8 on a CPU; fp16 on a GPU; int8 needs weights calibrated by "
        "'fastalex quantize' (default: fp32)",
    )
    parser.add_argument(
        "--fc-weights",
        metavar="T",
        help="precision of the fully connected weights: fp32, fp16, bf16, int8 or int4 (default: as stored in the "
        "file, otherwise that of --precision)",
    )
    parser.add_argument("--exact", action="store_true", help="do not use Winograd convolutions (CPU only)")
    parser.add_argument(
        "--fc-layout",
        metavar="L",
        help="layout of int8 and int4 fully connected weights on a CPU: latency, or throughput for batches from 8 "
        "on (default: latency)",
    )
    add_engine(parser)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the option of TensorRT engines."""
    parser.add_argument(
        "--engine",
        metavar="E",
        help="kind of TensorRT engine: plugins, or native for TensorRT's own layers only (default: plugins)",
    )


def add_weights(parser: argparse.ArgumentParser, *names: str, **options: Any) -> None:
    """Add the argument or option ``names`` of the weights, a file or a name."""
    parser.add_argument(
        *names, help="weights file, 'digits', a name listed by 'fastalex weights', or hf:OWNER/NAME", **options
    )
    parser.add_argument(
        "--no-mmap",
        action="store_true",
        help="read the weights file whole instead of mapping it, in case it is written to meanwhile",
    )


def add_labels(parser: argparse.ArgumentParser, use: str) -> None:
    """Add the option of class names, which are for ``use``."""
    parser.add_argument("--labels", metavar="FILE", help=f"class names {use}, one per line, UTF-8")


def add_profile(parser: argparse.ArgumentParser, default: str = "the variant's own") -> None:
    """Add the option of the preprocessing profile; ``default`` is shown in the help."""
    parser.add_argument("--profile", metavar="P", help=f"preprocessing profile (default: {default})")


def add_mean(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add the option of the mean image; ``more`` is added to its help."""
    parser.add_argument(
        "--mean",
        metavar="FILE",
        help="mean image to subtract, Caffe's .binaryproto or .npy [3, H, W], in the order of the profile's planes"
        f"{more} (default: that of the weights, otherwise the profile's channel means)",
    )


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the option of :func:`fastalex.cli.common.check_file`."""
    parser.add_argument(
        "--no-check",
        action="store_true",
        help="do not compare the network with the graph in an .onnx or .caffemodel file",
    )


def positive(text: str) -> int:
    """Parse a whole number above 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not '{text}'")
    return value


def number(text: str, largest: float, what: str) -> float:
    """Parse a number from 0 to ``largest``; error messages call it ``what``."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= largest or value == float("inf"):
        raise argparse.ArgumentTypeError(f"must be {what}, not '{text}'")
    return value
