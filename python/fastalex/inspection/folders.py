"""What is found in a folder of images, kept in the user's cache, and bound to all that it depends on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from .._util import cache_folder, files
from .._version import __version__
from ..errors import UserError, printable
from ..images import listing, profiles
from ..weights import mean_image

BATCH = 16
_DIGEST = "digest.txt"


class Folder:
    """The images in a folder and below it, as a network sees them.

    * ``root``: the absolute path; ``names``: the images' paths in it, sorted.
    * ``place``: the cache of what the network makes of this folder; ``digest`` changes with any image, by its size
      and time of change, with the preprocessing, and with the release of fastalex.

    :raises UserError: if it is not a folder, cannot be read, has no images, or the profile takes no mean image although
        there is one.
    """

    def __init__(self, net: Any, folder: str, what: Sequence[str], profile: Any, cache: Optional[str]) -> None:
        self.root = os.path.abspath(folder)
        self.profile = profiles.get(net.variant.profile if profile is None else profile)
        mean_image.check(net.mean_image, net.variant, self.profile)
        try:
            paths = listing.below(self.root)
        except OSError as error:
            raise UserError(f"the folder '{printable(folder)}' changed while it was read: {error.strerror}") from None
        self.names = [os.path.relpath(path, self.root) for path in paths]
        images = [(name, *_size_and_time(path)) for name, path in zip(self.names, paths)]
        mean = None if net.mean_image is None else hashlib.sha256(net.mean_image.tobytes()).hexdigest()
        self.digest = _digest(images, repr(self.profile), mean, __version__)
        options = (net.variant.name, net.fingerprint(), net.device, net.precision, net.fc_weights, net.exact)
        base = os.path.join(cache_folder.folder(), "inspection") if cache is None else cache
        self.place = os.path.join(base, _digest(self.root, options, list(what))[:32])

    def path(self, name: str) -> str:
        """Return the absolute path of one of the ``names``."""
        return os.path.join(self.root, name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make :attr:`place`, and hold it against other processes that build the same.

        :raises UserError: if it cannot be written.
        """
        try:
            os.makedirs(self.place, exist_ok=True)
            lock = open(os.path.join(self.place, "lock"), "ab")  # noqa: SIM115 - closed below
        except OSError as error:
            raise UserError(f"the cache {self.place} cannot be written: {error.strerror or error}") from None
        with lock, files.locked(lock):
            yield

    def kept_digest(self) -> str:
        """Return the digest of what is in the cache; empty if there is none."""
        try:
            with open(os.path.join(self.place, _DIGEST), encoding="ascii") as stream:
                return stream.read(100)
        except (OSError, ValueError):
            return ""

    def note_digest(self) -> None:
        """Note that what is in the cache is of these images.

        :raises UserError: if it cannot be written.
        """
        files.write_atomically(os.path.join(self.place, _DIGEST), self.digest)

    def forget(self) -> None:
        """Have what is in the cache made anew at the next use."""
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.place, _DIGEST))

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Replace an error by the one sentence that images vanished, if they did while this block ran."""
        try:
            yield
        except (OSError, UserError) as error:
            self.check_there(self.names)
            if isinstance(error, UserError):
                raise
            raise UserError(f"the folder '{self.root}' cannot be read: {error.strerror or error}") from None

    def check_there(self, names: Iterable[str]) -> None:
        """Check that images which could not be read are still there; forget what was made without them if not.

        :raises UserError: if one is not.
        """
        for name in names:
            if not os.path.lexists(self.path(name)):
                self.forget()
                raise UserError(f"'{self.path(name)}' vanished while its folder was read; try again when it is there")

    def batches(self, net: Any, batch: int) -> Iterator[Tuple[List[int], np.ndarray, Dict[str, str]]]:
        """Yield, batch by batch, the numbers of the images, the input made of them, and the sentences about bad ones.

        The next batch is decoded meanwhile, so that two batches of images are in memory.
        """

        def prepare(name: str) -> Any:
            try:
                return net.preprocess(self.path(name), self.profile)
            except UserError as error:
                return str(error)

        before: List[Tuple[int, Future[Any]]] = []
        with ThreadPoolExecutor(net.threads) as pool:
            for start in range(0, len(self.names) + batch, batch):
                part = range(start, min(start + batch, len(self.names)))
                after = [(number, pool.submit(prepare, self.names[number])) for number in part]
                done = [(number, future.result()) for number, future in before]
                good = [(number, x) for number, x in done if not isinstance(x, str)]
                bad = {self.names[number]: x for number, x in done if isinstance(x, str)}
                if done:
                    x = np.concatenate([x for _, x in good]) if good else np.empty(0, np.float32)
                    yield [number for number, _ in good], x, bad
                before = after


def _size_and_time(path: str) -> Tuple[int, int]:
    """Return the size and the time of change of a file; zeros for a link to nothing, which is left out later."""
    try:
        facts = os.stat(path)
    except OSError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns


def _digest(*facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode("utf-8", "surrogatepass")).hexdigest()
