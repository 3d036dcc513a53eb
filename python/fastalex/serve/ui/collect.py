"""Collecting: camera frames become pictures in class folders, as JetBot's first notebook does it."""

from __future__ import annotations

import os
import shlex
import uuid
from typing import Any, Dict, List

from ..._util import files
from ...errors import UserError, printable
from ...images import listing, open_image
from ..errors import ServiceError
from .settings import PageSettings

FULL = 507  # HTTP: Insufficient Storage
SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png"}  # by the first bytes; browsers send one of these


class Collection:
    """The class folders that frames are saved to. They are made when the server starts.

    :param weights: what ``fastalex train`` is to start from, as its ``--finetune``.
    :raises UserError: if a folder cannot be made.
    """

    def __init__(self, settings: PageSettings, weights: str) -> None:
        assert settings.collect is not None
        self.folder, self.classes, self._weights = os.path.abspath(settings.collect), settings.classes, weights
        try:
            for name in self.classes:
                os.makedirs(self._path(name), exist_ok=True)
        except OSError as error:
            raise UserError(f"--collect: '{self.folder}' cannot be made: {error.strerror or error}") from None

    def state(self) -> Dict[str, Any]:
        """Return the classes with the number of pictures in each, and the line that trains on them.

        :raises ServiceError: if a folder is gone.
        """
        rows: List[Dict[str, Any]] = [{"name": name, "count": self._count(name)} for name in self.classes]
        return {"folder": printable(self.folder), "classes": rows, "command": self.command()}

    def command(self) -> str:
        """Return the command that trains on the folders, quoted for a shell."""
        out = self.folder.rstrip(os.sep) + "-run"
        return shlex.join(["fastalex", "train", self.folder, "--finetune", self._weights, "--out", out])

    def save(self, number: int, content: bytes) -> Dict[str, Any]:
        """Save an encoded frame as a picture of the class ``number``, and return the :meth:`state`.

        :raises ServiceError: for a class that does not exist, or a folder that cannot be written to.
        :raises UserError: for a frame that is not a picture.
        """
        if not 0 <= number < len(self.classes):
            raise ServiceError(404, f"a class is a number from 0 to {len(self.classes) - 1}")
        suffix = next((suffix for start, suffix in SUFFIXES.items() if content.startswith(start)), None)
        if suffix is None:
            raise ServiceError(415, "a frame must be a JPEG or a PNG")
        open_image(content)
        name = self.classes[number]
        self._count(name)  # a folder that is gone is not made again: its disk may be, too
        try:
            with files.replacing(os.path.join(self._path(name), uuid.uuid4().hex + suffix)) as stream:
                stream.write(content)
        except UserError as error:
            raise ServiceError(FULL, f"the frame was not saved: {error}") from None
        return self.state()

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _count(self, name: str) -> int:
        try:
            with os.scandir(self._path(name)) as entries:
                return sum(listing.is_image(entry.name) and not entry.name.startswith(".") for entry in entries)
        except OSError as error:
            reason = error.strerror or error
            raise ServiceError(FULL, f"the folder of the class '{name}' cannot be read: {reason}") from None
