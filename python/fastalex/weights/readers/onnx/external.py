"""The data files of an ONNX model, which lie in the folder of the model: ``m.onnx`` and ``m.onnx.data``.

What an entry says is described in github.com/onnx/onnx, ``docs/ExternalData.md``. A model must not read any other file
of the machine that it is loaded on, so that every location is confined to its folder.
"""

from __future__ import annotations

import os
import stat
from typing import Any, BinaryIO, Dict, Mapping, Tuple

from ...._util.files import GIT_LFS
from ...errors import FormatError
from ...graph import shown
from .. import mapped

MOST_FILES = 64  # onnx.save_model can write a file for each parameter, of which a network has 16
LARGEST_FILE = 1 << 32  # bytes; the largest networks of the family have an eighth of it, in double precision
_LARGEST_DIGITS = 18  # of an offset or a length, which are written as text


class DataFiles:
    """The data files of a model. Each is mapped once, read-only."""

    def __init__(self, stream: BinaryIO) -> None:
        name: Any = getattr(stream, "name", None)  # a number for a temporary file
        self.folder = os.path.dirname(os.path.abspath(name)) if isinstance(name, str) else ""
        # A cache of downloads may hold symbolic links to all files of a model, which lie together elsewhere.
        self.roots = {os.path.realpath(self.folder), os.path.dirname(os.path.realpath(name))} if self.folder else set()
        self.views: Dict[str, memoryview] = {}
        self.opened: Dict[str, os.stat_result] = {}  # path -> status before the file was read
        self.unread: Dict[str, int] = {}  # bytes of each file that no parameter has read yet

    def files(self) -> Tuple[Tuple[str, os.stat_result], ...]:
        """Return the path of each file that was opened, and its status."""
        return tuple(self.opened.items())

    def part(self, entry: Mapping[str, str], length: int) -> memoryview:
        """Return the ``length`` bytes that the external data ``entry`` of a tensor names, a view of the mapped file.

        A byte belongs to one tensor, so that all parameters together are not larger than the files.

        :raises FormatError: if the file is missing, outside the folder of the model or too short, or the entry states
            another length.
        """
        location = entry.get("location", "")
        whole = self.view(location)
        offset = _number(entry, "offset", 0)
        stated = _number(entry, "length", length)
        if offset + stated > len(whole):
            raise FormatError(
                f"a parameter is at the bytes {offset} to {offset + stated} of its data file '{shown(location)}', "
                f"which has {len(whole)}"
            )
        if stated != length:
            raise FormatError(
                f"a parameter needs {length} bytes, but its entry in the data file '{shown(location)}' has {stated}"
            )
        self.unread[location] -= length
        if self.unread[location] < 0:
            raise FormatError(f"its parameters overlap in the data file '{shown(location)}'")
        return whole[offset : offset + length]

    def view(self, location: str) -> memoryview:
        """Return the bytes of the data file at ``location``, relative to the folder of the model.

        :raises FormatError: if it is missing, outside the folder, or not a plain file.
        """
        if location not in self.views:
            if not self.folder:
                raise FormatError(
                    f"its parameters are in another file, '{shown(location)}'; unpack the archive and load the model "
                    "from its folder"
                )
            if len(self.views) >= MOST_FILES:
                raise FormatError(f"its parameters are in more than {MOST_FILES} data files")
            self.views[location] = self._mapped(location)
            self.unread[location] = len(self.views[location])
        return self.views[location]

    def _mapped(self, location: str) -> memoryview:
        path = self._confined(location)
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait forever
                raise FormatError(f"its data file '{shown(location)}' is not a file")
            with open(path, "rb") as stream:
                self.opened[path] = os.fstat(stream.fileno())
                size = self.opened[path].st_size
                if size > LARGEST_FILE:
                    raise FormatError(f"its data file '{shown(location)}' has {size} bytes, more than {LARGEST_FILE}")
                view = mapped.view_of(stream, size) if size else memoryview(b"")
                if bytes(view[: len(GIT_LFS)]) == GIT_LFS:
                    raise FormatError(
                        f"its data file '{shown(location)}' is a Git LFS pointer; run 'git lfs pull' in its repository"
                    )
                return view
        except FileNotFoundError:
            raise FormatError(
                f"its parameters are in the file '{shown(location)}', which is missing; it must lie in the folder of "
                "the model"
            ) from None
        except OSError as error:
            raise FormatError(f"its data file '{shown(location)}' cannot be read: {error.strerror}") from None

    def _confined(self, location: str) -> str:
        """Return the real path of a location after checking that it is in the folder of the model."""
        parts = location.replace("\\", "/").split("/")
        drive = os.path.splitdrive(location)[0]
        if not location or "\0" in location or ".." in parts or not parts[0] or drive:
            raise FormatError(
                f"it names the data file '{shown(location)}', and only files in the folder of the model are read"
            )
        path = os.path.realpath(os.path.join(self.folder, location))
        if not any(os.path.commonpath([path, root]) == root for root in self.roots):
            raise FormatError(f"its data file '{shown(location)}' is a link to a file outside the folder of the model")
        return path


def _number(entry: Mapping[str, str], key: str, default: int) -> int:
    text = entry.get(key, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _LARGEST_DIGITS):
        raise FormatError(f"the {key} of a parameter in a data file is not a whole number: '{shown(text)}'")
    return int(text)
