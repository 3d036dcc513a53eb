"""Weights in repositories of the Hugging Face Hub, downloaded and cached by the package huggingface_hub.

Its variables hold: ``HF_HUB_OFFLINE``, ``HF_ENDPOINT`` (a mirror), ``HF_HOME`` (the cache) and ``HF_TOKEN``.
:mod:`.names` says what such a name looks like, :mod:`.choice` which file of a repository is taken.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import warnings
from typing import Any, Dict, Iterator, List, Tuple

from ..._version import __version__
from ...errors import UserError, printable
from .. import download, transfer
from ..companion import CONFIG, MAX_CONFIG
from . import choice
from .names import Name
from .names import is_name as is_name
from .names import parsed as parsed

_SHA256 = re.compile("[0-9a-f]{64}")
_PLACE = re.compile("(?s:.*)/([0-9a-f]{40})/(.+)")
_SHOWN = 200  # characters of a reason
_NOTHING = "/"  # a pattern that no path of a repository has
_BUSY = (408, 429)  # statuses of a server that has no time now; those from 500 on are faults of its own


class _UnreachableError(Exception):
    """The Hub does not answer, or is not to be asked; the message is the reason."""


def fetch(text: str, notes: str, quiet: bool = False) -> str:
    """Return the path of the weights ``hf:OWNER/NAME[@REVISION][/FILE]``, downloaded if the cache does not have them.

    A ``config.json`` beside the file is downloaded with it, and so are the data files of an ONNX file. Where the Hub
    does not answer, the copy in the cache is used, with a warning.

    :param notes: the folder that remembers which files of the cache had the hash that the Hub gave.
    :param quiet: show no progress bar.
    :raises UserError: if the name is not valid, huggingface_hub is missing, there is no such file that may be read, it
        cannot be downloaded, or it is not whole.
    """
    name = parsed(text)
    _check_installed(name)
    try:
        with _silent(quiet):
            path = _online(name)
    except _UnreachableError as error:
        path = _cached(name, str(error))
    _check(name, path, notes)
    return path


def place_of(path: str) -> Tuple[str, str]:
    """Return the commit that a file of the cache, or of a pack, is of, and its path in the repository.

    The commit is empty if it is not in the path.
    """
    match = _PLACE.fullmatch(path.replace(os.sep, "/"))
    return (match.group(1), match.group(2)) if match else ("", os.path.basename(path))


def _check_installed(name: Name) -> None:
    try:
        import huggingface_hub  # noqa: F401
    except ImportError:
        raise UserError(f"{name} needs the package huggingface_hub: pip install 'fastalex[hub]'") from None


def _online(name: Name) -> str:
    """Download what :func:`fetch` returns, unless the cache has the same files.

    :raises _UnreachableError: if the Hub does not answer, or is not to be asked.
    """
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise _UnreachableError("HF_HUB_OFFLINE is set")
    with _explained(name, listing=True):
        asked = HfApi(library_name="fastalex", library_version=__version__)
        info = asked.model_info(name.repository, revision=name.revision, files_metadata=True)
    sizes: Dict[str, Any] = {each.rfilename: getattr(each, "size", None) for each in info.siblings or ()}
    chosen = choice.choose(name, list(sizes))
    small = [path for path, size in sizes.items() if posixpath.basename(path) != CONFIG or (size or 0) <= MAX_CONFIG]
    companions = choice.companions(chosen, small, CONFIG)
    for path in (chosen, *companions):
        if (sizes[path] or 0) > transfer.MAX_BYTES:
            raise UserError(
                f"{path} of {name} has {sizes[path]} bytes, more than the {transfer.MAX_BYTES} that it may have"
            )
    with _explained(name):
        first = _download(name, chosen, name.revision)
        for path in companions:
            _download(name, path, place_of(first)[0] or name.revision)  # the revision may have moved on
    return first


def _download(name: Name, file: str, revision: str) -> str:
    from huggingface_hub import hf_hub_download

    return str(
        hf_hub_download(name.repository, file, revision=revision, library_name="fastalex", library_version=__version__)
    )


def _cached(name: Name, reason: str) -> str:
    """Return the file in the cache that ``name`` means among those that are there.

    :raises UserError: if there is none; ``reason`` is why the Hub was not asked.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            name.repository, revision=name.revision, local_files_only=True, allow_patterns=[_NOTHING]
        )
        path = os.path.join(folder, choice.choose(name, _files_in(folder)))
    except (LocalEntryNotFoundError, UserError) as error:
        several = isinstance(error, choice.SeveralError)
        detail = str(error) if several else f"the cache {constants.HF_HUB_CACHE} does not have it"
        raise UserError(
            f"{name} cannot be downloaded ({reason}), and {detail}; on a machine with a network, 'fastalex weights "
            "pack' packs weights for one without"
        ) from None
    if not constants.HF_HUB_OFFLINE:
        warnings.warn(f"{name}: {reason}; the copy in the cache is used", stacklevel=6)
    return path


