"""Precomputed features of images that are compared more than once."""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

import numpy as np

from ..errors import UserError

#: The weights and settings that features depend on: digest of the weights, precision, version, eps, inside.
Fingerprint = Tuple[str, str, str, float, bool]


class Features:
    """Features of a batch of images, computed by :meth:`LPIPS.features`: unit vectors at each position of five maps.

    ``len()`` is the number of images; an index or slice selects the features of those images, without a copy.

    :ivar maps: float32 ``[N, C, h, w]`` for each layer.
    :ivar size: ``(height, width)`` of the images.
    :ivar fingerprint: of the metric; features of different metrics cannot be compared.
    """

    def __init__(self, maps: Sequence[np.ndarray], size: Tuple[int, int], fingerprint: Fingerprint) -> None:
        self.maps: List[np.ndarray] = list(maps)
        self.size = size
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self.maps[0])

    def __getitem__(self, key: Any) -> Features:
        if isinstance(key, (int, np.integer)):
            if not -len(self) <= key < len(self):
                raise IndexError(f"there are features of {len(self)} images, not of number {key}")
            key = slice(int(key), int(key) + 1 or None)
        if not isinstance(key, slice):
            raise TypeError(f"features take an integer or a slice, not {type(key).__name__}")
        return Features([array[key] for array in self.maps], self.size, self.fingerprint)

    @property
    def nbytes(self) -> int:
        """Size of the maps in bytes."""
        return sum(array.nbytes for array in self.maps)

    @staticmethod
    def concatenate(parts: Sequence[Features]) -> Features:
        """Concatenate ``parts`` along the images.

        :raises UserError: if there are no parts, or they differ in image size or metric.
        """
        if not parts:
            raise UserError("there are no features to concatenate")
        first = parts[0]
        for part in parts:
            if part.size != first.size or part.fingerprint != first.fingerprint:
                raise UserError("features of several image sizes or metrics cannot be concatenated")
        maps = [np.concatenate(layer) for layer in zip(*(part.maps for part in parts))]
        return Features(maps, first.size, first.fingerprint)

    def __repr__(self) -> str:
        height, width = self.size
        return f"Features of {len(self)} images of {height} x {width}, {self.nbytes / 1e6:.1f} MB"
