"""Grad-CAM: where in the last maps a network found what speaks for a class. Needs no PyTorch.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017: the
maps of a layer, each weighted by the mean of the gradient of the class's logit over it, are added, and what is below
zero is cut off. Between the last convolution and the logits there is little to derive: :mod:`.backward`.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from ..errors import UserError
from ..networks import taps
from ..networks.architecture import Variant
from ..networks.layers import Layer
from . import backward
from .inputs import check_finite, class_of, computed, one, tapped


class Cam(NamedTuple):
    """What :func:`gradcam` finds: ``raw``, float32 ``[h, w]``, before the cut; the class ``index``; the ``layer``."""

    raw: np.ndarray
    index: int  # type: ignore[assignment]  # hides tuple.index
    layer: str

    @property
    def heat(self) -> np.ndarray:
        """The map without negative values, its highest 1; all zeros if nothing speaks for the class."""
        cut = self.raw.clip(0, None)
        highest = cut.max()
        return cut / highest if highest > 0 else cut


def layers(variant: Variant) -> List[str]:
    """Return the layers that a map can be made of: conv5 and those behind it that have maps."""
    return [layer.name for layer in _tail(variant) if len(layer.out_shape) == 3]


def gradcam(
    net: Any,
    image: Any,
    index: Optional[int] = None,
    layer: Optional[str] = None,
    profile: Any = None,
) -> Cam:
    """Compute the Grad-CAM of a class for an image.

    :param index: the class; default: the one with the highest logit.
    :param layer: one of :func:`layers`; default: the result of the activation behind conv5, or of conv5 without one.
    :raises UserError: for an image that cannot be read, a class or layer that does not exist, or results that are not
        finite.
    """
    gradient, maps, chosen, name = gradient_of(net, image, index, layer, profile)
    weights = gradient.mean(axis=(1, 2))
    return Cam(np.tensordot(weights, maps, 1).astype(np.float32), chosen, name)


def gradient_of(
    net: Any,
    image: Any,
    index: Optional[int] = None,
    layer: Optional[str] = None,
    profile: Any = None,
) -> Tuple[np.ndarray, np.ndarray, int, str]:
    """Return the gradient of a class's logit with respect to a layer's maps, and the maps, both ``[C, h, w]``.

    The parameters are those of :func:`gradcam`.

    :returns: gradient, maps, the class, and the layer's own name.
    :raises UserError: as :func:`gradcam` does.
    """
    tail = _tail(net.variant)
    name = _layer(net.variant, layer)
    first = next(position for position, row in enumerate(tail) if row.name == name)
    last = next(position for position, row in enumerate(tail) if row.name == "fc8")
    results = tapped(net, one(net, image, profile), [row.name for row in tail[first : last + 1]])
    chosen = class_of(net, index, results["fc8"][0])
    gradient = np.zeros(net.variant.num_classes, np.float32)
    gradient[chosen] = 1
    for before, row in zip(tail[first:last][::-1], tail[first + 1 : last + 1][::-1]):
        x = results[before.name][0].reshape(row.in_shape)
        gradient = backward.through(row, gradient, x, _weights(net, row))
    return check_finite(gradient, "the gradients"), results[name][0], chosen, name


def _weights(net: Any, row: Layer) -> Dict[str, np.ndarray]:
    """Return what :func:`.backward.through` needs of a layer: one matrix at a time, since those of all are large."""
    name = f"{row.param}.weight"
    return {name: net.get_parameter(name)} if row.op == "fc" else {}


def _tail(variant: Variant) -> List[Layer]:
    """Return the last convolution and the layers behind it."""
    rows = list(computed(variant).values())
    return rows[max(position for position, row in enumerate(rows) if row.op == "conv") :]


def _layer(variant: Variant, layer: Optional[str]) -> str:
    """Return the layer's own name.

    :raises UserError: if there is no such layer, or no Grad-CAM of it.
    """
    possible = layers(variant)
    if layer is None:
        layer = taps.names(variant).get("conv5.post", "conv5")
    name = taps.resolve(variant, [layer])[0]
    if name not in possible:
        raise UserError(f"Grad-CAM is made of the maps behind the last convolution: {', '.join(possible)}, not {layer}")
    return name
