"""The order of layers in files that do not describe it: the file's own, or that of the numbers in the names."""

from __future__ import annotations

import math
import re
from typing import List, Mapping, Sequence, Tuple

Shape = Tuple[int, ...]
MOST_COLUMNS = 2  # groups of a convolution, of the networks of the family
_NUMBERS = re.compile(r"([0-9]+)")


def by_shapes(shapes: Mapping[str, Shape]) -> List[str]:
    """Sort layers with weights of ``shapes``, convolutions first.

    The order is the file's. Formats that sort their arrays (safetensors) have the alphabet's, which means nothing: the
    numbers in the names are compared then. An order is taken only if each layer reads what the one before it makes,
    unless none does.
    """
    names = sorted(shapes, key=lambda name: -len(shapes[name]))  # the sort is stable
    numbered = sorted(names, key=lambda name: (-len(shapes[name]), _with_numbers(name)))
    orders = [numbered, names] if list(shapes) == sorted(shapes) else [names, numbered]
    return next((order for order in orders if _fits([shapes[name] for name in order])), orders[0])


def _with_numbers(name: str) -> List[Tuple[int, int, str]]:
    """Return a key that compares digits as numbers."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _NUMBERS.split(name[:200])]


def _fits(shapes: Sequence[Shape]) -> bool:
    """Whether each layer reads as many channels or features as the one before it makes."""
    return all(_follows(before, after) for before, after in zip(shapes, shapes[1:]))


def _follows(before: Shape, after: Shape) -> bool:
    """Whether a layer with a weight of shape ``after`` can read what one of shape ``before`` makes."""
    if 0 in before or 0 in after:
        return False
    ratio, rest = divmod(before[0], after[1]) if len(after) == 4 else divmod(after[1], before[0])
    if len(after) == 4:
        return rest == 0 and ratio <= MOST_COLUMNS
    return rest == 0 and (ratio == 1 if len(before) == 2 else math.isqrt(ratio) ** 2 == ratio)
