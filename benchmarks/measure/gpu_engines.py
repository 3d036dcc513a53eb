"""The engines compared on a GPU: fastalex in each of its precisions, and PyTorch at its best.

An engine is loaded for one batch and then called again and again. Input and output stay on the GPU, so that only
the network is timed. fastalex takes and gives float32 NCHW, as its users have it; PyTorch gets its input in the
precision and layout that suit it best, and may leave its output so: conversions are at fastalex's cost only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

import numpy as np

from benchmarks.measure.engine_files import WEIGHTS
from benchmarks.measure.runtimes import torch_model
from benchmarks.numeric_classes import BITS16, FC4, FC8, FP32


class Fastalex:
    """This package on a GPU."""

    def __init__(self, spec: Mapping[str, Any], precision: str, fc_weights: str) -> None:
        from fastalex import AlexNet

        weights = os.path.join(spec["folder"], WEIGHTS)
        options = {"device": spec["device"], "precision": precision, "fc_weights": fc_weights}
        self.net = AlexNet(spec["variant"], weights=weights, **options)

    def load(self, images: np.ndarray, stream: int = 0) -> None:
        self.out = self.net.to_device(self.net(images))
        self.call = self.net.bind(self.net.to_device(images), self.out, stream=stream)

    def result(self) -> np.ndarray:
        return self.out.numpy()  # waits

    def flush(self, size: int) -> Callable[[], Any]:
        """Function that overwrites an L2 cache of ``size`` bytes; used where nothing quicker is available."""
        values = np.zeros(2 * size // 4 + 1, np.float32)
        buffer = self.net.to_device(values)
        return lambda: buffer.copy_from(values)


class Torch:
    """PyTorch: eager, or compiled with autotuned kernels and CUDA graphs."""

    def __init__(self, spec: Mapping[str, Any], precision: str, compiled: bool) -> None:
        import torch

        self.torch, self.spec, self.compiled = torch, spec, compiled
        self.dtype = torch.float16 if precision == "fp16" else torch.float32
        self.device = torch.device(spec["torch_device"])
        torch.backends.cudnn.benchmark = True
        # fp32 is fp32: TF32 has 10 bits of mantissa, as fp16 has.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    def load(self, images: np.ndarray, stream: int = 0) -> None:
        model = torch_model(self.spec).to(self.device, self.dtype)
        self.model = model.to(memory_format=self.torch.channels_last)
        if self.compiled:
            self.torch._dynamo.reset()
            self.model = self.torch.compile(self.model, mode="max-autotune", dynamic=False)
        x = self.torch.from_numpy(images).to(self.device, self.dtype)
        self.x = x.contiguous(memory_format=self.torch.channels_last)
        for _ in range(3):  # compiles, tunes, records the graph
            self.call()

    def call(self) -> None:
        with self.torch.inference_mode():
            self.out = self.model(self.x)

    def result(self) -> np.ndarray:
        return self.out.float().cpu().numpy()


@dataclass(frozen=True)
class Engine:
    """One mode of fastalex or of a peer; engines of the same ``numeric_class`` are compared (:data:`GPU_CLASSES`)."""

    name: str
    peer: str
    numeric_class: str
    precision: str
    make: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    fc_weights: Optional[str] = None


def _own(name: str, numeric_class: str, precision: str, fc_weights: str) -> Engine:
    options = {"precision": precision, "fc_weights": fc_weights}
    return Engine(name, "fastalex", numeric_class, precision, Fastalex, options, fc_weights)


def _torch(name: str, numeric_class: str, precision: str, compiled: bool) -> Engine:
    return Engine(name, "torch", numeric_class, precision, Torch, {"precision": precision, "compiled": compiled})


#: Every engine by name, fastalex first.
ENGINES: Dict[str, Engine] = {
    engine.name: engine
    for engine in (
        _own("fastalex fp32", FP32, "fp32", "fp32"),
        _own("fastalex fp16", BITS16, "fp16", "fp16"),
        _own("fastalex fp16, int8 fc", FC8, "fp16", "int8"),
        _own("fastalex fp16, int4 fc", FC4, "fp16", "int4"),
        _torch("torch eager fp32", FP32, "fp32", False),
        _torch("torch eager fp16", BITS16, "fp16", False),
        _torch("torch compile fp16", BITS16, "fp16", True),
    )
}


def chosen(
    fc_weights: Optional[Sequence[str]], torch_reason: str, names: Optional[Sequence[str]] = None
) -> Tuple[Engine, ...]:
    """The engines to measure: those of fastalex with one of ``fc_weights`` (None: all), PyTorch's if it can be used.

    :param names: only these, in this order.
    """
    engines = []
    for name in ENGINES if names is None else dict.fromkeys(names):
        engine = ENGINES[name]
        if engine.peer == "fastalex" and (fc_weights is None or engine.fc_weights in fc_weights):
            engines.append(engine)
        if engine.peer == "torch" and not torch_reason:
            engines.append(engine)
    return tuple(engines)
