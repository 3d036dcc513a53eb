"""The command ``fastalex evaluate``."""

from __future__ import annotations

import argparse
from typing import Any, Dict

from .._util import console
from ..errors import UserError
from .common import net_facts, net_from, not_negative, profile_name
from .options import add_command, add_mean, add_net, add_profile, positive

MOST_PAIRS = 20  # of classes that are taken for one another, in the table


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "evaluate", run, "measure top-1 and top-5 accuracy on labeled images")
    add = parser.add_argument
    add("data", metavar="DIR", help="folder with one folder of images per class, or with tar shards")
    add("--weights", required=True, metavar="W", help="weights file, or a name of weights, such as 'digits'")
    add("--ten-crop", action="store_true", help="average over the four corners, the center and their mirror images")
    add("--batch", type=positive, default=32, metavar="N", help="images per batch (default: 32)")
    add_profile(parser)
    add_mean(parser)
    add("--confusion", action="store_true", help="print which classes are taken for which")
    add("--bad-limit", type=int, default=100, metavar="N", help="number of unreadable images to accept (default: 100)")
    add_net(parser, "that of the weights")


def run(options: argparse.Namespace) -> int:
    """Print the top-1 and top-5 accuracy of a trained network on a folder of labeled images."""
    if options.weights == "random":
        raise UserError("evaluate needs trained weights: use --weights FILE, or the built-in --weights digits")
    net = net_from(options, profile=profile_name(options.profile))
    from ..train import data
    from ..train.evaluate import evaluate as score

    images = data.find(options.data)
    bad = data.BadImages(None, not_negative("--bad-limit", options.bad_limit))
    counts = None
    if options.confusion:
        from ..inspection import confusion

        counts = confusion.table(net)
    with console.progress("evaluating", len(images.samples), options.json) as report:
        scores = score(net, images, options.ten_crop, options.batch, bad, report, counts)
    for where, why in bad.seen.items():
        reason = why if where in why else f"{where}: {why}"
        console.error(f"skipped: {reason}")
    if options.json:
        found = {} if counts is None else {"confusion": {"labels": net.labels, "counts": counts.tolist()}}
        console.write_json(dict(net_facts(net), ten_crop=options.ten_crop, **scores, **found))
        return 0
    how = "average of ten crops" if options.ten_crop else "one crop"
    console.write(f"{scores['images']} images, {how}: " + _percent(scores, net.variant.num_classes))
    if counts is not None:
        _print_confusion(confusion.Confusion(counts, confusion.labels(net), scores, dict(bad.seen)))
    return 0


def _print_confusion(found: Any) -> None:
    """Print the pairs of classes that are taken for one another, the most frequent first."""
    pairs = found.pairs(MOST_PAIRS)
    if not pairs:
        return
    rows = [(true, predicted, count, f"{100 * share:.1f}") for true, predicted, count, share in pairs]
    right = ("images", "% of the class")
    console.write("")
    console.table("Wrong answers, the most frequent first", ("class", "taken for", *right), rows, right=right)


def _percent(scores: Dict[str, Any], classes: int) -> str:
    top5 = "" if classes <= 5 else f", top-5 {100 * scores['top5']:.2f}%"
    return f"top-1 {100 * scores['top1']:.2f}%{top5}"
