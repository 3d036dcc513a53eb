"""The command ``fastalex bench``."""

from __future__ import annotations

import argparse
from typing import Any, Dict

from .._util import console
from ..errors import UserError
from .common import MAX_BATCH, OK, device_line, net_facts, net_from
from .options import add_command, add_net, positive

WARM_UP_S = 0.5


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "bench", run, "measure inference time on this machine")
    add_net(parser, "that of the weights, otherwise alexnet2012")
    parser.add_argument(
        "--weights", default="random", metavar="W", help="weights file, a name of weights or 'random' (default: random)"
    )
    parser.add_argument("--batch", type=positive, nargs="+", default=[1], metavar="N", help="batch sizes (default: 1)")
    parser.add_argument(
        "--repeat", type=positive, default=20, metavar="N", help="timed runs per batch size (default: 20)"
    )
    parser.add_argument(
        "--density",
        metavar="D",
        help="share of the inputs of fc6, fc7 and fc8 that is not zero, above 0 and at most 1, or three such numbers "
        "(0.35,0.35,0.375); shifts biases of random weights until the smallest batch has it (default: as drawn)",
    )
    parser.add_argument(
        "--trace",
        metavar="FILE",
        help="also write the steps of three runs of the first batch size to a JSON file that ui.perfetto.dev opens",
    )


def run(options: argparse.Namespace) -> int:
    """Print the time per batch, from random images (seeded) to logits, after a warm-up; and the density that it was at.

    The densities are counted after everything is timed.
    """
    from .. import density

    largest = max(options.batch)
    if largest > MAX_BATCH:
        raise UserError(f"--batch must be at most {MAX_BATCH}, not {largest}")
    net = net_from(options) if options.density is None else _net_of_density(options)
    if options.trace is not None:
        _write_trace(options.trace, net, options.batch[0])
    rows = [_measure(net, batch, options.repeat) for batch in options.batch]
    counted = _counted(net)
    for row in rows:
        row["density"] = density.means(density.measure(counted, _images(net.variant, row["batch"])))
    if options.json:
        console.write_json(dict(net_facts(net), param_bytes=net.param_bytes, weights=options.weights, batches=rows))
        return OK
    exact = ", exact" if net.exact else ""
    layout = f" for {net.fc_layout}" if net.fc_layout else ""
    console.write(
        f"{device_line(net, options)}, variant {net.variant.name}, {net.precision}{exact}, fc weights {net.fc_weights}"
        f"{layout}"
    )
    for row in rows:
        console.write(f"inputs that are not zero, batch {row['batch']}: {density.in_words(row['density'])}")
    console.write("")
    columns = ("batch", "median ms", "p10 ms", "p90 ms", "images/s", "runs")
    keys = ("median_ms", "p10_ms", "p90_ms")
    cells = [
        (row["batch"], *(f"{row[key]:.3f}" for key in keys), f"{row['images_per_s']:.1f}", row["runs"]) for row in rows
    ]
    console.table("", columns, cells, right=columns)
    return OK


def _write_trace(path: str, net: Any, batch: int) -> None:
    """Write a trace of the engine's steps; before everything is timed, so that a wrong path is found at once."""
    import json

    from .._util.files import replacing
    from ..inspection import timeline

    with replacing(path) as stream:
        stream.write(json.dumps(timeline.trace(net, batch)).encode("ascii"))


def _images(row: Any, batch: int) -> Any:
    """Draw the images; those of a smaller batch are the first of a larger one."""
    import numpy as np

    return np.random.default_rng(0).standard_normal((batch, row.channels, row.input_size, row.input_size), np.float32)


def _net_of_density(options: argparse.Namespace) -> Any:
    """Build the network with random weights of the density that ``options`` ask for."""
    from .. import density
    from ..networks import variants
    from ..runtime import device_spec, precisions
    from ..weights import resolve

    if options.weights != "random":
        raise UserError("--density shifts the biases of random weights: leave out --weights, or --density")
    shares = density.parse(options.density)
    device = device_spec.choose(options.device)
    _, fc_weights = precisions.resolve(device, options.precision, options.fc_weights)
    row = variants.get(options.variant or resolve.DEFAULT_VARIANT)
    images = _images(row, min(options.batch))
    arrays = density.random_weights(row, images, shares, fc_weights, threads=options.threads)
    return net_from(argparse.Namespace(**dict(vars(options), variant=row, weights=arrays)))


def _counted(net: Any) -> Any:
    """Return the network whose zeros are counted: ``net``, or its like on the CPU where a tap costs a new engine."""
    if not net.engine:
        return net
    from ..model import AlexNet

    return AlexNet(net.variant, weights=net.state_dict(), device="cpu", fc_weights=net.fc_weights)


def _measure(net: Any, batch: int, repeat: int) -> Dict[str, Any]:
    """Measure the times of ``repeat`` runs in ms, after a warm-up of one or more runs and :data:`WARM_UP_S`."""
    import time

    import numpy as np

    images = _images(net.variant, batch)
    start = time.perf_counter()
    net(images)
    while time.perf_counter() - start < WARM_UP_S:
        net(images)
    times = []
    for _ in range(repeat):
        before = time.perf_counter()
        net(images)
        times.append(1e3 * (time.perf_counter() - before))
    p10, median, p90 = (float(value) for value in np.percentile(times, (10, 50, 90)))
    figures = {"median_ms": median, "p10_ms": p10, "p90_ms": p90, "images_per_s": 1e3 * batch / median}
    return dict(figures, batch=batch, runs=repeat)
