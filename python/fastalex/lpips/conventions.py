"""What published implementations of LPIPS compute, as data."""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple

import numpy as np

# The modules whose results are compared: lpips/pretrained_networks.py, class alexnet, the ends of its five slices.
MODULES = ("features.1", "features.4", "features.7", "features.9", "features.11")

# lpips/lpips.py, class ScalingLayer: (x - SHIFT) / SCALE, for each of R, G, B. Version 0.0 leaves it out (forward).
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
VERSIONS = ("0.1", "0.0")


class Convention(NamedTuple):
    """How features are made vectors of length 1: ``x / (sqrt(sum x^2) + eps)``, or, with ``inside``,
    ``x / sqrt(sum x^2 + eps)``; and whether images are in [0, 1] unless a call says otherwise, instead of [-1, 1].
    """

    eps: float
    inside: bool
    unit_range: bool = False


CONVENTIONS: Dict[str, Convention] = {
    # lpips/__init__.py, normalize_tensor
    "lpips": Convention(1e-10, False),
    # torchmetrics/functional/image/lpips.py, _normalize_tensor
    "torchmetrics": Convention(1e-8, True),
    # piq/perceptual.py, ContentLoss.normalize and EPS. Its images are in [0, 1], and its mean and standard deviation
    # of ImageNet are SHIFT and SCALE for that range.
    "piq": Convention(1e-10, False, unit_range=True),
    # clovaai/stargan-v2, metrics/lpips.py, normalize
    "stargan-v2": Convention(1e-10, True),
}


def affine(version: str, unit_range: bool, uint8: bool) -> Tuple[np.ndarray, np.ndarray]:
    """``(factor, offset)``, float32 ``[3]``: the network's input is ``image * factor + offset``.

    :param unit_range: the images are in [0, 1] instead of [-1, 1].
    :param uint8: the images are bytes, whatever ``unit_range`` says: lpips/__init__.py, im2tensor.
    """
    factor = 2.0 / 255.0 if uint8 else 2.0 if unit_range else 1.0
    offset = -1.0 if uint8 or unit_range else 0.0
    if version == "0.0":
        return np.full(3, factor, np.float32), np.full(3, offset, np.float32)
    scale = np.array(SCALE)
    return (factor / scale).astype(np.float32), ((offset - np.array(SHIFT)) / scale).astype(np.float32)
