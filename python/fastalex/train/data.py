"""Labeled images in class folders or tar shards, and the batches of them that a process works on.

Whatever is random about an image follows from seed, epoch, and its place in the epoch, so any number of workers and
processes gives the same, and a run that resumes in mid-epoch goes on as it would have.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import tarfile
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..errors import UserError
from ..images import listing
from ..networks.torch_reference import pytorch

IGNORED = -100  # the target of a row that is no image; torch.nn.functional.cross_entropy leaves it out
_LABEL_SUFFIX = ".cls"  # WebDataset's: a class number as text


class Sample(NamedTuple):
    """``path`` with its class; of a tar file the ``size`` bytes from ``offset`` on."""

    path: str
    label: int
    offset: int = -1
    size: int = 0
    name: str = ""

    def source(self) -> Any:
        """What :func:`fastalex.images.open_image` takes."""
        if self.offset < 0:
            return self.path
        with open(self.path, "rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)

    def where(self) -> str:
        return self.path if self.offset < 0 else f"{self.name} in {self.path}"


class Images(NamedTuple):
    """Samples with the names of their classes. Anything with ``label``, ``source()`` and ``where()`` is a sample."""

    samples: List[Any]
    classes: List[str]


def find(place: str, classes: Optional[Sequence[str]] = None) -> Images:
    """The images of a folder of class folders, of a folder with ``.tar`` shards, or of shards (a pattern with ``*``).

    :param classes: those of the training set, which the validation set must have, in their order.
    :raises UserError: if there are none, a class folder is empty, or the classes differ.
    """
    shards = _shards(place)
    found = _from_shards(shards, place) if shards else _from_folders(place)
    if classes is None or found.classes == list(classes):
        return found
    unknown = [name for name in found.classes if name not in classes]
    if unknown:
        raise UserError(f"'{place}' has the class '{unknown[0]}', which the training set does not")
    numbers = [list(classes).index(name) for name in found.classes]
    return Images([sample._replace(label=numbers[sample.label]) for sample in found.samples], list(classes))


def train_and_validation(place: str, validation: Optional[str], holdout: float, seed: int) -> Tuple[Images, Images]:
    """The two sets: ``place`` and ``validation``, or ``place/train`` and ``place/val`` where these are there, or a
    share ``holdout`` of each class of ``place``, chosen by ``seed``, for validation."""
    inner = [os.path.join(place, name) for name in ("train", "val")]
    if validation is None and all(map(os.path.isdir, inner)):
        place, validation = inner
    training = find(place)
    if validation is not None:
        return training, find(validation, training.classes)
    if not 0 < holdout < 1:
        raise UserError(f"--holdout must be a share between 0 and 1, not {holdout:g}")
    generator = np.random.default_rng(seed)
    labels = np.array([sample.label for sample in training.samples])
    held = np.zeros(len(labels), bool)
    for label in range(len(training.classes)):
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise UserError(f"the class '{training.classes[label]}' has one image; give validation images by --val")
        held[members[: max(1, round(holdout * len(members)))]] = True
    parts = [[s for s, h in zip(training.samples, held) if h == wanted] for wanted in (False, True)]
    return Images(parts[0], training.classes), Images(parts[1], training.classes)


def _from_folders(place: str) -> Images:
    if not os.path.isdir(place):
        raise UserError(f"'{place}' is not a folder; give one with a folder of images for each class")
    classes = sorted(entry.name for entry in os.scandir(place) if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise UserError(f"'{place}' has no folders; put the images of each class into a folder of its own there")
    samples = []
    for label, name in enumerate(classes):
        try:
            paths = listing.below(os.path.join(place, name))
        except UserError as error:
            raise UserError(f"the class folder '{name}' cannot be used: {error}") from None
        samples += [Sample(path, label) for path in paths]
    return Images(samples, classes)


def _shards(place: str) -> List[str]:
    if os.path.isdir(place):
        return sorted(glob.glob(os.path.join(glob.escape(place), "*.tar")))
    return sorted(glob.glob(place)) if "*" in place else [place] if place.endswith(".tar") else []


def _from_shards(shards: Sequence[str], place: str) -> Images:
    """Samples as WebDataset writes them: files of one name, an image and ``.cls`` with the number of its class.

    Names of classes: the lines of ``classes.txt`` beside the shards, else the numbers.
    """
    samples: List[Sample] = []
    for shard in shards:
        samples += _read_shard(shard)
    if not samples:
        raise UserError(f"the shards in '{place}' have no image with a .cls file of the same name")
    count = max(sample.label for sample in samples) + 1
    named = os.path.join(os.path.dirname(shards[0]), "classes.txt")
    classes = [str(number) for number in range(count)]
    if os.path.exists(named):
        with open(named, encoding="utf-8") as stream:
            classes = stream.read().split("\n")
        while classes and not classes[-1].strip():
            classes.pop()
        if len(classes) < count:
            raise UserError(f"{named} has {len(classes)} names, but the shards have the class {count - 1}")
    return Images(samples, classes)


def _read_shard(path: str) -> List[Sample]:
    """The samples of one shard, from its headers alone; images are read when they are needed."""
    pictures: Dict[str, Tuple[int, int, str]] = {}
    labels: Dict[str, int] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, _, base = member.name.rpartition("/")
                stem, dot, suffix = base.partition(".")  # WebDataset: up to the first dot
                key = folder + "/" + stem
                if not member.isfile():
                    continue
                if dot + suffix == _LABEL_SUFFIX:
                    labels[key] = int(archive.extractfile(member).read(32))
                elif listing.is_image(base):
                    pictures[key] = (member.offset_data, member.size, member.name)
    except (OSError, tarfile.TarError, ValueError) as error:
        raise UserError(f"the shard {path} cannot be read: {error}") from None
    negative = [key for key, label in labels.items() if label < 0]
    if negative:
        raise UserError(f"the class of '{negative[0]}' in {path} is below 0")
    return [Sample(path, labels[key], *place) for key, place in pictures.items() if key in labels]


class Batch(NamedTuple):
    """``images`` float32 ``[rows, 3, S, S]``; ``labels`` int64 ``[rows]``, :data:`IGNORED` where there is no image;
    ``bad``: ``(where, why)`` of images that could not be read."""

    images: Any
    labels: Any
    bad: List[Tuple[str, str]]


def order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The images of an epoch in their order."""
    return np.random.default_rng(np.random.SeedSequence((seed, epoch))).permutation(count)


