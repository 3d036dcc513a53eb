"""The loop of jetson-inference's ``imagenet.py`` with fastalex: capture, classify, overlay, render.

    python examples/jetson_inference_demo.py SOURCE OUT [--network alexnet | --model FILE] [--topK K] [--threshold P]

SOURCE is an image, a video, a camera (``/dev/video0``, ``csi://0``) or a GStreamer pipeline; OUT a video file, or a
folder for pictures. ``fastalex classify`` does the same and more; this shows the calls:

    jetson-inference                          here
    net = imageNet("alexnet", argv)           net = AlexNet.from_pretrained("bvlc_alexnet", profile="jetson-inference")
    input = videoSource(uri)                  source = frame_sources.open_source(*frame_sources.kind_of(uri))
    img = input.Capture()                     for frame in source
    net.Classify(img, topK=k)                 net.classify_frame(frame.pixels, "BGR", k)
    font.OverlayText(img, text=...)           overlay.draw(frame.pixels, [text])
    output.Render(img)                        sink.put(frame.pixels, ...)
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, Optional, Sequence

import numpy as np

from fastalex import AlexNet, UserError, images
from fastalex.video import overlay, sources
from fastalex.video.sinks import open_sink


def frames_of(uri: str) -> Any:
    kind, path = sources.kind_of(uri)
    if kind == sources.IMAGES:
        pixels = np.ascontiguousarray(np.asarray(images.open_image(path))[..., ::-1])
        return [sources.Frame(pixels, 0, 0.0)]
    return sources.open_source(kind, path)


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Classify a stream as imagenet.py does.")
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--network", default="alexnet", choices=["alexnet"])
    parser.add_argument("--model", help="weights of your own, instead of --network")
    parser.add_argument("--topK", type=int, default=1)
    parser.add_argument("--threshold", type=float, default=0.01)
    options = parser.parse_args(argv)
    sink, whole = None, False
    try:
        if options.model:
            net = AlexNet(weights=options.model)
        else:
            net = AlexNet.from_pretrained("bvlc_alexnet", profile="jetson-inference")
        sink = open_sink(options.output)
        source = frames_of(options.input)
        for frame in source:
            predictions = net.classify_frame(frame.pixels, "BGR", options.topK)
            predictions = [prediction for prediction in predictions if prediction.probability >= options.threshold]
            for prediction in predictions:
                print(
                    f"imagenet:  {100 * prediction.probability:05.2f}% class #{prediction.index} ({prediction.label})"
                )
            overlay.draw(
                frame.pixels,
                [f"{100 * prediction.probability:05.2f}% {prediction.label}" for prediction in predictions],
            )
            sink.put(frame.pixels, frame.time_s, getattr(source, "rate", 1.0), options.input)
        whole = True
    except UserError as error:
        print(f"jetson_inference_demo.py: {error}", file=sys.stderr)
        return 2
    finally:
        if sink is not None:
            sink.close(whole)
    return 0


if __name__ == "__main__":
    sys.exit(main())
