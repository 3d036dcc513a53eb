"""The command ``fastalex classify``."""

from __future__ import annotations

import argparse
import os
from typing import Any, Dict, Iterator, List, Optional, Tuple

from . import console
from .commands_common import MISTAKE, OK, device_line, net_facts, net_from, profile_name, read_labels
from .errors import UserError

CLASSIFY_BATCH = 16  # images in memory at once
TOPK = 5

# github.com/dusty-nv/jetson-inference, c/imageNet.h (IMAGENET_USAGE_STRING) and python/examples/imagenet.py.
JETSON_TOPK, JETSON_THRESHOLD = 1, 0.01
JETSON_ONNX = (".onnx", ".pt", ".pth", ".tar")  # PyTorch's networks come to it as ONNX

Item = Tuple[str, str, Optional[UserError]]  # kind, path, error


def classify(options: argparse.Namespace) -> int:
    """Print the most probable classes of each image or frame; what cannot be read is complained about and left out."""
    from . import frame_sources
    from .weights import registry

    as_jetson_inference(options)
    if options.weights in (None, "random"):
        raise UserError("classify needs trained weights: --weights FILE, or --weights digits, which is built in")
    options.weights = registry.locate(options.weights)
    items = list(frame_sources.expanded(options.images))
    frames = options.headless or options.output is not None or any(kind != frame_sources.IMAGES for kind, _, _ in items)
    if options.smoothing and not frames:
        raise UserError("--smoothing is for videos and cameras")
    net = net_from(options, profile=profile_name(options.profile))
    if options.labels is not None:
        net.labels = read_labels(options.labels, net.variant.num_classes)
    if frames:
        from . import commands_frames

        return commands_frames.classify(options, net, items)
    return _images(options, net, items)


def as_jetson_inference(options: argparse.Namespace) -> None:
    """Set what ``--network`` stands for, and the defaults where it is not given."""
    if options.network is None:
        options.topk = options.topk or TOPK
        options.threshold = options.threshold or 0.0
        return
    if options.network.lower() != "alexnet":
        raise UserError(
            "of jetson-inference's networks there is only --network alexnet here, not '%s'" % options.network
        )
    from .weights import registry

    options.topk = options.topk or JETSON_TOPK
    options.threshold = JETSON_THRESHOLD if options.threshold is None else options.threshold
    if options.weights is None:
        options.weights = registry.locate("bvlc_alexnet")
    if options.profile is None:  # c/imageNet.cpp, preProcess: by the kind of the model
        onnx = os.path.splitext(options.weights)[1].lower() in JETSON_ONNX
        options.profile = "jetson-inference-onnx" if onnx else "jetson-inference"


def above(ranked: List[Any], threshold: float) -> List[Dict[str, Any]]:
    """Predictions as they are printed: those of at least ``threshold``. NaN stays, it must not go unnoticed."""
    rows = [dict(rank=index + 1, **item._asdict()) for index, item in enumerate(ranked)]
    return [row for row in rows if not row["probability"] < threshold]


def _images(options: argparse.Namespace, net: Any, items: List[Item]) -> int:
    """Images alone: in batches, as tables or as one JSON document."""
    if not options.json:
        console.write(
            "%s, variant %s, profile %s\n" % (device_line(net, options), net.variant.name, net.variant.profile)
        )
    results: List[Dict[str, Any]] = []
    failed = False
    for entry in _classified(net, items, options):
        failed = failed or "error" in entry
        if "error" in entry:
            console.complain(entry["error"])
        elif not options.json:
            _print_predictions(entry)
        if options.json:
            results.append(entry)
    if options.json:
        console.write_json(dict(net_facts(net), profile=net.variant.profile, images=results))
    return MISTAKE if failed else OK


def _classified(net: Any, items: List[Item], options: argparse.Namespace) -> Iterator[Dict[str, Any]]:
    """``{"path", "predictions"}`` or ``{"path", "error"}`` for each image, in order."""
    waiting: List[Tuple[str, Any]] = []  # path, preprocessed image or the error
    for _, path, error in items:
        waiting.append((path, error or _preprocessed(net, path)))
        if len(waiting) == CLASSIFY_BATCH:
            yield from _classify_batch(net, waiting, options)
            waiting = []
    yield from _classify_batch(net, waiting, options)


def _classify_batch(net: Any, waiting: List[Tuple[str, Any]], options: argparse.Namespace) -> Iterator[Dict[str, Any]]:
    import numpy as np

    good = [image for _, image in waiting if not isinstance(image, UserError)]
    rows = iter(net.classify(np.concatenate(good), options.topk) if good else ())
    for path, image in waiting:
        if isinstance(image, UserError):
            yield {"path": path, "error": str(image)}
            continue
        yield {"path": path, "predictions": above(next(rows), options.threshold)}


def _preprocessed(net: Any, path: str) -> Any:
    try:
        return net.preprocess(path)
    except UserError as error:
        return error


def _print_predictions(entry: Dict[str, Any]) -> None:
    rows = [(item["rank"], item["label"], "%.2f" % (100 * item["probability"])) for item in entry["predictions"]]
    console.table(entry["path"], ("rank", "label", "probability %"), rows, right=("rank", "probability %"))
