"""The routes of the Open Inference Protocol: health, metadata, ``infer``, and Triton's extensions to it."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Optional

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import statistics
from .bodies import read_body
from .errors import ServiceError
from .lifecycle import State
from .messages import BINARY, JSON, client_of, deadline_of, facts, json_response, whole_header
from .metrics import Metrics
from .protocol import metadata, request, response
from .protocol.tensors import BYTES, Tensor
from .repository import READY, Repository
from .served import DEFAULT_OUTPUTS, Served
from .settings import Settings

_JSON_LENGTH = "inference-header-content-length"
_LACKING = {
    "systemsharedmemory": "shared memory",
    "cudasharedmemory": "shared memory",
    "trace": "traces; GET /metrics has times",
    "logging": "settings of its log; every request is a line of JSON on standard error",
}


class V2:
    """The routes of one server."""

    def __init__(self, settings: Settings, repository: Repository, metrics: Metrics, state: State) -> None:
        self._settings, self._repository, self._metrics, self._state = settings, repository, metrics, state

    def routes(self) -> List[Route]:
        """Return the routes."""
        plain = [
            ("/v2", self.server_metadata),
            ("/v2/health/live", self.live),
            ("/v2/health/ready", self.ready),
            ("/v2/models/stats", self.all_statistics),
        ]
        of_model = [
            ("", self.model_metadata),
            ("/ready", self.model_ready),
            ("/config", self.model_config),
            ("/stats", self.model_statistics),
        ]
        # First the one that matters for speed: routes are tried in turn.
        routes = [Route(_MODEL + version + "/infer", self.infer, methods=["POST"]) for version in _VERSIONS]
        routes += [Route(path, endpoint, methods=["GET"]) for path, endpoint in plain]
        for version in _VERSIONS:
            routes += [Route(_MODEL + version + path, endpoint, methods=["GET"]) for path, endpoint in of_model]
        for path in (_MODEL + "/trace/setting", "/v2/trace/setting", "/v2/logging"):
            routes.append(Route(path, self.lacking, methods=["GET", "POST"]))
        for path in ("systemsharedmemory", "cudasharedmemory"):
            routes.append(Route(f"/v2/{path}/{{rest:path}}", self.lacking, methods=["GET", "POST"]))
        return routes

    async def server_metadata(self, _: Request) -> Response:
        """Describe the server."""
        return json_response(metadata.server())

    async def live(self, _: Request) -> Response:
        """Say that the server answers."""
        return json_response({"live": True})

    async def ready(self, _: Request) -> Response:
        """Say whether all models can be used; why not has names of files, and is not for those without the token."""
        if self._repository.ready:
            return json_response({"ready": True})
        missing = next(
            (f"model '{row.name}'" for row in self._repository.index() if row.state != READY), "the distance"
        )
        raise ServiceError(503, f"{missing} is not available; POST /v2/repository/index says why")

    def _served(self, http: Request) -> Served:
        served = self._repository.get(http.path_params["name"], http.path_params.get("version"))
        facts(http.scope)["model"] = served.name
        return served

    async def model_ready(self, http: Request) -> Response:
        """Say whether a model can be used."""
        return json_response({"name": self._served(http).name, "ready": True})

    async def model_metadata(self, http: Request) -> Response:
        """Describe a model."""
        served = self._served(http)
        return json_response(metadata.model(served.name, served.version, served.inputs(), served.outputs()))

    async def model_config(self, http: Request) -> Response:
        """Describe a model as Triton's configuration."""
        served, settings = self._served(http), self._settings
        return json_response(
            metadata.config(served.name, served.inputs(), served.outputs(), settings.max_batch, settings.max_delay_us)
        )

    async def model_statistics(self, http: Request) -> Response:
        """Return the statistics of a model."""
        served = self._served(http)
        return json_response({"model_stats": [self._statistics(served.name, served.version)]})

    async def all_statistics(self, _: Request) -> Response:
        """Return the statistics of all models."""
        return json_response(
            {"model_stats": [self._statistics(row.name, row.version) for row in self._repository.index()]}
        )

    def _statistics(self, name: str, version: str) -> Dict[str, Any]:
        return metadata.statistics(name, version, statistics.of_model(self._metrics, self._state, name))

    async def lacking(self, http: Request) -> Response:
        """Refuse what Triton has and this server has not."""
        word = next(word for word in http.scope["path"].split("/") if word in _LACKING)
        raise ServiceError(400, f"this server does not have {_LACKING[word]}")

    async def infer(self, http: Request) -> Response:
        """Answer an inference request."""
        scope = http.scope
        served = self._served(http)
        body = await read_body(scope, http.receive, self._settings)
        asked = request.read(body, whole_header(scope, _JSON_LENGTH.encode()))
        tensor = request.choose_input(asked, served.inputs(), served.name)
        outputs = response.outputs_of(asked, DEFAULT_OUTPUTS)
        deadline = deadline_of(scope, self._settings, asked.timeout_us)
        facts(scope)["batch"] = tensor.shape[0]
        results = await _computed(served, tensor, [output.name for output in outputs], client_of(scope), deadline)
        began = time.perf_counter()
        length, answer = response.write(asked, outputs, (served.name, served.version), results, served.labels)
        self._metrics.encode_seconds.labels(served.name).inc(time.perf_counter() - began)
        return _answer(length, answer)


_MODEL, _VERSIONS = "/v2/models/{name}", ("", "/versions/{version}")


async def _computed(
    served: Served, tensor: Tensor, outputs: List[str], client: str, deadline: float
) -> Dict[str, np.ndarray]:
    values: Any = tensor.values
    if tensor.datatype == BYTES or tensor.datatype == "UINT8":
        return await served.infer_images(list(values), outputs, client, deadline)
    return await served.infer(values, outputs, client, deadline)


def _answer(length: Optional[int], body: bytes) -> Response:
    if length is None:
        return Response(body, media_type=JSON)
    return Response(body, headers={_JSON_LENGTH: str(length)}, media_type=BINARY)
