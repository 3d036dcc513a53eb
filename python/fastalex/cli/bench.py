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
        "--weights", default="random", metavar="W", help="weights file, 'digits' or 'random' (default: random)"
    )
    parser.add_argument("--batch", type=positive, nargs="+", default=[1], metavar="N", help="batch sizes (default: 1)")
    parser.add_argument(
        "--repeat", type=positive, default=20, metavar="N", help="timed runs per batch size (default: 20)"
    )


def run(options: argparse.Namespace) -> int:
    """Print the time per batch, from random images (seeded) to logits, after a warm-up."""
    largest = max(options.batch)
    if largest > MAX_BATCH:
        raise UserError(f"--batch must be at most {MAX_BATCH}, not {largest}")
    net = net_from(options)
    rows = [_measure(net, batch, options.repeat) for batch in options.batch]
    if options.json:
        console.write_json(dict(net_facts(net), param_bytes=net.param_bytes, weights=options.weights, batches=rows))
        return OK
    exact = ", exact" if net.exact else ""
    console.write(
        f"{device_line(net, options)}, variant {net.variant.name}, {net.precision}{exact}, "
        f"fc weights {net.fc_weights}\n"
    )
    columns = ("batch", "median ms", "p10 ms", "p90 ms", "images/s", "runs")
    keys = ("median_ms", "p10_ms", "p90_ms")
    cells = [
        (row["batch"], *(f"{row[key]:.3f}" for key in keys), f"{row['images_per_s']:.1f}", row["runs"]) for row in rows
    ]
    console.table("", columns, cells, right=columns)
    return OK


def _measure(net: Any, batch: int, repeat: int) -> Dict[str, Any]:
    """Measure the times of ``repeat`` runs in ms, after a warm-up of one or more runs and :data:`WARM_UP_S`."""
    import time

    import numpy as np

    row = net.variant
    images = np.random.default_rng(0).standard_normal((batch, row.channels, row.input_size, row.input_size), np.float32)
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
