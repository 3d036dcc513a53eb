"""The part of ``fastalex classify`` for videos and cameras: frames to a window, a file, or lines of JSON."""

from __future__ import annotations

import argparse
import itertools
import time
from typing import Any, Dict, Iterator, List, Optional

import numpy as np

from .. import images
from .._util import console, signals
from ..errors import UserError, one_line
from ..images import profiles
from ..video import overlay, sources
from ..video.sinks import open_sink
from ..video.sources import IMAGES, Frame, Size, Source
from .common import OK, USAGE_ERROR, device_line, net_facts
from .predictions import Item, filter_by_threshold

RATE_WEIGHT = 0.1  # weight of the newest frame in the moving average of frames per second


def classify(options: argparse.Namespace, net: Any, items: List[Item]) -> int:
    """Classify all sources, one after the other. An error of one is reported, and the next one is tried."""
    run = _Run(options, net)
    run.begin()
    whole = False
    try:
        for kind, path, error in items:
            if not run.source(kind, path, error):
                break
        whole = True
    except KeyboardInterrupt:  # the usual way to stop a camera
        whole = True
        raise
    finally:
        with signals.held() as stop:
            run.end(whole)
        stop.check()
    return USAGE_ERROR if run.failed else OK


class Smoothing:
    """The moving average of jetson-inference's ``c/imageNet.cpp``, ``applySmoothing``.

    :param weight: of the newest frame; above 1, a number of frames, whose reciprocal is the weight. 0 and 1 turn the
        smoothing off.
    """

    def __init__(self, weight: float) -> None:
        self.weight = 1 / weight if weight > 1 else weight
        self._mean: Optional[np.ndarray] = None

    @property
    def on(self) -> bool:
        """Whether there is any smoothing."""
        return 0 < self.weight < 1

    def add(self, probabilities: np.ndarray) -> np.ndarray:
        """Add the float32 probabilities ``[classes]`` of one more frame, and return the average."""
        if self._mean is None:
            self._mean = probabilities.copy()
        else:
            self._mean += np.float32(self.weight) * (probabilities - self._mean)
        return self._mean


class _Run:
    """One run of the command: its network, its sink, and its state."""

    def __init__(self, options: argparse.Namespace, net: Any) -> None:
        self.options, self.net = options, net
        self.lines = options.headless or options.json
        # Without any other kind of output, the sink is a window.
        self.sink = open_sink(options.output) if options.output is not None or not self.lines else None
        self.failed = False
        self._sink_failed: Optional[UserError] = None
        self._best: Any = None  # source and label of the last printed line

    def begin(self) -> None:
        """Print the settings of the network."""
        facts = dict(net_facts(self.net), profile=self.net.variant.profile)
        if self.lines:
            console.write_json_line(facts)
        else:
            line = device_line(self.net, self.options)
            console.write(f"{line}, variant {facts['variant']}, profile {facts['profile']}")

    def end(self, whole: bool) -> None:
        """Complete the output; ``whole`` says that no error ended the run."""
        if self.sink is not None:
            self.sink.close(whole)

    def source(self, kind: str, path: str, error: Optional[UserError]) -> bool:
        """Classify the frames of one source; return False if the user closed the window."""
        try:
            if error is not None:
                raise error
            if kind == IMAGES:
                return self._frames(path, iter([_still(path, profiles.get(self.net.variant.profile).upright)]), None)
            options = self.options
            size = Size(options.input_width, options.input_height, options.input_rate)
            with sources.open_source(kind, path, size) as source:
                console.note(f"reading {path} with {source.reader}")
                return self._frames(path, itertools.islice(source, options.frames), source)
        except UserError as problem:
            if problem is self._sink_failed:  # no later frame could be written either
                raise
            self.failed = True
            console.error(str(problem))
            if self.lines:
                console.write_json_line({"source": path, "error": str(problem)})
            return True

    def _frames(self, name: str, frames: Iterator[Frame], source: Optional[Source]) -> bool:
        smoothing = Smoothing(self.options.smoothing or 0.0)
        rate, last = None, None
        for frame in frames:
            began = time.perf_counter()
            predictions = filter_by_threshold(self._ranked(frame.pixels, smoothing), self.options.threshold)
            now = time.perf_counter()
            if last is not None and now > last:
                newest = 1 / (now - last)
                rate = newest if rate is None else rate + RATE_WEIGHT * (newest - rate)
            last = now
            facts = {
                "source": name,
                "frame": frame.number,
                "time_s": round(frame.time_s, 6),
                "height": frame.pixels.shape[0],
                "width": frame.pixels.shape[1],
                "predictions": predictions,
                "inference_ms": round(1e3 * (now - began), 3),
                "fps": None if rate is None else round(rate, 2),
                "dropped": source.dropped if source else 0,
            }
            if not self._show(facts, frame, source, rate):
                return False
        return True

    def _ranked(self, pixels: np.ndarray, smoothing: Smoothing) -> List[Any]:
        if not smoothing.on:
            ranked: List[Any] = self.net.classify_frame(pixels, "BGR", self.options.topk)
            return ranked
        mean = smoothing.add(self.net.run_frame(pixels, "BGR", softmax=True)[0])
        ranks = np.where(np.isnan(mean), np.inf, mean)  # NaN counts as larger than any number, as in top_k
        best = np.argsort(-ranks, kind="stable")[: self.options.topk]
        ranked = self.net.label_top_k(mean[best][None], best[None])[0]
        return ranked

    def _show(self, facts: Dict[str, Any], frame: Frame, source: Optional[Source], rate: Optional[float]) -> bool:
        if self.lines:
            console.write_json_line(facts)
        else:
            self._print_change(facts)
        if self.sink is None:
            return True
        pixels = np.array(frame.pixels)  # a copy, because a source may reuse its memory
        overlay.draw(pixels, [_text(row) for row in facts["predictions"]], rate)
        try:
            going: bool = self.sink.put(pixels, frame.time_s, source.rate if source else 1.0, facts["source"])
            return going
        except UserError as problem:
            self._sink_failed = problem
            raise

    def _print_change(self, facts: Dict[str, Any]) -> None:
        """Print a line if the best class has changed, rather than one per frame."""
        best = facts["predictions"][0] if facts["predictions"] else None
        label = best["label"] if best else "nothing above the threshold"
        if (facts["source"], label) != self._best:
            self._best = (facts["source"], label)
            text = _text(best) if best else label
            console.write(one_line(f"{facts['source']}, frame {facts['frame']}: {text}"))


def _still(path: str, upright: bool) -> Frame:
    return Frame(np.asarray(images.open_image(path, upright=upright))[..., ::-1], 0, 0.0)


def _text(row: Dict[str, Any]) -> str:
    return f"{100 * row['probability']:05.2f}% {row['label']}"
