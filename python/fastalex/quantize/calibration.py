"""The quantization scales of a network's activations: one for the input of each conv and fc layer."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass
from typing import Any, Dict, Mapping, Optional

from .._util import arguments, bounded_json
from ..errors import UserError
from ..networks.architecture import Variant

METHODS = ("percentile", "entropy", "max")
GIVEN = "given"  # the method of scales from elsewhere
MAX_TEXT, MAX_PARTS = 1 << 16, 1000  # characters of a calibration's text; its objects and commas
QMAX_SIGNED, QMAX_UNSIGNED = 127, 255  # largest quantized value of an input that can be negative, and that cannot


@dataclass(frozen=True)
class Calibration:
    """The scales of a network, and how :func:`fastalex.quantize.calibrate` chose them.

    * ``scales``: name of each conv and fc layer -> scale, above 0. Its input x is quantized to ``round(x / scale)``,
      clipped to -127 to 127 if x can be negative (:func:`fastalex.networks.layers.signed_inputs`), else to 0 to 255.
    * ``method``: one of :data:`METHODS`, or :data:`GIVEN`.
    * ``images``: number of images that were used.
    * ``percentile``: None for the other methods.
    """

    scales: Dict[str, float]
    method: str
    images: int
    percentile: Optional[float] = None

    def to_json(self) -> str:
        """Return the calibration as text, without loss; :func:`from_json` reads it."""
        return json.dumps(asdict(self))


def from_json(text: str) -> Calibration:
    """Read a calibration from the text of :meth:`Calibration.to_json`.

    :raises UserError: if the text is not a calibration.
    """
    try:
        values = bounded_json.loads(text, MAX_TEXT, MAX_PARTS)
        calibration = Calibration(**values)
        arguments.one_of("method", calibration.method, (*METHODS, GIVEN))
        arguments.at_least("images", calibration.images, 0)
        if calibration.percentile is not None:
            arguments.finite("percentile", calibration.percentile)
        return dataclasses.replace(calibration, scales=_scales(calibration.scales))
    except UserError as error:
        raise UserError(f"the calibration is not valid: {error}") from None
    except (ValueError, TypeError):
        raise UserError("the calibration is not valid") from None


def as_calibration(value: Any) -> Optional[Calibration]:
    """Convert a caller's ``calibration=`` to a :class:`Calibration`; None stays None.

    :param value: a :class:`Calibration`, a mapping of layer name to scale, or None.
    :raises UserError: for anything else.
    """
    if value is None or isinstance(value, Calibration):
        return value
    if not isinstance(value, Mapping):
        raise UserError(f"calibration must be a Calibration or a mapping of layer name to scale, not {value!r:.80}")
    return Calibration(_scales(value), GIVEN, 0)


def scales_for(variant: Variant, calibration: Optional[Calibration]) -> Dict[str, float]:
    """Return the scale of each conv and fc layer of ``variant``, in the order of the layers.

    :raises UserError: if there is no calibration, or it is for another network.
    """
    if calibration is None:
        raise UserError(
            "precision='int8' needs the ranges of the activations: run fastalex quantize WEIGHTS OUT.safetensors "
            "--calibrate DIR on a folder of your images and load OUT.safetensors, or pass calibration="
        )
    names = [layer.name for layer in variant.layers() if layer.param]
    if set(calibration.scales) != set(names):
        raise UserError(
            f"the calibration is for the layers {', '.join(calibration.scales) or 'of no network':.200}; "
            f"{variant.name} has {', '.join(names)}"
        )
    return {name: calibration.scales[name] for name in names}


def _scales(scales: Any) -> Dict[str, float]:
    if not isinstance(scales, Mapping):
        raise UserError(f"scales must be a mapping of layer name to scale, not {arguments.brief(scales)}")
    return {str(name): _scale(name, scale) for name, scale in scales.items()}


def _scale(name: Any, scale: Any) -> float:
    what = f"the calibration's scale of layer {arguments.brief(name)}"
    if arguments.finite(what, scale) <= 0:
        raise UserError(f"{what} must be a number above 0, not {arguments.brief(scale)}")
    return float(scale)
