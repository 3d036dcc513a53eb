"""Figure 3 of the paper: the kernels that conv1 has learned, as small color pictures, a block for each column.

The paper shows 96 kernels of 11 x 11 x 3: 48 of the first GPU, and below them 48 of the second. A network of two
columns is shown in the same way; one of a single column is one block.
"""

from __future__ import annotations

from typing import Any, List

import numpy as np

from .._util.arguments import one_of
from ..errors import UserError
from ..images import profiles
from .inputs import check_finite
from .pictures import WHITE, tiles

SCALES = ("filter", "all")
COLUMNS_OF_TWO = 16  # tiles in a row of figure 3


def filters(net: Any, scale: str = "filter") -> List[np.ndarray]:
    """Return conv1's kernels as colors: for each column of the network uint8 ``[K, 11, 11, 3]``, RGB.

    A weight of zero is middle gray, and the largest weight by amount is black or white. The planes of a network that
    takes blue, green, red are turned around; a network of one channel gives shades of gray.

    :param scale: compare weights with the largest of the same ``"filter"``, or with the largest of ``"all"``.
    :raises UserError: for another scale, a network of neither 3 channels nor 1, or weights that are not finite.
    """
    one_of("scale", scale, SCALES)
    row = net.variant
    if row.channels not in profiles.CHANNELS:
        raise UserError(f"conv1 of {row.name} reads {row.channels} channels, which are not colors; 3 or 1 can be shown")
    first = next(layer for layer in row.layers() if layer.op == "conv")
    weights = check_finite(net.get_parameter(first.param + ".weight"), f"the weights of {first.name}")
    if profiles.get(row.profile).order == "BGR":
        weights = weights[:, ::-1]
    largest = np.abs(weights).max(axis=(1, 2, 3) if scale == "filter" else None, keepdims=True)
    share = np.divide(weights, largest, out=np.zeros_like(weights), where=largest > 0)
    colors = np.rint(127.5 + 127.5 * share).astype(np.uint8).transpose(0, 2, 3, 1)
    colors = np.broadcast_to(colors, (*colors.shape[:3], 3))
    return list(colors.reshape(_columns(row), -1, *colors.shape[1:]))


def filter_grid(net: Any, scale: str = "filter", gap: int = 1) -> np.ndarray:
    """Return conv1's kernels as one picture, uint8 ``[H, W, 3]``: the blocks of :func:`filters`, one below the other.

    A white bar of three gaps and a kernel's half divides the columns of a network that has two.
    """
    blocks = filters(net, scale)
    columns = COLUMNS_OF_TWO if len(blocks) > 1 and len(blocks[0]) >= COLUMNS_OF_TWO else None
    pages = [tiles(block, columns, gap) for block in blocks]
    bar = np.full((3 * gap + blocks[0].shape[1] // 2, *pages[0].shape[1:]), WHITE, np.uint8)
    parts = [pages[0]]
    for page in pages[1:]:
        parts += [bar, page]
    return np.concatenate(parts)


def _columns(row: Any) -> int:
    """Return the number of columns that conv1's kernels belong to: conv2 keeps them apart by its groups."""
    return int(row.columns) if row.widths[0] % row.columns == 0 else 1
