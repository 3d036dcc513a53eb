"""The order of layers in files that do not describe it: the file's own, or that of the numbers in the names."""

from __future__ import annotations

import math
import re
from typing import Dict, List, Mapping, Sequence, Tuple

from .graph import shown

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


def doubts(shapes: Mapping[str, Shape], order: Sequence[str]) -> List[str]:
    """Return a note if another ``order`` of layers with equal shapes would fit as well, and the names suggest it.

    In a file that sorts its arrays these are layers whose names differ in more than numbers; in another one, layers
    whose numbers are not in the order of the file.
    """
    is_sorted = list(shapes) == sorted(shapes)
    last: Dict[Shape, str] = {}
    for name in order:
        before = last.get(shapes[name])
        last[shapes[name]] = name
        if before is None:
            continue
        same_words = _NUMBERS.sub("", before) == _NUMBERS.sub("", name)
        if not same_words if is_sorted else same_words and _with_numbers(before) > _with_numbers(name):
            first, second = shown(before), shown(name)
            return [f"its layers '{first}' and '{second}' have the same shape, and are taken to be in this order"]
    return []


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
