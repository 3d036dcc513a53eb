"""One loaded model: what it takes and returns, and its calls."""

from __future__ import annotations

import asyncio
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..model import AlexNet
from .errors import ServiceError
from .metrics import Metrics
from .settings import Settings
from .specs import ModelSpec

DEFAULT_OUTPUTS = ("probabilities", "logits")


class TensorSpec(NamedTuple):
    """A tensor of a model as the Open Inference Protocol describes it; -1 is a free length."""

    name: str
    datatype: str
    shape: Tuple[int, ...]


class Served:
    def __init__(self, spec: ModelSpec, settings: Settings, metrics: Metrics) -> None:
        self.spec, self.name, self.version = spec, spec.name, "1"
        self.net = AlexNet(
            spec.variant,
            weights=spec.file,
            device=spec.device,
            precision=spec.precision,
            fc_weights=spec.fc_weights,
            threads=spec.threads or settings.threads,
        )
        self.labels = self.net.labels

    def inputs(self) -> List[TensorSpec]:
        c, s = self.net.variant.channels, self.net.variant.input_size
        return [
            TensorSpec("input", "FP32", (-1, c, s, s)),
            TensorSpec("image", "BYTES", (-1,)),
            TensorSpec("pixels", "UINT8", (-1, -1, -1, 3)),
        ]

    def outputs(self) -> List[TensorSpec]:
        n = self.net.variant.num_classes
        return [TensorSpec("probabilities", "FP32", (-1, n)), TensorSpec("logits", "FP32", (-1, n))]

    async def infer(
        self, x: np.ndarray, outputs: Sequence[str] = (), client: str = "", deadline: Optional[float] = None
    ) -> Dict[str, np.ndarray]:
        return await asyncio.get_running_loop().run_in_executor(None, self._run, x, outputs)

    async def infer_images(
        self, images: Sequence[Any], outputs: Sequence[str] = (), client: str = "", deadline: Optional[float] = None
    ) -> Dict[str, np.ndarray]:
        return await self.infer(self.net.preprocess(list(images)), outputs, client, deadline)

    def _run(self, x: np.ndarray, outputs: Sequence[str]) -> Dict[str, np.ndarray]:
        names = list(outputs or DEFAULT_OUTPUTS)
        try:
            results = self.net.taps(x, ["prob" if n == "probabilities" else n for n in names])
        except ValueError as error:
            raise ServiceError(422, str(error)) from None
        return {n: results["prob" if n == "probabilities" else n] for n in names}

    def close(self) -> None:
        pass
