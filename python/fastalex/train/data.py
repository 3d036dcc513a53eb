"""Labeled images in class folders, tar shards or idx files, and the batches of images that a process works on.

All random numbers of an image depend only on the seed, the epoch, and the position of the image in the epoch. The
result is therefore the same for any number of workers and processes, and for a run that is resumed in mid-epoch.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .._util import signals
from ..errors import UserError
from ..images import listing
from ..networks.torch_reference import pytorch
from . import idx, shards

IGNORED = -100  # the target of a row without an image; torch.nn.functional.cross_entropy ignores it
#: Calls a function with each of some arguments, perhaps in several processes, and returns what it gave.
Divide = Callable[[Callable[[str], Any], Sequence[str]], List[Any]]


class Sample(NamedTuple):
    """The image file ``path`` and its class, or the image in the ``size`` bytes from ``offset`` on of a tar file."""

    path: str
    label: int
    offset: int = -1
    size: int = 0
    name: str = ""

    def source(self) -> Any:
        """Return the image as a path or bytes, for :func:`fastalex.images.open_image`."""
        if self.offset < 0:
            return self.path
        return shards.part(self.path, self.offset, self.size)

    def where(self) -> str:
        """Return the name of the image for messages."""
        return self.path if self.offset < 0 else f"{self.name} in {self.path}"


class Images(NamedTuple):
    """Samples and the names of their classes. A sample is any object with ``label``, ``source()`` and ``where()``."""

    samples: List[Any]
    classes: List[str]


def find(path: str, classes: Optional[Sequence[str]] = None, divide: Optional[Divide] = None) -> Images:
    """Find the images in a folder of class folders, of ``.tar`` shards or of the idx files of one set.

    ``path`` may also be the idx file with the images of a set, or a pattern of shards with ``*``; that of shards may
    have a scheme, such as ``s3://``.

    :param classes: for a validation set, the classes of the training set in their order.
    :param divide: reads the shards at an address; default: one after the other.
    :raises UserError: if there are no images, a class folder is empty, or a class is not in ``classes``.
    """
    images = _found(path, divide)
    if classes is None or images.classes == list(classes):
        return images
    unknown = [name for name in images.classes if name not in classes]
    if unknown:
        raise UserError(f"'{path}' has the class '{unknown[0]}', but the training set does not")
    numbers = [list(classes).index(name) for name in images.classes]
    return Images([sample._replace(label=numbers[sample.label]) for sample in images.samples], list(classes))


def _found(path: str, divide: Optional[Divide]) -> Images:
    files = shards.find(path)
    if files:
        return _from_shards(files, path, divide)
    pixels = idx.images_file(path)
    return _from_idx(pixels) if pixels else _from_folders(path)


def train_and_validation(
    folder: str, validation: Optional[str], holdout: float, seed: int, divide: Optional[Divide] = None
) -> Tuple[Images, Images]:
    """Return the training set and the validation set.

    These are ``folder`` and ``validation``; without the latter, ``folder/train`` and ``folder/val`` if both exist, or
    the training and the test set of idx files in ``folder``; otherwise the fraction ``holdout`` of each class,
    chosen by ``seed``, becomes the validation set.

    :raises UserError: if there are no images, the classes differ, or a class has too few images.
    """
    inner = [shards.join(folder, name) for name in ("train", "val")]
    if validation is None and all(map(shards.is_folder, inner)):
        folder, validation = inner
    elif validation is None and not shards.is_address(folder):
        folder, validation = idx.both_sets(folder) or (folder, None)
    training = find(folder, divide=divide)
    if validation is not None:
        return training, find(validation, training.classes, divide)
    if not 0 < holdout < 1:
        raise UserError(f"--holdout must be a fraction between 0 and 1, not {holdout:g}")
    generator = np.random.default_rng(seed)
    labels = np.array([sample.label for sample in training.samples])
    held = np.zeros(len(labels), bool)
    for label in range(len(training.classes)):
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise UserError(f"the class '{training.classes[label]}' has one image; pass validation images with --val")
        held[members[: max(1, round(holdout * len(members)))]] = True
    parts = [[s for s, h in zip(training.samples, held) if h == side] for side in (False, True)]
    return Images(parts[0], training.classes), Images(parts[1], training.classes)


def _from_folders(folder: str) -> Images:
    if not os.path.isdir(folder):
        raise UserError(f"'{folder}' is not a folder; pass one that has a folder of images for each class")
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise UserError(f"'{folder}' has no folders; it must have a folder of images for each class")
    samples = []
    for label, name in enumerate(classes):
        try:
            paths = listing.below(os.path.join(folder, name))
        except UserError as error:
            raise UserError(f"the class folder '{name}' cannot be used: {error}") from None
        samples += [Sample(path, label) for path in paths]
    return Images(samples, classes)


def _from_shards(files: Sequence[str], path: str, divide: Optional[Divide]) -> Images:
    """Find samples in the format of WebDataset: an image, and a ``.cls`` file of its name with the class number."""
    # The shards at an address are the same for all processes; those on a machine may not be.
    rows = divide(shards.read, files) if divide and shards.is_address(path) else map(shards.read, files)
    samples = [Sample(file, *row) for file, found in zip(files, rows) for row in found]
    if not samples:
        raise UserError(f"the shards in '{path}' have no image with a .cls file of the same name")
    return Images(samples, _class_names(samples, files[0], "shards"))


def _from_idx(path: str) -> Images:
    samples = idx.read(path)
    return Images(samples, _class_names(samples, path, "labels"))


def _class_names(samples: Sequence[Any], path: str, what: str) -> List[str]:
    """Return the lines of ``classes.txt`` in the folder of the file ``path``; without it, the class numbers."""
    count = max(sample.label for sample in samples) + 1
    names = shards.join(shards.parent(path), "classes.txt")
    text = shards.text(names)
    if text is None:
        return [str(number) for number in range(count)]
    classes = text.split("\n")
    while classes and not classes[-1].strip():
        classes.pop()
    if len(classes) < count:
        raise UserError(f"{names} has {len(classes)} names, but the {what} have the class {count - 1}")
    return classes


class Batch(NamedTuple):
    """The rows of a batch that one process works on.

    :ivar images: float32 ``[rows, 3, S, S]``.
    :ivar labels: int64 ``[rows]``; :data:`IGNORED` for a row without an image.
    :ivar bad: ``(where, why)`` for each image that could not be read.
    """

    images: Any
    labels: Any
    bad: List[Tuple[str, str]]


def order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Return the indices of ``count`` images in their random order in ``epoch``."""
    return np.random.default_rng(np.random.SeedSequence((seed, epoch))).permutation(count)


