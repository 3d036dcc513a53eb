"""scikit-learn's handwritten digits as folders of PNG files, for ``fastalex train`` and the experiments.

The images, their source, license and split are those of ``examples/train_digits.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, NamedTuple, Optional

import numpy as np
from PIL import Image

from benchmarks import neighbors
from fastalex.train.data import Images


class Held(NamedTuple):
    """A sample in memory."""

    pixels: Any
    label: int
    name: str

    def source(self) -> np.ndarray:
        return self.pixels

    def where(self) -> str:
        return self.name


def sets() -> List[Images]:
    """``[training, validation]``."""
    train_digits = neighbors.load(neighbors.TRAIN_DIGITS)
    gray, labels = train_digits.load_images()
    both = []
    for chosen in train_digits.held_out_split(labels):
        samples = [Held(gray[i], int(labels[i]), f"digit-{labels[i]}-sample-{i:04}.png") for i in chosen]
        both.append(Images(samples, list(train_digits.LABELS)))
    return both


def write(folder: Path, limit: Optional[int] = None) -> None:
    """``folder/train`` and ``folder/val`` with a folder for each digit; the first ``limit`` images of each set."""
    for name, images in zip(("train", "val"), sets()):
        for sample in images.samples[:limit]:
            target = folder / name / images.classes[sample.label]
            target.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sample.pixels).save(target / sample.name)
