"""The application: all routes, and in front of them the checks, the log, the metrics and the answers to errors."""

from __future__ import annotations

import asyncio
import time
import traceback
from http import HTTPStatus
from typing import Any, Dict, Optional, Sequence, Tuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from ..errors import BackendError, UserError
from .access_log import Log
from .bodies import Room
from .errors import ServiceError
from .lifecycle import State
from .messages import error_response, facts, has_body
from .metrics import Metrics
from .repository import Repository
from .routes_control import Control
from .routes_v1 import V1
from .routes_v2 import V2
from .security import Guard
from .settings import Settings

ROUTES = "fastalex: POST /v1/classify, /v1/embeddings, /v1/distance; the Open Inference Protocol at /v2; GET /metrics\n"
INFERENCE = ("infer", "classify", "embeddings")  # the routes of Triton's statistics
_CLOSE = (b"connection", b"close")
_GONE = 499  # as nginx logs it: the client went away before the answer
_RETRY_S = 5


def build(
    settings: Settings,
    repository: Repository,
    metrics: Metrics,
    routes: Sequence[BaseRoute] = (),
    public: Sequence[str] = (),
    log: Optional[Log] = None,
) -> Front:
    """Build the application of a server.

    :param routes: further routes, which come before ``/`` and ``/metrics``.
    :param public: their paths that need no token; as :class:`.Guard` takes them.
    :param log: the log; default: on standard error.
    """
    guard = Guard(settings, public)
    front = Front(guard, metrics, log or Log(), Room(settings.max_bodies_bytes))
    state = front.state
    failures = (HTTPException, UserError, BackendError, MemoryError, Exception)
    handlers: Dict[Any, Any] = dict.fromkeys(failures, _answer)

    async def values(_: Request) -> Response:
        return Response(metrics.render(), headers={"content-type": metrics.content_type})

    async def names(_: Request) -> Response:
        return PlainTextResponse(ROUTES)

    front.app = Starlette(
        routes=[
            *V2(settings, repository, metrics, state).routes(),
            *V1(settings, repository, metrics).routes(),
            *Control(settings, repository, guard).routes(),
            *routes,
            Route("/metrics", values),
            Route("/", names),
        ],
        exception_handlers=handlers,
    )
    front.app.router.redirect_slashes = False
    return front


async def _answer(_: Request, error: Exception) -> Response:
    return error_response(error)


class Front:
    """The ASGI application of a server.

    :ivar app: what answers requests that pass the checks.
    :ivar state: what the server is doing.
    """

    def __init__(self, guard: Guard, metrics: Metrics, log: Log, room: Room) -> None:
        self.app: Any = None
        self.guard, self.metrics, self.log, self.room = guard, metrics, log, room
        self.state = State()
        self._instruments: Dict[Tuple[str, str, int], Tuple[Any, Any]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request; the answer to an error is JSON with one sentence."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, self.guard.cors(scope))
        facts(scope)["room"] = self.room
        scope["fastalex.task"] = asyncio.current_task()  # for the connection, to cancel it when the client has gone
        self.state.in_flight += 1
        self.metrics.in_flight.inc()
        try:
            await self._checked(scope, receive, exchange)
        except asyncio.CancelledError:
            exchange.status = _GONE
        except (ServiceError, UserError, MemoryError) as error:
            await exchange.answer(error_response(error), receive)
        except Exception as error:  # noqa: BLE001  a fault of the program, which must not end the server
            self.log.event(event="fault", error=repr(error)[:500], trace=traceback.format_exc()[-4000:])
            await exchange.answer(error_response(error), receive)
        finally:
            self.state.in_flight -= 1
            self.room.give_back(scope)
            self.metrics.in_flight.dec()
            self._note(exchange)

    async def _checked(self, scope: Any, receive: Any, exchange: _Exchange) -> None:
        if self.state.draining:
            exchange.close = True
            raise ServiceError(503, "the server is stopping; ask another, or again when it is back", _RETRY_S)
        preflight = self.guard.preflight(scope) if scope["method"] == "OPTIONS" else None
        if preflight is not None:
            await exchange.answer(preflight, receive)
            return
        self.guard.check(scope)
        await self.app(scope, receive, exchange.send)

    def _note(self, exchange: _Exchange) -> None:
        scope, noted = exchange.scope, facts(exchange.scope)
        seconds = time.perf_counter() - exchange.began
        route = getattr(scope.get("endpoint"), "__name__", "none")
        model = noted.get("model", "")
        if model and route in INFERENCE:
            self.state.note(model, exchange.status == HTTPStatus.OK, seconds)
        count, latency = self._instruments_of(model, route, exchange.status)
        count.inc()
        latency.observe(seconds)
        self.log.request(scope, exchange.status, seconds, exchange.sent, noted)

    def _instruments_of(self, model: str, route: str, status: int) -> Tuple[Any, Any]:
        """Return the counter and the histogram, which take a while to find by their labels."""
        key = (model, route, status)
        if key not in self._instruments:
            self._instruments[key] = (
                self.metrics.requests.labels(model, route, str(status)),
                self.metrics.latency.labels(model, route),
            )
        return self._instruments[key]


class _Exchange:
    """One request and its answer on the way out: its status and size, and the headers that every answer gets."""

    def __init__(self, scope: Any, send: Any, headers: Sequence[Tuple[bytes, bytes]]) -> None:
        self.scope, self._send, self._headers = scope, send, headers
        self.began = time.perf_counter()
        self.status, self.sent, self.started, self.close = 500, 0, False, False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            if self._headers:
                message["headers"] = [*message.get("headers", ()), *self._headers]
            # The rest of a body that nobody reads would be taken for the next request.
            if self.close or (self.status >= 400 and not facts(self.scope).get("read") and has_body(self.scope)):
                message["headers"] = [*message.get("headers", ()), _CLOSE]
        else:
            self.sent += len(message.get("body", b""))
        await self._send(message)

    async def answer(self, response: Response, receive: Any) -> None:
        """Send ``response``, unless another answer has begun."""
        if not self.started:
            await response(self.scope, receive, self.send)
