"""What a file says of the order of its layers, in the words of :class:`fastalex.Variant`."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple


class Step(NamedTuple):
    """One layer of a file that describes its network.

    ``kind`` is ``input``, ``conv``, ``act``, ``lrn``, ``spatial_norm``, ``pool``, ``fc``, or the file's own word for a
    layer that the family does not have. ``options`` holds what the file says: of a convolution ``kernel``, ``stride``,
    ``pad`` and ``groups``; of a pool ``kernel``, ``stride``, ``rounding``; of an activation its ``function``; of LRN
    ``size``, ``alpha`` (which is divided by the size), ``beta``, ``k`` and ``crosses_columns``; of an input ``size``.
    """

    kind: str
    name: str
    options: Dict[str, Any]
