"""The conventions of published implementations of LPIPS, as data."""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple

import numpy as np

# The modules whose results are compared: the last of each slice in lpips/pretrained_networks.py, class alexnet.
MODULES = ("features.1", "features.4", "features.7", "features.9", "features.11")

# lpips/lpips.py, class ScalingLayer: (x - SHIFT) / SCALE, for R, G and B. Version 0.0 does not apply it (forward).
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
VERSIONS = ("0.1", "0.0")


class Convention(NamedTuple):
    """A way to normalize features to unit length, and the default range of images.

    :ivar eps: of the normalization ``x / (sqrt(sum x^2) + eps)``.
    :ivar inside: normalize as ``x / sqrt(sum x^2 + eps)`` instead.
    :ivar unit_range: images are in [0, 1] by default, instead of [-1, 1].
    """

    eps: float
    inside: bool
    unit_range: bool = False


CONVENTIONS: Dict[str, Convention] = {
    # lpips/__init__.py, normalize_tensor
    "lpips": Convention(1e-10, False),
    # torchmetrics/functional/image/lpips.py, _normalize_tensor
    "torchmetrics": Convention(1e-8, True),
    # piq/perceptual.py, ContentLoss.normalize and EPS. Images are in [0, 1]; the ImageNet mean and standard deviation
    # used there equal SHIFT and SCALE in that range.
    "piq": Convention(1e-10, False, unit_range=True),
    # clovaai/stargan-v2, metrics/lpips.py, normalize
    "stargan-v2": Convention(1e-10, True),
}


def affine(version: str, unit_range: bool, uint8: bool) -> Tuple[np.ndarray, np.ndarray]:
    """Return ``(factor, offset)``, float32 ``[3]`` each: the network's input is ``image * factor + offset``.

    :param unit_range: the images are in [0, 1] instead of [-1, 1].
    :param uint8: the images are bytes, and ``unit_range`` is ignored: lpips/__init__.py, im2tensor.
    """
    factor = 2.0 / 255.0 if uint8 else 2.0 if unit_range else 1.0
    offset = -1.0 if uint8 or unit_range else 0.0
    if version == "0.0":
        return np.full(3, factor, np.float32), np.full(3, offset, np.float32)
    scale = np.array(SCALE)
    return (factor / scale).astype(np.float32), ((offset - np.array(SHIFT)) / scale).astype(np.float32)
