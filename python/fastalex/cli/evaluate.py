"""The command ``fastalex evaluate``."""

from __future__ import annotations

import argparse
from typing import Any, Dict

from .._util import console
from ..errors import UserError
from .common import net_facts, net_from, not_negative, profile_name
from .options import add_command, add_net, positive


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "evaluate", run, "top-1 and top-5 accuracy on labeled images")
    add = parser.add_argument
    add("data", metavar="DIR", help="a folder of images for each class, or tar shards")
    add("--weights", required=True, metavar="W", help="a weights file, or 'digits', which is built in")
    add("--ten-crop", action="store_true", help="average over four corners, the center, and their mirror images")
    add("--batch", type=positive, default=32, metavar="N", help="images at once (32)")
    add("--profile", metavar="P", help="preprocessing; default: the variant's own")
    add("--bad-limit", type=int, default=100, metavar="N", help="unreadable images to put up with (100)")
    add_net(parser, "default: the one the weights are for")


def run(options: argparse.Namespace) -> int:
    """Print top-1 and top-5 of a trained network on a folder."""
    if options.weights == "random":
        raise UserError("evaluate needs trained weights: --weights FILE, or --weights digits, which is built in")
    net = net_from(options, profile=profile_name(options.profile))
    from ..train import data
    from ..train.evaluate import evaluate as score

    found = data.find(options.data)
    bad = data.BadImages(None, not_negative("--bad-limit", options.bad_limit))
    with console.progress("evaluating", len(found.samples), options.json) as report:
        scores = score(net, found, options.ten_crop, options.batch, bad, report)
    for where, why in bad.seen.items():
        console.error(f"left out: {(why if where in why else f'{where}: {why}')}")
    if options.json:
        console.write_json(dict(net_facts(net), ten_crop=options.ten_crop, **scores))
        return 0
    how = "average of ten crops" if options.ten_crop else "one crop"
    console.write(f"{scores['images']} images, {how}: " + _percent(scores, net.variant.num_classes))
    return 0


def _percent(scores: Dict[str, Any], classes: int) -> str:
    top5 = "" if classes <= 5 else f", top-5 {100 * scores['top5']:.2f}%"
    return f"top-1 {100 * scores['top1']:.2f}%{top5}"
