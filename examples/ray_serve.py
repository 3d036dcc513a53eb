"""A Ray Serve deployment of fastalex: an encoded image is the body of a request, its classes are the answer.

    pip install 'ray[serve]'
    serve run --app-dir examples ray_serve:app
    curl --data-binary @photo.jpg http://127.0.0.1:8000/

Ray brings replicas on many machines, and their number follows the load. On one machine `fastalex serve` does without
it (docs/serving.md). FASTALEX_WEIGHTS names other weights than those of the digits: a file, or published ones.
"""

from __future__ import annotations

import os
from typing import Any, List

import numpy as np
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from fastalex import AlexNet, UserError


@serve.deployment(ray_actor_options={"num_cpus": 1})
class Classifier:
    def __init__(self, weights: str) -> None:
        self.net = AlexNet(weights=weights, threads=1)

    async def __call__(self, request: Request) -> JSONResponse:
        try:
            image = self.net.preprocess(await request.body())
        except UserError as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse(await self.classify(image))

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002)
    async def classify(self, images: List[np.ndarray]) -> List[Any]:
        found = self.net.label_top_k(*self.net.top_k(np.concatenate(images), 5))
        return [[prediction._asdict() for prediction in predictions] for predictions in found]


app = Classifier.bind(os.environ.get("FASTALEX_WEIGHTS", "digits"))
