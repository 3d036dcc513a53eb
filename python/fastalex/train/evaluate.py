"""Top-1 and top-5 of a network on labeled images, by the native engine."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from .. import images
from ..errors import UserError
from ..networks.imagenet_labels import imagenet_wnids
from . import data

TOP = 5


def class_numbers(classes: Sequence[str], labels: Optional[Sequence[str]], count: int) -> List[int]:
    """The network's class for each class folder: by its name, by its WordNet number, or, where the network has no
    names, by order.

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
    found: data.Images,
    ten_crop: bool = False,
    batch: int = 32,
    bad: Optional[data.BadImages] = None,
    report: Callable[[int], None] = lambda done: None,
) -> Dict[str, Any]:
    """``{"images", "bad", "top1", "top5"}`` of an :class:`~fastalex.AlexNet`.

    ``ten_crop``: the probabilities of ten views are averaged (Krizhevsky et al. 2012, section 4.1). Of equal
    probabilities the lower class is first, as everywhere in fastalex.
    """
    numbers = class_numbers(found.classes, net.labels, net.variant.num_classes)
    if ten_crop:
        views_of_one = len(_views(net, np.zeros((8, 8, 3), np.uint8), True))  # refuses a profile that does not crop
        batch = max(1, batch // views_of_one)
    counted = right = among = 0
    skipped = bad or data.BadImages(None, 0)
    for start in range(0, len(found.samples), batch):
        views: List[np.ndarray] = []
        wanted: List[int] = []
        for sample in found.samples[start : start + batch]:
            try:
                views.append(_views(net, sample.source(), ten_crop))
            except (UserError, OSError) as error:
                skipped.add([(sample.where(), str(error))])
                skipped.check()
                continue
            wanted.append(numbers[sample.label])
        if wanted:
            probabilities = net.predict_proba(np.concatenate(views)).reshape(len(wanted), len(views[0]), -1).mean(1)
            ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP] == np.array(wanted)[:, None]
            counted, right, among = counted + len(wanted), right + ranked[:, 0].sum(), among + ranked.sum()
        report(min(len(found.samples), start + batch))
    if not counted:
        raise UserError("none of the images can be read")
    facts = {"images": counted, "bad": len(skipped.seen)}
    return dict(facts, top1=float(right / counted), top5=float(among / counted))


def _views(net: Any, source: Any, ten_crop: bool) -> np.ndarray:
    if not ten_crop:
        return net.preprocess(source)
    return images.ten_crop(source, net.variant.profile, net.variant.input_size, mean_image=net.mean_image)
