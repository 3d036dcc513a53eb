"""The meaning of an argument ``weights=``: the weights, the variant that they are for, and the names of its classes."""

from __future__ import annotations

import os
import warnings
from typing import Any, List, Mapping, Optional, Union

from ..errors import UserError, one_line
from ..networks import imagenet_labels, variants
from ..networks.architecture import Variant
from . import PathLike, Weights, adapt, load_named, selection
from .mappings import from_mapping

DEFAULT_VARIANT = "alexnet2012"


def load(weights: Union[PathLike, Mapping[str, Any], None], mmap: bool = True) -> Optional[Weights]:
    """Load the ``weights`` of a path, a name or a mapping of arrays; return None for random ones.

    :param mmap: as for :func:`fastalex.weights.load`.
    :raises UserError: for an argument of another kind, or a file that cannot be used.
    """
    if weights is None or (isinstance(weights, str) and weights == "random"):
        return None
    if isinstance(weights, Mapping):
        return selection.select(from_mapping(weights))
    if not isinstance(weights, (str, os.PathLike)):
        raise UserError(f"weights must be a path, a name or a mapping of arrays, not {type(weights).__name__}")
    return load_named(weights, mmap)


def variant(
    loaded: Optional[Weights],
    requested: Union[str, Variant, None],
    num_classes: Optional[int],
    overrides: Mapping[str, Any],
    stacklevel: int,
) -> Variant:
    """Return the variant ``requested``, or the one that the weights are for, with ``overrides``.

    A warning says if the weights fit several variants, and what of the file was left out.

    :raises UserError: if there is no such variant, or the weights fit none.
    """
    if loaded is None or not loaded.arrays:
        return variants.get(requested or DEFAULT_VARIANT, num_classes=num_classes, **overrides)
    return adapt.row_for(loaded, chosen(loaded, requested, stacklevel + 1), num_classes, **overrides)


def chosen(loaded: Weights, requested: Union[str, Variant, None], stacklevel: int) -> Union[str, Variant]:
    """Return the variant ``requested``, or the one that the weights are for.

    A warning says if the weights fit several variants, and what of the file was left out.

    :raises UserError: if the weights fit none.
    """
    if loaded.notes:
        text = one_line(f"{loaded.path or 'weights'}: {'; '.join(loaded.notes)}")
        warnings.warn(text, stacklevel=stacklevel + 1)
    if requested is not None:
        return requested
    match = adapt.find(loaded)
    if not match.certain:
        warnings.warn(f"variant {match.variant.name}: {match.note}", stacklevel=stacklevel + 1)
    return match.variant


def labels(loaded: Optional[Weights], row: Variant) -> Optional[List[str]]:
    """Return the names of the classes: the file's own, ImageNet's for a network with 1000 outputs, else None."""
    names = loaded.labels() if loaded else None
    if names is None and row.num_classes == 1000:
        names = imagenet_labels.imagenet_labels()
    return names if names is not None and len(names) == row.num_classes else None
