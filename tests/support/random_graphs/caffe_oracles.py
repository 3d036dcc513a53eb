"""Reference results of Caffe networks: OpenCV's importer on the prototxt, and PyTorch layer by layer in float64.

The formulas of the layers are those of github.com/BVLC/caffe, ``src/caffe/layers``.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from tests.support import file_writers
from tests.support.file_writers import CaffeLayer

#: Features that OpenCV's importer reads differently from Caffe: BNLL, the enum ``round_mode`` (a flag there), weights
#: stored with ``transpose``, pads and kernels that differ by side in a pool.
_NOT_OPENCVS = {"BNLL", "AbsVal"}
_NOT_OPENCVS_FIELDS = {"round_mode", "transpose"}


def by_opencv(layers: Sequence[CaffeLayer], x: np.ndarray, outputs: Sequence[str]) -> Optional[List[np.ndarray]]:
    """The results of ``outputs`` (layers), or None if OpenCV does not have one of the layers."""
    for layer in layers:
        fields = {field for values in layer.options.values() for field in values}
        if layer.kind in _NOT_OPENCVS or fields & _NOT_OPENCVS_FIELDS or _k_of(layer) != 1:
            return None
    net = file_writers.caffe_net(layers, x.shape)
    text, data = file_writers.caffe_text(net).encode(), net.SerializeToString()
    theirs = cv2.dnn.readNetFromCaffe(np.frombuffer(text, np.uint8), np.frombuffer(data, np.uint8))
    theirs.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    theirs.setInput(x)
    return [np.array(result) for result in theirs.forward(list(outputs))]


def _k_of(layer: CaffeLayer) -> float:
    """OpenCV takes it for 1."""
    return layer.options.get("lrn_param", {}).get("k", 1.0)


def by_torch(layers: Sequence[CaffeLayer], x: np.ndarray) -> Dict[str, np.ndarray]:
    """All tops in float64; for a name written by several layers, the last value."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # maps are small, and other tests run in parallel
    try:
        return _by_torch(layers, x)
    finally:
        torch.set_num_threads(threads)


def _by_torch(layers: Sequence[CaffeLayer], x: np.ndarray) -> Dict[str, np.ndarray]:
    tops = {"data": torch.from_numpy(x.astype(np.float64))}
    for layer in layers:
        given = [tops[name] for name in layer.bottoms]
        blobs = [torch.from_numpy(np.asarray(blob, np.float64)) for blob in layer.blobs]
        options = next(iter(layer.options.values()), {})
        results = _LAYERS[layer.kind](given, options, blobs)
        tops.update(zip(layer.tops, results if isinstance(results, (list, tuple)) else [results] * len(layer.tops)))
    return {name: value.numpy() for name, value in tops.items()}


def _last(options: Any, key: str, default: int) -> int:
    value = options.get(key, default)
    return value[-1] if isinstance(value, (list, tuple)) else value


def _pair(options: Any, key: str, short: str, default: int) -> List[int]:
    return [options.get(f"{short}_{side}", _last(options, key, default)) for side in "hw"]


def _convolution(given: Any, options: Any, blobs: Any) -> Any:
    pads, strides = _pair(options, "pad", "pad", 0), _pair(options, "stride", "stride", 1)
    words = {"dilation": _last(options, "dilation", 1), "groups": options.get("group", 1)}
    return F.conv2d(given[0], *blobs, stride=strides, padding=pads, **words)


def _inner_product(given: Any, options: Any, blobs: Any) -> Any:
    weight = blobs[0].T if options.get("transpose") else blobs[0]
    return F.linear(given[0].flatten(1), weight, blobs[1] if len(blobs) > 1 else None)


def _pooling(given: Any, options: Any, blobs: Any) -> Any:
    (x,) = given
    kernel = list(x.shape[2:]) if options.get("global_pooling") else _pair(options, "kernel_size", "kernel", 0)
    stride, pad = options.get("stride", 1), options.get("pad", 0)
    words = {"stride": stride, "padding": pad, "ceil_mode": not options.get("round_mode", 0)}
    pool = F.avg_pool2d if options.get("pool", 0) == 1 else F.max_pool2d
    return pool(x, kernel, **words)


def _lrn(given: Any, options: Any, blobs: Any) -> Any:
    (x,) = given
    size, alpha, beta, k = (options.get(key, default) for key, default in _LRN_DEFAULTS)
    if options.get("norm_region", 0) == 1:  # an average over a square window; zeros around the map count
        mean = F.avg_pool2d(x * x, size, 1, (size - 1) // 2)
        return x / (1 + alpha * mean) ** beta
    return F.local_response_norm(x, size, alpha, beta, k)


_LRN_DEFAULTS = (("local_size", 5), ("alpha", 1.0), ("beta", 0.75), ("k", 1.0))


def _batch_norm(given: Any, options: Any, blobs: Any) -> Any:
    factor = 0.0 if float(blobs[2]) == 0 else 1 / float(blobs[2])
    return F.batch_norm(given[0], blobs[0] * factor, blobs[1] * factor, eps=options.get("eps", 1e-5))


def _scale(given: Any, options: Any, blobs: Any) -> Any:
    (x,) = given
    shape = [1, -1] + [1] * (x.dim() - 2)
    return x * blobs[0].reshape(shape) + (blobs[1].reshape(shape) if len(blobs) > 1 else 0)


def _power(given: Any, options: Any, blobs: Any) -> Any:
    return (options.get("shift", 0.0) + options.get("scale", 1.0) * given[0]) ** options.get("power", 1.0)


def _slice(given: Any, options: Any, blobs: Any) -> Any:
    return torch.tensor_split(given[0], list(options["slice_point"]), dim=options.get("axis", 1))


def _eltwise(given: Any, options: Any, blobs: Any) -> Any:
    stacked = torch.stack(list(given))
    return {0: stacked.prod(0), 1: stacked.sum(0), 2: stacked.max(0).values}[options.get("operation", 1)]


_LAYERS: Dict[str, Callable[[Any, Any, Any], Any]] = {
    "Convolution": _convolution,
    "InnerProduct": _inner_product,
    "Pooling": _pooling,
    "LRN": _lrn,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "Power": _power,
    "Slice": _slice,
    "Concat": lambda given, options, blobs: torch.cat(list(given), options.get("axis", 1)),
    "Eltwise": _eltwise,
    "ReLU": lambda given, options, blobs: F.leaky_relu(given[0], options.get("negative_slope", 0.0)),
    "PReLU": lambda given, options, blobs: F.prelu(given[0], blobs[0]),
    "ELU": lambda given, options, blobs: F.elu(given[0], options.get("alpha", 1.0)),
    "TanH": lambda given, options, blobs: torch.tanh(given[0]),
    "Sigmoid": lambda given, options, blobs: torch.sigmoid(given[0]),
    "AbsVal": lambda given, options, blobs: given[0].abs(),
    "BNLL": lambda given, options, blobs: F.softplus(given[0]),
    "Softmax": lambda given, options, blobs: torch.softmax(given[0], 1),
    "Dropout": lambda given, options, blobs: given[0],
    "Flatten": lambda given, options, blobs: given[0].flatten(1),
    "Split": lambda given, options, blobs: given[0],
}
