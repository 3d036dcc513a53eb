"""The perceptual distance LPIPS of two images, in queues as those of the models."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np

from ..errors import UserError
from ..lpips import LPIPS
from .batching import Part
from .errors import ServiceError
from .metrics import Metrics
from .pipeline import Pipeline, Shared
from .preparation import Encoded, opened_image, refusal
from .request import Request
from .settings import Settings
from .specs import LpipsSpec

NAME = "lpips"  # of the distance in metrics


class Distance:
    """The metric, loaded.

    :raises UserError: if its weights or its heads cannot be loaded.
    :raises BackendError: if its device does not work here.
    """

    def __init__(self, spec: LpipsSpec, settings: Settings, metrics: Metrics, shared: Shared) -> None:
        self.metric = LPIPS(
            weights=spec.weights,
            heads=spec.heads,
            version=spec.version,
            device=spec.device,
            precision=spec.precision,
            threads=spec.threads or settings.threads,
        )
        self._max_pixels = settings.max_pixels
        # One pair a call: pairs have sizes of their own, and the weights of the convolutions stay in the caches.
        self._pipeline = Pipeline(NAME, self._decoded, self._compute, 1, 0.0, shared, metrics.of_model(NAME))

    async def compare(
        self, first: Encoded, second: Encoded, client: str = "", deadline: Optional[float] = None
    ) -> float:
        """Compute the distance of two images; 0 means equal. On any event loop.

        :param first: an encoded file as bytes, or uint8 ``[H, W, 3]``.
        :param second: an image of the same size.
        :raises ServiceError: 413 for an image of too many pixels, 422 for images that cannot be decoded or compared;
            429, 503 and 504 as :meth:`.Served.infer`.
        """
        request = Request([(first, second)], (NAME,), client, deadline, decoded=True)
        (distances,) = await self._pipeline.answer(request)
        return float(distances[0])

    def _decoded(self, pair: Tuple[Encoded, Encoded]) -> Tuple[np.ndarray, ...]:
        """Decode both images, uint8 ``[3, H, W]``."""
        try:
            images = tuple(np.asarray(opened_image(image, self._max_pixels)).transpose(2, 0, 1) for image in pair)
        except UserError as error:
            raise refusal(error) from None
        (_, height, width), (_, other_height, other_width) = (image.shape for image in images)
        if (height, width) != (other_height, other_width):
            raise ServiceError(
                422,
                f"LPIPS compares images of the same size, and these have {width} x {height} and "
                f"{other_width} x {other_height} pixels; resize one of them",
            )
        return images

    def _compute(self, parts: Sequence[Part]) -> List[np.ndarray]:
        first, second = parts[0].rows[0]
        try:
            return [self.metric(first[None], second[None]).reshape(1)]
        except UserError as error:  # too small
            raise ServiceError(422, str(error)) from None

    def close(self, timeout: Optional[float] = None) -> None:
        """Accept no more requests and wait for those accepted; those left after ``timeout`` seconds get an error."""
        self._pipeline.close(timeout)
