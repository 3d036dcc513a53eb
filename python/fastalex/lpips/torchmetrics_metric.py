"""The metric with the class name of torchmetrics' as one of its metrics. Importing this imports torchmetrics."""

from __future__ import annotations

import inspect
from typing import Any, List, Optional

import torch
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from . import inputs
from .metric import LPIPS
from .scores import Scores, check_any, checked_reduction, reduced

_OWN_OPTIONS = tuple(inspect.signature(LPIPS).parameters)


class LearnedPerceptualImagePatchSimilarity(Metric):  # type: ignore[misc, valid-type, unused-ignore]
    """:class:`LPIPS` with torchmetrics' convention, a replacement for the class of this name in torchmetrics.

    It is a ``torchmetrics.Metric`` with torchmetrics' state ``all_scores``; results are tensors. Images are refused
    where torchmetrics refuses them; others whose range looks wrong bring one warning.

    :param net_type: ``"alex"``.
    :param reduction: over all images since :meth:`reset`: ``"mean"``, ``"sum"``, ``"none"`` or None.
    :param normalize: the images are in [0, 1] instead of [-1, 1].
    :param options: further arguments of :class:`LPIPS`, such as ``weights``, ``heads`` and ``device``, and of
        ``torchmetrics.Metric``, such as ``sync_on_compute``.
    :raises UserError: for another argument, and for images that LPIPS or torchmetrics does not take.
    """

    is_differentiable: bool = True
    higher_is_better: bool = False
    full_state_update: bool = False
    plot_lower_bound: float = 0.0
    plot_upper_bound: float = 1.0

    all_scores: List[torch.Tensor]

    def __init__(
        self, net_type: str = "alex", reduction: Optional[str] = "mean", normalize: bool = False, **options: Any
    ) -> None:
        own = {name: options.pop(name) for name in list(options) if name in _OWN_OPTIONS}
        super().__init__(**options)
        self.reduction, self.normalize = checked_reduction(reduction), normalize
        self.scores = Scores(net_type, normalize, **own)
        self._prepared: Any = None  # the scores of the batch of a call of forward
        self.add_state("all_scores", default=[], dist_reduce_fx="cat")

    def update(self, img1: Any, img2: Any) -> None:
        """Add these images to those of :meth:`compute`."""
        scores = self.scores(img1, img2) if self._prepared is None else self._prepared
        self.all_scores.append(scores if inputs.is_tensor(scores) else torch.from_numpy(scores).to(self.device))

    def compute(self) -> torch.Tensor:
        """Compute the reduced distance of all images since :meth:`reset`.

        :raises UserError: if there are none.
        """
        check_any(self.all_scores)
        return reduced(dim_zero_cat(self.all_scores), self.reduction)

    def forward(self, img1: Any, img2: Any) -> torch.Tensor:
        """Compute the reduced distance of these images, and add them to those of :meth:`compute`."""
        self._prepared = self.scores(img1, img2)  # may refuse; torchmetrics' forward would forget the images before
        try:
            value = super().forward(img1, img2)
        finally:
            self._prepared = None
        self.all_scores[-1] = self.all_scores[-1].detach()  # or every batch's graph would stay in memory
        return value

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot a value, several, or that of :meth:`compute`, as every metric of torchmetrics does."""
        return self._plot(val, ax)

    def _apply(self, fn: Any, *rest: Any) -> Any:
        """Move the native network where the states go; first, so that nothing has moved if it cannot."""
        target = fn(torch.zeros(1, device=self.device)).device
        if target != self.device:
            self.scores.lpips.to(target)
        return super()._apply(fn, *rest)
