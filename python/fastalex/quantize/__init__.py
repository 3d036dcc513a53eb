"""Quantization for precision int8: the scales of a network's activations, calibrated from images."""

from __future__ import annotations

from .calibrating import calibrate
from .calibration import METHODS, Calibration
from .histogram import PERCENTILE

__all__ = ["METHODS", "PERCENTILE", "Calibration", "calibrate"]
