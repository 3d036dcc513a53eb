"""What the page shows, by address: JSON documents and PNG files, computed on request.

Addresses are relative to ``ui/``. The server answers them (:mod:`.routes`), and :mod:`.export` writes them as files.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import OrderedDict
from typing import Any, Awaitable, Callable, Dict, NamedTuple, Tuple, Union
from weakref import WeakKeyDictionary

import numpy as np
from starlette.concurrency import run_in_threadpool

from ..._version import __version__
from ...errors import UserError
from ...networks import taps
from ..errors import ServiceError
from ..repository import READY, Repository
from ..served import Served
from ..settings import Settings
from . import insights, pictures, sprites
from .jobs import Jobs, Progress
from .settings import PageSettings

TOP = 5
KEPT = 8  # pictures whose layers are kept: 6 MB each in the largest networks
JSON, PNG, JPEG = "application/json", "image/png", "image/jpeg"
Layers = Dict[str, np.ndarray]


class Resource(NamedTuple):
    """A document or picture, encoded."""

    content: bytes
    media_type: str


Answer = Union[Resource, Progress]


class Resources:
    """The data of the page. Methods that are addresses are in :data:`ADDRESSES`; ``client`` is who asks."""

    def __init__(self, repository: Repository, settings: Settings, page: PageSettings) -> None:
        self.pictures = pictures.Pictures(page, settings.max_pixels)
        self.jobs = Jobs()
        self.searches = Jobs()  # which may take hours: what is measured waits for them, nothing else does
        self.page = page
        self._repository, self._settings = repository, settings
        self._layers: OrderedDict[Tuple[int, str], Layers] = OrderedDict()
        self._numbers: WeakKeyDictionary[Served, int] = WeakKeyDictionary()  # of models, which may be loaded anew
        self._next = itertools.count()  # a number is never used again: results are kept under it

    # The whole -------------------------------------------------------------------------------------------------------

    async def about(self, client: str) -> Resource:
        """Return what the page has: models and their states, examples, folders."""
        rows = [
            {"name": row.name, "ready": row.state == READY, "state": row.state, "reason": row.reason}
            for row in self._repository.index()
        ]
        return _json(
            version=__version__,
            models=rows,
            examples=[pictures.facts(picture) for picture in self.pictures.examples],
            searched=len(self.pictures.folder),
            own_folder=self.page.folder is not None,
            collect=self.page.collect is not None,
            saved=False,
        )

    async def picture(self, client: str, picture: str) -> Resource:
        """Return a picture as the page shows it."""
        content, suffix = await run_in_threadpool(pictures.shown, self.pictures.get(picture))
        return Resource(content, PNG if suffix == "png" else JPEG)

    # A model ---------------------------------------------------------------------------------------------------------

    async def model(self, client: str, model: str) -> Resource:
        """Return the facts of a model: its layers, classes and settings."""
        served = self._repository.get(model)
        return _json(**insights.model_facts(served))

    async def filters(self, client: str, model: str) -> Answer:
        """Return conv1's filters, all in one picture; the page sets the columns apart."""
        served = self._repository.get(model)
        found = await self.jobs.result((self._number(served), "filters"), lambda report: insights.filters(served.net))
        return found if isinstance(found, Progress) else Resource(found, PNG)

    async def likes(self, client: str, model: str, layer: str) -> Answer:
        """Return, for each unit of a layer, the pictures of the searched folder that excite it most."""
        served = self._layered(model, layer)
        ranking = await self._folder_job(served, "ranking", insights.ranking_of)
        if isinstance(ranking, Progress):
            return ranking
        return _json(**await run_in_threadpool(insights.likes, served, self.pictures, ranking, layer))

    async def times(self, client: str, model: str) -> Answer:
        """Return the time of each step of the engine beside its roofline."""
        return await self._measured(self._repository.get(model), "times", insights.times)

    async def trace(self, client: str, model: str) -> Answer:
        """Return a trace that opens in Perfetto."""
        return await self._measured(self._repository.get(model), "trace", insights.trace)

    # A picture in a model --------------------------------------------------------------------------------------------

    async def seen(self, client: str, model: str, picture: str) -> Resource:
        """Return the part of a picture that the network sees."""
        served = self._repository.get(model)
        content = await self._read(picture)
        return Resource(await run_in_threadpool(insights.seen, served, content), PNG)

    async def top(self, client: str, model: str, picture: str) -> Resource:
        """Return the most probable classes of a picture."""
        return await self.classify(client, model, await self._read(picture))

    async def classify(self, client: str, model: str, content: bytes) -> Resource:
        """Return the most probable classes of an encoded image, and the milliseconds that they took."""
        served = self._repository.get(model)
        start = time.perf_counter()
        odds = await self._odds(client, served, content)
        return _json(
            top=insights.best(odds, served, TOP),
            ms=1e3 * (time.perf_counter() - start),
        )

    async def layers(self, client: str, model: str, picture: str) -> Resource:
        """Return the range and the share of zeros of every layer."""
        found = await self._values(client, self._repository.get(model), picture)
        return _json(layers=[insights.layer_facts(name, values) for name, values in found.items()])

    async def peaks(self, client: str, model: str, picture: str, layer: str) -> Resource:
        """Return the range of a layer, and each unit's value of the largest amount."""
        values = await self._layer(client, self._layered(model, layer), picture, layer)
        return _json(**insights.layer_facts(layer, values), peaks=insights.peaks(values))

    async def maps(self, client: str, model: str, picture: str, layer: str) -> Resource:
        """Return all maps of a layer as one picture, on one scale."""
        values = await self._layer(client, self._layered(model, layer), picture, layer)
        return Resource(sprites.colored(values), PNG)

    async def each_map(self, client: str, model: str, picture: str, layer: str) -> Resource:
        """Return all maps of a layer as one picture, each on its own scale."""
        values = await self._layer(client, self._layered(model, layer), picture, layer)
        return Resource(sprites.colored(values, each=True), PNG)

    async def occlusion(self, client: str, model: str, picture: str, index: str) -> Answer:
        """Return the probability of a class with a gray patch at each of 13 x 13 places."""
        served = self._repository.get(model)
        number, content = _class_number(index, served), await self._read(picture)
        return await self._job(served, ("occlusion", picture, number), insights.occlusion, content, number)

    async def gradcam(self, client: str, model: str, picture: str, index: str) -> Answer:
        """Return the Grad-CAM of a class."""
        served = self._repository.get(model)
        number, content = _class_number(index, served), await self._read(picture)
        return await self._job(served, ("gradcam", picture, number), insights.gradcam, content, number)

    async def neighbors(self, client: str, model: str, picture: str) -> Answer:
        """Return the pictures of the searched folder that are nearest in fc7."""
        served, content = self._repository.get(model), await self._read(picture)
        index = await self._folder_job(served, "index", insights.index_of)
        if isinstance(index, Progress):
            return index
        return _json(**await run_in_threadpool(insights.neighbors, served, self.pictures, index, content))

    # Two models ------------------------------------------------------------------------------------------------------

    async def compare(self, client: str, model: str, picture: str, other: str) -> Resource:
        """Return how far each layer of two models differs on a picture, and their classes."""
        pair = [self._repository.get(name) for name in (model, other)]
        found = [await self._values(client, served, picture) for served in pair]
        content = await self._read(picture)
        odds = [await self._odds(client, served, content) for served in pair]
        return _json(layers=insights.differences(*found), classes=insights.class_differences(pair, odds))

    async def difference(self, client: str, model: str, picture: str, other: str, layer: str) -> Resource:
        """Return the difference of the maps of two models, on the scale of the first one's."""
        one, two = [await self._layer(client, self._layered(name, layer), picture, layer) for name in (model, other)]
        if one.shape != two.shape:
            raise ServiceError(404, f"{layer} has another shape in {other} than in {model}, so there is no difference")
        return Resource(sprites.colored(two - one), PNG)

    # Helpers ---------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Drop the computations that wait."""
        self.jobs.close()
        self.searches.close()

    def _deadline(self) -> float:
        return time.monotonic() + self._settings.request_timeout_s

    def _layered(self, model: str, layer: str) -> Served:
        """Return the model, which must have the layer by its own name, and show it.

        :raises ServiceError: if not.
        """
        served = self._repository.get(model)
        try:
            taps.resolve(served.net.variant, [layer])
        except UserError as error:
            raise ServiceError(404, str(error)) from None
        shown = insights.layer_names(served.net.variant)
        if layer not in shown:
            raise ServiceError(404, f"the page does not show {layer}; it shows {', '.join(shown)}")
        return served

    async def _read(self, picture: str) -> bytes:
        content: bytes = await run_in_threadpool(self.pictures.get(picture).read)
        return content

    async def _odds(self, client: str, served: Served, content: bytes) -> np.ndarray:
        """Return the probabilities of an encoded image, ``[classes]``."""
        found = await served.infer_images([content], ["probabilities"], client, self._deadline())
        return found["probabilities"].reshape(-1)

    async def _layer(self, client: str, served: Served, picture: str, layer: str) -> np.ndarray:
        return (await self._values(client, served, picture))[layer]

    async def _values(self, client: str, served: Served, picture: str) -> Layers:
        """Return the values ``[units, H, W]`` of all layers; a few pictures' are kept."""
        key = (self._number(served), picture)
        if key not in self._layers:
            names = insights.layer_names(served.net.variant)
            content = await self._read(picture)
            found = await served.infer_images([content], names, client, self._deadline())
            self._layers[key] = {name: insights.as_maps(found[name]) for name in names}
        self._layers.move_to_end(key)
        while len(self._layers) > KEPT:
            self._layers.popitem(last=False)
        return self._layers[key]

    def _number(self, served: Served) -> int:
        if served not in self._numbers:
            self._numbers[served] = next(self._next)
        return self._numbers[served]

    async def _job(self, served: Served, key: Tuple[Any, ...], work: Callable[..., Any], *arguments: Any) -> Answer:
        found = await self.jobs.result((self._number(served), *key), lambda report: work(served, report, *arguments))
        return found if isinstance(found, Progress) else _json(**found)

    async def _measured(self, served: Served, key: str, work: Callable[..., Any]) -> Answer:
        """Return a measurement, which no search of the folder may slow down, or its progress."""
        found = await self.searches.result((self._number(served), key), lambda report: work(served, report))
        return found if isinstance(found, Progress) else _json(**found)

    async def _folder_job(self, served: Served, key: str, work: Callable[..., Any]) -> Any:
        """Return what a model makes of the searched folder, or its progress."""
        return await self.searches.result(
            (self._number(served), key), lambda report: work(served, report, self.pictures)
        )


