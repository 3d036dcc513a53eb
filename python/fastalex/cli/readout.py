"""The command ``fastalex readout``."""

from __future__ import annotations

import argparse
from typing import Any

from .._util import console
from ..errors import UserError
from .common import MAX_BATCH, OK, USAGE_ERROR, net_from
from .options import add_command, add_net, positive


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    text = "write what layers make of a folder of images, as .npy files"
    parser = add_command(commands, "readout", run, text)
    parser.add_argument("images", metavar="DIR", help="the images in this folder and below it, sorted by path")
    parser.add_argument("output", metavar="OUT", help="the folder to write; a run that stopped goes on")
    parser.add_argument("--weights", metavar="W", help="a weights file, 'digits', or what 'fastalex weights' lists")
    parser.add_argument(
        "--tool",
        metavar="T",
        help="layers and preprocessing of brain-score, brain-score-convs, thingsvision or net2brain",
    )
    parser.add_argument("--layers", nargs="+", metavar="L", help="names of layers, see docs/readouts.md")
    parser.add_argument("--profile", metavar="P", help="preprocessing; default: the tool's, or the variant's own")
    parser.add_argument("--batch", type=positive, default=16, metavar="N", help="images in memory at once (16)")
    parser.add_argument("--dtype", default="float32", metavar="T", help="of the files: float32 (default) or float16")
    parser.add_argument("--restart", action="store_true", help="drop what another run left in OUT")
    add_net(parser, "default: the one the weights are for")


def run(options: argparse.Namespace) -> int:
    """Write the results of layers for a folder of images."""
    from .. import readout
    from .._util import arguments
    from ..images import listing
    from ..networks import taps
    from ..weights import registry

    if options.weights in (None, "random"):
        raise UserError("readout needs trained weights: --weights FILE, or --weights digits, which is built in")
    if options.batch > MAX_BATCH:
        raise UserError(f"--batch may be at most {MAX_BATCH}, not {options.batch}")
    if options.tool is not None:
        arguments.one_of("--tool", options.tool, tuple(taps.TOOLS))
        tool = taps.TOOLS[options.tool]
        options.layers, options.profile = options.layers or tool.layers, options.profile or tool.profile
    if not options.layers:
        raise UserError("name the layers to read out: --layers conv5 fc7, or --tool thingsvision")
    options.weights = registry.locate(options.weights)
    net = net_from(options)
    with console.progress("reading out", len(listing.below(options.images)), options.json) as report:
        result = readout.read_out(
            net,
            options.images,
            options.output,
            options.layers,
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
        rows = [(name, " x ".join(map(str, one["shape"])), one["file"]) for name, one in result["layers"].items()]
        console.table(f"Read-out in {options.output}", ("layer", "shape", "file"), rows)
    return USAGE_ERROR if result["left_out"] else OK
