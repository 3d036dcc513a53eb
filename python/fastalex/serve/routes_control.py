"""The routes of the repository: what models there are, and under ``--allow-control`` loading and unloading them."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Dict, List

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .._util import bounded_json
from .bodies import read_body
from .errors import ServiceError
from .messages import json_response
from .repository import READY, Repository
from .security import Guard
from .settings import Settings

_MAX_JSON, _MAX_PARTS = 10_000, 1_000


class Control:
    """The routes of one server."""

    def __init__(self, settings: Settings, repository: Repository, guard: Guard) -> None:
        self._settings, self._repository, self._guard = settings, repository, guard

    def routes(self) -> List[Route]:
        """Return the routes."""
        return [
            Route("/v2/repository/index", self.index, methods=["POST"]),
            Route("/v2/repository/models/{name}/load", self.load, methods=["POST"]),
            Route("/v2/repository/models/{name}/unload", self.unload, methods=["POST"]),
        ]

    async def index(self, http: Request) -> Response:
        """List the models; with ``{"ready": true}`` those that can be used."""
        ready = (await self._document(http)).get("ready", False)
        rows = self._repository.index()
        return json_response([row._asdict() for row in rows if row.state == READY or not ready])

    async def load(self, http: Request) -> Response:
        """Load a model of the command line, again if it is loaded."""
        return await self._change(http, self._repository.load)

    async def unload(self, http: Request) -> Response:
        """Unload a model when its calls have ended."""
        return await self._change(http, self._repository.unload)

    async def _change(self, http: Request, change: Callable[[str], Any]) -> Response:
        self._guard.check_control()
        parameters = (await self._document(http)).get("parameters") or {}
        refused = [name for name in parameters if name != "unload_dependents"]
        if refused:
            raise ServiceError(400, "models and their options come from the command line; load takes no parameters")
        name = http.path_params["name"]
        await asyncio.get_running_loop().run_in_executor(None, change, name)
        return Response(b"{}", media_type="application/json")

    async def _document(self, http: Request) -> Dict[str, Any]:
        body = await read_body(http.scope, http.receive, self._settings)
        try:
            document = bounded_json.loads(body.decode(), _MAX_JSON, _MAX_PARTS) if body else {}
            if isinstance(document, dict) and isinstance(document.get("parameters", {}), dict):
                return document
        except ValueError:  # not UTF-8 either
            pass
        raise ServiceError(400, "the body must be empty or a small JSON object")
