"""Predicted times: the roofline of a network on a card, layer by layer. It is a lower bound, not a measurement.

* Convolutions and fully connected layers count, one after another, without overlap. Activations, LRN, pooling, softmax
  and launches cost nothing, as if fused into their neighbors.
* The time of a layer is ``max(FLOP / peak, bytes / bandwidth)``. FLOP = 2 x MACs x batch, by direct convolution (no
  Winograd). Bytes = weights and bias once, inputs and outputs once per image. No data stays in a cache between layers.
* The peak is the card's highest clock x SMs x rate. ``fp32`` uses the fp32 units. The other precisions compute in fp16:
  on tensor cores with fp32 accumulation if the card has them, otherwise with half2 and fp16 accumulation
  (Nano, TX2, GTX 1650).
* ``fp16``: weights and activations take 2 bytes. ``int8`` and ``int4`` concern only the weights of fully connected
  layers: 1 byte per weight (the scale of a row is neglected), or half a byte and an fp16 scale per 128 weights;
  convolutions and activations stay fp16.
* With a density, the share of the inputs of each fully connected layer that are not zero, the weights that meet a zero
  are neither read nor multiplied, and nor is their part of int4's scales. The other bytes stay. This is for batch 1
  only: the images of a larger batch would have to be zero in the same places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence, Tuple, Union

from .. import _core
from .._util.arguments import positive_int
from ..errors import UserError
from ..networks.architecture import Variant
from ..networks.layers import Layer
from ..networks.variants import get as get_variant
from .devices import Card


@dataclass(frozen=True)
class Precision:
    """Bytes of a weight, in a convolution and in a fully connected layer, and of an activation; ``half``: fp16 math."""

    conv_bytes: float
    fc_bytes: float
    activation_bytes: float
    half: bool


PRECISIONS: Dict[str, Precision] = {
    "fp32": Precision(4, 4, 4, False),
    "fp16": Precision(2, 2, 2, True),
    "int8": Precision(2, 1, 2, True),
    "int4": Precision(2, 0.5 + 2 / _core.INT4_GROUP, 2, True),
}


@dataclass(frozen=True)
class LayerTime:
    """FLOP and bytes of a layer for the whole batch, and the time that each alone would take, in ms."""

    name: str
    op: str
    flop: float
    bytes: float
    compute_ms: float
    memory_ms: float

    @property
    def ms(self) -> float:
        """The predicted time, the longer of the two."""
        return max(self.compute_ms, self.memory_ms)

    @property
    def bound(self) -> str:
        """The limit of the layer, ``compute`` or ``memory``."""
        return "compute" if self.compute_ms >= self.memory_ms else "memory"


@dataclass(frozen=True)
class Roofline:
    """The predicted time of one batch on one card."""

    variant: str
    device: str
    card: str
    precision: str
    batch: int
    layers: Tuple[LayerTime, ...]
    density: Optional[Tuple[float, ...]] = None

    @property
    def title(self) -> str:
        """The precision, and the density in percent if there is one: ``int8``, ``int8, 35 %``, ``int8, 35/35/37.5 %``.

        A density is written once if it is the same for all layers.
        """
        if self.density is None:
            return self.precision
        shares = self.density[:1] if len(set(self.density)) == 1 else self.density
        return f"{self.precision}, {'/'.join(f'{100 * share:.4g}' for share in shares)} %"

    @property
    def ms(self) -> float:
        """The time of a batch in ms, the sum over the layers."""
        return sum(layer.ms for layer in self.layers)

    @property
    def images_per_s(self) -> float:
        """Images per second at that time."""
        return self.batch * 1000.0 / self.ms

    @property
    def fc_share(self) -> float:
        """The fraction of the time in fully connected layers, 0 to 1."""
        return sum(layer.ms for layer in self.layers if layer.op == "fc") / self.ms

    def to_dict(self) -> Dict[str, Any]:
        """Convert to plain values for JSON, marked as predicted."""
        return {
            "predicted": True,
            "variant": self.variant,
            "device": self.device,
            "card": self.card,
            "precision": self.precision,
            "batch": self.batch,
            "ms": self.ms,
            "images_per_s": self.images_per_s,
            "fc_share": self.fc_share,
            "density": None if self.density is None else list(self.density),
            "layers": [dict(vars(layer), ms=layer.ms, bound=layer.bound) for layer in self.layers],
        }


def math_peak_tflops(card: Card, precision: str) -> Optional[float]:
    """Return the peak of ``precision`` on ``card`` in TFLOPS; None if the card's rate is unknown.

    :raises UserError: for an unknown precision.
    """
    if precision not in PRECISIONS:
        raise UserError(f"there is no precision '{precision}' (there are: {', '.join(PRECISIONS)})")
    if not PRECISIONS[precision].half:
        return card.peak_tflops("fp32")
    tensor = card.peak_tflops("fp16_tensor_fp32")
    return tensor if tensor is not None else card.peak_tflops("fp16")


def roofline(
    variant: Union[str, Variant],
    card: Card,
    precision: str = "fp32",
    batch: int = 1,
    density: Optional[Sequence[float]] = None,
) -> Roofline:
    """Predict the time of each layer of ``variant`` on ``card``, by the model of this module.

    :param density: the share of the inputs of each fully connected layer that are not zero, from 0 to 1, if the weights
        that meet a zero are skipped; a number for each layer, in their order. Default: nothing is skipped.
    :raises UserError: for an unknown variant or precision, a batch below 1, a card whose rate is unknown, or a density
        of a larger batch, of the wrong count or out of range.
    """
    positive_int("batch", batch)
    row = get_variant(variant)
    peak = math_peak_tflops(card, precision)
    if peak is None:
        raise UserError(f"{card.name}: the rate that {precision} computes at is not known, so nothing is predicted")
    heavy = [layer for layer in row.layers() if layer.macs]
    read = _shares(heavy, batch, density)
    layers = tuple(_layer_time(layer, card, precision, peak, batch, read.get(layer.name, 1.0)) for layer in heavy)
    kept = None if density is None else tuple(density)
    return Roofline(row.name, card.device, card.name, precision, batch, layers, kept)


def _shares(heavy: Sequence[Layer], batch: int, density: Optional[Sequence[float]]) -> Dict[str, float]:
    """Return the share of the weights that is read, by the names of the fully connected layers.

    :raises UserError: for a ``density`` that does not fit.
    """
    if density is None:
        return {}
    names = [layer.name for layer in heavy if layer.op == "fc"]
    if batch != 1:
        raise UserError(f"a density is predicted for batch 1, not {batch}: zeros differ from image to image")
    if len(density) != len(names) or not all(0 <= share <= 1 for share in density):
        raise UserError(f"density must be a number from 0 to 1 for each of {', '.join(names)}, not {density!s:.60}")
    return dict(zip(names, density))


def _layer_time(layer: Layer, card: Card, precision: str, peak_tflops: float, batch: int, share: float) -> LayerTime:
    """Predict one layer, of whose weights the part ``share`` is read and multiplied."""
    sizes = PRECISIONS[precision]
    bias = layer.out_shape[0]
    weights = share * (layer.params - bias)
    moved = weights * (sizes.conv_bytes if layer.op == "conv" else sizes.fc_bytes)
    moved += (bias + batch * (_count(layer.in_shape) + layer.activation_count)) * sizes.activation_bytes
    flop = share * 2.0 * layer.macs * batch
    return LayerTime(
        name=layer.name,
        op=layer.op,
        flop=flop,
        bytes=moved,
        compute_ms=flop / (peak_tflops * 1e12) * 1e3,
        memory_ms=moved / (card.bandwidth_gb_s * 1e9) * 1e3,
    )


def _count(shape: Tuple[int, ...]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product
