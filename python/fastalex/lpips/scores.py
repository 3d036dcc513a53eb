"""The distances that a metric of torchmetrics' name collects, and their reduction."""

from __future__ import annotations

import warnings
from typing import Any, Optional

import numpy as np

from .._util import arguments
from ..errors import UserError
from . import inputs
from .metric import LPIPS

REDUCTIONS = ("mean", "sum", "none", None)


class Scores:
    """The distances of batches of pairs by torchmetrics' convention, with its check of the range.

    Images are refused where torchmetrics refuses them (torchmetrics/functional/image/lpips.py, ``_valid_img``): a value
    below -1, or outside of [0, 1] with ``normalize=True``, or NaN. Others that look wrong bring one warning.

    :param range_check: ``"warn"``; ``"raise"`` to refuse what looks wrong as well; ``"off"`` not to warn.
    :param options: of :class:`LPIPS`.
    """

    def __init__(self, net_type: str, normalize: bool, range_check: str = "warn", **options: Any) -> None:
        arguments.one_of("range_check", range_check, inputs.RANGE_CHECK_MODES)
        self.normalize, self.range_check = normalize, range_check
        self.lpips = LPIPS(net=net_type, eps="torchmetrics", range_check="off", **options)

    def __call__(self, img1: Any, img2: Any) -> Any:
        """Return the distance of each pair, ``[N]``."""
        for images, what in ((img1, "the first images"), (img2, "the second images")):
            self._check(images, what)
        return self.lpips(img1, img2, normalize=self.normalize).reshape(-1)

    def _check(self, images: Any, what: str) -> None:
        found = _extremes(images)
        if found is None:
            return
        low, high = found
        if low != low or high != high:
            raise UserError(f"{what} hold NaN, which would make the result NaN: leave them out")
        if low < (0 if self.normalize else -1) or (self.normalize and high > 1):
            wanted = "in [0, 1] with normalize=True" if self.normalize else "in [-1, 1] with normalize=False"
            raise UserError(f"{what} range from {low:.4g} to {high:.4g}, but must be {wanted}: rescale or clip them")
        text = inputs.complaint(low, high, self.normalize)
        if text and self.range_check == "raise":
            raise UserError(text)
        if text and self.range_check == "warn":
            self.range_check = "off"
            warnings.warn(f"{text}; there are no further warnings of this metric", stacklevel=inputs.callers_level())


def _extremes(images: Any) -> Any:
    """Return (smallest, largest) value of floating-point images; None for others, which :class:`LPIPS` checks."""
    if inputs.is_tensor(images):
        if images.dtype.is_floating_point and images.numel():
            return tuple(float(value) for value in images.detach().aminmax())
        return None
    return inputs.extremes([images]) if isinstance(images, np.ndarray) and images.dtype.kind == "f" else None


def checked_reduction(reduction: Optional[str]) -> Optional[str]:
    """Return the name of a reduction, None for ``"none"``.

    :raises UserError: for another one.
    """
    if reduction not in REDUCTIONS:
        raise UserError(f"reduction must be 'mean', 'sum', 'none' or None, not {reduction!r}")
    return None if reduction == "none" else reduction


def reduced(scores: Any, reduction: Optional[str]) -> Any:
    """Reduce the distances ``[N]``, a numpy array or a tensor."""
    return getattr(scores, reduction)() if reduction else scores


def check_any(batches: Any) -> None:
    """Check that there are images.

    :raises UserError: if there are none.
    """
    if not len(batches):
        raise UserError("there are no images yet; call update first")
