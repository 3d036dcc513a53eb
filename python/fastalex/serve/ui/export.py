"""The page as files: with its pictures and data, for any web server or straight from a folder.

The page is the same. Its documents are in one script, ``data.js``, because browsers let no page from a folder fetch
files; its pictures lie below ``ui/`` at the addresses that the server has for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

from ...errors import UserError
from ..repository import READY, Repository
from . import files
from .jobs import Progress
from .resources import ADDRESSES, JSON, Resource, Resources

DATA = "data.js"
START = "globalThis.fastalexSaved = "  # of DATA
UI = "ui"  # the folder of the pictures
MARK = "<!-- saved data -->"  # where the page loads it
PAUSE_S = 0.05
MAX_PICTURES = 24  # of the examples: each takes about a megabyte in the largest networks
Part = Tuple[str, str]  # a model and a picture, or a model and nothing: what it shows without one


class Exported(NamedTuple):
    """What was written: the number of files and their bytes."""

    files: int
    bytes: int


def plan(resources: Resources, repository: Repository) -> List[Part]:
    """Return the parts of the page, in their order: each model that is there, and each example in it."""
    models = [row.name for row in repository.index() if row.state == READY]
    return [(model, picture) for model in models for picture in ("", *_examples(resources))]


def write(resources: Resources, parts: Sequence[Part], folder: str, report: Callable[[int], None]) -> Exported:
    """Write the page to ``folder``, which must not exist, be empty, or hold an earlier export, which is replaced.

    :param parts: the result of :func:`plan`.
    :param report: is told how many of them are done.
    :raises UserError: if the folder is another one or cannot be written, or a part cannot be computed.
    """
    with _replaced(os.path.realpath(folder)) as place:
        writer = _Writer(resources, place)
        asyncio.run(writer.all(parts, report))
        return writer.finish()


def _examples(resources: Resources) -> List[str]:
    return [picture.id for picture in resources.pictures.examples[:MAX_PICTURES]]


class _Writer:
    def __init__(self, resources: Resources, place: str) -> None:
        self._resources, self._place = resources, place
        self._documents: Dict[str, Any] = {}
        self._shown: Set[str] = set()

    async def all(self, parts: Sequence[Part], report: Callable[[int], None]) -> None:
        """Compute and keep every document and picture."""
        about = await self._document("about.json")
        about.update(saved=True, collect=False, examples=about["examples"][:MAX_PICTURES])
        models = list(dict.fromkeys(model for model, _ in parts))
        for done, (model, picture) in enumerate(parts):
            report(done)
            await (self._picture(model, picture, models) if picture else self._model(model))
        for name in sorted({*_examples(self._resources), *self._shown}):
            await self._file("pictures/{picture}", picture=name)
        report(len(parts))

    async def _model(self, model: str) -> None:
        facts = await self._document("models/{model}/model.json", model=model)
        await self._file("models/{model}/filters.png", model=model)
        for address in ("models/{model}/times.json", "models/{model}/trace.json"):
            await self._document(address, model=model)
        for row in facts["layers"]:
            found = await self._document("models/{model}/likes/{layer}.json", model=model, layer=row["name"])
            self._show(found["pictures"])

    async def _picture(self, model: str, picture: str, models: List[str]) -> None:
        names = {"model": model, "picture": picture}
        base = "models/{model}/{picture}/"
        top = await self._document(base + "top.json", **names)
        best = str(top["top"][0]["index"])
        await self._file(base + "seen.png", **names)
        for kind in ("occlusion", "gradcam"):
            await self._document(base + kind + "/{index}.json", index=best, **names)
        self._show((await self._document(base + "neighbors.json", **names))["near"])
        for row in (await self._document(base + "layers.json", **names))["layers"]:
            await self._document(base + "maps/{layer}.json", layer=row["name"], **names)
            await self._file(base + "maps/{layer}.png", layer=row["name"], **names)
        for other in models:
            if other != model:
                await self._compared(base, names, other)

    async def _compared(self, base: str, names: Dict[str, str], other: str) -> None:
        found = await self._document(base + "compare/{other}.json", other=other, **names)
        for row in found["layers"]:
            await self._file(base + "compare/{other}/{layer}.png", other=other, layer=row["name"], **names)

    def _show(self, pictures: List[Dict[str, Any]]) -> None:
        """Keep the pictures themselves, too."""
        self._shown.update(picture["id"] for picture in pictures)

    async def _document(self, address: str, **names: str) -> Any:
        found = await self._resource(address, names)
        assert found.media_type == JSON
        self._documents[address.format(**names)] = document = json.loads(found.content)
        return document

    async def _file(self, address: str, **names: str) -> None:
        found = await self._resource(address, names)
        path = os.path.join(self._place, UI, address.format(**names))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(found.content)

    async def _resource(self, address: str, names: Dict[str, str]) -> Resource:
        while True:
            found = await ADDRESSES[address](self._resources, "", **names)
            if not isinstance(found, Progress):
                return found
            await asyncio.sleep(PAUSE_S)

    def finish(self) -> Exported:
        """Write the page itself and the documents; return what the folder has now."""
        for name in files.MEDIA_TYPES:
            content = files.read(name)[0].decode("utf-8")
            if name == files.PAGE:
                content = content.replace(MARK, f'<script src="{DATA}"></script>')
            self._write(name, content)
        self._write(DATA, f"{START}{json.dumps(self._documents, separators=(',', ':'))};\n")
        sizes = [
            os.path.getsize(os.path.join(parent, name)) for parent, _, names in os.walk(self._place) for name in names
        ]
        return Exported(len(sizes), sum(sizes))

    def _write(self, name: str, text: str) -> None:
        with open(os.path.join(self._place, name), "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)


@contextlib.contextmanager
def _replaced(folder: str) -> Iterator[str]:
    """Make a folder beside ``folder`` that takes its place if the block ends without an exception.

    :raises UserError: if ``folder`` holds something else than an export, or a file cannot be written.
    """
    place = f"{folder}.{os.urandom(4).hex()}.tmp"
    try:
        if os.path.lexists(folder) and not _may_go(folder):
            raise UserError(f"--export: '{folder}' holds other files; give a new folder")
        os.makedirs(place)
        yield place
        if os.path.isdir(folder):
            old = place + ".old"
            os.rename(folder, old)
            os.rename(place, folder)
            shutil.rmtree(old)
        else:
            os.rename(place, folder)
    except OSError as error:
        raise UserError(f"--export: '{folder}' cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _may_go(folder: str) -> bool:
    """Whether ``folder`` is empty, or an earlier export to which nobody has added a file."""
    if not os.path.isdir(folder):
        return False
    names = set(os.listdir(folder))
    if not names:
        return True
    if DATA not in names or not names <= {DATA, UI, *files.MEDIA_TYPES}:
        return False
    with open(os.path.join(folder, DATA), "rb") as stream:
        return stream.read(len(START)) == START.encode("ascii")
