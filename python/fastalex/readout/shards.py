"""Parts of a read-out for the jobs of a cluster: ``I/N`` is the I-th of N, counted from 1."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, List, Tuple

from ..errors import UserError

_FOLDER = re.compile(r"shard-(\d+)-of-(\d+)")
MAX_SHARDS = 100000


@dataclass(frozen=True)
class Shard:
    """The ``index``-th of ``count`` parts, from 1."""

    index: int
    count: int

    @property
    def folder(self) -> str:
        """The name of its folder, in that of the whole."""
        return f"shard-{self.index:05d}-of-{self.count:05d}"

    def span(self, images: int, batch: int) -> Tuple[int, int]:
        """Return its first image and the one after its last: whole blocks of ``batch``, whose bits no division changes.

        :raises UserError: if there are more shards than blocks.
        """
        blocks = -(-images // batch)
        if self.count > blocks:
            raise UserError(
                f"{images} images in batches of {batch} are {blocks} blocks, too few for {self.count} shards; "
                f"use at most {blocks} shards or a smaller batch"
            )
        first, last = (blocks * index // self.count for index in (self.index - 1, self.index))
        return first * batch, min(images, last * batch)


def parse(text: str) -> Shard:
    """Parse ``I/N``.

    :raises UserError: if it is not of this form, or I is not from 1 to N.
    """
    parts = text.split("/")
    if len(parts) == 2 and all(part.isdecimal() and len(part) < 10 for part in parts):
        shard = Shard(int(parts[0]), int(parts[1]))
        if 1 <= shard.index <= shard.count <= MAX_SHARDS:
            return shard
    raise UserError(f"a shard is I/N, the I-th of N from 1/N to N/N, such as 3/8, not '{text[:40]}'")


def check(folder: str, place: Any) -> None:
    """Check that the results in a folder are those of the shard that it is named after, and not a copy of others.

    :param place: what their manifest says about their shard.
    :raises UserError: if they are not.
    """
    found = Shard(place["index"], place["count"]) if place else None
    if found is None or found.folder != os.path.basename(folder):
        whose = f"shard {found.index}/{found.count}" if found else "no shard"
        raise UserError(f"the results in '{folder}' are of {whose}, not of the one that its name says; make it again")


def folders(output: str) -> List[str]:
    """Return the folders of all shards in ``output``, in their order.

    :raises UserError: if there are none, some are missing, or they are of several divisions.
    """
    try:
        names = sorted(name for name in os.listdir(output) if _FOLDER.fullmatch(name))
    except OSError as error:
        raise UserError(f"cannot read '{output}': {error.strerror or error}") from None
    if not names:
        raise UserError(f"there are no shards in '{output}'; make them with --shard I/N")
    found = [Shard(*(int(digits) for digits in _FOLDER.fullmatch(name).groups())) for name in names]  # type: ignore[union-attr]
    counts = sorted({shard.count for shard in found})
    if len(counts) > 1:
        both = " and of ".join(str(count) for count in counts)
        raise UserError(f"'{output}' has shards of {both}; remove those of the division that is not wanted")
    missing = sorted(set(range(1, counts[0] + 1)) - {shard.index for shard in found})
    if missing:
        words = ", ".join(f"{index}/{counts[0]}" for index in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise UserError(f"'{output}' lacks {len(missing)} of {counts[0]} shards ({words}); run those first")
    return [os.path.join(output, name) for name in names]
