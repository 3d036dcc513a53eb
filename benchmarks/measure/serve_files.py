"""What the servers are measured with: photographs' likes, a network, and the same network as an ONNX file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Dict

import numpy as np

SIZE = (500, 375)  # width and height of most images of ImageNet
COUNT = 32
QUALITY = 90
GRAIN = 7.0  # standard deviation; with QUALITY and EDGES it makes files of about 60 kB
EDGES = 40


def picture(generator: np.random.Generator) -> Any:
    """An image of smooth noise at several scales, rectangles with sharp edges, and grain."""
    from PIL import Image

    width, height = SIZE
    pixels = np.zeros((height, width, 3), np.float32)
    for side in (4, 12, 36):
        patches = generator.integers(0, 256, (side * 3 // 4, side, 3), dtype=np.uint8)
        pixels += np.asarray(Image.fromarray(patches).resize(SIZE, Image.Resampling.BICUBIC), np.float32) / 3
    for _ in range(EDGES):
        left, top = int(generator.integers(width)), int(generator.integers(height))
        w, h = (int(side) for side in generator.integers(10, 120, 2))
        pixels[top : top + h, left : left + w] += generator.uniform(-60, 60, 3)
    pixels += generator.normal(0, GRAIN, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_images(folder: Path) -> Dict[str, Any]:
    """Write the JPEG files; return what a record says of them."""
    folder.mkdir()
    sizes = []
    for number in range(COUNT):
        stream = io.BytesIO()
        picture(np.random.default_rng(number)).save(stream, "JPEG", quality=QUALITY)
        (folder / f"{number:02}.jpg").write_bytes(stream.getvalue())
        sizes.append(len(stream.getvalue()))
    facts = {"count": COUNT, "width": SIZE[0], "height": SIZE[1], "quality": QUALITY}
    return dict(facts, mean_kb=sum(sizes) / COUNT / 1e3)


def write_network(folder: Path, network: str) -> None:
    """Write ``network`` with random weights as ``net.safetensors``, and as ``net.onnx`` for batches of any size."""
    from fastalex import AlexNet
    from fastalex.networks import onnx_export

    net = AlexNet(network, device="cpu")
    net.save(folder / "net.safetensors")
    graph = onnx_export.graph_of(net.variant, net.state_dict(), None, softmax=True)
    (folder / "net.onnx").write_bytes(graph.SerializeToString())
