"""Sound files of every format that the package reads, made here, as small as they can be."""

from __future__ import annotations

import io
import json
import os
import tempfile
from random import Random
from typing import Any, Callable, Dict, List, Mapping, NamedTuple

import numpy as np

from fastalex import variants, weights
from fastalex.quantize import Calibration
from fastalex.weights import initial
from fastalex.weights.readers import npz, safetensors
from tests.fuzz import mutators
from tests.fuzz.mutators import pickles, zips
from tests.fuzz.mutators import safetensors as damaged_safetensors
from tests.support import file_writers

Files = Dict[str, bytes]  # the first by name is the one that is given to the package
ROW = variants.get("caffenet", widths=(2, 2, 2, 2, 2, 3, 3), num_classes=2, input_size=67)
LABELS = ["one", "two"]


class Format(NamedTuple):
    """The kind of user of a format (:data:`tests.fuzz.targets.TARGETS`), its sound files, and what damages one."""

    target: str
    make: Callable[[], List[Files]]
    damage: Callable[[str, bytes, Random], bytes] = mutators.mutated


def case(name: str, sound: List[Files], number: int) -> Files:
    """The damaged files of the case ``number`` of the format ``name``, whose sound files are ``sound``."""
    chance = Random(f"{name} {number}")
    files = dict(sound[number % len(sound)])
    damaged = chance.choice(sorted(files))
    files[damaged] = FORMATS[name].damage(damaged, files[damaged], chance)
    return files


# Weights --------------------------------------------------------------------------------------------------------------


def arrays() -> Dict[str, np.ndarray]:
    return initial.random_weights(ROW)


def metadata() -> Dict[str, str]:
    """All metadata that a weights file can have."""
    steps = {layer.name: 0.5 for layer in ROW.layers() if layer.param}
    mean = np.full((3, ROW.input_size, ROW.input_size), 120, np.float32)
    found: Dict[str, str] = weights.metadata_for(ROW, LABELS, Calibration(steps, "percentile", 4, 99.9), mean)
    return {**found, "source": "made for a test"}


def _kinds(*names: str) -> List[Files]:
    makers = file_writers.every_kind(ROW, arrays())
    return [{name: makers[name]()} for name in names]


def _written(module: Any) -> bytes:
    stream = io.BytesIO()
    module.write(stream, arrays(), metadata())
    return stream.getvalue()


def _safetensors() -> List[Files]:
    return [{"net.safetensors": _written(safetensors)}, *_kinds("int8.safetensors", "int4.safetensors")]


def _npz() -> List[Files]:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays())
    return [{"net.npz": _written(npz)}, *_kinds("int4.npz"), {"packed.npz": stream.getvalue()}]


def _zip_pth() -> List[Files]:
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in arrays().items()}
    checkpoint = {"model": tensors, "optimizer": {"state": {0: {"step": 1}}}, "half": torch.ones(3).bfloat16()}
    return [*_kinds("zip.pth"), {"run.pth": file_writers.torch_bytes(checkpoint, "zip")}]


def _layers_npy() -> List[Files]:
    """A dict of layers, as converters from Caffe write it."""
    layers: Dict[str, Any] = {}
    for name, array in arrays().items():
        layer, _, leaf = name.rpartition(".")
        layers.setdefault(layer, {})[leaf + "s" if leaf == "weight" else "biases"] = array
    files = []
    for content in (layers, {layer: list(one.values()) for layer, one in layers.items()}):
        stream = io.BytesIO()
        np.save(stream, content, allow_pickle=True)
        files.append({"net.npy": stream.getvalue()})
    return files


def _onnx() -> List[Files]:
    from fastalex.networks.onnx_export import graph_of

    return [{"net.onnx": graph_of(ROW, arrays(), metadata=metadata()).SerializeToString()}]


def _onnx_external() -> List[Files]:
    import onnx

    from fastalex.networks.onnx_export import graph_of

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "net.onnx")
        options = {"save_as_external_data": True, "size_threshold": 0, "location": "net.onnx.data"}
        onnx.save_model(graph_of(ROW, arrays()), path, **options)
        files = {}
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as stream:
                files[name] = stream.read()
    return [files]


def _caffe() -> List[Files]:
    return [
        {"net.caffemodel": file_writers.caffemodel_bytes(ROW, arrays(), version=version, packed=version == 2)}
        for version in (2, 1, 0)
    ]


def _containers() -> List[Files]:
    makers = file_writers.every_container("net.safetensors", lambda: _written(safetensors))
    return [{name: make()} for name, make in makers.items()]


def _metadata() -> List[Files]:
    return _safetensors()


