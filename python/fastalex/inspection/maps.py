"""Maps: what each unit of a layer makes of an image, as grids of gray cells, and one of them large."""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np

from .._util.arguments import one_of
from ..networks.architecture import Variant
from .inputs import computed, index_of, one, tapped
from .pictures import enlarged, gray_levels, tiles

SCALES = ("layer", "unit")


class Shown(NamedTuple):
    """A layer that can be looked at: its name, its op, and its ``shape``, ``(C, H, W)`` or ``(features,)``."""

    name: str
    op: str
    shape: Tuple[int, ...]


def layers(variant: Variant) -> List[Shown]:
    """Return the layers that can be looked at, from the first to the last; dropout, the identity here, is left out."""
    return [Shown(layer.name, layer.op, tuple(layer.out_shape)) for layer in computed(variant).values()]


def values(net: Any, image: Any, layer: str, profile: Any = None) -> np.ndarray:
    """Return the result of a layer for an image, float32 ``[C, H, W]`` or ``[features]``.

    :param layer: a name as for :meth:`fastalex.AlexNet.taps`.
    :raises UserError: for a layer that does not exist, an image that cannot be read, or results that are not finite.
    """
    result: np.ndarray = tapped(net, one(net, image, profile), [layer])[layer][0]
    return result


def map_grid(
    values: np.ndarray, scale: str = "layer", columns: Optional[int] = None, gap: Optional[int] = None
) -> np.ndarray:
    """Return all units of a layer as one gray picture, uint8 ``[H, W]``; those of a vector are single pixels.

    Black is the lowest value, or zero if there is no negative one, and white the highest.

    :param values: a result of :func:`values`.
    :param scale: the lowest and the highest of the whole ``"layer"``, or of each ``"unit"``.
    :param columns: cells in a row; default: those of :func:`.pictures.grid_shape`.
    :param gap: pixels between cells; default: 1 between maps, none between single pixels.
    """
    one_of("scale", scale, SCALES)
    cells = _cells(values)
    low, high = _range(cells, (1, 2) if scale == "unit" else None)
    gap = int(cells.shape[1] > 1) if gap is None else gap
    return tiles(gray_levels(cells, low, high), columns, gap)


def one_map(values: np.ndarray, unit: int, side: Optional[int] = None) -> np.ndarray:
    """Return one unit's map as a gray picture, uint8, ``side`` pixels wide; default: a pixel for each place.

    :raises UserError: if there is no such unit.
    """
    cells = _cells(values)
    cell = cells[index_of("unit", unit, len(cells))]
    picture = gray_levels(cell, *_range(cell, None))
    return picture if side is None else enlarged(picture, side)


def _cells(values: np.ndarray) -> np.ndarray:
    return values if values.ndim == 3 else values.reshape(-1, 1, 1)


def _range(values: np.ndarray, axes: Any) -> Tuple[np.ndarray, np.ndarray]:
    """Return the values that are black and white, along ``axes``."""
    return np.minimum(0, values.min(axis=axes, keepdims=True)), values.max(axis=axes, keepdims=True)
