"""Weights in one level of .gz, .bz2, .xz, .zip or .tar; a compressed .tar counts as one level.

The file of weights is unpacked to an anonymous temporary file, which the readers map like any other. The names of
members are only shown, and compared with suffixes; they never become paths.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from typing import Any, BinaryIO, Iterable, List, Optional, Tuple

from .. import formats
from ..errors import FormatError
from ..graph import shown
from ..readers import mapped
from ..readers.pytorch import tar_container
from . import compressed, tar
from . import zip as zips
from .compressed import PIECE, Content, Limit

MAX_BYTES = 2 << 30  # that a container may unpack to
MAX_FACTOR = 200  # sizes of the container; deflate reaches a factor of 1000 on zeros, and weights stay below 2
MIN_LIMIT = 1 << 20  # bytes that are always allowed: tar pads with 10 kB of zeros
_SHOWN_NAMES = 6  # of the members that a message lists
_FIRST_MEMBER = re.compile(rb"[^/]+/data(\.pkl|/\d+)|.*\.npy")  # of a file of torch.save, or of an .npz
_LITTER = ("__MACOSX", ".DS_Store")  # macOS adds these, and a file ._NAME beside each


def unpack(name: str, stream: BinaryIO, kind: str) -> Tuple[str, BinaryIO]:
    """Unpack the file of weights in the open container ``stream``.

    :param name: of the container.
    :param kind: one of :data:`fastalex.weights.formats.CONTAINERS`.
    :returns: the name of the member, that of the container without its suffix if it has no members, and an anonymous
        temporary file.
    :raises FormatError: if there is none or more than one, it unpacks to more than :data:`MAX_BYTES` or
        :data:`MAX_FACTOR` times the size of the container, there is no room for it, or anything is damaged.
    """
    target = _Target()
    try:
        member = _unpack(_Container(name, stream, kind), target)
        return member, target.finished()
    except BaseException:
        target.close()
        raise


def is_torch(stream: BinaryIO) -> bool:
    """Whether an open tar archive is one of the earliest files of torch.save, rather than one that holds a file."""
    return tar.is_torch(tar.first_names(mapped.view_of(stream, os.fstat(stream.fileno()).st_size)))


class _Container:
    """A container whose bytes can be read from the front as often as necessary."""

    def __init__(self, name: str, stream: BinaryIO, kind: str) -> None:
        self.name, self.kind, self._stream = name, kind, stream
        size = os.fstat(stream.fileno()).st_size
        self._data, self._most = mapped.view_of(stream, size), _limit(size)

    def content(self) -> Content:
        """Return what it unpacks to; a plain tar archive is not changed."""
        plain = self.kind == "tar"
        pieces = compressed.slices(self._data) if plain else compressed.streams(self.kind, self._data)
        return Content(pieces, Limit(self._most))

    def files(self) -> Optional[Iterable[Any]]:
        """Return the plain files in an archive, None if it is a single file that is compressed."""
        if self.kind == "zip":
            return zips.files(self._data, self._stream, Limit(self._most))
        start = self.content().read(formats.START)
        return tar.files(self.content()) if tar_container.recognizes(memoryview(start)) else None


def _limit(size: int) -> int:
    return min(MAX_BYTES, max(MIN_LIMIT, MAX_FACTOR * size))


class _Target:
    """An anonymous temporary file, of which the system keeps nothing once it is closed."""

    def __init__(self) -> None:
        try:
            self._file: Any = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        except OSError as error:
            raise _no_room(error) from None

    def fill(self, start: bytes, content: Any) -> None:
        """Replace what is in the file by ``start`` and the rest of ``content``."""
        try:
            self._file.seek(0)
            self._file.truncate()
        except OSError as error:
            raise _no_room(error) from None
        piece = start
        while piece:
            try:
                self._file.write(piece)
            except OSError as error:
                raise _no_room(error) from None
            piece = content.read(PIECE)

    def finished(self) -> BinaryIO:
        try:
            self._file.flush()
            self._file.seek(0)
        except OSError as error:
            raise _no_room(error) from None
        file: BinaryIO = self._file
        return file

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what is left in its buffer may not fit on the disk
            self._file.close()


def _no_room(error: OSError) -> FormatError:
    folder = tempfile.tempdir or "a temporary folder"
    return FormatError(
        f"it cannot be unpacked in {folder} ({error.strerror or 'no folder can be written to'}); set TMPDIR to a "
        "folder with room for it, or unpack it yourself"
    )


def _unpack(container: _Container, target: _Target) -> str:
    """Fill ``target`` with the file of weights, and return its name."""
    files = container.files()
    if files is None:
        return _whole(container, target)
    names, chosen = _choose(files, target)
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        raise FormatError(f"it holds several files of weights ({_listed(chosen)}); unpack the one that is meant")
    if container.kind != "zip" and tar.is_torch(names):
        return _whole(container, target)
    if len(names) != 1:
        raise FormatError(f"it holds no file of weights; it has {_listed(names)}")
    for file in container.files() or ():  # its format, or what it is instead, may show in what is unpacked
        if file.name == names[0]:
            target.fill(file.read(PIECE), file)
    return names[0]


def _whole(container: _Container, target: _Target) -> str:
    """Fill ``target`` with all that the container unpacks to, and return its name without the suffix."""
    content = container.content()
    target.fill(content.read(PIECE), content)
    stem, suffix = os.path.splitext(os.path.basename(container.name))
    return stem if suffix.lower() == "." + container.kind else stem + suffix


def _choose(files: Iterable[Any], target: _Target) -> Tuple[List[str], List[str]]:
    """Fill ``target`` with the first file of a known format.

    :returns: the names of all files, and of those of a known format.
    """
    names: List[str] = []
    chosen: List[str] = []
    for file in files:
        if _is_litter(file.name):
            continue
        names.append(file.name)
        start = file.read(formats.START)
        if _is_weights(file, start):
            chosen.append(file.name)
            if len(chosen) == 1:
                file.require(file.size - len(start))  # before anything is written, if the header is honest
                target.fill(start, file)
    return names, chosen


def _is_weights(file: Any, start: bytes) -> bool:
    """Whether a member is of a known format, as far as its suffix and its first bytes show."""
    if file.name.lower().endswith(formats.SUFFIXES):
        return True
    kind = formats.by_start(start, file.size)
    if kind == "zip":  # a format of its own, or an archive
        first = start[30 : 30 + int.from_bytes(start[26:28], "little")]
        return _FIRST_MEMBER.fullmatch(first) is not None
    return kind is not None and kind not in formats.CONTAINERS


def _is_litter(name: str) -> bool:
    parts = name.split("/")
    return any(part in _LITTER for part in parts) or parts[-1].startswith("._")


def _listed(names: List[str]) -> str:
    listed = ", ".join(shown(name) for name in names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return (listed + (f" and {more} more" if more > 0 else "")) or "no files"