def _files_in(folder: str) -> List[str]:
    found = []
    for parent, _, files in os.walk(folder):
        relative = os.path.relpath(parent, folder)
        found += [posixpath.normpath(posixpath.join(relative.replace(os.sep, "/"), file)) for file in files]
    return sorted(found)


def _check(name: Name, path: str, notes: str) -> None:
    """Check the file, and the data files of an ONNX file, against the SHA-256 that the Hub gave for them.

    Those are their names in the cache. Small files have another hash there, and a cache without links none.
    """
    inside = place_of(path)[1]
    folder = path[: -len(inside)]
    with contextlib.suppress(OSError):
        os.makedirs(notes, exist_ok=True)
    for file in (inside, *choice.companions(inside, _files_in(folder), CONFIG)):
        blob = os.path.realpath(os.path.join(folder, file))
        digest = os.path.basename(blob)
        note = os.path.join(notes, f"hub-{digest}.verified")
        if _SHA256.fullmatch(digest) and not download.is_verified(blob, "sha256", digest, note):
            raise UserError(f"{blob} does not have the sha256 of {name}: delete it to download it again")


# Errors and progress ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _explained(name: Name, listing: bool = False) -> Iterator[None]:
    """Turn what huggingface_hub raises into one sentence.

    :param listing: raise :class:`_UnreachableError` if there is no answer.
    """
    from huggingface_hub import constants, get_token, utils

    repository, host = name.repository, constants.ENDPOINT
    token = "with this token" if get_token() else "without a token"
    try:
        yield
    except (UserError, MemoryError):
        raise
    except utils.GatedRepoError:
        raise UserError(
            f"{repository} is gated: ask for access at {host}/{repository}, and set HF_TOKEN to a token of that account"
        ) from None
    except utils.RevisionNotFoundError:
        raise UserError(f"{repository} has no revision '{name.revision}' at {host}") from None
    except utils.RepositoryNotFoundError:
        raise UserError(
            f"there is no repository {repository} at {host} that may be read {token}: check the name; for a private "
            "one set HF_TOKEN to a token that may read it"
        ) from None
    except Exception as error:  # noqa: BLE001 (those of its HTTP library, which its releases have changed)
        raise _other(name, error, host, listing) from None


def _other(name: Name, error: Any, host: str, listing: bool) -> Exception:
    from huggingface_hub import constants, utils

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return UserError(
            f"{host} does not accept the token of HF_TOKEN or 'hf auth login'; make a new one, or remove it"
        )
    unreachable = status is None or status >= 500 or status in _BUSY
    reason = f"{host} answers {status}" if status else f"{host}: {_reason(error)}"
    if listing and unreachable:
        return _UnreachableError(reason)
    local = isinstance(error, OSError) and not isinstance(error, (ConnectionError, utils.LocalEntryNotFoundError))
    if local and getattr(error, "errno", None) and getattr(error, "strerror", None):
        where = getattr(error, "filename", None) or constants.HF_HUB_CACHE
        return UserError(f"{where} cannot be written: {error.strerror}; set HF_HOME to a folder with room")
    return UserError(f"{name} cannot be downloaded ({reason}); run it again")


def _reason(error: BaseException) -> str:
    """Return the first line of the innermost error, in which the layers of HTTP libraries wrap others."""
    while error.__cause__ is not None or (error.__context__ is not None and not error.__suppress_context__):
        error = error.__cause__ or error.__context__ or error
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return printable(lines[0][:_SHOWN] if lines else type(error).__name__)


@contextlib.contextmanager
def _silent(quiet: bool) -> Iterator[None]:
    """Show none of huggingface_hub's log while this block runs, whose last word is a sentence of ours.

    :param quiet: show no progress bars either.
    """
    from huggingface_hub import utils

    level, hide = utils.logging.get_verbosity(), quiet and not utils.are_progress_bars_disabled()
    utils.logging.set_verbosity_error()
    if hide:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.logging.set_verbosity(level)
        if hide:
            utils.enable_progress_bars()
