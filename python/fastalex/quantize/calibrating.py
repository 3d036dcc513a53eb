"""Calibration: from images to the quantization scale of each conv's and fc's input, for precision int8.

The float32 network runs on the images, and a histogram of the magnitudes of each such input grows batch by batch
(:class:`Histogram`). A threshold is chosen in each, the magnitude that the largest level stands for; what lies beyond
is clipped. Exact zeros, most of what a relu gives, are left out of every choice: each scale keeps them exactly.

* ``max``: the largest magnitude. Nothing is clipped.
* ``percentile``: the magnitude that this share of the others does not exceed.
* ``entropy``: the threshold whose quantized distribution has the least Kullback-Leibler divergence from the true one
  (Szymon Migacz, "8-bit Inference with TensorRT", GTC 2017; MXNet and onnxruntime calibrate so, too).
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional

import numpy as np

from .._util.arguments import one_of
from ..errors import UserError
from ..networks.layers import signed_inputs
from .calibration import METHODS, QMAX_SIGNED, QMAX_UNSIGNED, Calibration
from .histogram import PERCENTILE, Histogram, threshold

BATCH = 8  # images at once: their activations are what calibrating takes of memory


def calibrate(
    net: Any,
    images: Iterable[Any],
    method: str = "percentile",
    percentile: float = PERCENTILE,
    report: Optional[Callable[[int], None]] = None,
) -> Calibration:
    """The quantization scales of ``net`` for images like these, for ``AlexNet(..., precision="int8", calibration=)``.

    :param net: an :class:`~fastalex.AlexNet` in fp32, on any device.
    :param images: paths, PIL images, bytes, uint8 arrays, or preprocessed float32 batches ``[N, C, H, W]``; some
        hundred that are like those to come. They are taken one after the other, :data:`BATCH` at a time.
    :param method: ``"percentile"``, ``"entropy"`` or ``"max"`` (:mod:`fastalex.quantize`).
    :param percentile: above 0, at most 100.
    :param report: called with the number of images done.
    :raises UserError: for a wrong argument or image, no images, or activations that are NaN or infinite.
    """
    one_of("method", method, METHODS)
    if isinstance(percentile, bool) or not isinstance(percentile, (int, float)) or not 0 < percentile <= 100:
        raise UserError(f"percentile must be a number above 0, at most 100, not {percentile!r}")
    if net.precision != "fp32":
        raise UserError(f"calibrate needs a net with precision='fp32', not {net.precision!r}")
    inputs = _inputs(net)
    histograms = {name: Histogram() for name in inputs}
    done = 0
    for batch in _batches(net, images):
        done += len(batch)
        read = dict(net.taps(batch, sorted({source for source in inputs.values() if source})), **{"": batch})
        for name, source in inputs.items():
            try:
                histograms[name].add(read[source])
            except UserError as error:
                raise UserError(f"the input of layer {name} has {error} for these images") from None
        if report is not None:
            report(done)
    if not done:
        raise UserError("there are no images to calibrate with; give some that are like those to come")
    signed = signed_inputs(net.variant.layers())
    scales = {}
    for name, histogram in histograms.items():
        levels = QMAX_SIGNED if signed[name] else QMAX_UNSIGNED
        clip = threshold(histogram, levels, method, percentile)
        scales[name] = clip / levels or 1.0  # where all is zero every scale is right
    return Calibration(scales, method, done, float(percentile) if method == "percentile" else None)


def _inputs(net: Any) -> Dict[str, str]:
    """Name of each conv and fc layer -> the layer whose result it reads; "": the image."""
    found, source = {}, ""
    for layer in net.variant.layers():
        if layer.param:
            found[layer.name] = source
        if layer.op != "dropout":
            source = layer.name
    return found


def _batches(net: Any, images: Iterable[Any]) -> Iterator[np.ndarray]:
    """Preprocessed batches of at most :data:`BATCH` images, as many as there are of one size in a row."""
    waiting: List[np.ndarray] = []
    for image in images:
        whole = image if isinstance(image, np.ndarray) and image.ndim == 4 else net.preprocess(image)
        for one in np.split(whole, len(whole)) if len(whole) else ():
            if waiting and (len(waiting) == BATCH or waiting[0].shape != one.shape):
                yield np.concatenate(waiting)
                waiting = []
            waiting.append(one)
    if waiting:
        yield np.concatenate(waiting)
