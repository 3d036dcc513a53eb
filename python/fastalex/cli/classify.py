"""The command ``fastalex classify``."""

from __future__ import annotations

import argparse
import os
from typing import Any, Dict, Iterator, List, Tuple

from .._util import console
from ..errors import UserError
from .common import OK, USAGE_ERROR, device_line, net_facts, net_from, profile_name
from .options import add_command, add_labels, add_mean, add_net, add_profile, add_weights, number, positive
from .predictions import Item, filter_by_threshold

CLASSIFY_BATCH = 16  # images per batch
TOPK = 5

# github.com/dusty-nv/jetson-inference, c/imageNet.h (IMAGENET_USAGE_STRING) and python/examples/imagenet.py.
JETSON_TOPK, JETSON_THRESHOLD = 1, 0.01
JETSON_ONNX = ("onnx", "pytorch")  # formats; jetson-inference takes PyTorch networks as ONNX
JETSON_ONNX_SUFFIXES = (".onnx", ".pt", ".pth", ".tar")


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "classify", run, "classify images, videos or a camera stream")
    parser.add_argument(
        "images",
        nargs="+",
        metavar="SOURCE",
        help="image or its address (https://...), folder of images, pattern such as '*.jpg', video, "
        "camera (/dev/video0, or csi://0 on a Jetson), network stream (rtsp://...) or GStreamer pipeline",
    )
    add_net(parser, "that of the weights")
    add_weights(parser, "--weights", "--model", metavar="W")
    parser.add_argument(
        "--network",
        metavar="N",
        help="'alexnet' selects the weights, preprocessing and defaults of jetson-inference",
    )
    parser.add_argument(
        "--topk",
        "--topK",
        type=positive,
        metavar="K",
        help="number of classes to show, best first (default: 5, or 1 with --network)",
    )
    parser.add_argument(
        "--threshold",
        type=_probability,
        metavar="P",
        help="hide classes with a lower probability (default: 0, or 0.01 with --network)",
    )
    parser.add_argument(
        "--smoothing",
        type=_smoothing,
        metavar="W",
        help="average the probabilities of video frames: weight of the newest frame (below 1), or number of frames "
        "(default: off)",
    )
    add_profile(parser)
    add_mean(parser)
    add_labels(parser, "to show")
    parser.add_argument(
        "--headless", action="store_true", help="open no window; print one line of JSON per frame or image"
    )
    parser.add_argument(
        "--output",
        metavar="OUT",
        help="write the frames with an overlay to a video (.mp4, .avi or .mkv) or, as pictures, to a folder",
    )
    parser.add_argument(
        "--input-width", type=positive, metavar="N", help="requested camera width in pixels (default for csi: 1280)"
    )
    parser.add_argument(
        "--input-height", type=positive, metavar="N", help="requested camera height in pixels (default for csi: 720)"
    )
    parser.add_argument(
        "--input-rate", type=positive, metavar="N", help="requested camera frames per second (default for csi: 30)"
    )
    parser.add_argument("--frames", type=positive, metavar="N", help="stop each video or camera after N frames")


def _probability(text: str) -> float:
    return number(text, 1.0, "a number from 0 to 1")


def _smoothing(text: str) -> float:
    return number(text, float("inf"), "a number from 0 to 1, or a number of frames")


def run(options: argparse.Namespace) -> int:
    """Print the most probable classes of each image or frame. Unreadable sources are reported and skipped."""
    from ..video import sources
    from ..weights import registry

    as_jetson_inference(options)
    if options.weights in (None, "random"):
        raise UserError("classify needs trained weights: use --weights FILE, or the built-in --weights digits")
    options.weights = registry.locate(options.weights)
    items = list(sources.expanded(options.images))
    frames = options.headless or options.output is not None or any(kind != sources.IMAGES for kind, _, _ in items)
    if options.smoothing and not frames:
        raise UserError("--smoothing works only for videos and cameras")
    net = net_from(options, profile=profile_name(options.profile))
    if options.labels is not None:
        from ..weights.class_names import read_labels

        net.labels = read_labels(options.labels, net.variant.num_classes)
    if frames:
        from . import classify_video

        return classify_video.classify(options, net, items)
    return _images(options, net, items)


def as_jetson_inference(options: argparse.Namespace) -> None:
    """Fill in the options implied by ``--network``, or the usual defaults without it."""
    if options.network is None:
        options.topk = options.topk or TOPK
        options.threshold = options.threshold or 0.0
        return
    if options.network.lower() != "alexnet":
        raise UserError(f"--network supports only alexnet, not '{options.network}'")
    from ..weights import registry

    options.topk = options.topk or JETSON_TOPK
    options.threshold = JETSON_THRESHOLD if options.threshold is None else options.threshold
    if options.weights is None:
        options.weights = registry.locate("bvlc_alexnet")
    if options.profile is None:  # c/imageNet.cpp, preProcess: depends on the file format
        options.profile = "jetson-inference-onnx" if _is_onnx(options.weights) else "jetson-inference"


def _is_onnx(name: str) -> bool:
    """Whether weights are in a format that jetson-inference takes as ONNX: by the file, else by the suffix."""
    from .. import weights

    if os.path.isfile(name):
        return weights.format_of(name) in JETSON_ONNX
    return os.path.splitext(name)[1].lower() in JETSON_ONNX_SUFFIXES


def _images(options: argparse.Namespace, net: Any, items: List[Item]) -> int:
    """Classify images in batches; print tables or one JSON document."""
    if not options.json:
        console.write(f"{device_line(net, options)}, variant {net.variant.name}, profile {net.variant.profile}\n")
    results: List[Dict[str, Any]] = []
    failed = False
    for entry in _classified(net, items, options):
        failed = failed or "error" in entry
        if "error" in entry:
            console.error(entry["error"])
        elif not options.json:
            _print_predictions(entry)
        if options.json:
            results.append(entry)
    if options.json:
        console.write_json(dict(net_facts(net), profile=net.variant.profile, images=results))
    return USAGE_ERROR if failed else OK


def _classified(net: Any, items: List[Item], options: argparse.Namespace) -> Iterator[Dict[str, Any]]:
    """Yield ``{"path", "predictions"}`` or ``{"path", "error"}`` for each image, in order."""
    waiting: List[Tuple[str, Any]] = []  # path; preprocessed image or error
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
        yield {"path": path, "predictions": filter_by_threshold(next(rows), options.threshold)}


def _preprocessed(net: Any, path: str) -> Any:
    try:
        return net.preprocess(path)
    except UserError as error:
        return error


def _print_predictions(entry: Dict[str, Any]) -> None:
    rows = [(item["rank"], item["label"], f"{100 * item['probability']:.2f}") for item in entry["predictions"]]
    console.table(entry["path"], ("rank", "label", "probability %"), rows, right=("rank", "probability %"))
