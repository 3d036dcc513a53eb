"""A complete read-out, opened for reading."""

from __future__ import annotations

import os
from typing import Any, Iterator, List

import numpy as np

from ..errors import UserError
from . import destinations
from .run import NAMES, result_of


class Results:
    """The results in a folder: ``manifest``, the content of ``readout.json``, and the layers.

    :raises UserError: if the folder has no complete results.
    """

    def __init__(self, folder: str) -> None:
        self.folder, self.manifest = folder, result_of(folder)

    def names(self) -> Iterator[str]:
        """Yield the name of the image of each row."""
        with open(os.path.join(self.folder, NAMES), encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
            for line in lines:
                yield line[:-1]

    @property
    def layers(self) -> List[str]:
        """The names of the layers."""
        return list(self.manifest["layers"])

    def stored(self, layer: str) -> Any:
        """Return what is stored of a layer: an object with ``shape``, ``dtype`` and basic indexing, read as it is used.

        :raises UserError: if there is no such layer, or its file cannot be read.
        """
        if layer not in self.manifest["layers"]:
            raise UserError(f"'{self.folder}' has no layer '{layer}' (it has: {', '.join(self.layers)})")
        return destinations.reader(os.path.join(self.folder, self.manifest["layers"][layer]["file"]))

    def scales(self, layer: str) -> np.ndarray:
        """Return the scales of a layer in int8, float32 of the shape of a row; a value is ``stored * scale``."""
        return np.asarray(np.load(os.path.join(self.folder, layer.replace(":", "-") + ".scales.npy")))

    def rows(self, layer: str, start: int, stop: int) -> np.ndarray:
        """Return rows as float32 ``[stop - start, ...]``, multiplied by their scales if they are int8."""
        values = np.asarray(self.stored(layer)[start:stop])
        if values.dtype == np.int8:
            return values * self.scales(layer)
        return values.astype(np.float32, copy=False)
