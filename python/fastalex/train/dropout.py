"""Dropout with masks that depend only on seed, step, layer, sample and unit.

The masks are therefore the same in a run that is resumed, and however samples and units are split over devices.
"""

from __future__ import annotations

import functools
from typing import Any, Tuple

import numpy as np

from ..networks.torch_reference import pytorch
from .initial import KEEP


class Masks:
    """The state of training that the masks depend on, besides layer and unit.

    ``first_row`` is the position in the whole batch of the first sample in this process.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.step, self.first_row = seed, 0, 0

    def draw(self, layer: int, rows: int, first_row: int, units: int) -> np.ndarray:
        """Draw the mask of the samples from ``first_row`` of the whole batch on: bool ``[rows, units]``, True to keep.

        One Philox stream of numpy for each seed, step and layer yields the units of sample 0, sample 1, ...
        """
        key = np.random.SeedSequence((self.seed, self.step, layer))
        stream = np.random.Generator(np.random.Philox(key))
        return (stream.random((first_row + rows, units), np.float32) < KEEP)[first_row:]


@functools.lru_cache(maxsize=None)
def dropout_class() -> Any:
    """Return the class ``Dropout``, created at first use because its base class is PyTorch's."""
    torch = pytorch()
    base: Any = torch.nn.Module

    class Dropout(base):
        """Dropout with :class:`Masks`.

        ``halved``: ``x * mask`` in training, ``x * 0.5`` in evaluation; ``inverted``: ``x * mask / 0.5`` and ``x``.
        ``part`` is ``(index, count)``: this module has the units of that part, out of ``count`` equal ones.
        """

        def __init__(self, masks: Masks, layer: int, mode: str) -> None:
            super().__init__()
            self.masks, self.layer, self.mode = masks, layer, mode
            self.part: Tuple[int, int] = (0, 1)

        def forward(self, x: Any) -> Any:
            if self.mode == "off":
                return x
            if not self.training:
                return x * KEEP if self.mode == "halved" else x
            index, count = self.part
            rows, units = len(x), x[0].numel()
            whole = self.masks.draw(self.layer, rows, self.masks.first_row, units * count)
            own = np.ascontiguousarray(whole[:, index * units : (index + 1) * units])
            mask = torch.from_numpy(own).to(x.device).view(x.shape)
            return x * mask if self.mode == "halved" else x * mask / KEEP

        def extra_repr(self) -> str:
            return "%s, layer %d, part %d of %d" % (self.mode, self.layer, *self.part)

    return Dropout
