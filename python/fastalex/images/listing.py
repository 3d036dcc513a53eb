"""Image files named on a command line, or found in folders."""

from __future__ import annotations

import os
from typing import Iterator, List, Optional, Sequence, Tuple

from ..errors import UserError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def listed(paths: Sequence[str]) -> Iterator[Tuple[str, Optional[UserError]]]:
    """Replace each folder by the images in it, sorted by name; subfolders are left out.

    :returns: pairs of a path and None, or of a folder and the error if it cannot be read or has no images.
    """
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
    """List the images in ``folder`` and all folders below it, sorted by path.

    :raises UserError: if it is not a folder, cannot be read, or has no images.
    """
    if not os.path.isdir(folder):
        raise UserError(f"'{folder}' is not a folder; give one with images")

    def refuse(error: OSError) -> None:
        raise UserError(f"cannot read the folder '{error.filename}': {error.strerror}")

    images = [
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if is_image(name)
    ]
    if not images:
        raise UserError(f"there is no image ({', '.join(IMAGE_SUFFIXES)}) in or below the folder '{folder}'")
    return sorted(images)


def is_image(name: str) -> bool:
    """Whether the suffix of a file name is one of :data:`IMAGE_SUFFIXES`."""
    return name.lower().endswith(IMAGE_SUFFIXES)