class Batches:
    """An iterable over batches as lists of ``(position in the epoch, index)``, the rows of process ``rank``.

    It begins at batch ``start``. Each of ``shares`` processes has the same number of rows; (-1, -1) is a row without
    an image.
    """

    def __init__(self, indices: np.ndarray, batch: int, start: int = 0, rank: int = 0, shares: int = 1) -> None:
        self.indices, self.batch, self.start, self.rank, self.shares = indices, batch, start, rank, shares

    def __len__(self) -> int:
        return max(0, -(-len(self.indices) // self.batch) - self.start)

    def __iter__(self) -> Iterator[List[Tuple[int, int]]]:
        for first in range(self.start * self.batch, len(self.indices), self.batch):
            whole = range(first, min(first + self.batch, len(self.indices)))
            each = -(-len(whole) // self.shares)
            positions = whole[self.rank * each : (self.rank + 1) * each]
            own = [(position, int(self.indices[position])) for position in positions]
            yield own + [(-1, -1)] * (each - len(own))


class Dataset:
    """A dataset for PyTorch that maps ``(position, index)`` to ``prepare(source, position)`` of an image.

    For a row without an image, or with one that cannot be read, it returns ``blank``.
    """

    def __init__(self, images: Images, prepare: Callable[[Any, int], np.ndarray], blank: np.ndarray) -> None:
        self.images, self.prepare, self.blank = images, prepare, blank

    def __getitem__(self, key: Tuple[int, int]) -> Tuple[np.ndarray, int, Optional[Tuple[str, str]]]:
        position, index = key
        if position < 0:
            return self.blank, IGNORED, None
        sample = self.images.samples[index]
        try:
            return self.prepare(sample.source(), position), sample.label, None
        except (UserError, OSError) as error:
            return self.blank, IGNORED, (sample.where(), str(error))


def collate(rows: Sequence[Tuple[np.ndarray, int, Optional[Tuple[str, str]]]]) -> Batch:
    """Combine the items of a :class:`Dataset` to a batch."""
    torch = pytorch()
    images = torch.from_numpy(np.stack([row[0] for row in rows]))
    labels = torch.tensor([row[1] for row in rows])
    return Batch(images, labels, [row[2] for row in rows if row[2] is not None])


def loader(dataset: Dataset, batches: Batches, workers: int, pin: bool = False) -> Any:
    """Return a ``torch.utils.data.DataLoader`` over the rows of ``batches``."""
    return pytorch().utils.data.DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        worker_init_fn=_begin_worker,
    )


def _begin_worker(_: int) -> None:
    pytorch().set_num_threads(1)
    for number in signals.ENDING:  # sent to a whole group; the main process decides when to do without its workers
        signal.signal(number, signal.SIG_IGN)


class BadImages:
    """The images that could not be read. Each is written once to ``path``; more than ``limit`` end the run."""

    def __init__(self, path: Optional[str], limit: int) -> None:
        self.path, self.limit = path, limit
        self.seen: Dict[str, str] = {}

    def begin(self, seen: Dict[str, str]) -> None:
        """Begin with the images ``seen`` before a checkpoint; a run that went on from there may have found more."""
        self.seen = {}
        if self.path and os.path.exists(self.path):
            os.unlink(self.path)
        self.add(list(seen.items()))

    def add(self, bad: Sequence[Tuple[str, str]]) -> None:
        """Add images, as ``(where, why)``; those added before are ignored."""
        for where, why in bad:
            if where in self.seen:
                continue
            self.seen[where] = why
            if self.path:
                with open(self.path, "a", encoding="utf-8") as stream:
                    stream.write(json.dumps({"image": where, "error": why}) + "\n")

    def check(self) -> None:
        """Check the limit.

        :raises UserError: if there are more images than that; the message names the first one.
        """
        if len(self.seen) <= self.limit:
            return
        where, why = next(iter(self.seen.items()))
        first = why if where in why else f"{where}: {why}"
        raise UserError(
            f"{len(self.seen)} images cannot be read, more than --bad-limit {self.limit} allows; the first: {first}"
        )


def fingerprint(images: Images) -> str:
    """Return a hash of the names, labels and classes of the images, to recognize the dataset when a run resumes."""
    text = json.dumps([images.classes, [(os.path.basename(s.where()), s.label) for s in images.samples]])
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
