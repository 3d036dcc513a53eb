"""What the command line says about the page: the folders that it may read, and the one that it may write to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Optional, Tuple

from ..._util.arguments import brief
from ...errors import UserError

MAX_CLASSES, MAX_CLASS_NAME = 50, 80


@dataclass(frozen=True)
class PageSettings:
    """The folders of the page. A request names a picture or a class of them by a name of the server's lists.

    * ``examples``: a folder of pictures to choose from; None for the ten digits that come with fastalex.
    * ``folder``: a folder whose pictures are searched for nearest neighbors, or None.
    * ``collect``: a folder that camera frames are saved to, in a folder for each of ``classes``, or None.
    """

    examples: Optional[str] = None
    folder: Optional[str] = None
    collect: Optional[str] = None
    classes: Tuple[str, ...] = ()


def parse_classes(text: str) -> Tuple[str, ...]:
    """Return the names of the classes in ``text``, which are separated by commas; each becomes a folder's name.

    >>> parse_classes("free, blocked")
    ('free', 'blocked')

    :raises UserError: unless there are 2 to 50 different names that a folder can have.
    """
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if not _is_folder_name(name):
            raise UserError(
                f"a class name must be 1 to {MAX_CLASS_NAME} printable characters without '/', and not begin with a "
                f"dot, because a folder is named so; not {brief(name)}"
            )
    if not 2 <= len(names) <= MAX_CLASSES or len({name.casefold() for name in names}) < len(names):
        raise UserError(f"--classes must be 2 to {MAX_CLASSES} different names, such as free,blocked")
    return names


def _is_folder_name(name: str) -> bool:
    plain = name.isprintable() and "/" not in name and os.sep not in name and "\\" not in name
    return plain and 0 < len(name) <= MAX_CLASS_NAME and not name.startswith(".")
