"""Top-1 and top-5 accuracy of a network on labeled images, with the native engine."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from .. import images
from ..errors import UserError
from ..networks.imagenet_labels import imagenet_wnids
from . import data

TOP = 5


def class_numbers(classes: Sequence[str], labels: Optional[Sequence[str]], count: int) -> List[int]:
    """Match class folders with the network's classes; return the class number of each folder.

    Folders match by name, by WordNet identifier, or, if the network has no class names, by their order.

    :raises UserError: if they do not match.
    """
    if labels is not None and set(classes) <= set(labels):
        return [list(labels).index(name) for name in classes]
    if count == 1000 and set(classes) <= set(imagenet_wnids()):
        return [imagenet_wnids().index(name) for name in classes]
    if labels is None and len(classes) == count:
        return list(range(count))
    if labels is None:
        raise UserError(f"the data has {len(classes)} classes and the network {count}, which have no names")
    unknown = next(name for name in classes if name not in labels)
    raise UserError(f"the network has no class '{unknown}' (it has {', '.join(list(labels)[:3])}, ...)")


def evaluate(
    net: Any,
    dataset: data.Images,
    ten_crop: bool = False,
    batch: int = 32,
    bad: Optional[data.BadImages] = None,
    report: Callable[[int], None] = lambda done: None,
    confusion: Optional[np.ndarray] = None,
) -> Dict[str, Any]:
    """Evaluate an :class:`~fastalex.AlexNet` on ``dataset``; return ``{"images", "bad", "top1", "top5"}``.

    Of equal probabilities the lower class is first, as everywhere in fastalex.

    :param ten_crop: average the probabilities of ten views (Krizhevsky et al. 2012, section 4.1).
    :param batch: number of views per batch.
    :param bad: collects the unreadable images; default: none is accepted.
    :param report: called after each batch with the number of images done.
    :param confusion: whole numbers ``[classes, classes]``; each image adds 1 at its class and the one found for it.
    :raises UserError: if classes do not match, too many images cannot be read, or the profile does not crop.
    """
    numbers = class_numbers(dataset.classes, net.labels, net.variant.num_classes)
    if ten_crop:
        views_per_image = len(_views(net, np.zeros((8, 8, 3), np.uint8), True))  # raises if the profile does not crop
        batch = max(1, batch // views_per_image)
    counted = right = among = 0
    skipped = bad or data.BadImages(None, 0)
    for start in range(0, len(dataset.samples), batch):
        views: List[np.ndarray] = []
        targets: List[int] = []
        for sample in dataset.samples[start : start + batch]:
            try:
                views.append(_views(net, sample.source(), ten_crop))
            except (UserError, OSError) as error:
                skipped.add([(sample.where(), str(error))])
                skipped.check()
                continue
            targets.append(numbers[sample.label])
        if targets:
            probabilities = net.predict_proba(np.concatenate(views)).reshape(len(targets), len(views[0]), -1).mean(1)
            best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
            ranked = best == np.array(targets)[:, None]
            if confusion is not None:
                for place in zip(targets, best[:, 0]):
                    confusion[place] += 1
            counted, right, among = counted + len(targets), right + ranked[:, 0].sum(), among + ranked.sum()
        report(min(len(dataset.samples), start + batch))
    if not counted:
        raise UserError("none of the images can be read")
    facts = {"images": counted, "bad": len(skipped.seen)}
    return dict(facts, top1=float(right / counted), top5=float(among / counted))


def _views(net: Any, source: Any, ten_crop: bool) -> np.ndarray:
    views: np.ndarray
    if ten_crop:
        row = net.variant
        views = images.ten_crop(source, row.profile, row.input_size, mean_image=net.mean_image, channels=row.channels)
    else:
        views = net.preprocess(source)
    return views
