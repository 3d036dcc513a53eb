"""The routes of the page: its files, its data, and what it sends: pictures, frames, and frames to keep."""

from __future__ import annotations

from typing import Any, Awaitable, Callable, List, Optional
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...errors import BackendError, UserError
from ..bodies import read_body
from ..errors import ServiceError
from ..messages import client_of, error_response, facts, json_response, whole_header
from ..settings import Settings
from . import files, pictures
from .collect import Collection
from .jobs import Progress
from .resources import ADDRESSES, Resources

PREFIX = "/ui/"
PUBLIC = tuple("/" if name == files.PAGE else f"/{name}" for name in files.MEDIA_TYPES)  # they ask for the token
MAX_FRAME = 8 << 20  # bytes of a camera frame; the page sends some tens of kilobytes
SAME_SITE = (None, "same-origin", "none")  # Sec-Fetch-Site of programs, of the page, and of an address typed in
Handler = Callable[[Request], Awaitable[Response]]


def routes(resources: Resources, settings: Settings, collection: Optional[Collection] = None) -> List[Route]:
    """Return the routes of the page, for :func:`fastalex.serve.app.build`; :data:`PUBLIC` are those without a token."""
    page = _Page(resources, settings, collection)
    found = [Route(path, _file(name)) for path, name in zip(PUBLIC, files.MEDIA_TYPES)]
    found += [Route(PREFIX + address, _guarded(page.resource(get))) for address, get in ADDRESSES.items()]
    found.append(Route(PREFIX + "pictures", _guarded(page.upload), methods=["POST"]))
    found.append(Route(PREFIX + "models/{model}/frame", _guarded(page.frame), methods=["POST"]))
    if collection is not None:
        found.append(Route(PREFIX + "collect.json", _guarded(page.collection)))
        found.append(Route(PREFIX + "collect/{number}", _guarded(page.collect), methods=["POST"]))
    return found


def _file(name: str) -> Handler:
    content, media_type = files.read(name)

    async def page_file(request: Request) -> Response:
        return Response(content, media_type=media_type, headers=files.HEADERS)

    return page_file


class _Page:
    """The handlers; their names are those of the routes in the log and the metrics."""

    def __init__(self, resources: Resources, settings: Settings, collection: Optional[Collection]) -> None:
        self._resources, self._settings, self._collection = resources, settings, collection

    def resource(self, get: Callable[..., Awaitable[Any]]) -> Handler:
        async def answer(request: Request) -> Response:
            found = await get(self._resources, client_of(request.scope), **request.path_params)
            if isinstance(found, Progress):
                return json_response({"done": found.done, "total": found.total}, 202)
            return Response(found.content, media_type=found.media_type)

        answer.__name__ = "page_" + get.__name__
        return answer

    async def upload(self, request: Request) -> Response:
        content = await self._body(request)
        return json_response(pictures.facts(await run_in_threadpool(self._resources.pictures.add, content)))

    async def frame(self, request: Request) -> Response:
        content = await self._body(request, MAX_FRAME)
        found = await self._resources.classify(client_of(request.scope), request.path_params["model"], content)
        return Response(found.content, media_type=found.media_type)

    async def collection(self, request: Request) -> Response:
        assert self._collection is not None
        return json_response(await run_in_threadpool(self._collection.state))

    async def collect(self, request: Request) -> Response:
        assert self._collection is not None
        self._check_origin(request)
        number = request.path_params["number"]
        content = await self._body(request, MAX_FRAME)
        index = int(number) if number.isascii() and number.isdigit() and len(number) < 9 else -1
        return json_response(await run_in_threadpool(self._collection.save, index, content))

    def _check_origin(self, request: Request) -> None:
        """Check that a page of this very server sends the request, as its browser says: nothing else may write files.

        :raises ServiceError: if not.
        """
        origin = request.headers.get("origin", "").lower()
        own = urlsplit(origin).netloc == request.headers.get("host", "").lower() != ""
        if not own and origin not in {allowed.rstrip("/").lower() for allowed in self._settings.allowed_origins}:
            raise ServiceError(403, "frames are saved for the page of this server alone")

    async def _body(self, request: Request, most: Optional[int] = None) -> bytes:
        """Return the body of a request, of at most ``most`` bytes.

        :raises ServiceError: if it is longer, or does not arrive.
        """
        length = whole_header(request.scope, b"content-length")
        if most is not None and (length is None or length > most):
            raise ServiceError(413, f"a frame has at most {most} bytes, and says its length in Content-Length")
        return await read_body(request.scope, request.receive, self._settings)


# What all of them do --------------------------------------------------------------------------------------------------


def _guarded(handler: Handler) -> Handler:
    """Refuse requests that pages of other sites send, and give every answer, errors too, the headers of the page."""

    async def answer(request: Request) -> Response:
        facts(request.scope)["model"] = request.path_params.get("model", "")
        try:
            if request.headers.get("sec-fetch-site") not in SAME_SITE:
                raise ServiceError(403, "only the page of this server may ask this")
            response = await handler(request)
        except (UserError, BackendError, MemoryError) as error:
            response = error_response(error)
        response.headers.update(files.HEADERS)
        response.headers["Cache-Control"] = "no-store"
        return response

    answer.__name__ = handler.__name__
    return answer
