"""Mean image and colours of a run's training set: gathered by all its processes, and kept in its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional, Tuple

import numpy as np

from .. import console, profiles
from ..files import replacing
from ..reference import pytorch
from . import colour, data

if TYPE_CHECKING:
    from .loop import Run

BATCH = 64  # images of each process at once


def of_training_set(run: Run) -> Optional[colour.Statistics]:
    """None if the recipe uses neither mean nor colours. A collective call."""
    rules = run.recipe.augmentation
    takes_mean = rules.mean_image and profiles.get(run.row.profile).mean_image is not None
    if not takes_mean and rules.colour == "off":
        return None
    path, key = run.path("statistics.npz"), "%s %s" % (data.fingerprint(run.training), run.row.input_size)
    found = colour.load(path, key)
    if found is None:
        found = _gather(run)
        if run.first:
            with replacing(path) as stream:
                colour.save(stream, found, key)
    return found


def _gather(run: Run) -> colour.Statistics:
    torch, scheme = pytorch(), run.scheme
    canvas = colour.Canvas(run.row)
    sums = colour.Gatherer(canvas.side)
    dataset = data.Dataset(run.training, canvas, np.zeros((canvas.side, canvas.side, 3), np.uint8))
    indices = np.arange(len(run.training.samples))
    share = data.Batches(indices, BATCH * scheme.world, 0, scheme.rank, scheme.world)
    bad: List[Tuple[str, str]] = []
    with console.progress("mean and colours", len(share), run.settings.quiet or not run.first) as show:
        for number, part in enumerate(data.loader(dataset, share, run.settings.workers)):
            bad += part.bad
            for image, label in zip(part.images.numpy(), part.labels):
                if label != data.IGNORED:
                    sums.add(image)
            show(number + 1)
    run.found_bad(bad, scheme.world)
    if scheme.world > 1:
        for array in sums.arrays():
            array[...] = scheme.link.added(torch.from_numpy(array).to(scheme.device)).cpu().numpy()
        scheme.traffic.take()
    return sums.result()
