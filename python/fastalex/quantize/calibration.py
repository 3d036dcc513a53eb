"""What precision int8 needs to know of a network's activations: the quantization step of each conv's and fc's input."""

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
    """The steps of a network, and where they come from (:func:`fastalex.quantize.calibrate`).

    ``steps``: name of each conv and fc layer -> step, above 0: its input x becomes ``round(x / step)``, -127 to 127
    where it can be negative (:func:`fastalex.networks.layers.signed_inputs`), else 0 to 255. ``percentile`` is None for
    the other methods; ``images`` is how many were looked at. The method of steps that a caller made up is ``given``.
    """

    steps: Dict[str, float]
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
    sound = isinstance(found.steps, dict) and isinstance(found.method, str) and type(found.images) is int
    if not sound or not (found.percentile is None or _number(found.percentile)):
        raise UserError("the calibration is not valid")
    return Calibration(_steps(found.steps), found.method, found.images, found.percentile)


def as_calibration(given: Any) -> Optional[Calibration]:
    """A :class:`Calibration`, or a mapping of layer name to step, or None, as one of the first and the last.

    :raises UserError: for anything else.
    """
    if given is None or isinstance(given, Calibration):
        return given
    if not isinstance(given, Mapping):
        raise UserError("calibration must be a Calibration or a mapping of layer name to step, not %.80r" % (given,))
    return Calibration(_steps(given), "given", 0)


def scales_for(variant: Variant, given: Optional[Calibration]) -> Dict[str, float]:
    """The step of each conv and fc layer of ``variant``.

    :raises UserError: if there is no calibration, or it is for another network.
    """
    if given is None:
        raise UserError(
            "precision='int8' needs the ranges of the activations: run fastalex quantize WEIGHTS OUT.safetensors "
            "--calibrate DIR on a folder of your images and load OUT.safetensors, or pass calibration="
        )
    names = [layer.name for layer in variant.layers() if layer.param]
    if set(given.steps) != set(names):
        raise UserError(
            "the calibration is for the layers %.200s; %s has %s"
            % (", ".join(given.steps) or "of no network", variant.name, ", ".join(names))
        )
    return {name: given.steps[name] for name in names}


def _steps(given: Mapping[Any, Any]) -> Dict[str, float]:
    return {str(name): _step(name, step) for name, step in given.items()}


def _step(name: str, step: Any) -> float:
    if not _number(step) or step <= 0:
        raise UserError("the calibration's step of layer %.40r must be a number above 0, not %.40r" % (name, step))
    return float(step)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
