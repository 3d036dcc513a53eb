"""The quantization scales of a network's activations, one for the input of each conv and fc layer."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Dict, Mapping, Optional

from ..errors import UserError
from ..networks.architecture import Variant

METHODS = ("percentile", "entropy", "max")
QMAX_SIGNED, QMAX_UNSIGNED = 127, 255  # the largest level of an input that can be negative, and of one that cannot


@dataclass(frozen=True)
class Calibration:
    """The scales of a network, and where they come from (:func:`fastalex.quantize.calibrate`).

    ``scales``: name of each conv and fc layer -> scale, above 0: its input x becomes ``round(x / scale)``, -127 to 127
    where it can be negative (:func:`fastalex.networks.layers.signed_inputs`), else 0 to 255. ``percentile`` is None for
    the other methods; ``images`` is how many were looked at. The method of scales that a caller made up is ``given``.
    """

    scales: Dict[str, float]
    method: str
    images: int
    percentile: Optional[float] = None

    def to_json(self) -> str:
        """The calibration as text; :func:`from_json` reads it back, to the last digit."""
        return json.dumps(asdict(self))


def from_json(text: str) -> Calibration:
    """The inverse of :meth:`Calibration.to_json`.

    :raises UserError: if the text is not a calibration.
    """
    try:
        found = Calibration(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        raise UserError("the calibration is not valid") from None
    sound = isinstance(found.scales, dict) and isinstance(found.method, str) and type(found.images) is int
    if not sound or not (found.percentile is None or _number(found.percentile)):
        raise UserError("the calibration is not valid")
    return Calibration(_scales(found.scales), found.method, found.images, found.percentile)


def as_calibration(given: Any) -> Optional[Calibration]:
    """A :class:`Calibration`, or a mapping of layer name to scale, or None, as one of the first and the last.

    :raises UserError: for anything else.
    """
    if given is None or isinstance(given, Calibration):
        return given
    if not isinstance(given, Mapping):
        raise UserError(f"calibration must be a Calibration or a mapping of layer name to scale, not {given!r:.80}")
    return Calibration(_scales(given), "given", 0)


def scales_for(variant: Variant, given: Optional[Calibration]) -> Dict[str, float]:
    """The scale of each conv and fc layer of ``variant``.

    :raises UserError: if there is no calibration, or it is for another network.
    """
    if given is None:
        raise UserError(
            "precision='int8' needs the ranges of the activations: run fastalex quantize WEIGHTS OUT.safetensors "
            "--calibrate DIR on a folder of your images and load OUT.safetensors, or pass calibration="
        )
    names = [layer.name for layer in variant.layers() if layer.param]
    if set(given.scales) != set(names):
        raise UserError(
            f"the calibration is for the layers {', '.join(given.scales) or 'of no network':.200}; {variant.name} has {', '.join(names)}"
        )
    return {name: given.scales[name] for name in names}


def _scales(given: Mapping[Any, Any]) -> Dict[str, float]:
    return {str(name): _step(name, scale) for name, scale in given.items()}


def _step(name: str, scale: Any) -> float:
    if not _number(scale) or scale <= 0:
        raise UserError(f"the calibration's scale of layer {name!r:.40} must be a number above 0, not {scale!r:.40}")
    return float(scale)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
