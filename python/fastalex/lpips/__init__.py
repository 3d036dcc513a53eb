"""The perceptual distance LPIPS with AlexNet (Zhang et al., arXiv 1801.03924), a replacement for the package ``lpips``.

>>> from fastalex import LPIPS
>>> metric = LPIPS(net="alex")  # doctest: +SKIP
>>> metric(image, other)  # [N, 3, H, W] in [-1, 1] -> [N, 1, 1, 1]  # doctest: +SKIP

:class:`LPIPS` is the metric; :class:`Features` are precomputed features of images that are compared more than once;
:data:`CONVENTIONS` are the published ways of normalizing features.
:class:`LearnedPerceptualImagePatchSimilarity` is the metric with the interface of torchmetrics.
"""

from __future__ import annotations

from .conventions import CONVENTIONS
from .features import Features
from .metric import LPIPS
from .torchmetrics_style import LearnedPerceptualImagePatchSimilarity

__all__ = ["CONVENTIONS", "LPIPS", "Features", "LearnedPerceptualImagePatchSimilarity"]
