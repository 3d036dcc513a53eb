"""All oddities of ONNX graphs."""

from __future__ import annotations

from . import onnx_end_oddities, onnx_layer_oddities

ODDITIES = {**onnx_layer_oddities.ODDITIES, **onnx_end_oddities.ODDITIES}
