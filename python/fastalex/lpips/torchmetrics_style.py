"""The metric with the class name and methods of torchmetrics (torchmetrics/image/lpip.py).

Where torchmetrics is installed the class is one of its metrics (:mod:`fastalex.lpips.torchmetrics_metric`), for its
``MetricCollection`` and the synchronization of processes. Elsewhere it is the plain class of this file.
"""

from __future__ import annotations

import warnings
from typing import Any, List, Optional, Type

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


class LearnedPerceptualImagePatchSimilarity:
    """:class:`LPIPS` with torchmetrics' convention, a replacement for the class of this name in torchmetrics.

    Images are refused where torchmetrics refuses them; others whose range looks wrong bring one warning.

    :param net_type: ``"alex"``.
    :param reduction: over all images since :meth:`reset`: ``"mean"``, ``"sum"``, ``"none"`` or None.
    :param normalize: the images are in [0, 1] instead of [-1, 1].
    :param options: further arguments of :class:`LPIPS`, such as ``weights``, ``heads`` and ``device``.
    :raises UserError: for another argument, and for images that LPIPS or torchmetrics does not take.
    """

    def __init__(
        self, net_type: str = "alex", reduction: Optional[str] = "mean", normalize: bool = False, **options: Any
    ) -> None:
        self.reduction, self.normalize = checked_reduction(reduction), normalize
        self.scores = Scores(net_type, normalize, **options)
        self._batches: List[Any] = []

    def __call__(self, img1: Any, img2: Any) -> Any:
        """Compute the reduced distance of these images, and add them to those of :meth:`compute`."""
        scores = self.scores(img1, img2)
        self._add(scores)
        return reduced(scores, self.reduction)

    forward = __call__

    def update(self, img1: Any, img2: Any) -> None:
        """Add these images to those of :meth:`compute`."""
        self._add(self.scores(img1, img2))

    def _add(self, scores: Any) -> None:
        self._batches.append(scores.detach() if inputs.is_tensor(scores) else scores)

    def compute(self) -> Any:
        """Compute the reduced distance of all images since :meth:`reset`.

        :raises UserError: if there are none.
        """
        check_any(self._batches)
        if not inputs.is_tensor(self._batches[0]):
            return reduced(np.concatenate(self._batches), self.reduction)
        import torch

        return reduced(torch.cat(self._batches), self.reduction)

    def reset(self) -> None:
        """Forget all images."""
        self._batches = []

    def clone(self) -> LearnedPerceptualImagePatchSimilarity:
        """Return a copy with the same images."""
        import copy

        return copy.deepcopy(self)

    @property
    def device(self) -> str:
        """The device that computes the distances, such as ``"cpu"``."""
        return self.scores.lpips.device

    def to(self, device: Any) -> LearnedPerceptualImagePatchSimilarity:
        """Move this metric to ``device`` and return it; see :meth:`LPIPS.to`."""
        self.scores.lpips.to(device)
        return self

    def cpu(self) -> LearnedPerceptualImagePatchSimilarity:
        """Move this metric to the CPU and return it."""
        return self.to("cpu")

    def cuda(self, index: int = 0) -> LearnedPerceptualImagePatchSimilarity:
        """Move this metric to the GPU ``index`` and return it."""
        return self.to(f"cuda:{index}")

    def eval(self) -> LearnedPerceptualImagePatchSimilarity:
        """Return this metric unchanged: it is always in evaluation mode."""
        return self

    def train(self, mode: bool = True) -> LearnedPerceptualImagePatchSimilarity:
        """Return this metric unchanged: it is always in evaluation mode."""
        return self

    def requires_grad_(self, requires_grad: bool = True) -> LearnedPerceptualImagePatchSimilarity:
        """Return this metric unchanged: it has no parameters, as a metric of torchmetrics has none that are trained."""
        return self


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


def metric_class() -> Type[Any]:
    """Return torchmetrics' kind of metric where torchmetrics is installed, and the plain class elsewhere."""
    try:
        from . import torchmetrics_metric
    except ImportError:
        return LearnedPerceptualImagePatchSimilarity
    found: Type[Any] = torchmetrics_metric.LearnedPerceptualImagePatchSimilarity
    return found
