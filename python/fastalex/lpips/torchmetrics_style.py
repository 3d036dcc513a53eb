"""The metric with the class name and methods of torchmetrics (torchmetrics/image/lpip.py), without torchmetrics."""

from __future__ import annotations

import copy
from typing import Any, List, Optional

import numpy as np

from . import inputs
from .scores import Scores, check_any, checked_reduction, reduced


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
