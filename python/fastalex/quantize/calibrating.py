"""Calibration: the quantization scale of the input of each conv and fc layer, from images, for precision int8.

The float32 network runs on the images, and a histogram of the magnitudes of each such input grows batch by batch
(:class:`Histogram`). In each histogram a threshold is chosen, which becomes the largest quantized value; magnitudes
above it are clipped. Exact zeros, which are most results of a ReLU, are not counted: any scale represents them exactly.
The methods choose as threshold

* ``max``: the largest magnitude. Nothing is clipped.
* ``percentile``: a percentile of the magnitudes.
* ``entropy``: the threshold whose quantized distribution has the least Kullback-Leibler divergence from the true one
  (Szymon Migacz, "8-bit Inference with TensorRT", GTC 2017; the method of MXNet and onnxruntime, too).
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional

import numpy as np

from .._util.arguments import one_of
from ..errors import UserError
from ..networks.layers import signed_inputs
from .calibration import METHODS, QMAX_SIGNED, QMAX_UNSIGNED, Calibration
from .histogram import PERCENTILE, Histogram, threshold

BATCH = 8  # images at once; their activations are most of the memory that calibration needs


def calibrate(
    net: Any,
    images: Iterable[Any],
    method: str = "percentile",
    percentile: float = PERCENTILE,
    report: Optional[Callable[[int], None]] = None,
) -> Calibration:
    """Choose the quantization scales of ``net``, for ``AlexNet(..., precision="int8", calibration=...)``.

    :param net: an :class:`~fastalex.AlexNet` in fp32, on any device.
    :param images: images, or lists of images, as for :meth:`fastalex.AlexNet.classify`, or preprocessed float32 batches
        ``[N, C, H, W]``. A few hundred images like those that the network will see are enough; they are read
        :data:`BATCH` at a time.
    :param method: ``"percentile"``, ``"entropy"`` or ``"max"`` (:mod:`fastalex.quantize.calibrating`).
    :param percentile: for the method of this name; above 0, at most 100.
    :param report: called after each batch with the number of images done.
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
        results = dict(net.taps(batch, sorted({source for source in inputs.values() if source})), **{"": batch})
        for name, source in inputs.items():
            try:
                histograms[name].add(results[source])
            except UserError as error:
                raise UserError(f"the input of layer {name} has {error} for these images") from None
        if report is not None:
            report(done)
    if not done:
        raise UserError("there are no images to calibrate with; give some like those that the network will see")
    signed = signed_inputs(net.variant.layers())
    scales = {}
    for name, histogram in histograms.items():
        qmax = QMAX_SIGNED if signed[name] else QMAX_UNSIGNED
        clip = threshold(histogram, qmax, method, percentile)
        scales[name] = clip / qmax or 1.0  # for zeros alone any scale is right
    return Calibration(scales, method, done, float(percentile) if method == "percentile" else None)


def _inputs(net: Any) -> Dict[str, str]:
    """Return, for the name of each conv and fc layer, the layer whose result it reads; "" for the image."""
    sources, source = {}, ""
    for layer in net.variant.layers():
        if layer.param:
            sources[layer.name] = source
        if layer.op != "dropout":
            source = layer.name
    return sources


def _batches(net: Any, images: Iterable[Any]) -> Iterator[np.ndarray]:
    """Yield preprocessed batches of at most :data:`BATCH` consecutive images of one size."""
    waiting: List[np.ndarray] = []
    for image in images:
        # Four axes of uint8 are images, as everywhere.
        prepared = isinstance(image, np.ndarray) and image.ndim == 4 and image.dtype != np.uint8
        batch = image if prepared else net.preprocess(image)
        for single in np.split(batch, len(batch)) if len(batch) else ():
            if waiting and (len(waiting) == BATCH or waiting[0].shape != single.shape):
                yield np.concatenate(waiting)
                waiting = []
            waiting.append(single)
    if waiting:
        yield np.concatenate(waiting)
