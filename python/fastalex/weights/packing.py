"""The making of a pack (:mod:`.packs`): weights of any origin are fetched, tried, and copied with their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import shutil
from typing import Dict, List, Sequence

from .._util.files import write_atomically
from .._version import __version__
from ..errors import UserError
from . import BUNDLED, hub, load_network, packs, registry

_CHUNK = 1 << 20  # bytes


def pack(names: Sequence[str], folder: str, quiet: bool = False) -> List[packs.Entry]:
    """Write a pack to the new folder ``folder``, which appears whole or not at all; return what it has.

    Each of the files is loaded first, so that nothing is packed that cannot be used.

    :param names: published weights, repositories (``hf:OWNER/NAME``) and paths of weights files.
    :param quiet: show no progress bar.
    :raises UserError: if there is no such name or file, two are called the same, one cannot be used, or the folder
        exists or cannot be written.
    """
    if os.path.lexists(folder):
        raise UserError(f"{folder} is there already; name a new folder")
    _check_names(names)
    target = os.path.abspath(folder)
    temporary = os.path.join(os.path.dirname(target), f".{os.urandom(8).hex()}.{os.path.basename(target)}.tmp")
    try:
        os.mkdir(temporary)
        copied: Dict[str, packs.File] = {}
        entries = [_packed(name, temporary, copied, quiet) for name in dict.fromkeys(names)]
        _write_list(entries, temporary)
        os.rename(temporary, target)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return entries


def _check_names(names: Sequence[str]) -> None:
    """Check that no name is of the package itself, no file is called like others' weights, and no two the same.

    :raises UserError: if so.
    """
    for name in names:
        if name in BUNDLED:
            raise UserError(f"the weights '{name}' come with fastalex; leave them out of the pack")
        if _called(name) != name and _called(name) in (*BUNDLED, *registry.FILES):
            raise UserError(f"{name} is called like the published weights '{_called(name)}'; rename it")
    called = [_called(name) for name in dict.fromkeys(names)]
    twice = sorted({name for name in called if called.count(name) > 1})
    if twice:
        raise UserError(f"two of the files are called {twice[0]}; rename one")


def _called(name: str) -> str:
    """Return the name that means the weights in the pack."""
    if hub.is_name(name):
        return str(hub.parsed(name))
    return name if name in registry.FILES else os.path.basename(name)


def _packed(name: str, folder: str, copied: Dict[str, packs.File], quiet: bool) -> packs.Entry:
    """Copy the weights ``name`` into ``folder``, but for files that are in ``copied``, by their paths there."""
    path = registry.locate(name, quiet)
    loaded = load_network(path)
    sources = [os.path.abspath(source) for source, _ in loaded.files]
    called, commit = _called(name), ""
    if name in registry.FILES:  # where a download would put it
        sources, place = sources[:1], ""
    elif hub.is_name(name):
        commit, inside = hub.place_of(path)
        place = posixpath.join("hf", hub.parsed(name).repository, commit, posixpath.dirname(inside))
    else:
        place = posixpath.join("files", called)
    files = []
    for source in sources:
        target = posixpath.join(place, _relative(source, os.path.dirname(sources[0])))
        if target not in copied:
            copied[target] = _copied(source, folder, target)
        files.append(copied[target])
    loaded.check_unchanged()
    return packs.Entry(called, commit, tuple(files))


def _relative(source: str, folder: str) -> str:
    """Return the path of a file from ``folder``, by which its weights file names it; links there may lead to it."""
    names = [source]
    if os.path.commonpath((source, folder)) != folder:
        found = (os.path.join(parent, name) for parent, _, files in os.walk(folder) for name in sorted(files))
        names = [name for name in found if os.path.realpath(name) == source]
    if not names:
        raise UserError(f"{source} is not in the folder {folder} of the weights that it is for; put it there")
    return os.path.relpath(names[0], folder).replace(os.sep, "/")


def _copied(source: str, folder: str, path: str) -> packs.File:
    target = os.path.join(folder, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    digest, count = hashlib.new(packs.ALGORITHM), 0
    with open(source, "rb") as stream, open(target, "xb") as out:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            out.write(chunk)
            digest.update(chunk)
            count += len(chunk)
        out.flush()
        os.fsync(out.fileno())
    return packs.File(path, count, digest.hexdigest())


def _write_list(entries: Sequence[packs.Entry], folder: str) -> None:
    rows = [dict(entry._asdict(), files=[file._asdict() for file in entry.files]) for entry in entries]
    values = {"schema": packs.SCHEMA, "fastalex": __version__, "weights": rows}
    write_atomically(os.path.join(folder, packs.LIST), json.dumps(values, indent=1) + "\n")
