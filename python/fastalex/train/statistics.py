"""The mean image and colors of a training set, computed by all processes of a run and cached in its folder."""

from __future__ import annotations

import os
from typing import Any, Callable, List, Optional, Tuple

import numpy as np

from .._util import console
from .._util.files import replacing
from ..images import profiles
from ..networks.architecture import Variant
from ..networks.torch_reference import pytorch
from . import color, data
from .parallel import Scheme
from .recipes import Recipe
from .settings import Settings

BATCH = 64  # images per process and batch
TakeBad = Callable[[List[Tuple[str, str]], int], Any]  # (path, reason) of unreadable images, number of processes


def of_training_set(
    recipe: Recipe,
    row: Variant,
    training: data.Images,
    scheme: Scheme,
    settings: Settings,
    take_bad: TakeBad,
    writes: bool,
) -> Optional[color.Statistics]:
    """Compute the statistics of ``training``; None if the recipe uses neither mean nor colors. A collective call.

    :param writes: whether this process caches them.
    :param take_bad: called with the unreadable images of this process, and the number of processes.
    """
    rules = recipe.augmentation
    uses_mean = rules.mean_image and profiles.get(row.profile).mean_image is not None
    if not uses_mean and rules.color == "off":
        return None
    path = os.path.join(settings.out, "statistics.npz")
    key = f"{data.fingerprint(training)} {row.input_size}"
    statistics = color.load(path, key)
    if scheme.largest(int(statistics is None)):  # a sum of integers, the same however it is divided
        statistics = _gather(row, training, scheme, settings, take_bad)
        if writes:
            with replacing(path) as stream:
                color.save(stream, statistics, key)
    return statistics


def _gather(
    row: Variant, training: data.Images, scheme: Scheme, settings: Settings, take_bad: TakeBad
) -> color.Statistics:
    torch = pytorch()
    canvas = color.Canvas(row)
    sums = color.Gatherer(canvas.side)
    dataset = data.Dataset(training, canvas, np.zeros((canvas.side, canvas.side, 3), np.uint8))
    indices = np.arange(len(training.samples))
    share = data.Batches(indices, BATCH * scheme.world, 0, scheme.rank, scheme.world)
    bad: List[Tuple[str, str]] = []
    with console.progress("mean and colors", len(share), settings.quiet or scheme.rank != 0) as show:
        for number, part in enumerate(data.loader(dataset, share, settings.workers)):
            bad += part.bad
            for image, label in zip(part.images.numpy(), part.labels):
                if label != data.IGNORED:
                    sums.add(image)
            show(number + 1)
    take_bad(bad, scheme.world)
    if scheme.world > 1:
        for array in sums.arrays():
            array[...] = scheme.processes.added(torch.from_numpy(array).to(scheme.device)).cpu().numpy()
        scheme.traffic.take()
    return sums.result()
