"""The computation of a read-out, a block of images at a time."""

from __future__ import annotations

import collections
import errno
import itertools
import os
from typing import Any, Callable, Deque, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..errors import UserError
from ..images import profiles
from .encoding import Encoder
from .pool import Pool, result
from .reductions import Step
from .sources import Item, Source

# Errors of reading that are the store's, or this process's, and not those of one file.
_OF_STORE = {
    getattr(errno, name, None)
    for name in (
        "EIO", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ESHUTDOWN", "ENETDOWN", "ENETUNREACH",
        "EREMOTEIO", "ENODEV", "ENXIO", "EMFILE", "ENFILE",
    )
} - {None}  # fmt: skip


class Block(NamedTuple):
    """The results of the images ``start`` to ``stop`` of a source.

    * ``names``: of all of them; ``reasons``: why an image has no row, None for those that have one;
    * ``values``: layer -> what is stored, ``[rows, ...]``;
    * ``clipped``: layer -> the number of values that int8 could not hold, of each row, where that is counted.
    """

    start: int
    stop: int
    names: List[str]
    reasons: List[Optional[str]]
    values: Dict[str, np.ndarray]
    clipped: Dict[str, np.ndarray]


class Work:
    """What is computed of an image; it can be pickled, to compute blocks in other processes.

    :param reads: name of a result -> the layer that it is of. ``steps`` has the reductions of each.
    """

    def __init__(self, net: Any, profile: profiles.Profile, reads: Mapping[str, str], encoder: Encoder) -> None:
        self.net, self.profile, self.reads, self.encoder = net, profile, dict(reads), encoder
        self.steps: Dict[str, List[Step]] = {name: [] for name in reads}

    def input_of(self, item: Item) -> Any:
        """Decode and prepare one image, float32 ``[1, C, S, S]``; return the error if it cannot be.

        :raises UserError: if the store fails, and not the image.
        """
        if isinstance(item.data, UserError):
            return item.data
        try:
            return self.net.preprocess(item.data, self.profile)
        except UserError as error:
            if isinstance(item.data, str) and _is_of_store(error, item.data):
                raise UserError(f"{error}; what was done is kept, and the same command goes on with it") from None
            return error if isinstance(item.data, str) else UserError(f"{item.name}: {error}")

    def block_of(self, start: int, items: Sequence[Item], inputs: Sequence[Any]) -> Block:
        """Compute a block from what :meth:`input_of` returned for each of its ``items``."""
        names = [item.name.replace("\n", "\\n") for item in items]
        reasons = [str(x) if isinstance(x, UserError) else None for x in inputs]
        good = [x for x in inputs if not isinstance(x, UserError)]
        block = Block(start, start + len(names), names, reasons, {}, {})
        results = self.net.taps(np.concatenate(good), list(self.reads.values())) if good else {}
        for name, layer in self.reads.items() if good else ():
            values = results[layer]
            for step in self.steps[name]:
                values = step(values)
            block.values[name], clipped = self.encoder(name, values)
            if clipped is not None:
                block.clipped[name] = clipped
        return block

    def block(self, source: Source, start: int, stop: int) -> Block:
        """Compute the block of the images ``start`` to ``stop``, with one thread that reads and decodes.

        :raises UserError: if the source cannot be read, or stalls.
        """
        with Pool(1) as thread:

            def done(function: Callable[..., Any], *arguments: Any) -> Any:
                return result(thread.submit(function, *arguments), source.address, source.alive)

            items = done(source.read, start, stop)
            return self.block_of(start, items, [done(self.input_of, item) for item in items])


def _is_of_store(error: BaseException, path: str) -> bool:
    """Whether a file could not be read because of an error of its store, or because its whole folder is gone."""
    cause = error.__context__
    if cause is None:
        return False
    number = getattr(cause, "errno", None)
    is_gone = number == errno.ENOENT and not os.path.isdir(os.path.dirname(path) or ".")
    return number in _OF_STORE or is_gone or _is_of_store(cause, path)


Compute = Callable[[Work, Source, int, int, int], Iterator[Block]]  # start, stop, batch: as :func:`blocks`


def spans(start: int, stop: int, batch: int) -> Iterator[Tuple[int, int]]:
    """Yield the blocks that the images ``start`` to ``stop`` are in, the first of them whole.

    Blocks begin at multiples of ``batch``, whatever is asked for: what is computed of an image may then depend on its
    block, and is still the same bits in a run that was interrupted or divided.
    """
    for first in range(start - start % batch, stop, batch) if start < stop else ():
        yield first, min(first + batch, stop)


def blocks(work: Work, source: Source, start: int, stop: int, batch: int) -> Iterator[Block]:
    """Compute the blocks of :func:`spans` in their order, while the next are read and decoded in the background.

    :raises UserError: if the source cannot be read, or stalls.
    """
    reading: Deque[Any] = collections.deque()
    decoding: Deque[Any] = collections.deque()
    with Pool(1) as reader, Pool(work.net.threads) as decoders:
        for span in itertools.chain(spans(start, stop, batch), (None, None)):
            if span is not None:
                reading.append((span[0], reader.submit(source.read, *span)))
            if len(reading) > (span is not None):
                first, future = reading.popleft()
                items = result(future, source.address, source.alive)
                decoding.append((first, items, [decoders.submit(work.input_of, item) for item in items]))
            if len(decoding) > (span is not None):
                first, items, futures = decoding.popleft()
                yield work.block_of(first, items, [result(one, source.address, source.alive) for one in futures])
