"""Packs: folders of weights for machines without a network, with a list of their names and the hashes of their files.

``$FASTALEX_WEIGHTS_DIR`` may name one; then the names that were packed mean its files. :mod:`.packing` makes them.
"""

from __future__ import annotations

import os
import posixpath
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from .._util import bounded_json
from ..errors import UserError
from . import download, hub

LIST = "fastalex-weights.json"
SCHEMA = 1
ALGORITHM = "sha256"
_MAX_TEXT, _MAX_PARTS = 16 << 20, 1_000_000  # of the list
_AGAIN = "copy the pack again, or make it anew by 'fastalex weights pack'"


class File(NamedTuple):
    """A file of a pack; ``path`` is relative to its folder, with ``/``."""

    path: str
    bytes: int
    sha256: str


class Entry(NamedTuple):
    """Packed weights: the name that means them, their files, of which the first is to be loaded, and their commit.

    ``name`` is that of published weights, of a repository (``hf:...``), or the name of a file without its folder;
    ``commit`` is empty for all but repositories.
    """

    name: str
    commit: str
    files: Tuple[File, ...]


def read(folder: str) -> List[Entry]:
    """Return what the pack ``folder`` has; nothing if the folder is no pack.

    :raises UserError: if its list is damaged or of a later release.
    """
    path = os.path.join(folder, LIST)
    try:
        with open(path, encoding="utf-8") as stream:
            values = bounded_json.loads(stream.read(_MAX_TEXT + 1), _MAX_TEXT, _MAX_PARTS)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise UserError(f"{path} {error}: {_AGAIN}") from None
    if isinstance(values, dict) and isinstance(values.get("schema"), int) and values["schema"] > SCHEMA:
        raise UserError(f"{path} is of a later release of fastalex: install that here, too")
    try:
        return [_entry(row) for row in values["weights"]]
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path} is damaged: {_AGAIN}") from None


def find(folder: str, name: str) -> Optional[str]:
    """Return the path of the weights called ``name`` in the pack ``folder``; None if it does not have them.

    :raises UserError: if a file of theirs is missing or damaged, or the list is.
    """
    entry = _found(read(folder), name)
    if entry is None:
        return None
    _check(folder, entry, download.is_verified)
    return os.path.join(folder, entry.files[0].path)


def verify(folder: str) -> List[Entry]:
    """Compute the hashes of all files of a pack; return what the pack has.

    :raises UserError: naming the first file that is missing or damaged.
    """
    entries = read(folder)
    for entry in entries:
        _check(folder, entry, download.has_hash)
    return entries


def _check(folder: str, entry: Entry, has_hash: Callable[[str, str, str], bool]) -> None:
    """Check the files of packed weights.

    :raises UserError: naming the first that is missing or damaged.
    """
    for file in entry.files:
        path = os.path.join(folder, file.path)
        whole = os.path.isfile(path) and os.path.getsize(path) == file.bytes
        if not whole or not has_hash(path, ALGORITHM, file.sha256):
            raise UserError(f"{path} is missing or damaged: {_AGAIN}")


def _found(entries: List[Entry], name: str) -> Optional[Entry]:
    """Return the entry called ``name``; for a repository, that of the same revision and file, or the only one of it."""
    if not hub.is_name(name):
        return next((entry for entry in entries if entry.name == name), None)
    wanted = hub.parsed(name)
    exact, fitting = [], []
    for entry in entries:
        packed = hub.parsed(entry.name) if hub.is_name(entry.name) else None
        if packed is None or packed.repository != wanted.repository:
            continue
        if wanted.revision in (packed.revision, entry.commit):
            inside = entry.files[0].path.split(f"/{entry.commit}/", 1)[-1]
            exact += [entry] if wanted.file == packed.file else []
            fitting += [entry] if wanted.file in (None, inside) else []
    found = exact or fitting
    return found[0] if len(found) == 1 else None


def _entry(row: Dict[str, Any]) -> Entry:
    """Return a row of the list.

    :raises ValueError: if it is not of the form that :mod:`.packing` writes.
    """
    files = tuple(File(file["path"], file["bytes"], file["sha256"]) for file in row["files"])
    entry = Entry(row["name"], row["commit"], files)
    texts = (entry.name, entry.commit, *(file.sha256 for file in files), *(file.path for file in files))
    if not files or not all(isinstance(text, str) for text in texts):
        raise ValueError
    for file in files:
        inside = posixpath.normpath(file.path)
        if inside != file.path or inside.startswith(("/", "..")) or not isinstance(file.bytes, int):
            raise ValueError
    if hub.is_name(entry.name):
        hub.parsed(entry.name)  # a UserError is a ValueError
    return entry
