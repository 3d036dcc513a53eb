"""The layers that a file describes, in the terms of :class:`fastalex.Variant`."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple


class Step(NamedTuple):
    """A layer of a file that describes its network.

    ``kind`` is ``input``, ``conv``, ``act``, ``lrn``, ``spatial_norm``, ``pool``, ``avgpool``, ``fc`` or ``softmax``.
    ``options`` holds the constants that the file states: ``kernel``, ``stride``, ``pad`` and ``groups`` of a
    convolution; ``kernel``, ``stride`` and ``rounding`` of a pool; ``out`` of an average pool; the ``function`` of an
    activation; ``size``, ``alpha`` (divided by the size in the formula), ``beta``, ``k`` and ``crosses_columns`` of
    LRN; the ``size`` of the input.
    """

    kind: str
    name: str
    options: Dict[str, Any]
