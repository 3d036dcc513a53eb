"""The command ``fastalex quantize``."""

from __future__ import annotations

import argparse
import os
from typing import Any, Iterator, List, Optional

from .._util import console
from ..errors import UserError, one_line
from .common import check_file, profile_name
from .options import add_check, add_command, add_mean, add_profile, add_threads, add_variant, add_weights, positive


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    text = "quantize fully connected weights, and calibrate activations for int8 precision"
    parser = add_command(commands, "quantize", run, text)
    add_weights(parser, "input", metavar="WEIGHTS")
    parser.add_argument("output", metavar="OUT", help="file to write, .safetensors or .npz")
    parser.add_argument(
        "--calibrate",
        metavar="DIR",
        help="calibrate activations on the images in this folder, which is searched recursively",
    )
    parser.add_argument(
        "--method",
        default="percentile",
        metavar="M",
        help="calibration method: percentile, entropy or max (default: percentile)",
    )
    parser.add_argument(
        "--percentile",
        type=float,
        metavar="P",
        help="percentage of the activations that is not clipped (default: 99.99)",
    )
    parser.add_argument(
        "--images", type=positive, default=512, metavar="N", help="number of images to calibrate on (default: 512)"
    )
    parser.add_argument(
        "--fc-weights",
        default="int8",
        metavar="T",
        help="precision of the fully connected weights: int8, int4 or fp32 (default: int8)",
    )
    add_profile(parser)
    add_mean(parser, ", which OUT remembers")
    add_variant(parser, "detected from the file")
    add_threads(parser)
    add_check(parser)


def run(options: argparse.Namespace) -> int:
    """Write the weights ``options.input`` with quantized fully connected layers and, if requested, a calibration."""
    from .. import weights
    from .._util import arguments
    from ..quantize import calibration
    from ..weights import adapt, initial, mean_image, quantized, registry, resolve

    arguments.one_of("--fc-weights", options.fc_weights, ("fp32", *quantized.STORAGES))
    arguments.one_of("--method", options.method, calibration.METHODS)
    if os.path.splitext(options.output)[1].lower() not in weights.FORMATS:
        raise UserError(f"{options.output} must end in {' or '.join(weights.FORMATS)}")
    if options.percentile is not None and (options.calibrate is None or options.method != "percentile"):
        raise UserError("--percentile works only with --calibrate DIR and --method percentile")
    loaded = weights.load_network(registry.locate(options.input), mmap=not options.no_mmap)
    named = resolve.chosen(loaded, options.variant, 1)
    variant = adapt.row_for(loaded, named, profile=profile_name(options.profile))
    mean = None if options.mean is None else mean_image.given(options.mean, variant)
    arrays = adapt.fit(loaded, variant)
    values = initial.check(variant, arrays, options.fc_weights)
    check_file(options, loaded, variant, arrays)
    skipped: List[str] = []
    if options.calibrate is None:
        calibrated = loaded.calibration()
    else:
        calibrated = _calibrate(options, loaded.path, variant, mean, skipped)
    metadata = {key: value for key, value in loaded.metadata.items() if key not in quantized.KEYS}
    metadata.update(weights.metadata_for(variant, None, calibrated, mean))
    # Weights that are quantized already are written unchanged.
    pairs = zip(variant.parameter_shapes(), values)
    arrays = {name: arrays[name] if isinstance(value, tuple) else value for name, value in pairs}
    if options.fc_weights != "fp32":
        arrays, added = quantized.to_file(arrays, variant, options.fc_weights)
        metadata.update(added)
    loaded.check_unchanged()
    weights.save(options.output, arrays, metadata)
    _print_result(options, variant, calibrated, skipped)
    return 0


def _calibrate(options: argparse.Namespace, weights: str, variant: Any, mean: Any, skipped: List[str]) -> Any:
    """Calibrate the network in fp32 on the CPU, which takes seconds and gives the same result on every machine.

    The error of each unreadable image is appended to ``skipped``.
    """
    from .. import quantize as calibrating
    from ..images import listing
    from ..model import AlexNet

    percentile = calibrating.PERCENTILE if options.percentile is None else options.percentile
    paths = _spread(listing.below(options.calibrate, console.error), options.images)
    net = AlexNet(variant, weights=weights, device="cpu", fc_weights="fp32", threads=options.threads, mean_image=mean)
    with console.progress("calibrating", len(paths), options.json) as report:
        try:
            calibrated = calibrating.calibrate(
                net,
                _read(net, paths, skipped),
                options.method,
                percentile,
                lambda done: report(done + len(skipped)),
            )
        except UserError:
            if len(skipped) < len(paths):
                raise
            raise UserError(
                f"none of the {len(paths)} images in '{options.calibrate}' can be read; the first: {skipped[0]}"
            ) from None
    if skipped:
        console.error(f"skipped {len(skipped)} of {len(paths)} images that cannot be read; the first: {skipped[0]}")
    return calibrated


def _spread(paths: List[str], count: int) -> List[str]:
    """Choose ``count`` of ``paths``, evenly spaced, so that every folder is represented."""
    if len(paths) <= count:
        return paths
    return [paths[index * len(paths) // count] for index in range(count)]


def _read(net: Any, paths: List[str], skipped: List[str]) -> Iterator[Any]:
    """Yield each image as a preprocessed batch of one; append the errors of unreadable ones to ``skipped``."""
    for path in paths:
        try:
            batch = net.preprocess(path)
        except UserError as error:
            skipped.append(str(error))
            continue
        yield batch


def _print_result(options: argparse.Namespace, variant: Any, calibrated: Optional[Any], skipped: List[str]) -> None:
    facts = {
        "output": options.output,
        "variant": variant.name,
        "fc_weights": options.fc_weights,
        "bytes": os.path.getsize(options.output),
        "calibration": None
        if calibrated is None
        else {
            "method": calibrated.method,
            "percentile": calibrated.percentile,
            "images": calibrated.images,
            "skipped": len(skipped),
            "scales": calibrated.scales,
        },
    }
    if options.json:
        console.write_json(facts)
        return
    line = (
        f"{one_line(options.output)}: variant {variant.name}, fc weights {options.fc_weights}, {facts['bytes']} bytes"
    )
    if calibrated is None:
        console.write(line + ", no calibration (precision int8 needs --calibrate DIR)")
        return
    console.write(line)
    from ..networks.layers import signed_inputs
    from ..quantize.calibration import QMAX_SIGNED, QMAX_UNSIGNED

    signed = signed_inputs(variant.layers())
    rows = []
    for name, scale in calibrated.scales.items():
        low, high = (-QMAX_SIGNED, QMAX_SIGNED) if signed[name] else (0, QMAX_UNSIGNED)
        rows.append((name, f"{scale:.6g}", f"{low * scale:.6g} .. {high * scale:.6g}"))
    method = calibrated.method
    if calibrated.percentile is not None:
        method = f"{method} {calibrated.percentile:g}"
    title = f"Calibration: {method}, {calibrated.images} images"
    console.table(title, ("layer", "scale", "input range"), rows, right=("scale",))
