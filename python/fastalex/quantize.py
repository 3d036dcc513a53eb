"""Calibration: from images to the quantisation step of each conv's and fc's input, for precision int8.

The float32 network runs on the images, and a histogram of the magnitudes of each such input grows batch by batch
(:class:`Histogram`). A threshold is chosen in each, the magnitude that the largest level stands for; what lies beyond
is clipped. Exact zeros, most of what a relu gives, are left out of every choice: each step keeps them exactly.

* ``max``: the largest magnitude. Nothing is clipped.
* ``percentile``: the magnitude that this share of the others does not exceed.
* ``entropy``: the threshold whose quantised distribution has the least Kullback-Leibler divergence from the true one
  (Szymon Migacz, "8-bit Inference with TensorRT", GTC 2017; MXNet and onnxruntime calibrate so, too).
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional

import numpy as np

from .calibration import METHODS, SIGNED_LEVELS, UNSIGNED_LEVELS, Calibration
from .errors import UserError
from .layers import signed_inputs
from .placement import one_of

PERCENTILE = 99.99
BATCH = 8  # images at once: their activations are what calibrating takes of memory


class Histogram:
    """Counts of magnitudes, in equal bins from 0 to :attr:`limit`, each with its upper edge; zeros are not counted.

    The limit is a power of two: where a value is above it, it doubles until the value is not, and bins are joined in
    pairs. So the counts do not depend on what came first, and half of the bins or more are below the largest value.
    """

    BINS = 8192

    def __init__(self) -> None:
        self.limit = 0.0
        self.largest = 0.0
        self.counts = np.zeros(self.BINS, np.int64)

    def add(self, values: np.ndarray) -> None:
        """Count the magnitudes of float32 ``values`` of any shape.

        :raises UserError: for NaN and infinity.
        """
        magnitudes = np.abs(values).reshape(-1)
        largest = float(magnitudes.max(initial=0.0))
        if not math.isfinite(largest):
            raise UserError("NaN or infinity")
        if largest == 0:
            return
        self.largest = max(self.largest, largest)
        fraction, exponent = math.frexp(largest)
        limit = math.ldexp(1.0, exponent - (fraction == 0.5))
        self.limit = self.limit or limit
        while self.limit < limit:
            self.counts = np.concatenate((self.counts.reshape(-1, 2).sum(1), np.zeros(self.BINS // 2, np.int64)))
            self.limit *= 2
        scaled = magnitudes[magnitudes > 0].astype(np.float64) * (self.BINS / self.limit)
        self.counts += np.bincount(np.ceil(scaled).astype(np.int64) - 1, minlength=self.BINS)

    def edge(self, index: int) -> float:
        """The upper edge of bin ``index``, or the largest value where that is below it."""
        return min(self.limit * (index + 1) / self.BINS, self.largest)


def threshold(histogram: Histogram, levels: int, method: str, percentile: float = PERCENTILE) -> float:
    """The magnitude of level ``levels``, the largest one; 0 where all values were zero."""
    if method == "max" or histogram.largest == 0:
        return histogram.largest
    if method == "percentile":
        below = np.cumsum(histogram.counts)
        return histogram.edge(int(np.searchsorted(below, below[-1] * (percentile / 100))))
    divergences = _divergences(histogram.counts, levels)
    # Of equals the largest: joining the only two bins in use with each other loses nothing, by this measure.
    return histogram.edge(int(np.flatnonzero(divergences <= divergences.min() + 1e-12)[-1]))


def _divergences(counts: np.ndarray, levels: int) -> np.ndarray:
    """For a threshold at the upper edge of each bin, the divergence of the quantised histogram from the true one.

    P is the histogram up to the threshold, with what lies beyond in its last bin. Q has, in each bin where P has
    something, the mean over such bins of the same level, without what lies beyond. Of n bins, bin j has the level
    nearest to ``levels (j + 0.5) / n``. Infinite where the last bin is empty (it may hold what lies beyond, and Q has
    nothing there), and for fewer bins than levels, of which nothing could be said.

    All thresholds at once, from running sums: sum P log P has changed in its last bin alone, and sum P log Q is one
    product for each level.
    """
    total = float(counts.sum())
    mass = np.concatenate(([0.0], np.cumsum(counts)))
    used = np.concatenate(([0], np.cumsum(counts > 0)))
    entropy = np.concatenate(([0.0], np.cumsum(_xlogx(counts))))
    ends = np.flatnonzero(counts)
    ends = ends[ends >= min(levels, ends[-1])]
    found = np.full(len(counts), np.inf)
    for some in np.array_split(ends, max(1, len(ends) * levels // (1 << 20))):
        n = some[:, None] + 1
        # The first bin of level k is the first with levels (j + 0.5) / n >= k - 0.5.
        starts = np.ceil(n * (np.arange(levels + 1) - 0.5) / levels - 0.5).astype(np.int64)
        starts = np.concatenate((np.maximum(starts, 0), n), axis=1)
        masses, bins = np.diff(mass[starts], axis=1), np.diff(used[starts], axis=1)
        own, kept = counts[some].astype(float), mass[some + 1]
        beyond = total - kept
        p_log_p = (entropy[some] + _xlogx(own + beyond)) / total - math.log(total)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(masses > 0, np.log(masses / bins / kept[:, None]), 0.0)
        p_log_q = ((masses * logs).sum(axis=1) + beyond * logs[:, -1]) / total
        found[some] = p_log_p - p_log_q
    return found


def _xlogx(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    return values * np.log(np.where(values > 0, values, 1.0))


def calibrate(
    net: Any,
    images: Iterable[Any],
    method: str = "percentile",
    percentile: float = PERCENTILE,
    report: Optional[Callable[[int], None]] = None,
) -> Calibration:
    """The quantisation steps of ``net`` for images like these, for ``AlexNet(..., precision="int8", calibration=)``.

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
        raise UserError("percentile must be a number above 0, at most 100, not %r" % (percentile,))
    if net.precision != "fp32":
        raise UserError("calibrate needs a net with precision='fp32', not %r" % net.precision)
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
                raise UserError("the input of layer %s has %s for these images" % (name, error)) from None
        if report is not None:
            report(done)
    if not done:
        raise UserError("there are no images to calibrate with; give some that are like those to come")
    signed = signed_inputs(net.variant.layers())
    steps = {}
    for name, histogram in histograms.items():
        levels = SIGNED_LEVELS if signed[name] else UNSIGNED_LEVELS
        clip = threshold(histogram, levels, method, percentile)
        steps[name] = clip / levels or 1.0  # where all is zero every step is right
    return Calibration(steps, method, done, float(percentile) if method == "percentile" else None)


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
