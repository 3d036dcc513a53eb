"""What the functions of this room take: one image, a unit, a class; and the check that values are finite."""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import numpy as np

from .._util.arguments import brief, is_int
from ..errors import UserError
from ..networks import taps
from ..networks.architecture import Variant
from ..networks.layers import Layer

Report = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Report nothing."""


def one(net: Any, image: Any, profile: Any = None) -> np.ndarray:
    """Return ``image``, an image or a preprocessed batch of one, as the input of ``net``: float32 ``[1, C, S, S]``.

    :raises UserError: if it cannot be read, or is several images.
    """
    prepared = isinstance(image, np.ndarray) and image.ndim == 4 and image.dtype == np.float32
    batch: np.ndarray = image if prepared else net.preprocess(image, profile)
    if len(batch) != 1:
        raise UserError(f"give one image, not {len(batch)}")
    return batch


def tapped(net: Any, x: np.ndarray, names: Sequence[str]) -> Dict[str, np.ndarray]:
    """Return the results of layers for a preprocessed batch, float32 arrays by name, all of them finite.

    :raises UserError: for a layer that the network does not have, or results that are not finite.
    """
    results = {name: np.asarray(values) for name, values in net.taps(x, list(names)).items()}
    for name, values in results.items():
        check_finite(values, f"the results of {name}")
    return results


def check_finite(values: np.ndarray, what: str) -> np.ndarray:
    """Return ``values`` if all are finite.

    :raises UserError: if one is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise UserError(f"{what} have NaN or infinity, so there is nothing to show; check the weights and the image")
    return values


def index_of(what: str, index: Any, count: int) -> int:
    """Return ``index`` if it is a whole number from 0 to ``count - 1``; ``what`` it is an index of, ``"class"``.

    :raises UserError: if it is not.
    """
    whole = is_int(index) or isinstance(index, np.integer)
    if not whole or not 0 <= index < count:
        raise UserError(f"there is no {what} {brief(index)}; the numbers go from 0 to {count - 1}")
    return int(index)


def class_of(net: Any, index: Optional[int], scores: np.ndarray) -> int:
    """Return the class ``index``, or that of the highest of the ``scores`` if it is None.

    :raises UserError: if there is no such class.
    """
    return int(np.argmax(scores)) if index is None else index_of("class", index, net.variant.num_classes)


def computed(variant: Variant) -> Dict[str, Layer]:
    """Return the layers that compute something, by name: all but dropout, the identity when a network is used."""
    return {layer.name: layer for layer in variant.layers() if layer.op != "dropout"}


def hidden(variant: Variant) -> str:
    """Return the name of the last hidden layer: fc7 after its activation, if it has one."""
    names = [layer.name for layer in computed(variant).values()]
    return names[names.index("fc8") - 1]


def shape_of(variant: Variant, layer: str) -> Tuple[int, int, int]:
    """Return (units, height, width) of the result of a layer; a vector has one place.

    :raises UserError: for a layer that does not exist.
    """
    row = computed(variant).get(taps.resolve(variant, [layer])[0])
    shape = row.out_shape if row is not None else (variant.num_classes,)  # the softmax behind the last layer
    units, height, width = shape if len(shape) == 3 else (shape[0], 1, 1)
    return units, height, width
