"""Figure 4 of the paper, on the right: the images of a folder that a layer finds most similar to a given one.

"If two images produce feature activation vectors with a small Euclidean separation, we can say that the higher levels
of the neural network consider them to be similar" (section 6.1): the vectors of the last hidden layer, here of any.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from .. import readout
from .._util.arguments import positive_int
from ..errors import UserError
from ..networks import taps
from .folders import BATCH, Folder
from .inputs import Report, hidden, one, silent, tapped

_BLOCK = 1 << 24  # bytes of vectors that are compared at once


class Neighbor(NamedTuple):
    """An image of the folder, and the Euclidean distance of its vector."""

    path: str
    distance: float


class Index:
    """The vectors of a folder's images at one layer, in a file that is read where it is needed.

    * ``layer``: whose vectors these are. ``paths``: the absolute path of the image of each row.
    * ``left_out``: path in the folder -> the sentence that says why an image is not among them.
    """

    def __init__(self, layer: str, profile: Any, paths: List[str], left_out: Dict[str, str], rows: np.ndarray) -> None:
        self.layer, self.paths, self.left_out = layer, paths, left_out
        self._profile, self._rows = profile, rows

    def __len__(self) -> int:
        return len(self.paths)

    def nearest(self, net: Any, image: Any, count: int = 6) -> List[Neighbor]:
        """Return the ``count`` images nearest to ``image``, the nearest first; equal ones in the order of their paths.

        Rows that are not finite are never near. An image of the folder finds itself at distance 0.

        :param net: the network that the index was built with.
        :raises UserError: for an image that cannot be read, or one whose vector is not finite.
        """
        vector = tapped(net, one(net, image, self._profile), [self.layer])[self.layer].reshape(-1)
        distances = self._distances(vector.astype(np.float32))
        order = np.argsort(distances, kind="stable")[: positive_int("count", count)]
        return [Neighbor(self.paths[row], float(distances[row])) for row in order if np.isfinite(distances[row])]

    def _distances(self, vector: np.ndarray) -> np.ndarray:
        distances = np.empty(len(self.paths))
        step = max(1, _BLOCK // max(1, vector.nbytes))
        for start in range(0, len(distances), step):
            block = np.asarray(self._rows[start : start + step]).reshape(-1, len(vector))
            with np.errstate(invalid="ignore", over="ignore"):
                distances[start : start + step] = np.sqrt(np.square(block - vector, dtype=np.float64).sum(axis=1))
        return np.where(np.isfinite(distances), distances, np.inf)


def build(
    net: Any,
    folder: str,
    layer: Optional[str] = None,
    profile: Any = None,
    cache: Optional[str] = None,
    batch: int = BATCH,
    report: Report = silent,
) -> Index:
    """Build the index of a folder, or open the one that is kept.

    It is kept as long as the network, the layer, the preprocessing and the images stay the same, by their names, sizes
    and times of change; an interrupted build is resumed. Images that cannot be read are left out.

    :param layer: a name as for :meth:`fastalex.AlexNet.taps`; default: the last hidden layer, fc7 after its activation.
    :param cache: the folder for what is kept; default: ``inspection`` in the user's cache folder.
    :param batch: images at once; two batches are in memory.
    :param report: called after each batch with the number of images done and their number; what it raises ends the
        build, and the next one goes on from there.
    :raises UserError: for a layer that does not exist, a folder that has no images that can be read, or vanishes, or a
        cache that cannot be written.
    """
    layer = hidden(net.variant) if layer is None else layer
    taps.resolve(net.variant, [layer])
    source = Folder(net, folder, [layer], profile, cache)
    with source.locked():
        fresh = source.kept_digest() != source.digest
        if fresh:
            source.forget()
        with source.unchanged():
            result, rows = _rows(net, source, layer, batch, report, fresh)
            source.check_there(result["left_out"])
    paths = [source.path(name) for name in source.names if name not in result["left_out"]]
    return Index(layer, source.profile, paths, result["left_out"], rows)


def _rows(
    net: Any, source: Folder, layer: str, batch: int, report: Report, fresh: bool
) -> Tuple[Dict[str, Any], np.ndarray]:
    """Return the facts of the read-out in ``source.place`` and its rows; compute them if need be.

    :param fresh: what is there belongs to other images.
    """
    total = len(source.names)
    result = _read_out(net, source, layer, batch, report, fresh)
    try:
        rows = np.load(os.path.join(source.place, result["layers"][layer]["file"]), mmap_mode="r")
        if len(rows) + len(result["left_out"]) == total:
            return result, rows
    except (OSError, ValueError, KeyError, TypeError, EOFError):  # the file is damaged
        pass
    if fresh:
        raise UserError(f"the index in {source.place} does not fit '{source.root}', which changed meanwhile; try again")
    return _rows(net, source, layer, batch, report, True)


def _read_out(net: Any, source: Folder, layer: str, batch: int, report: Report, fresh: bool) -> Dict[str, Any]:
    """Read the layer out into ``source.place``, and note which images that is about as soon as it has begun."""
    noted = not fresh

    def tell(done: int) -> None:
        nonlocal noted
        if not noted:
            source.note_digest()
            noted = True
        report(done, len(source.names))

    return readout.read_out(net, source.root, source.place, [layer], source.profile, batch, restart=fresh, report=tell)
