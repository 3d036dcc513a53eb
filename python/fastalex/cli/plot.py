"""The command ``fastalex plot``, which has a command of its own for each kind of figure."""

from __future__ import annotations

import argparse
from typing import Any, Callable, Dict, List, Optional

from .._util import console
from ..errors import UserError
from .common import OK, net_from, profile_name
from .options import add_command, add_labels, add_mean, add_net, add_profile, add_weights, positive

Facts = Dict[str, Any]
TOP = 5
NEAREST = 6
MOST_IMAGES, MOST_BESIDE = 48, 20  # of a figure; classes or neighbors of an image
MOST_DIGITS = 9  # of a class's number


def add_parser(commands: Any) -> None:
    """Add the command, its kinds of figures, and their options."""
    text = "draw a figure for a paper: .png, .svg or .pdf"
    parser = commands.add_parser("plot", help=text, description=text[0].upper() + text[1:] + ".")
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    _add(kinds, "filters", _filters, "draw conv1's kernels in color (figure 3 of the paper)")
    maps = _add(kinds, "maps", _maps, "draw what the units of a layer make of an image", "IMAGE")
    maps.add_argument("--layer", default="conv1", metavar="L", help="layer; see docs/readouts.md (default: conv1)")
    maps.add_argument("--unit", type=int, metavar="N", help="one unit, counted from 0 (default: all of them)")
    top = _add(kinds, "top5", _top5, "draw images with their most probable classes (figure 4, left)", "IMAGE", "+")
    top.add_argument("--topk", type=positive, default=TOP, metavar="K", help=f"number of classes (default: {TOP})")
    near = _add(kinds, "neighbors", _neighbors, "draw images with those most like them (figure 4, right)", "IMAGE", "+")
    near.add_argument("--folder", required=True, metavar="DIR", help="images to choose from, searched recursively")
    near.add_argument("--layer", metavar="L", help="layer to compare (default: fc7, after its activation)")
    near.add_argument("--count", type=positive, default=NEAREST, metavar="N", help=f"neighbors (default: {NEAREST})")
    covered = _add(kinds, "occlusion", _occlusion, "draw what a gray patch does to the probability of a class", "IMAGE")
    covered.add_argument("--places", type=positive, default=13, metavar="N", help="places a side (default: 13)")
    covered.add_argument("--patch", type=positive, metavar="N", help="side of the patch in pixels (default: a fifth)")
    cam = _add(kinds, "gradcam", _gradcam, "draw where an image speaks for a class", "IMAGE")
    cam.add_argument("--layer", metavar="L", help="maps to use (default: conv5's, after its activation)")
    for kind in (covered, cam):
        kind.add_argument("--class", dest="chosen", metavar="C", help="class, by name or number (default: the best)")
    wrong = _add(kinds, "confusion", _confusion, "draw which classes are taken for which", "DIR")
    wrong.add_argument("--ten-crop", action="store_true", help="average over ten views of each image")
    wrong.add_argument("--bad-limit", type=int, default=100, metavar="N", help="unreadable images to accept")
    times = _add(kinds, "roofline", _roofline, "draw the time of each step beside the least possible")
    times.add_argument("--batch", type=positive, default=1, metavar="N", help="batch size (default: 1)")
    times.add_argument("--repeat", type=positive, default=10, metavar="N", help="timed runs (default: 10)")
    times.add_argument("--card", metavar="D", help="ceilings of another device, such as nano or 'rtx30:RTX 3090'")
    _add(kinds, "density", _density, "draw the share of each layer's values that is not zero", "IMAGE", "+")


def _add(
    kinds: Any, name: str, draw: Callable[..., Facts], text: str, source: str = "", many: Optional[str] = None
) -> argparse.ArgumentParser:
    """Add the figure ``name``, made by ``draw``, of the images or the folder ``source``."""
    parser = add_command(kinds, name, run, text)
    parser.set_defaults(draw=draw)
    parser.add_argument("output", metavar="OUT", help="file to write, which ends in .png, .svg or .pdf")
    if source:
        what = "folder with a folder of images for each class" if source == "DIR" else "image, or its address"
        parser.add_argument("source", nargs=many, metavar=source, help=what)
    title = parser.add_mutually_exclusive_group()
    title.add_argument("--title", metavar="T", help="title (default: the network and what is shown)")
    title.add_argument("--no-title", action="store_true", help="leave the title out")
    add_weights(parser, "--weights", required=True, metavar="W")
    add_profile(parser)
    add_mean(parser)
    add_labels(parser, "to show")
    add_net(parser, "that of the weights")
    return parser


