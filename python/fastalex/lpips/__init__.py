"""The perceptual distance LPIPS with AlexNet (Zhang et al., arXiv 1801.03924), in place of the ``lpips`` package.

>>> from fastalex import LPIPS
>>> metric = LPIPS(net="alex")  # doctest: +SKIP
>>> metric(image, other)  # [N, 3, H, W] in [-1, 1] -> [N, 1, 1, 1]  # doctest: +SKIP

:class:`LPIPS` is the metric; :class:`Features` is what it computes once of images that are compared more than once;
:data:`CONVENTIONS` are the published ways of normalizing features.
:class:`LearnedPerceptualImagePatchSimilarity` is the metric under torchmetrics' name.
"""

from __future__ import annotations

from .conventions import CONVENTIONS
from .features import Features
from .metric import LPIPS
from .torchmetrics_style import LearnedPerceptualImagePatchSimilarity

__all__ = ["CONVENTIONS", "LPIPS", "Features", "LearnedPerceptualImagePatchSimilarity"]
