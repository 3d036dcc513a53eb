"""The classes of ImageNet's ILSVRC 2012, the default for a network with 1000 outputs."""

from __future__ import annotations

import pkgutil
from functools import lru_cache
from typing import List, Tuple


@lru_cache(maxsize=1)
def _imagenet_classes() -> Tuple[Tuple[str, str], ...]:
    """Return the (WordNet identifier, label) of each class; the data file starts with its source and license."""
    data = pkgutil.get_data("fastalex", "data/imagenet_labels.txt")
    assert data is not None  # a loader from disk or from a zip returns bytes or raises
    lines = [line for line in data.decode("utf-8").splitlines() if not line.startswith("#")]
    return tuple((wnid, label) for wnid, _, label in (line.partition(" ") for line in lines))


def imagenet_labels() -> List[str]:
    """Return the names of the 1000 ILSVRC 2012 classes, in the order of Caffe's and torchvision's outputs."""
    return [label for _, label in _imagenet_classes()]


def imagenet_wnids() -> List[str]:
    """Return the WordNet identifiers of the same 1000 classes, such as ``n01440764``."""
    return [wnid for wnid, _ in _imagenet_classes()]
