"""The command ``fastalex quantize``."""

from __future__ import annotations

import argparse
import os
from typing import Any, Iterator, List, Optional

from .._util import console
from ..errors import UserError
from .common import check_file, profile_name
from .options import add_check, add_command, positive


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    text = "write weights in fewer bits, with the ranges that int8 precision needs"
    parser = add_command(commands, "quantize", run, text)
    parser.add_argument("input", metavar="WEIGHTS", help="a weights file, 'digits', or what 'fastalex weights' lists")
    parser.add_argument("output", metavar="OUT", help="the file to write, .safetensors or .npz")
    parser.add_argument("--calibrate", metavar="DIR", help="images like those to come, in this folder and below it")
    parser.add_argument(
        "--method", default="percentile", metavar="M", help="of calibration: percentile (default), entropy or max"
    )
    parser.add_argument(
        "--percentile", type=float, metavar="P", help="share of the activations that is not clipped (99.99)"
    )
    parser.add_argument("--images", type=positive, default=512, metavar="N", help="look at N of the images (512)")
    parser.add_argument(
        "--fc-weights", default="int8", metavar="T", help="fully connected weights: int8 (default), int4 or fp32"
    )
    parser.add_argument("--profile", metavar="P", help="preprocessing; default: the variant's own")
    parser.add_argument("--variant", metavar="V", help="see 'fastalex summary'; default: found from the file")
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads; default: all it may use")
    add_check(parser)


def run(options: argparse.Namespace) -> int:
    """Write ``options.input`` with its fully connected weights in fewer bits, and with a calibration if asked for."""
    from .. import weights
    from .._util import arguments
    from ..networks import variants
    from ..quantize import calibration
    from ..weights import adapt, initial, quantized, registry

    arguments.one_of("--fc-weights", options.fc_weights, ("fp32", *quantized.STORAGES))
    arguments.one_of("--method", options.method, calibration.METHODS)
    if os.path.splitext(options.output)[1].lower() not in weights.FORMATS:
        raise UserError(f"{options.output} must end in {' or '.join(weights.FORMATS)}")
    if options.percentile is not None and (options.calibrate is None or options.method != "percentile"):
        raise UserError("--percentile goes with --calibrate DIR and --method percentile")
    loaded = weights.load(registry.locate(options.input))
    row = adapt.find(loaded).variant if options.variant is None else options.variant
    classes = adapt.class_count(loaded) if isinstance(row, str) else None
    variant = variants.get(row, num_classes=classes, profile=profile_name(options.profile))
    arrays = adapt.fit(loaded, variant)
    values = initial.check(variant, arrays, options.fc_weights)
    check_file(options, loaded, variant, arrays)
    skipped: List[str] = []
    found = loaded.calibration() if options.calibrate is None else _calibrated(options, loaded.path, variant, skipped)
    metadata = {key: value for key, value in loaded.metadata.items() if key not in quantized.KEYS}
    metadata.update(weights.metadata_for(variant, None, found))
    # Levels that are there already are written as they are.
    named = zip(variant.parameter_shapes(), values)
    arrays = {name: arrays[name] if isinstance(value, tuple) else value for name, value in named}
    if options.fc_weights != "fp32":
        arrays, added = quantized.to_file(arrays, variant, options.fc_weights)
        metadata.update(added)
    weights.save(options.output, arrays, metadata)
    _say(options, variant, found, skipped)
    return 0


def _calibrated(options: argparse.Namespace, weights: str, variant: Any, skipped: List[str]) -> Any:
    """The calibration of the network in fp32 on the CPU: a matter of seconds, and the same everywhere.

    What is wrong with an image that cannot be read goes to ``skipped``.
    """
    from .. import quantize as calibrating
    from ..images import listing
    from ..model import AlexNet

    percentile = calibrating.PERCENTILE if options.percentile is None else options.percentile
    paths = _spread(listing.below(options.calibrate), options.images)
    net = AlexNet(variant, weights=weights, device="cpu", fc_weights="fp32", threads=options.threads)
    with console.progress("calibrating", len(paths), options.json) as report:
        try:
            found = calibrating.calibrate(
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
        facts = (len(skipped), len(paths), skipped[0])
        console.error("%d of %d images cannot be read and are left out; the first: %s" % facts)
    return found


def _spread(paths: List[str], count: int) -> List[str]:
    """``count`` of ``paths``, evenly spaced, so that each of the folders has its share."""
    if len(paths) <= count:
        return paths
    return [paths[index * len(paths) // count] for index in range(count)]


def _read(net: Any, paths: List[str], skipped: List[str]) -> Iterator[Any]:
    """Each image as a preprocessed batch of one; what cannot be read goes to ``skipped``."""
    for path in paths:
        try:
            batch = net.preprocess(path)
        except UserError as error:
            skipped.append(str(error))
            continue
        yield batch


def _say(options: argparse.Namespace, variant: Any, found: Optional[Any], skipped: List[str]) -> None:
    facts = {
        "output": options.output,
        "variant": variant.name,
        "fc_weights": options.fc_weights,
        "bytes": os.path.getsize(options.output),
        "calibration": None
        if found is None
        else {
            "method": found.method,
            "percentile": found.percentile,
            "images": found.images,
            "skipped": len(skipped),
            "scales": found.scales,
        },
    }
    if options.json:
        console.write_json(facts)
        return
    line = f"{console.printable(options.output)}: variant {variant.name}, fc weights {options.fc_weights}, {facts['bytes']} bytes"
    if found is None:
        console.write(line + ", no calibration (--calibrate DIR for precision int8)")
        return
    console.write(line)
    from ..networks.layers import signed_inputs
    from ..quantize.calibration import QMAX_SIGNED, QMAX_UNSIGNED

    signed = signed_inputs(variant.layers())
    rows = []
    for name, scale in found.scales.items():
        low, high = (-QMAX_SIGNED, QMAX_SIGNED) if signed[name] else (0, QMAX_UNSIGNED)
        rows.append((name, f"{scale:.6g}", f"{low * scale:.6g} .. {high * scale:.6g}"))
    how = f"{found.method} {found.percentile:g}" if found.percentile is not None else found.method
    title = f"Calibration: {how}, {found.images} images"
    console.table(title, ("layer", "scale", "range of its input"), rows, right=("scale",))