def _damaged_metadata(name: str, data: bytes, chance: Random) -> bytes:
    return damaged_safetensors.metadata(data, chance)


def _mean_image() -> List[Files]:
    values = np.full((3, ROW.input_size, ROW.input_size), 120, np.float32)
    blob = file_writers.caffe_messages()["BlobProto"](num=1, channels=3, height=ROW.input_size, width=ROW.input_size)
    blob.data.extend(values.reshape(-1).tolist())
    stream = io.BytesIO()
    np.save(stream, values)
    return [{"mean.binaryproto": blob.SerializeToString()}, {"mean.npy": stream.getvalue()}]


# Other files ----------------------------------------------------------------------------------------------------------


def _calibration() -> List[Files]:
    return [{"calibration.json": metadata()[weights.CALIBRATION_KEY].encode()}]


def _tuning() -> List[Files]:
    from tests.fuzz import targets

    return [{"tuning.json": json.dumps(targets.tuning_cache()).encode()}]


def _checkpoint() -> List[Files]:
    from tests.fuzz import targets

    return [{"checkpoint.pt": targets.checkpoint()}]


def _damaged_checkpoint(name: str, data: bytes, chance: Random) -> bytes:
    if chance.random() < 0.3:
        return mutators.mutated(name, data, chance)
    return zips.changed(data, "data.pkl", lambda content: pickles.reset(content, chance))


def _labels() -> List[Files]:
    return [{"labels.txt": "".join(f"{label}\n" for label in LABELS).encode()}]


# Images ---------------------------------------------------------------------------------------------------------------


def _image(suffix: str, *options: Mapping[str, Any]) -> Callable[[], List[Files]]:
    """A maker of files of one format, one for each of the ``options`` of Pillow's writer.

    ``mode`` is the image's, ``frames`` their number; one of no contrast is black.
    """

    def make() -> List[Files]:
        from PIL import Image

        made = []
        pixels = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
        for option in options or ({},):
            words = dict(option)
            image = Image.fromarray(pixels * words.pop("contrast", 1)).convert(words.pop("mode", "RGB"))
            frames = [image.rotate(90) for _ in range(words.pop("frames", 1) - 1)]
            stream = io.BytesIO()
            if frames:
                words.update(save_all=True, append_images=frames)
            image.save(stream, {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(suffix, suffix.upper()), **words)
            made.append({f"image.{suffix}": stream.getvalue()})
        return made

    return make


def _can_write(suffix: str) -> bool:
    from PIL import features

    needed = {"webp": "webp", "jp2": "jpg_2000", "avif": "avif"}.get(suffix)
    return needed is None or bool(features.check(needed))


_IMAGES = {
    "jpg": ({}, {"progressive": True, "contrast": 0}, {"mode": "CMYK"}, {"mode": "L"}),
    "png": ({}, {"mode": "P"}, {"mode": "RGBA"}, {"mode": "I;16"}, {"mode": "1"}),
    "webp": ({"lossless": True, "contrast": 0}, {"lossless": True}, {"quality": 50}, {"mode": "RGBA", "frames": 2}),
    "gif": ({"mode": "P"}, {"mode": "P", "contrast": 0}, {"mode": "P", "frames": 3}),
    "tif": ({}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"compression": "tiff_deflate", "mode": "P"}),
    "bmp": ({}, {"mode": "P"}, {"mode": "1"}),
    "ppm": ({}, {"mode": "L"}, {"mode": "1"}),
    "jp2": ({}, {"contrast": 0}, {"mode": "RGBA"}),
    "avif": ({}, {"contrast": 0}, {"frames": 2}),
}

FORMATS: Dict[str, Format] = {
    "safetensors": Format("weights", _safetensors),
    "metadata": Format("weights", _metadata, _damaged_metadata),
    "npz": Format("weights", _npz),
    "pth": Format("weights", _zip_pth),
    "pth-stream": Format("weights", lambda: _kinds("stream.pth")),
    "pth-tar": Format("weights", lambda: _kinds("tar.pth")),
    "npy": Format("weights", _layers_npy),
    "onnx": Format("weights", _onnx),
    "onnx-external": Format("weights", _onnx_external),
    "caffemodel": Format("weights", _caffe),
    "containers": Format("weights", _containers),
    "mean-image": Format("mean", _mean_image),
    "calibration": Format("calibration", _calibration),
    "checkpoint": Format("checkpoint", _checkpoint, _damaged_checkpoint),
    "tuning": Format("tuning", _tuning),
    "labels": Format("labels", _labels),
    **{suffix: Format("image", _image(suffix, *options)) for suffix, options in _IMAGES.items() if _can_write(suffix)},
}