#: The addresses and the methods that answer them. A name in braces is one segment of the address.
ADDRESSES: Dict[str, Callable[..., Awaitable[Answer]]] = {
    "about.json": Resources.about,
    "pictures/{picture}": Resources.picture,
    "models/{model}/model.json": Resources.model,
    "models/{model}/filters.png": Resources.filters,
    "models/{model}/times.json": Resources.times,
    "models/{model}/trace.json": Resources.trace,
    "models/{model}/likes/{layer}.json": Resources.likes,
    "models/{model}/{picture}/seen.png": Resources.seen,
    "models/{model}/{picture}/top.json": Resources.top,
    "models/{model}/{picture}/layers.json": Resources.layers,
    "models/{model}/{picture}/maps/{layer}.json": Resources.peaks,
    "models/{model}/{picture}/maps/{layer}.png": Resources.maps,
    "models/{model}/{picture}/each/{layer}.png": Resources.each_map,
    "models/{model}/{picture}/occlusion/{index}.json": Resources.occlusion,
    "models/{model}/{picture}/gradcam/{index}.json": Resources.gradcam,
    "models/{model}/{picture}/neighbors.json": Resources.neighbors,
    "models/{model}/{picture}/compare/{other}.json": Resources.compare,
    "models/{model}/{picture}/compare/{other}/{layer}.png": Resources.difference,
}


def _json(**document: Any) -> Resource:
    """Encode a document; NaN and infinity, which JSON lacks, become null."""
    return Resource(json.dumps(_plain(document), allow_nan=False, separators=(",", ":")).encode(), JSON)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _class_number(index: str, served: Served) -> int:
    """Return the class of an address.

    :raises ServiceError: if the model does not have it.
    """
    count = served.net.variant.num_classes
    if not (index.isascii() and index.isdigit()) or len(index) > 9 or int(index) >= count:
        raise ServiceError(404, f"a class of {served.name} is a number from 0 to {count - 1}")
    return int(index)
