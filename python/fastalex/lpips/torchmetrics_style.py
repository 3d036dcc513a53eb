"""The metric with the class name and methods of torchmetrics (torchmetrics/image/lpip.py)."""

from __future__ import annotations

from typing import Any, List, Optional

import numpy as np

from ..errors import UserError
from . import inputs
from .metric import LPIPS


class LearnedPerceptualImagePatchSimilarity:
    """:class:`LPIPS` with torchmetrics' convention, a replacement for the class of this name in torchmetrics.

    Images in the wrong range are refused, as in torchmetrics.

    :param net_type: ``"alex"``.
    :param reduction: over all images since :meth:`reset`: ``"mean"``, ``"sum"``, ``"none"`` or None.
    :param normalize: the images are in [0, 1] instead of [-1, 1].
    :param options: further arguments of :class:`LPIPS`, such as ``weights``, ``heads`` and ``device``.
    """

    def __init__(
        self, net_type: str = "alex", reduction: Optional[str] = "mean", normalize: bool = False, **options: Any
    ) -> None:
        self.reduction, self.normalize = None if reduction == "none" else reduction, normalize
        self._reduce(np.zeros(1, np.float32))  # raises an error for an unknown reduction
        options.setdefault("range_check", "raise")
        self.metric = LPIPS(net=net_type, eps="torchmetrics", **options)
        self._scores: List[Any] = []

    def __call__(self, img1: Any, img2: Any) -> Any:
        """Compute the reduced distance of these images, and add them to those of :meth:`compute`."""
        return self._reduce(self.update(img1, img2))

    forward = __call__

    def update(self, img1: Any, img2: Any) -> Any:
        """Add these images to those of :meth:`compute`; return the distance of each pair, ``[N]``."""
        scores = self.metric(img1, img2, normalize=self.normalize).reshape(-1)
        self._scores.append(scores.detach() if inputs.is_tensor(scores) else scores)
        return scores

    def compute(self) -> Any:
        """Compute the reduced distance of all images since :meth:`reset`.

        :raises UserError: if there are none.
        """
        if not self._scores:
            raise UserError("there are no images yet; call update first")
        if not inputs.is_tensor(self._scores[0]):
            return self._reduce(np.concatenate(self._scores))
        import torch

        return self._reduce(torch.cat(self._scores))

    def reset(self) -> None:
        """Forget all images."""
        self._scores = []

    def to(self, device: Any) -> LearnedPerceptualImagePatchSimilarity:
        """Move this metric to ``device`` and return it; see :meth:`LPIPS.to`."""
        self.metric.to(device)
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

    def _reduce(self, scores: Any) -> Any:
        if self.reduction not in (None, "mean", "sum"):
            raise UserError(f"reduction must be 'mean', 'sum', 'none' or None, not {self.reduction!r}")
        return getattr(scores, self.reduction)() if self.reduction else scores
