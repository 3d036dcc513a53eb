"""Joining the shards of a read-out to one, as if it had been computed in one piece."""

from __future__ import annotations

import itertools
import os
from typing import Any, Callable, Dict, Iterator, List, Optional

import numpy as np

from ..errors import UserError
from . import destinations, shards
from . import settings as settings_of
from .fitting import Pca, Scales, copy, path_of
from .lock import exclusive
from .run import NAMES, Run, result_of
from .work import Block

_ROWS = 256  # that are copied at once, if a layer's are not large
_BYTES = 16 << 20


def merge(output: str, restart: bool = False, report: Optional[Callable[[int], None]] = None) -> Dict[str, Any]:
    """Join the complete shards in ``output`` to files there; the shards stay.

    An interrupted merge goes on where it stopped, a complete one is not repeated.

    :param restart: discard what an earlier merge wrote.
    :param report: called now and then with the number of images done.
    :returns: the content of ``readout.json``.
    :raises UserError: if a shard is missing, is not complete or was made by another run, or the disk is full.
    """
    folders = shards.folders(output)
    parts = [result_of(folder) for folder in folders]
    for folder, part in zip(folders, parts):
        shards.check(folder, part["settings"].get("shard"))
    problem = settings_of.shards_differ(folders, [part["settings"] for part in parts])
    if problem:
        raise UserError(f"{problem}; make one of them again")
    settings = dict(parts[0]["settings"], shard=None)
    facts = dict(parts[0]["machine"], shards=[part["machine"]["node"] for part in parts])
    with exclusive(output):
        run = Run(output, settings, 0, parts[-1]["done"], restart, facts)
        if run.complete is None:
            try:
                for folder, part in zip(folders, parts):
                    _copy(run, folder, part, report)
                run.end()
            finally:
                run.close()
            _copy_fits(folders[0], output, settings["layers"])
        return run.finish()


def _copy(run: Run, folder: str, part: Dict[str, Any], report: Optional[Callable[[int], None]]) -> None:
    if part["done"] > run.next:
        for block in _blocks(folder, part):
            if block.stop > run.next:
                run.add(block)
                if report is not None:
                    report(block.stop)


def _blocks(folder: str, part: Dict[str, Any]) -> Iterator[Block]:
    """Yield the rows of a shard, and then its images without rows: their places among the others are not kept."""
    start, rows, left_out = part["settings"]["shard"]["start"], part["rows"], part["left_out"]
    readers = {name: destinations.reader(os.path.join(folder, row["file"])) for name, row in part["layers"].items()}
    row_bytes = sum(reader[:1].nbytes for reader in readers.values())
    step = max(1, min(_ROWS, _BYTES // max(1, row_bytes)))
    with open(os.path.join(folder, NAMES), encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        for first in range(0, rows, step):
            last = min(first + step, rows)
            names = [line[:-1] for line in itertools.islice(lines, last - first)]
            values = {name: reader[first:last] for name, reader in readers.items()}
            # The counts of all rows are given to the first, which is one way to add them up.
            counts = part["clipped"] if not first else {}
            clipped = {name: np.array([count] + [0] * (last - 1)) for name, count in counts.items()}
            yield Block(start + first, start + last, names, [None] * len(names), values, clipped)
    reasons: List[Optional[str]] = list(left_out.values())
    yield Block(start + rows, part["done"], list(left_out), reasons, {}, {})


def _copy_fits(folder: str, output: str, layers: List[str]) -> None:
    for layer in layers:
        for fit in (Pca, Scales):
            path = path_of(folder, layer, fit)
            if os.path.exists(path):
                copy(path, path_of(output, layer, fit))
