"""One loaded model: what it takes and returns, and its calls."""

from __future__ import annotations

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..errors import UserError
from ..images.profiles import CHANNELS
from ..model import AlexNet
from ..networks import taps
from ..networks.architecture import PROBABILITY
from ..weights import registry
from ..weights.class_names import read_labels
from . import memory
from .batching import ClosedError, Part
from .errors import ServiceError
from .metrics import Metrics
from .pipeline import Pipeline, Shared
from .preparation import Encoded, Preparation
from .request import Request
from .settings import Settings
from .specs import ModelSpec

VERSION = "1"  # a file has one
DEFAULT_OUTPUTS = ("probabilities", "logits")
_TAPS = {"probabilities": PROBABILITY}  # the protocol's name -> the library's


class TensorSpec(NamedTuple):
    """A tensor of a model as the Open Inference Protocol describes it; -1 is a free length."""

    name: str
    datatype: str
    shape: Tuple[int, ...]


class Served:
    """A model that is loaded and takes requests.

    :ivar name: the name in the repository.
    :ivar version: ``"1"``.
    :ivar net: the :class:`~fastalex.AlexNet`.
    :ivar labels: its class names, or None.
    :ivar successor: the model of the same name that was loaded in the place of this one, and gets its late requests.
    :raises UserError: if the model cannot be loaded, or its options do not fit it.
    :raises BackendError: if its device does not work here.
    """

    def __init__(self, spec: ModelSpec, settings: Settings, metrics: Metrics, shared: Shared) -> None:
        self.spec, self.name, self.version = spec, spec.name, VERSION
        weights = spec.file if spec.file == "random" else registry.locate(spec.file)
        memory.check(weights)
        self.net = AlexNet(
            spec.variant,
            weights=weights,
            device=spec.device,
            precision=spec.precision,
            fc_weights=spec.fc_weights,
            fc_layout=spec.fc_layout,
            threads=spec.threads or settings.threads,
        )
        if spec.labels is not None:
            self.net.labels = read_labels(spec.labels, self.net.variant.num_classes)
        self.labels = self.net.labels
        self.successor: Optional[Served] = None
        row = self.net.variant
        self._shape = (row.channels, row.input_size, row.input_size)
        self._values = {layer.name: math.prod(layer.out_shape) for layer in row.layers()}  # of one image
        self._most_bytes = settings.max_body_bytes
        self._prepare: Any = None
        if row.channels in CHANNELS:
            self._prepare = Preparation(self.net, spec.profile, settings.max_pixels)
        self._staging = np.empty((settings.max_batch, *self._shape), np.float32)
        # A call of one image finds out what does not work, and takes the memory for the next ones.
        results = self._run(np.zeros((1, *self._shape), np.float32), DEFAULT_OUTPUTS)
        self._outputs = [TensorSpec(k, "FP32", (-1, *v.shape[1:])) for k, v in zip(DEFAULT_OUTPUTS, results)]
        self._pipeline = Pipeline(
            self.name,
            self._prepare,
            self._compute,
            settings.max_batch,
            settings.max_delay_us * 1e-6,
            shared,
            metrics.of_model(self.name),
        )

    def inputs(self) -> List[TensorSpec]:
        """List the inputs, of which a request has exactly one: a prepared batch, image files, or pixels."""
        specs = [TensorSpec("input", "FP32", (-1, *self._shape))]
        if self._prepare is not None:
            specs += [TensorSpec("image", "BYTES", (-1,)), TensorSpec("pixels", "UINT8", (-1, -1, -1, 3))]
        return specs

    def outputs(self) -> List[TensorSpec]:
        """List the outputs of a request that names none; layers can be had by name besides."""
        return list(self._outputs)

    async def infer(
        self, x: np.ndarray, outputs: Sequence[str] = (), client: str = "", deadline: Optional[float] = None
    ) -> Dict[str, np.ndarray]:
        """Compute a prepared batch. On any event loop.

        :param x: float32 or float16 ``[N, C, S, S]``; it must not change before the answer.
        :param outputs: ``"probabilities"``, ``"logits"`` and names of layers (:mod:`fastalex.networks.taps`).
            Default: :data:`DEFAULT_OUTPUTS`.
        :param client: the address of the client, who has a turn and a bound of its own.
        :param deadline: by :func:`time.monotonic`, after which the answer is of no use.
        :returns: name -> float32 ``[N, ...]``.
        :raises ServiceError: 404 for an unknown layer, 413 for too many images, 422 for a tensor that does not fit,
            429 and 503 for full queues, 503 for want of memory, 504 at the deadline.
        """
        if x.shape[1:] != self._shape or not len(x):
            expected = ", ".join(map(str, self._shape))
            raise ServiceError(422, f"model '{self.name}' takes a batch [N, {expected}], not {list(x.shape)}")
        if x.dtype not in (np.float32, np.float16):
            raise ServiceError(422, f"a prepared batch is FP32 or FP16, not {x.dtype}; images are 'image' or 'pixels'")
        rows: Any = np.ascontiguousarray(x, np.float32)
        try:
            return await self._answer(Request(rows, self._resolved(outputs, len(x)), client, deadline))
        except ClosedError:
            if self.successor is None:
                raise
            return await self.successor.infer(x, outputs, client, deadline)

    async def infer_images(
        self, images: Sequence[Encoded], outputs: Sequence[str] = (), client: str = "", deadline: Optional[float] = None
    ) -> Dict[str, np.ndarray]:
        """Decode, prepare and compute images; parameters and errors are those of :meth:`infer`.

        :param images: encoded files as bytes, or uint8 ``[H, W, 3]`` in RGB order.
        :raises ServiceError: also 413 for an image of too many pixels, and 422 for one that cannot be decoded.
        """
        if self._prepare is None:
            channels = self._shape[0]
            raise ServiceError(422, f"model '{self.name}' has {channels} channels and takes no images; send 'input'")
        if not len(images):
            raise ServiceError(422, "there are no images; send at least one")
        try:
            return await self._answer(
                Request(list(images), self._resolved(outputs, len(images)), client, deadline, decoded=True)
            )
        except ClosedError:
            if self.successor is None:
                raise
            return await self.successor.infer_images(images, outputs, client, deadline)

    async def _answer(self, request: Request) -> Dict[str, np.ndarray]:
        return dict(zip(request.outputs, await self._pipeline.answer(request)))

    def _resolved(self, outputs: Sequence[str], images: int) -> Tuple[str, ...]:
        """Return the outputs of a request of ``images``, whose answer may be as large as a request."""
        names = tuple(dict.fromkeys(outputs)) or DEFAULT_OUTPUTS
        try:
            layers = taps.resolve(self.net.variant, [_TAPS.get(name, name) for name in names])
        except UserError as error:
            raise ServiceError(404, str(error)) from None
        size = 4 * images * sum(self._values.get(layer, self.net.variant.num_classes) for layer in layers)
        if size > self._most_bytes:
            raise ServiceError(
                413,
                f"the answer would have {size} bytes, and this server allows {self._most_bytes}; ask for fewer images "
                "or layers at a time",
            )
        return names

    def _compute(self, parts: Sequence[Part]) -> List[np.ndarray]:
        return self._run(self._gathered(parts), parts[0].request.outputs)

    def _gathered(self, parts: Sequence[Part]) -> np.ndarray:
        """Return the rows of all parts as one batch, in memory that every call uses again."""
        rows: Any = parts[0].rows
        if len(parts) == 1 and isinstance(rows, np.ndarray):
            whole: np.ndarray = rows[parts[0].first : parts[0].last]
            return whole
        end = 0
        for part in parts:
            for row in part.rows[part.first : part.last]:
                self._staging[end] = row
                end += 1
        return self._staging[:end]

    def _run(self, x: np.ndarray, outputs: Sequence[str]) -> List[np.ndarray]:
        results = self.net.taps(x, [_TAPS.get(name, name) for name in outputs])
        return [results[_TAPS.get(name, name)] for name in outputs]

    def close(self, timeout: Optional[float] = None) -> None:
        """Accept no more requests and wait for those accepted; those left after ``timeout`` seconds get an error."""
        self._pipeline.close(timeout)
