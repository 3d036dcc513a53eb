"""Labeled images in idx files, the format of MNIST and of the sets that replace it, such as Fashion-MNIST.

A set is a pair of files, whole or compressed by gzip: ``<set>-images-idx3-ubyte[.gz]`` with 8-bit gray images, and
``<set>-labels-idx1-ubyte[.gz]`` beside it with their class numbers. ``train`` is the training set, ``t10k`` the test
set. Format: yann.lecun.com/exdb/mnist, "The idx file format".
"""

from __future__ import annotations

import glob
import gzip
import os
import zlib
from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np

from ..errors import UserError
from ..weights.graph import shown

IMAGES, LABELS = "-images-idx3-ubyte", "-labels-idx1-ubyte"
TRAINING, TEST = "train", "t10k"
_UINT8 = 0x08  # the third byte of the file: the type of the values
_GZIP = b"\x1f\x8b"
MAX_BYTES = 1 << 33  # of the values of one file; the 8.1 million images of infinite MNIST have 6.4e9


class Sample(NamedTuple):
    """Image ``number`` of the idx file ``path``, and its class; ``images`` are all of its pixels, ``[N, H, W]``."""

    images: np.ndarray
    number: int
    label: int
    path: str

    def source(self) -> np.ndarray:
        """Return the pixels, uint8 ``[H, W]``, for :func:`fastalex.images.open_image`."""
        pixels: np.ndarray = self.images[self.number]
        return pixels

    def where(self) -> str:
        """Return the name of the image for messages."""
        return f"image {self.number} of {self.path}"


def both_sets(folder: str) -> Optional[Tuple[str, str]]:
    """Return the files with the images of the training set and of the test set in ``folder``, if it has both."""
    found = _image_files(folder)
    pair = [next((path for path in found if _name(path) == name + IMAGES), None) for name in (TRAINING, TEST)]
    return (pair[0], pair[1]) if pair[0] and pair[1] else None


def images_file(path: str) -> Optional[str]:
    """Return the idx file with images that ``path`` is, or the only one in the folder ``path``; None without any.

    :raises UserError: if the folder has several.
    """
    if IMAGES in os.path.basename(path):
        return path
    found = _image_files(path)
    if len(found) > 1:
        raise UserError(f"'{path}' has {len(found)} sets of idx files: pass the images of one, such as {found[0]}")
    return found[0] if found else None


def read(path: str) -> List[Sample]:
    """Read the images of the idx file ``path``, and the labels beside it.

    :raises UserError: if a file is missing or damaged, or the two do not fit.
    """
    images = _values(path, 3)
    folder, name = os.path.split(path)
    stem = os.path.join(folder, _name(name).replace(IMAGES, LABELS))
    beside = next((each for each in (stem, stem + ".gz") if os.path.exists(each)), None)
    if beside is None:
        raise UserError(f"{path} has no labels: there is no {stem} or {stem}.gz")
    labels = _values(beside, 1)
    if len(images) != len(labels) or not len(images):
        raise UserError(f"{path} has {len(images)} images, but {beside} has {len(labels)} labels")
    return [Sample(images, number, int(label), path) for number, label in enumerate(labels)]


def _name(path: str) -> str:
    name = os.path.basename(path)
    return name[:-3] if name.endswith(".gz") else name


def _image_files(folder: str) -> List[str]:
    """List the files with images in ``folder``; one of two that differ only in ``.gz``."""
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), "*" + IMAGES + "*")))
    return list({_name(path): path for path in reversed(paths) if _name(path).endswith(IMAGES)}.values())[::-1]


def _values(path: str, axes: int) -> np.ndarray:
    """Read the idx file ``path``: unsigned bytes of ``axes`` axes."""
    try:
        with open(path, "rb") as plain:
            zipped = plain.read(2) == _GZIP
        with _opened(path, zipped) as stream:
            head = stream.read(4 + 4 * axes)
            if len(head) < 4 + 4 * axes or head[:4] != bytes((0, 0, _UINT8, axes)):
                raise UserError(f"{path} is not an idx file of unsigned bytes with {axes} axes")
            shape = [int(side) for side in np.frombuffer(head, ">u4", axes, 4)]
            count = 1
            for side in shape:
                count *= side
            if count > MAX_BYTES:
                raise UserError(f"{path} says that it has {count:,} bytes of values; at most {MAX_BYTES:,} are read")
            values = stream.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {shown(str(error))}") from None
    if len(values) != count:
        more = "more" if len(values) > count else f"only {len(values):,}"
        raise UserError(f"{path} is damaged: its header says {count:,} bytes of values, but there are {more}")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _opened(path: str, zipped: bool) -> Any:
    return gzip.open(path, "rb") if zipped else open(path, "rb")
