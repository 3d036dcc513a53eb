"""CIFAR-10 in its binary form, in place of the digits."""

from __future__ import annotations

from pathlib import Path
from typing import List

import numpy as np

from benchmarks.experiments.digits_data import Held
from fastalex import UserError
from fastalex.train.data import Images


def sets(folder: Path) -> List[Images]:
    """CIFAR-10's binary form (cs.toronto.edu/~kriz/cifar.html): a byte of class, 1024 each of red, green, blue."""
    both = []
    for pattern in ("data_batch_*.bin", "test_batch.bin"):
        samples = []
        for path in sorted(folder.glob(pattern)):
            for number, line in enumerate(np.fromfile(path, np.uint8).reshape(-1, 3073)):
                pixels = np.ascontiguousarray(line[1:].reshape(3, 32, 32).transpose(1, 2, 0))
                samples.append(Held(pixels, int(line[0]), f"{path.name}:{number}"))
        if not samples:
            raise UserError(f"there is no {pattern} in {folder}")
        both.append(Images(samples, (folder / "batches.meta.txt").read_text(encoding="utf-8").split()))
    return both
