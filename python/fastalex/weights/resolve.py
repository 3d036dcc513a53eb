"""From what a caller passes as ``weights=`` to a network of the family: its variant, and the names of its classes."""

from __future__ import annotations

import os
import warnings
from typing import Any, List, Mapping, Optional, Union

from ..errors import UserError
from ..networks import imagenet_labels, variants
from ..networks.architecture import Variant
from . import Weights, adapt, load_named
from .mappings import from_mapping

DEFAULT_VARIANT = "alexnet2012"


def load(given: Union[str, os.PathLike, Mapping[str, Any], None]) -> Optional[Weights]:
    """The weights that ``given`` means; None for random ones.

    :raises UserError: for what is no path, name or mapping, or a file that cannot be used.
    """
    if given is None or (isinstance(given, str) and given == "random"):
        return None
    if isinstance(given, Mapping):
        return from_mapping(given)
    if not isinstance(given, (str, os.PathLike)):
        raise UserError(f"weights must be a path, a name or a mapping of arrays, not {type(given).__name__}")
    return load_named(given)


def variant(
    loaded: Optional[Weights],
    wanted: Union[str, Variant, None],
    num_classes: Optional[int],
    overrides: Mapping[str, Any],
    stacklevel: int,
) -> Variant:
    """The variant ``wanted``, or the one that the weights are for; where shapes leave a choice, a warning says so.

    :raises UserError: if there is no such variant, or the weights fit none.
    """
    if num_classes is None and isinstance(wanted, str) and loaded:
        num_classes = adapt.class_count(loaded)
    base = wanted
    if base is None and loaded is not None and loaded.arrays:
        found = adapt.find(loaded)
        if not found.certain:
            warnings.warn(f"variant {found.variant.name}: {found.note}", stacklevel=stacklevel + 1)
        base = found.variant
    return variants.get(base or DEFAULT_VARIANT, num_classes=num_classes, **overrides)


def labels(loaded: Optional[Weights], row: Variant) -> Optional[List[str]]:
    """The names of the classes: the file's own, ImageNet's for a network of its size, else None."""
    names = loaded.labels() if loaded else None
    if names is None and row.num_classes == 1000:
        names = imagenet_labels.imagenet_labels()
    return names if names is not None and len(names) == row.num_classes else None
