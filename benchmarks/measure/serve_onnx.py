"""What the servers beside fastalex's have in common: a session of onnxruntime, and preprocessing by Pillow and numpy.

They are written as a user of onnxruntime would, for torchvision's preprocessing.
"""

from __future__ import annotations

import io
from typing import Any, Dict, List, Mapping

import numpy as np
from PIL import Image

from fastalex.images.profiles import IMAGENET_MEAN, IMAGENET_STD

MEAN, STD = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)


def session(spec: Mapping[str, Any]) -> Any:
    """The network of the file ``spec["onnx"]``, which takes any batch and gives probabilities.

    ``spec["spinning"]``: whether onnxruntime's threads wait for the next call by spinning, as they do by default.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if not spec["spinning"]:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(spec["onnx"], options, providers=["CPUExecutionProvider"])


def prepare(content: bytes) -> np.ndarray:
    """float32 ``[3, 224, 224]``: the shorter side made 256 pixels, the center cut out, the channels normalized."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    short = min(image.size)
    image = image.resize([256 * side // short for side in image.size], Image.Resampling.BILINEAR)
    left, top = (round((side - 224) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
    return ((pixels - MEAN) / STD).transpose(2, 0, 1)


def best(probabilities: np.ndarray) -> List[Dict[str, Any]]:
    """The five most probable classes."""
    order = np.argsort(-probabilities)[:5]
    return [{"index": int(index), "probability": float(probabilities[index])} for index in order]
