"""The classes of ImageNet's ILSVRC 2012: those of a network with 1000 outputs that does not say what they are."""

from __future__ import annotations

import pkgutil
from functools import lru_cache
from typing import List, Tuple


@lru_cache(maxsize=1)
def _imagenet_classes() -> Tuple[Tuple[str, str], ...]:
    """(wnid, label) of each class; the source and the license are in the head of the file."""
    data = pkgutil.get_data("fastalex", "data/imagenet_labels.txt")
    assert data is not None  # the loader of a package on disk or in a zip returns bytes or raises
    lines = [line for line in data.decode("utf-8").splitlines() if not line.startswith("#")]
    return tuple((wnid, label) for wnid, _, label in (line.partition(" ") for line in lines))


def imagenet_labels() -> List[str]:
    """The names of the 1000 ILSVRC 2012 classes, in the order of the outputs of Caffe's and torchvision's networks."""
    return [label for _, label in _imagenet_classes()]


def imagenet_wnids() -> List[str]:
    """The WordNet identifiers of the same 1000 classes, such as ``n01440764``."""
    return [wnid for wnid, _ in _imagenet_classes()]