class Batches:
    """``(place in the epoch, index)`` of the rows that process ``rank`` has of each batch, from batch ``start`` on.

    Each of ``shares`` processes has the same number of rows; (-1, -1) stands for none.
    """

    def __init__(self, indices: np.ndarray, batch: int, start: int = 0, rank: int = 0, shares: int = 1) -> None:
        self.indices, self.batch, self.start, self.rank, self.shares = indices, batch, start, rank, shares

    def __len__(self) -> int:
        return max(0, -(-len(self.indices) // self.batch) - self.start)

    def __iter__(self) -> Iterator[List[Tuple[int, int]]]:
        for first in range(self.start * self.batch, len(self.indices), self.batch):
            whole = range(first, min(first + self.batch, len(self.indices)))
            each = -(-len(whole) // self.shares)
            own = [(place, int(self.indices[place])) for place in whole[self.rank * each : (self.rank + 1) * each]]
            yield own + [(-1, -1)] * (each - len(own))


class Dataset:
    """Maps ``(place, index)`` to an image, made ready by ``prepare(source, place)``, or to ``blank`` if there is none.
    Works in any process."""

    def __init__(self, images: Images, prepare: Callable[[Any, int], np.ndarray], blank: np.ndarray) -> None:
        self.images, self.prepare, self.blank = images, prepare, blank

    def __getitem__(self, key: Tuple[int, int]) -> Tuple[np.ndarray, int, Optional[Tuple[str, str]]]:
        place, index = key
        if place < 0:
            return self.blank, IGNORED, None
        sample = self.images.samples[index]
        try:
            return self.prepare(sample.source(), place), sample.label, None
        except (UserError, OSError) as error:
            return self.blank, IGNORED, (sample.where(), str(error))


def collate(rows: Sequence[Tuple[np.ndarray, int, Optional[Tuple[str, str]]]]) -> Batch:
    torch = pytorch()
    images = torch.from_numpy(np.stack([row[0] for row in rows]))
    labels = torch.tensor([row[1] for row in rows])
    return Batch(images, labels, [row[2] for row in rows if row[2] is not None])


def loader(dataset: Dataset, batches: Batches, workers: int, pin: bool = False) -> Any:
    """A ``torch.utils.data.DataLoader`` over the rows of ``batches``."""
    return pytorch().utils.data.DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        worker_init_fn=_one_thread,
    )


def _one_thread(_: int) -> None:
    pytorch().set_num_threads(1)


class BadImages:
    """Counts the images that could not be read, writes each once to ``path``, and ends the run when there are more than
    ``limit``."""

    def __init__(self, path: Optional[str], limit: int) -> None:
        self.path, self.limit = path, limit
        self.seen: Dict[str, str] = {}

    def add(self, bad: Sequence[Tuple[str, str]]) -> None:
        for where, why in bad:
            if where in self.seen:
                continue
            self.seen[where] = why
            if self.path:
                with open(self.path, "a", encoding="utf-8") as stream:
                    stream.write(json.dumps({"image": where, "error": why}) + "\n")

    def check(self) -> None:
        """:raises UserError: when the limit is passed, with the first of them."""
        if len(self.seen) <= self.limit:
            return
        where, why = next(iter(self.seen.items()))
        raise UserError(
            f"{len(self.seen)} images cannot be read, more than --bad-limit {self.limit} allows; the first: {(why if where in why else f'{where}: {why}')}"
        )


def fingerprint(images: Images) -> str:
    """A hash of which images there are and what they are called, to know them again after a break."""
    text = json.dumps([images.classes, [(os.path.basename(s.where()), s.label) for s in images.samples]])
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