def run(options: argparse.Namespace) -> int:
    """Draw the figure, and print where it is."""
    from ..plot import figure
    from ..weights import registry

    figure.check_path(options.output)
    if options.weights == "random" and options.draw is not _roofline:
        raise UserError(f"{options.kind} needs trained weights: use --weights FILE, or the built-in --weights digits")
    if options.weights != "random":
        options.weights = registry.locate(options.weights)
    net = net_from(options, profile=profile_name(options.profile))
    if options.labels is not None:
        from ..weights.class_names import read_labels

        net.labels = read_labels(options.labels, net.variant.num_classes)
    facts = options.draw(options, net)
    if options.json:
        console.write_json(dict(output=options.output, variant=net.variant.name, **facts))
    else:
        console.write(options.output)
    return OK


def _title(options: argparse.Namespace, text: str) -> Optional[str]:
    """Return the title of the figure, ``text`` if the user gave none."""
    given: Optional[str] = options.title
    return None if options.no_title else text if given is None else given


def _check_most(what: str, count: int, most: int) -> None:
    if count > most:
        raise UserError(f"{what} must be at most {most}, which a figure has room for, not {count}")


def _label(net: Any, index: int) -> str:
    return str(net.labels[index] if net.labels else index)


def _class(net: Any, text: Optional[str]) -> Optional[int]:
    """Return the number of the class that ``text`` names: its label, one of the names in it, or its number.

    :returns: None for no text.
    :raises UserError: if there is no such class, or there are several.
    """
    if text is None:
        return None
    labels = list(net.labels or ())
    named = [index for index, label in enumerate(labels) if text == label]
    named = named or [index for index, label in enumerate(labels) if text in label.split(", ")]
    if len(named) > 1:
        raise UserError(f"several classes are called {text!r:.80}; give the number: {', '.join(map(str, named[:9]))}")
    if named:
        return named[0]
    digits = text.lstrip("0") or "0"
    if text.isascii() and text.isdigit() and len(digits) <= MOST_DIGITS and int(digits) < net.variant.num_classes:
        return int(digits)
    raise UserError(f"the network has no class {text!r:.80}; give a name, or a number below {net.variant.num_classes}")


def _filters(options: argparse.Namespace, net: Any) -> Facts:
    from ..inspection import filters
    from ..plot import figure, maps

    blocks = filters.filters(net)
    title = _title(options, f"{net.variant.name}: filters of conv1")
    figure.write(options.output, lambda: maps.filters(blocks, title))
    return {"columns": [len(block) for block in blocks]}


def _maps(options: argparse.Namespace, net: Any) -> Facts:
    from ..inspection import maps as inspected
    from ..inspection import pictures
    from ..inspection.inputs import index_of
    from ..plot import figure, maps

    values = inspected.values(net, options.source, options.layer)
    title = _title(options, f"{net.variant.name}: {options.layer}")
    if options.unit is None:
        figure.write(options.output, lambda: maps.maps(values, options.layer, title))
    else:
        unit = index_of("unit", options.unit, len(values))
        if values.ndim != 3:
            raise UserError(f"the units of {options.layer} have no maps; leave out --unit to see them all")
        picture = pictures.input_picture(net, options.source)
        figure.write(options.output, lambda: maps.one_map(picture, values[unit], options.layer, unit, title))
    return {"layer": options.layer, "shape": list(values.shape)}


def _top5(options: argparse.Namespace, net: Any) -> Facts:
    from ..inspection import pictures, top5
    from ..plot import charts, figure

    _check_most("the number of images", len(options.source), MOST_IMAGES)
    _check_most("--topk", options.topk, MOST_BESIDE)
    ranked = top5.predictions(net, options.source, options.topk)
    rows = [(path, pictures.input_picture(net, path), row) for path, row in zip(options.source, ranked)]
    title = _title(options, f"{net.variant.name}: most probable classes")
    figure.write(options.output, lambda: charts.top5(rows, title))
    images = [
        {"path": path, "predictions": [item._asdict() for item in row]} for path, row in zip(options.source, ranked)
    ]
    return {"images": images}


