"""The command ``fastalex classify``."""

from __future__ import annotations

import argparse
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from . import console
from .commands_common import MISTAKE, OK, device_line, net_facts, net_from, profile_name, read_labels
from .errors import UserError

CLASSIFY_BATCH = 16  # images in memory at once


def classify(options: argparse.Namespace) -> int:
    """Print the most probable classes of each image; images that cannot be read are complained about and left out."""
    if options.weights in (None, "random"):
        raise UserError("classify needs trained weights: --weights FILE, or --weights digits, which is built in")
    net = net_from(options, profile=profile_name(options.profile))
    if options.labels is not None:
        net.labels = read_labels(options.labels, net.variant.num_classes)
    if not options.json:
        console.write("%s, variant %s, profile %s\n" % (device_line(net, options), net.variant.name, _profile(net)))
    results: List[Dict[str, Any]] = []
    failed = False
    for entry in _classified(net, options.images, options.topk):
        failed = failed or "error" in entry
        if "error" in entry:
            console.complain(entry["error"])
        elif not options.json:
            _print_predictions(entry)
        if options.json:
            results.append(entry)
    if options.json:
        console.write_json(dict(net_facts(net), profile=_profile(net), images=results))
    return MISTAKE if failed else OK


def _classified(net: Any, paths: Sequence[str], topk: int) -> Iterator[Dict[str, Any]]:
    """``{"path", "predictions"}`` or ``{"path", "error"}`` for each image, in order."""
    from . import image_files

    waiting: List[Tuple[str, Any]] = []  # path, preprocessed image or the error
    for path, error in image_files.listed(paths):
        waiting.append((path, error or _preprocessed(net, path)))
        if len(waiting) == CLASSIFY_BATCH:
            yield from _classify_batch(net, waiting, topk)
            waiting = []
    yield from _classify_batch(net, waiting, topk)


def _classify_batch(net: Any, waiting: List[Tuple[str, Any]], topk: int) -> Iterator[Dict[str, Any]]:
    import numpy as np

    good = [image for _, image in waiting if not isinstance(image, UserError)]
    rows = iter(net.classify(np.concatenate(good), topk) if good else ())
    for path, image in waiting:
        if isinstance(image, UserError):
            yield {"path": path, "error": str(image)}
            continue
        ranked = [dict(rank=i + 1, **item._asdict()) for i, item in enumerate(next(rows))]
        yield {"path": path, "predictions": ranked}


def _preprocessed(net: Any, path: str) -> Any:
    try:
        return net.preprocess(path)
    except UserError as error:
        return error


def _print_predictions(entry: Dict[str, Any]) -> None:
    rows = [(item["rank"], item["label"], "%.2f" % (100 * item["probability"])) for item in entry["predictions"]]
    console.table(entry["path"], ("rank", "label", "probability %"), rows, right=("rank", "probability %"))


def _profile(net: Any) -> str:
    return net.variant.profile
