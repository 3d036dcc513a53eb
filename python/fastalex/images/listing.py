"""Which files on a command line, and in folders, are images."""

from __future__ import annotations

import os
from typing import Iterator, List, Optional, Sequence, Tuple

from ..errors import UserError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def listed(paths: Sequence[str]) -> Iterator[Tuple[str, Optional[UserError]]]:
    """Each file, folders replaced by the images in them (sorted by name, not their subfolders)."""
    for path in paths:
        if not os.path.isdir(path):
            yield path, None
            continue
        try:
            names = sorted(name for name in os.listdir(path) if is_image(name))
        except OSError as error:
            yield path, UserError(f"cannot read the folder '{path}': {error.strerror}")
            continue
        if not names:
            yield path, UserError(f"there is no image ({', '.join(IMAGE_SUFFIXES)}) in the folder '{path}'")
        for name in names:
            yield os.path.join(path, name), None


def below(folder: str) -> List[str]:
    """The images in ``folder`` and all folders below it, sorted by path.

    :raises UserError: if it is no folder, cannot be read, or has none.
    """
    if not os.path.isdir(folder):
        raise UserError(f"'{folder}' is not a folder; give one with images")

    def refuse(error: OSError) -> None:
        raise UserError(f"cannot read the folder '{error.filename}': {error.strerror}")

    found = [
        os.path.join(place, name)
        for place, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if is_image(name)
    ]
    if not found:
        raise UserError(f"there is no image ({', '.join(IMAGE_SUFFIXES)}) in or below the folder '{folder}'")
    return sorted(found)


def is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)
