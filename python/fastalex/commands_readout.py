"""The command ``fastalex readout``."""

from __future__ import annotations

import argparse

from . import console
from .commands_common import MAX_BATCH, MISTAKE, OK, net_from
from .errors import UserError


def readout(options: argparse.Namespace) -> int:
    """Write the results of layers for a folder of images."""
    from . import image_files, placement, readout, taps
    from .weights import registry

    if options.weights in (None, "random"):
        raise UserError("readout needs trained weights: --weights FILE, or --weights digits, which is built in")
    if options.batch > MAX_BATCH:
        raise UserError("--batch may be at most %d, not %d" % (MAX_BATCH, options.batch))
    if options.tool is not None:
        placement.one_of("--tool", options.tool, tuple(taps.TOOLS))
        tool = taps.TOOLS[options.tool]
        options.layers, options.profile = options.layers or tool.layers, options.profile or tool.profile
    if not options.layers:
        raise UserError("name the layers to read out: --layers conv5 fc7, or --tool thingsvision")
    options.weights = registry.locate(options.weights)
    net = net_from(options)
    with console.progress("reading out", len(image_files.below(options.images)), options.json) as report:
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
        console.complain(reason)
    if options.json:
        console.write_json(dict(result, output=options.output))
    else:
        rows = [(name, " x ".join(map(str, one["shape"])), one["file"]) for name, one in result["layers"].items()]
        console.table("Read-out in %s" % options.output, ("layer", "shape", "file"), rows)
    return MISTAKE if result["left_out"] else OK
