"""The routes for people: classes, the results of a layer, and the distance of two images, from image files."""

from __future__ import annotations

import io
import time
from typing import Any, Dict, List, Tuple

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import forms
from .errors import ServiceError
from .messages import BINARY, client_of, deadline_of, facts, header, json_response
from .metrics import Metrics
from .protocol.response import MAX_JSON_VALUES
from .protocol.tensors import largest
from .repository import Repository
from .served import Served
from .settings import Settings

TOPK = 5
NPY = "application/x-npy"


class V1:
    """The routes of one server."""

    def __init__(self, settings: Settings, repository: Repository, metrics: Metrics) -> None:
        self._settings, self._repository, self._metrics = settings, repository, metrics

    def routes(self) -> List[Route]:
        """Return the routes."""
        endpoints = (self.classify, self.embeddings, self.distance)
        return [Route(f"/v1/{endpoint.__name__}", endpoint, methods=["POST"]) for endpoint in endpoints]

    async def classify(self, http: Request) -> Response:
        """Return the most probable classes of each image."""
        form = await forms.read(http.scope, http.receive, self._settings, ("model", "topk"))
        served = self._served(http, form)
        topk = _topk(form.fields.get("topk"))
        rows = (await self._computed(http, served, form, "probabilities"))["probabilities"]
        began = time.perf_counter()
        rows = rows.reshape(len(rows), -1)
        best = largest(rows, topk)
        ranked = served.net.label_top_k(np.take_along_axis(rows, best, 1), best)
        images = [
            {"name": upload.name, "predictions": [prediction._asdict() for prediction in predictions]}
            for upload, predictions in zip(form.images, ranked)
        ]
        response = json_response({"model": served.name, "images": images})
        self._metrics.encode_seconds.labels(served.name).inc(time.perf_counter() - began)
        return response

    async def embeddings(self, http: Request) -> Response:
        """Return the result of a layer for each image: as JSON, or by Accept as .npy or plain float32 values."""
        form = await forms.read(http.scope, http.receive, self._settings, ("model", "layer"))
        served = self._served(http, form)
        layer = form.fields.get("layer")
        if not layer:
            raise ServiceError(400, "say which layer: layer=fc7, for example")
        accept = _accepted(header(http.scope, b"accept"))
        values = (await self._computed(http, served, form, layer))[layer]
        began = time.perf_counter()
        response = _embeddings(accept, served, layer, form, values)
        self._metrics.encode_seconds.labels(served.name).inc(time.perf_counter() - began)
        return response

    async def distance(self, http: Request) -> Response:
        """Return the perceptual distance LPIPS of two images."""
        distance: Any = self._repository.distance
        if distance is None:
            raise ServiceError(404, "this server has no distance; it was started without --lpips")
        form = await forms.read(http.scope, http.receive, self._settings, ())
        if len(form.images) != 2:
            raise ServiceError(
                400, f"a distance is one of two images (-F image=@a.png -F image=@b.png), not {len(form.images)}"
            )
        first, second = (upload.data for upload in form.images)
        facts(http.scope)["batch"] = 2
        deadline = deadline_of(http.scope, self._settings)
        return json_response(
            {"distance": float(await distance.compare(first, second, client_of(http.scope), deadline))}
        )

    def _served(self, http: Request, form: forms.Form) -> Served:
        """Return the model of the field ``model``, or the only one."""
        name = form.fields.get("model")
        if name is None:
            names = self._repository.names()
            if len(names) != 1:
                raise ServiceError(400, f"say which model: model=NAME, one of {', '.join(names)}")
            name = names[0]
        served = self._repository.get(name)
        facts(http.scope)["model"] = served.name
        return served

    async def _computed(self, http: Request, served: Served, form: forms.Form, output: str) -> Dict[str, np.ndarray]:
        facts(http.scope)["batch"] = len(form.images)
        deadline = deadline_of(http.scope, self._settings)
        images = [upload.data for upload in form.images]
        return await served.infer_images(images, [output], client_of(http.scope), deadline)


def _topk(text: Any) -> int:
    if text is None:
        return TOPK
    if not text.isascii() or not text.isdigit() or int(text[:9]) < 1:
        raise ServiceError(400, "topk must be a whole number above 0")
    return int(text[:9])


def _accepted(accept: Any) -> str:
    """Return the first type of ``Accept`` that embeddings have, or JSON."""
    for part in (accept or "").split(","):
        kind: str = part.partition(";")[0].strip().lower()
        if kind in (NPY, BINARY):
            return kind
    return "json"


def _embeddings(accept: str, served: Served, layer: str, form: forms.Form, values: np.ndarray) -> Response:
    if accept == "json":
        if values.size > MAX_JSON_VALUES:
            raise ServiceError(
                413,
                f"the answer has {values.size} values, and JSON may have {MAX_JSON_VALUES}; ask for it with the header "
                f"Accept: {NPY}",
            )
        images = [{"name": upload.name, "embedding": row.tolist()} for upload, row in zip(form.images, values)]
        return json_response({"model": served.name, "layer": layer, "shape": list(values.shape[1:]), "images": images})
    if accept == BINARY:
        return Response(np.ascontiguousarray(values, "<f4").tobytes(), headers=_shape(values.shape), media_type=BINARY)
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return Response(stream.getvalue(), headers=_shape(values.shape), media_type=NPY)


def _shape(shape: Tuple[int, ...]) -> Dict[str, str]:
    return {"x-shape": ",".join(map(str, shape))}
