"""The command ``fastalex readout``."""

from __future__ import annotations

import argparse
from typing import Any

from .._util import console
from ..errors import UserError
from .common import MAX_BATCH, OK, USAGE_ERROR, net_from
from .options import add_command, add_mean, add_net, add_profile, add_weights, positive


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "readout", run, "save layer activations for a folder of images as .npy files")
    parser.add_argument("images", metavar="DIR", help="folder of images, which is searched recursively")
    parser.add_argument("output", metavar="OUT", help="folder to write; an interrupted run is resumed")
    add_weights(parser, "--weights", metavar="W")
    parser.add_argument(
        "--tool",
        metavar="T",
        help="use the layers and preprocessing of brain-score, brain-score-convs, thingsvision or net2brain",
    )
    parser.add_argument("--layers", nargs="+", metavar="L", help="layer names; see docs/readouts.md")
    add_profile(parser, "the tool's, otherwise the variant's own")
    add_mean(parser)
    parser.add_argument("--batch", type=positive, default=16, metavar="N", help="images per batch (default: 16)")
    parser.add_argument(
        "--dtype",
        default="float32",
        metavar="T",
        help="type of the stored values: float32 or float16 (default: float32)",
    )
    parser.add_argument("--restart", action="store_true", help="discard the results of an earlier run in OUT")
    add_net(parser, "that of the weights")


def run(options: argparse.Namespace) -> int:
    """Save the activations of layers for a folder of images."""
    from .. import readout
    from .._util import arguments
    from ..images import listing
    from ..networks import taps
    from ..weights import registry

    if options.weights in (None, "random"):
        raise UserError("readout needs trained weights: use --weights FILE, or the built-in --weights digits")
    if options.batch > MAX_BATCH:
        raise UserError(f"--batch must be at most {MAX_BATCH}, not {options.batch}")
    tool = None
    if options.tool is not None:
        arguments.one_of("--tool", options.tool, tuple(taps.TOOLS))
        tool = taps.TOOLS[options.tool]
        options.layers, options.profile = options.layers or tool.layers, options.profile or tool.profile
    if not options.layers:
        raise UserError("name the layers to read out: --layers conv5 fc7, or --tool thingsvision")
    options.weights = registry.locate(options.weights)
    net = net_from(options)
    with console.progress("reading out", len(listing.below(options.images, console.error)), options.json) as report:
        result = readout.read_out(
            net,
            options.images,
            options.output,
            tool.reads(net.variant, options.layers) if tool else options.layers,
            options.profile,
            options.batch,
            options.dtype,
            options.restart,
            report,
        )
    for reason in result["left_out"].values():
        console.error(reason)
    if options.json:
        console.write_json(dict(result, output=options.output))
    else:
        rows = [(name, " x ".join(map(str, row["shape"])), row["file"]) for name, row in result["layers"].items()]
        console.table(f"Activations in {options.output}", ("layer", "shape", "file"), rows)
    return USAGE_ERROR if result["left_out"] else OK
