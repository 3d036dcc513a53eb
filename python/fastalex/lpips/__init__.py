"""The perceptual distance LPIPS with AlexNet (Zhang et al., arXiv 1801.03924), a replacement for the package ``lpips``.

>>> from fastalex import LPIPS
>>> metric = LPIPS(net="alex")  # doctest: +SKIP
>>> metric(image, other)  # [N, 3, H, W] in [-1, 1] -> [N, 1, 1, 1]  # doctest: +SKIP

:class:`LPIPS` is the metric; :class:`Features` are precomputed features of images that are compared more than once;
:data:`CONVENTIONS` are the published ways of normalizing features.
:class:`LearnedPerceptualImagePatchSimilarity` is the metric with the interface of torchmetrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .conventions import CONVENTIONS
from .features import Features
from .metric import LPIPS

if TYPE_CHECKING:
    from .torchmetrics_style import LearnedPerceptualImagePatchSimilarity

__all__ = ["CONVENTIONS", "LPIPS", "Features", "LearnedPerceptualImagePatchSimilarity"]


def __getattr__(name: str) -> Any:
    """Choose the class at its first use: a metric of torchmetrics, whose import takes long, where that is installed."""
    if name != "LearnedPerceptualImagePatchSimilarity":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    try:
        from . import torchmetrics_metric
    except ImportError:
        from . import torchmetrics_style

        return torchmetrics_style.LearnedPerceptualImagePatchSimilarity
    return torchmetrics_metric.LearnedPerceptualImagePatchSimilarity
