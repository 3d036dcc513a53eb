"""A layer table run by PyTorch's own functions: the oracle of the naive backend, in any precision."""

from __future__ import annotations

from typing import Dict, List, Sequence

import numpy as np
import torch
import torch.nn.functional as F


def run(table: str, x: np.ndarray, params: Sequence[np.ndarray], dtype: torch.dtype = torch.float64) -> np.ndarray:
    """Output of ``table`` for ``x`` as float64."""
    value = torch.from_numpy(np.array(x)).to(dtype)
    rest = [torch.from_numpy(np.array(param)).to(dtype) for param in params]
    with torch.no_grad():
        for line in table.splitlines():
            op, *words = line.split()
            value = _OPS[op](value, dict(word.split("=", 1) for word in words), rest)
    assert not rest
    return value.double().numpy()


def _conv(x, options: Dict[str, str], rest: List[torch.Tensor]):
    kernel, stride, pad = (int(options[key]) for key in ("kernel", "stride", "pad"))
    extra = [0, 0]
    if options["rounding"] == "ceil":
        extra = [-(side + 2 * pad - kernel) % stride for side in x.shape[2:]]
    x = F.pad(x, (pad, pad + extra[1], pad, pad + extra[0]))
    return F.conv2d(x, rest.pop(0), rest.pop(0), stride=stride, groups=int(options["groups"]))


def _fc(x, options, rest):
    return F.linear(x.flatten(1), rest.pop(0), rest.pop(0))


def _lrn(x, options, rest):
    size, alpha = int(options["size"]), float(options["alpha"])
    parts = x.chunk(int(options["groups"]), 1)
    normed = [F.local_response_norm(p, size, alpha * size, float(options["beta"]), float(options["k"])) for p in parts]
    return torch.cat(normed, 1)


def _spatial_norm(x, options, rest):
    size = int(options["size"])
    squares = F.avg_pool2d(x * x, size, 1, size // 2, count_include_pad=True) * size * size
    return x / (float(options["k"]) + float(options["alpha"]) * squares) ** float(options["beta"])


def _maxpool(x, options, rest):
    return F.max_pool2d(x, int(options["kernel"]), int(options["stride"]), ceil_mode=options["rounding"] == "ceil")


_OPS = {
    "conv": _conv,
    "fc": _fc,
    "lrn": _lrn,
    "spatial_norm": _spatial_norm,
    "maxpool": _maxpool,
    "adaptive_avgpool": lambda x, options, rest: F.adaptive_avg_pool2d(x, int(options["out"])),
    "relu": lambda x, options, rest: F.relu(x),
    "tanh": lambda x, options, rest: torch.tanh(x),
    "sigmoid": lambda x, options, rest: torch.sigmoid(x),
    "leaky_relu": lambda x, options, rest: F.leaky_relu(x, float(options["alpha"])),
    "softmax": lambda x, options, rest: F.softmax(x, 1),
}
