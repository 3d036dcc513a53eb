"""The types in which values are stored: float32, float16, and int8 with a scale for each unit."""

from __future__ import annotations

from typing import Dict, Optional, Tuple

import numpy as np

from ..errors import UserError

DTYPES = ("float32", "float16", "int8")
LEVELS = 127  # of each sign: -127 to 127


class Encoder:
    """Makes what is stored of float32 values, and counts the values of each row beyond the range, if it has scales."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def __call__(self, layer: str, values: np.ndarray) -> Tuple[np.ndarray, Optional[np.ndarray]]:
        """Convert values; those out of the range of float16 become infinite."""
        with np.errstate(over="ignore"):
            return values.astype(self.dtype, copy=False), None


class Quantizer(Encoder):
    """Makes int8 of values: ``round(value / scale)``, by the scale of the unit.

    The error is at most half a scale, but for values beyond 127 scales, which become 127 or -127 and are counted; there
    are none if the scales are of the same images.

    :param scales: layer -> float32 of the shape of a row.
    """

    def __init__(self, scales: Dict[str, np.ndarray]) -> None:
        super().__init__("int8")
        self._scales = scales

    def __call__(self, layer: str, values: np.ndarray) -> Tuple[np.ndarray, Optional[np.ndarray]]:
        """Convert values.

        :raises UserError: if one is not finite, or the scales are of another shape.
        """
        scale = self._scales[layer]
        if scale.shape != values.shape[1:]:
            raise UserError(f"the scales of '{layer}' are of shape {scale.shape}, its rows of {values.shape[1:]}")
        check_finite(layer, values)
        levels = np.rint(np.divide(values, scale, out=np.zeros_like(values), where=scale > 0))
        beyond = (np.abs(levels) > LEVELS) | ((scale == 0) & (values != 0))
        return np.clip(levels, -LEVELS, LEVELS).astype(np.int8), beyond.reshape(len(values), -1).sum(axis=1)


def check_finite(layer: str, values: np.ndarray) -> None:
    """Check that all values are finite.

    :raises UserError: if one is not.
    """
    if not np.isfinite(values).all():
        raise UserError(f"'{layer}' has values that are not finite, which int8 cannot hold; use float32")
