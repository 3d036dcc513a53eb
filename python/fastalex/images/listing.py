"""Image files named on a command line, or found in folders."""

from __future__ import annotations

import collections
import os
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

from ..errors import UserError
from .formats import SUFFIXES

#: Folders of notebooks that hold copies of a folder's files.
_COPIES = (".ipynb_checkpoints",)
_SHOWN = 5  # suffixes that a note names
Tell = Callable[[str], None]


def _silent(sentence: str) -> None:
    """Tell nobody."""


def listed(paths: Sequence[str], tell: Tell = _silent) -> Iterator[Tuple[str, Optional[UserError]]]:
    """Replace each folder by the images in it, sorted by name; subfolders are left out.

    :param tell: is told how many other files a folder has, if any, in a sentence.
    :returns: pairs of a path and None, or of a folder and the error if it cannot be read or has no images.
    """
    for path in paths:
        if not os.path.isdir(path):
            yield path, None
            continue
        try:
            entries = list(os.scandir(path))
        except OSError as error:
            yield path, UserError(f"cannot read the folder '{path}': {error.strerror}")
            continue
        names = sorted(entry.name for entry in entries if is_image(entry.name))
        if not names:
            yield path, UserError(f"there is no image ({', '.join(SUFFIXES)}) in the folder '{path}'")
        for name in names:
            yield os.path.join(path, name), None
        _tell_left_out(path, [entry.name for entry in entries if entry.is_file()], tell)


def below(folder: str, tell: Tell = _silent) -> List[str]:
    """List the images in ``folder`` and all folders below it, sorted by path. Symbolic links are followed.

    :param tell: is told how many other files there are, if any, in a sentence.
    :raises UserError: if it is not a folder, cannot be read, or has no images.
    """
    if not os.path.isdir(folder):
        raise UserError(f"'{folder}' is not a folder; give one with images")
    files = list(_files_below(folder))
    images = [path for path in files if is_image(os.path.basename(path))]
    if not images:
        raise UserError(f"there is no image ({', '.join(SUFFIXES)}) in or below the folder '{folder}'")
    _tell_left_out(folder, [os.path.basename(path) for path in files], tell)
    return sorted(images)


def _tell_left_out(folder: str, names: Sequence[str], tell: Tell) -> None:
    """Tell how many of the files ``names`` of ``folder`` are not taken for images, if any, and why."""
    others = [name for name in names if not is_image(name) and not name.startswith(".")]
    if not others:
        return
    suffixes = collections.Counter(os.path.splitext(name)[1].lower() or "no suffix" for name in others)
    shown = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(_SHOWN))
    more = f", {len(suffixes) - _SHOWN} other suffixes" if len(suffixes) > _SHOWN else ""
    tell(
        f"left out {len(others)} of {len(names)} files in '{folder}' that are not images by their names: {shown}{more}"
    )


def is_image(name: str) -> bool:
    """Whether a file name has one of the suffixes, and is not a companion file of macOS (``._a.jpg``)."""
    return name.lower().endswith(SUFFIXES) and not name.startswith("._")


def _files_below(folder: str) -> Iterator[str]:
    """Yield every file in ``folder`` and below it; of folders that links make a circle of, each once."""

    def refuse(error: OSError) -> None:
        raise UserError(f"cannot read the folder '{error.filename}': {error.strerror}")

    seen = set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        facts = os.stat(parent)
        if (facts.st_dev, facts.st_ino) in seen:
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        folders[:] = [name for name in folders if name not in _COPIES]
        yield from (os.path.join(parent, name) for name in names)