def _neighbors(options: argparse.Namespace, net: Any) -> Facts:
    from ..images import listing
    from ..inspection import neighbors, pictures
    from ..plot import figure, maps

    _check_most("the number of images", len(options.source), MOST_IMAGES)
    _check_most("--count", options.count, MOST_BESIDE)
    count = len(listing.below(options.folder, console.error))
    with console.progress("reading the folder", count, options.json) as report:
        index = neighbors.build(net, options.folder, options.layer, report=lambda done, total: report(done))
    for reason in index.left_out.values():
        console.error(f"skipped: {reason}")
    rows = []
    for path in options.source:
        near = index.nearest(net, path, options.count)
        shown = [(other, distance, pictures.input_picture(net, other)) for other, distance in near]
        rows.append((path, pictures.input_picture(net, path), shown))
    title = _title(options, f"{net.variant.name}: nearest at {index.layer}")
    figure.write(options.output, lambda: maps.neighbors(rows, title))
    images: List[Facts] = []
    for path, _, shown in rows:
        images.append({"path": path, "neighbors": [{"path": other, "distance": far} for other, far, _ in shown]})
    return {"layer": index.layer, "images": images}


def _occlusion(options: argparse.Namespace, net: Any) -> Facts:
    from ..inspection import occlusion, pictures
    from ..plot import figure, maps

    chosen = _class(net, options.chosen)
    with console.progress("covering places", options.places**2, options.json) as report:
        found = occlusion.occlusion(
            net, options.source, chosen, options.places, options.patch, report=lambda done, total: report(done)
        )
    name, picture = _label(net, found.index), pictures.input_picture(net, options.source)
    title = _title(options, f"{net.variant.name}: occlusion")
    figure.write(options.output, lambda: maps.occlusion(picture, found, name, title))
    return {"class": found.index, "label": name, "whole": found.whole, "probability": found.probability.tolist()}


def _gradcam(options: argparse.Namespace, net: Any) -> Facts:
    from ..inspection import gradcam, pictures
    from ..plot import figure, maps

    found = gradcam.gradcam(net, options.source, _class(net, options.chosen), options.layer)
    name, picture = _label(net, found.index), pictures.input_picture(net, options.source)
    title = _title(options, f"{net.variant.name}: Grad-CAM")
    figure.write(options.output, lambda: maps.gradcam(picture, found, name, title))
    return {"class": found.index, "label": name, "layer": found.layer, "heat": found.heat.tolist()}


def _confusion(options: argparse.Namespace, net: Any) -> Facts:
    from ..inspection import confusion
    from ..plot import charts, figure
    from ..train import data

    total = len(data.find(options.source).samples)
    with console.progress("evaluating", total, options.json) as report:
        found = confusion.confusion(
            net,
            options.source,
            options.ten_crop,
            bad_limit=options.bad_limit,
            report=lambda done, total: report(done),
        )
    for where, why in found.left_out.items():
        console.error("skipped: " + (why if where in why else f"{where}: {why}"))
    title = _title(options, f"{net.variant.name}: {found.scores['images']} images, top-1 {found.scores['top1']:.1%}")
    figure.write(options.output, lambda: charts.confusion(found, title))
    return dict(found.scores, labels=found.labels, counts=found.counts.tolist())


def _roofline(options: argparse.Namespace, net: Any) -> Facts:
    from ..inspection import roofline
    from ..plot import charts, figure

    times = roofline.measure(net, options.batch, options.repeat, roofline.card(net, options.card))
    device = times.card or net.device
    title = _title(options, f"{net.variant.name} on {device}, {net.precision}, batch {times.batch}")
    figure.write(options.output, lambda: charts.roofline(times, title))
    rows = [row._asdict() for row in times.rows]
    return dict(times._asdict(), rows=rows)


def _density(options: argparse.Namespace, net: Any) -> Facts:
    from ..images import listing
    from ..inspection import zeros
    from ..plot import charts, figure

    paths = []
    for path, error in listing.listed(options.source, console.error):
        if error is not None:
            raise error
        paths.append(path)
    shares = zeros.zeros(net, paths)
    images = "1 image" if len(paths) == 1 else f"{len(paths)} images"
    title = _title(options, f"{net.variant.name}: {images}")
    figure.write(options.output, lambda: charts.density(shares, title))
    return {"images": len(paths), "density": {name: 1 - share for name, share in shares.items()}}
