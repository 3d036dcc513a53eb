"""The public names of :mod:`fastalex.networks`: the variants of the family, and the classes that describe one."""

from __future__ import annotations

from .networks.architecture import LRN, SpatialNorm, Variant
from .networks.variants import VARIANTS, from_dict, get

__all__ = ["LRN", "VARIANTS", "SpatialNorm", "Variant", "from_dict", "get"]
