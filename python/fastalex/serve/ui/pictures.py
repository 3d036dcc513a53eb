"""The pictures that the page knows: examples, those of the folder that is searched, and what people bring.

A picture that was brought is kept in memory alone, and the oldest are forgotten.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Tuple

from ...errors import printable
from ...images import MAX_PIXELS, listing, open_image
from ..errors import ServiceError
from . import sprites
from .settings import PageSettings

MAX_KEPT_BYTES = 64 << 20  # of pictures that people brought, encoded
MAX_SIDE = 640  # pixels of a picture as the page shows it
PIXEL_ART = 64  # pixels: smaller pictures are shown as squares, so they must not go through JPEG
MAX_NAME = 120  # characters of a file's name that are shown
BUNDLED = os.path.join(os.path.dirname(__file__), "page", "examples")


class Picture(NamedTuple):
    """A picture by its ``id``, which stands in addresses; ``content`` is the encoded file, or ``path`` its place."""

    id: str
    name: str
    path: str = ""
    content: bytes = b""

    def read(self) -> bytes:
        """Return the encoded file.

        :raises ServiceError: if it is no longer there.
        """
        if not self.path:
            return self.content
        try:
            with open(self.path, "rb") as stream:
                return stream.read()
        except OSError as error:
            reason = error.strerror or error
            raise ServiceError(404, f"the picture {self.name} cannot be read any more: {reason}") from None


class Pictures:
    """All pictures of a server.

    :param max_pixels: of a picture that is brought.
    :raises UserError: if a folder of the settings cannot be read or has no pictures.
    """

    def __init__(self, settings: PageSettings, max_pixels: int = MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        examples = os.path.abspath(settings.examples or BUNDLED)
        self.searched = os.path.abspath(settings.folder or examples)  # the folder that neighbors are looked for in
        self.examples = _listed(examples, "example")
        self.folder = _listed(self.searched, "folder") if settings.folder is not None else self.examples
        self._fixed = {picture.id: picture for picture in [*self.examples, *self.folder]}
        self._by_path = {picture.path: picture for picture in self.folder}
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Picture:
        """Return the picture of an id.

        :raises ServiceError: if there is none, or it was forgotten.
        """
        if name in self._fixed:
            return self._fixed[name]
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        raise ServiceError(404, "the server does not keep this picture any more; choose it again")

    def at(self, path: str) -> Picture:
        """Return the picture of the searched folder at ``path``.

        :raises ServiceError: if it was not there when the server started.
        """
        if path not in self._by_path:
            raise ServiceError(404, f"{_name(self.searched, path)} is new in the folder; start the server again")
        return self._by_path[path]

    def add(self, content: bytes) -> Picture:
        """Keep a picture that somebody brought.

        :raises UserError: if it is not one that can be decoded.
        """
        open_image(content, max_pixels=self._max_pixels)
        picture = Picture("upload-" + hashlib.sha256(content).hexdigest()[:20], "your picture", content=content)
        with self._lock:
            self._kept[picture.id] = picture
            self._kept.move_to_end(picture.id)
            while len(self._kept) > 1 and sum(len(one.content) for one in self._kept.values()) > MAX_KEPT_BYTES:
                self._kept.popitem(last=False)
        return picture


def shown(picture: Picture) -> Tuple[bytes, str]:
    """Return a picture as the page shows it, encoded anew, and its suffix.

    :raises UserError: if it cannot be decoded.
    """
    image = open_image(picture.read())
    if max(image.size) <= PIXEL_ART:
        return sprites.encoded(image), "png"
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88)
    return stream.getvalue(), "jpg"


def facts(picture: Picture) -> Dict[str, Any]:
    """Return what the page has to know of a picture: its id and its name, which is text of a file system."""
    return {"id": picture.id, "name": picture.name}


def _listed(folder: str, kind: str) -> List[Picture]:
    """Return the pictures below ``folder``, numbered in the order of their paths.

    :raises UserError: if it cannot be read or has none.
    """
    paths = listing.below(folder)
    return [Picture(f"{kind}-{number}", _name(folder, path), path) for number, path in enumerate(paths)]


def _name(folder: str, path: str) -> str:
    name = printable(os.path.relpath(path, folder).encode("utf-8", "backslashreplace").decode("utf-8"))
    return name if len(name) <= MAX_NAME else "..." + name[-MAX_NAME:]
