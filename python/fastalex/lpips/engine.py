"""The computation of features and distances, with the native engine."""

from __future__ import annotations

from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from .. import _core
from .cache import FeatureCache
from .conventions import Convention, affine
from .features import Features, Fingerprint
from .geometry import Tile
from .trunk import Trunk

ZIPPED, ALL, TRIANGLE = range(3)  # fastalex_pairing
# Bytes of features per round through the network: enough images that its weights are not read too often, few enough
# that their features are still in the processor's cache when they are compared.
ROUND_BYTES = 24 << 20
Maps = List[np.ndarray]  # [N, C, h, w] for each layer


class Images(NamedTuple):
    """Images in host memory, ``[N, 3 or 1, H, W]``, and their range."""

    array: np.ndarray
    unit_range: bool

    @property
    def size(self) -> Tuple[int, int]:
        """(height, width)."""
        return (int(self.array.shape[2]), int(self.array.shape[3]))

    def __len__(self) -> int:
        return len(self.array)

    def part(self, first: int, last: int) -> Images:
        """Return the images ``[first, last)``, without a copy."""
        return Images(self.array[first:last], self.unit_range)


Source = Union[Images, Features]


def part(source: Source, first: int, last: int) -> Source:
    """Return the images or features ``[first, last)`` of ``source``, without a copy."""
    return source.part(first, last) if isinstance(source, Images) else source[first:last]


def total(layers: Sequence[np.ndarray]) -> np.ndarray:
    """Return the sum over the layers, added in their order."""
    result: np.ndarray = np.zeros_like(layers[0])
    for values in layers:
        result = result + values
    return result


class Distances(NamedTuple):
    """The distances of pairs of images in each layer.

    :ivar means: over the positions, float64 ``[rows, columns]``.
    :ivar maps: at each position, float32 ``[rows, h, w]``; empty if not requested.
    """

    means: List[np.ndarray]
    maps: List[np.ndarray]


class Engine:
    """Computes distances with one trunk, one set of heads and one convention.

    :param heads: float32 ``[C]`` for each layer.
    :param tile: side of the tiles that larger images are cut into, in pixels; None: no tiles.
    """

    def __init__(
        self,
        trunk: Trunk,
        heads: Sequence[np.ndarray],
        version: str,
        convention: Convention,
        tile: Optional[int],
        cache: Optional[FeatureCache],
    ) -> None:
        self.trunk, self.heads, self.version, self.convention = trunk, list(heads), version, convention
        self.tile, self.cache = tile, cache
        self.fingerprint: Fingerprint = (
            trunk.digest,
            trunk.precision,
            version,
            convention.eps,
            convention.inside,
        )

    def tiles(self, size: Tuple[int, int]) -> List[Tile]:
        """Return the tiles of images of ``size``, or a single one for the whole image.

        :raises UserError: if the images are too small.
        """
        geometry = self.trunk.geometry
        geometry.check(*size)
        if self.tile is None or max(size) <= self.tile:
            return geometry.tiles(*size, max(size) + geometry.alignment)
        return geometry.tiles(*size, self.tile)

    def image_bytes(self, tile: Tile) -> int:
        """Return the size of the features of one image in ``tile``."""
        height, width = tile.rows.end - tile.rows.begin, tile.columns.end - tile.columns.begin
        return 4 * self.trunk.geometry.values(self.trunk.channels, height, width)

    def features(self, images: Images) -> Features:
        """Compute the features of the images."""
        tiles = self.tiles(images.size)
        if len(tiles) == 1:
            return Features(self._all_maps([images], tiles[0])[0], images.size, self.fingerprint)
        heights, widths = (self.trunk.geometry.sides(side) for side in images.size)
        shapes = zip(self.trunk.channels, heights, widths)
        whole = [np.empty((len(images), *shape), np.float32) for shape in shapes]
        for tile in tiles:
            for k, array in enumerate(self._all_maps([images], tile)[0]):
                rows, columns = tile.rows.parts[k], tile.columns.parts[k]
                whole[k][:, :, rows.to : rows.to + array.shape[2], columns.to : columns.to + array.shape[3]] = array
        return Features(whole, images.size, self.fingerprint)

    def pairs(self, a: Source, b: Source, with_maps: bool = False) -> Distances:
        """Compute the distances of a[i] and b[i]; a single image on one side is compared with all on the other."""
        count = max(len(a), len(b))
        tiles = self.tiles(a.size)
        if count > 1 and len(tiles) == 1:
            a, b = (self._once(source) if len(source) == 1 else source for source in (a, b))
        step = max(1, ROUND_BYTES // (2 * self.image_bytes(tiles[0])))
        rounds = []
        for first in range(0, count, step):
            last = min(count, first + step)
            chunk = [source if len(source) == 1 else part(source, first, last) for source in (a, b)]
            rounds.append(self._compare(chunk[0], chunk[1], ZIPPED, with_maps))
        return Distances(*([np.concatenate(layer) for layer in zip(*parts)] for parts in zip(*rounds)))

    def matrix(self, a: Source, b: Optional[Source], memory: int) -> np.ndarray:
        """Compute the distances of a[i] and b[j], or of a[i] and a[j] without ``b``, as float64 ``[N, M]``.

        Features take up to about ``memory`` bytes. They are computed more than once only if those of the smaller side
        do not fit.
        """
        if b is not None and len(b) > len(a):
            transposed: np.ndarray = self.matrix(b, a, memory).T
            return transposed
        tiles = self.tiles(a.size)
        room = max(2, memory // self.image_bytes(tiles[0]))
        if b is None and len(a) <= room:
            upper = total(self._compare(a, None, TRIANGLE, False).means)
            both: np.ndarray = upper + upper.T
            return both
        columns = a if b is None else b
        step = self._round(tiles[0])
        across = min(len(columns), max(room // 2, room - step))
        down = max(1, min(step, room - across))
        result = np.zeros((len(a), len(columns)))
        for left in range(0, len(columns), across):
            block = part(columns, left, min(len(columns), left + across))
            source = block if len(tiles) > 1 else self._once(block)
            for top in range(0, len(a), down):
                rows = part(a, top, min(len(a), top + down))
                values = total(self._compare(rows, source, ALL, False).means)
                result[top : top + len(rows), left : left + len(block)] = values
        return result

    def _round(self, tile: Tile) -> int:
        return max(1, ROUND_BYTES // self.image_bytes(tile))

    def _once(self, source: Source) -> Features:
        return self.features(source) if isinstance(source, Images) else source

    def _compare(self, a: Source, b: Optional[Source], pairing: int, with_maps: bool) -> Distances:
        sides = [self.trunk.geometry.sides(side) for side in a.size]
        rows = max(len(a), len(b)) if pairing == ZIPPED and b is not None else len(a)
        columns = 1 if pairing == ZIPPED else len(a if b is None else b)
        sums = [np.zeros((rows, columns)) for _ in self.heads]
        maps = [np.empty((rows, h, w), np.float32) for h, w in zip(*sides)] if with_maps else []
        for tile in self.tiles(a.size):
            features = self._all_maps([a] if b is None else [a, b], tile)
            for k, (left, right) in enumerate(zip(features[0], features[-1])):
                if not left.size:  # a narrow tile may end before a coarse layer's next output
                    continue
                repeat = rows if pairing == ZIPPED else 1
                lefts, rights = (list(array) * (repeat if len(array) == 1 else 1) for array in (left, right))
                added, values = _core.map_distances(
                    lefts, rights, self.heads[k], pairing, with_maps, self.trunk.threads
                )
                sums[k] += added
                if with_maps:
                    assert values is not None
                    y, x = tile.rows.parts[k].to, tile.columns.parts[k].to
                    h, w = left.shape[2:]
                    maps[k][:, y : y + h, x : x + w] = values.reshape(rows, h, w)
        return Distances([array / (h * w) for array, h, w in zip(sums, *sides)], maps)

    def _all_maps(self, sources: Sequence[Source], tile: Tile) -> List[Maps]:
        """Return the part of each source's features in ``tile``.

        Sources with few images go through the network together, others round by round.
        """
        step = self._round(tile)
        if sum(len(source) for source in sources if isinstance(source, Images)) <= step:
            return self._maps(sources, tile)
        results = []
        for source in sources:
            if isinstance(source, Features):
                results.extend(self._maps([source], tile))
                continue
            whole: Maps = []
            for first in range(0, len(source), step):
                some = self._maps([source.part(first, first + step)], tile)[0]
                whole = whole or [np.empty((len(source), *array.shape[1:]), np.float32) for array in some]
                for array, more in zip(whole, some):
                    array[first : first + len(more)] = more
            results.append(whole)
        return results

    def _maps(self, sources: Sequence[Source], tile: Tile) -> List[Maps]:
        images = [source for source in sources if isinstance(source, Images)]
        computed = iter(self._cached(images, tile) if self.cache and images else self._network(images, tile))
        return [
            next(computed) if isinstance(source, Images) else self._cut(source.maps, tile, True) for source in sources
        ]

    def _cut(self, maps: Maps, tile: Tile, whole: bool) -> Maps:
        """Cut the tile's part out of the maps of the ``whole`` image, or out of its own maps, which have a margin."""
        parts = []
        for array, rows, columns in zip(maps, tile.rows.parts, tile.columns.parts):
            top, left = (rows.to, columns.to) if whole else (rows.first, columns.first)
            bottom, right = top + rows.last - rows.first, left + columns.last - columns.first
            parts.append(np.ascontiguousarray(array[:, :, top:bottom, left:right]))
        return parts

    def _network(self, sources: Sequence[Images], tile: Tile) -> Iterator[Maps]:
        if not sources:
            return
        maps = self.trunk.maps(self._scaled(sources, tile))
        for array in maps:
            _core.unit_normalize(array, self.convention.eps, self.convention.inside, self.trunk.threads)
        first = 0
        for source in sources:
            last = first + len(source)
            yield self._cut([array[first:last] for array in maps], tile, False)
            first = last

    def _scaled(self, sources: Sequence[Images], tile: Tile) -> np.ndarray:
        """Return the network's input: the tile of all images of all sources, scaled."""
        rows, columns = slice(tile.rows.begin, tile.rows.end), slice(tile.columns.begin, tile.columns.end)
        sides = (tile.rows.end - tile.rows.begin, tile.columns.end - tile.columns.begin)
        x = np.empty((sum(map(len, sources)), 3, *sides), np.float32)
        first = 0
        for source in sources:
            target = x[first : first + len(source)]
            factor, offset = affine(self.version, source.unit_range, source.array.dtype == np.uint8)
            np.multiply(source.array[:, :, rows, columns], factor[:, None, None], out=target)
            target += offset[:, None, None]
            first += len(source)
        return x

    def _cached(self, sources: Sequence[Images], tile: Tile) -> Iterator[Maps]:
        cache: Any = self.cache
        bounds = (tile.rows.begin, tile.rows.end, tile.columns.begin, tile.columns.end)
        for source in sources:
            keys = [cache.key(image, source.unit_range, bounds) for image in source.array]
            cached = {key: cache.get(key) for key in dict.fromkeys(keys)}
            missing = [i for i, key in enumerate(keys) if cached[key] is None and keys.index(key) == i]
            if missing:
                fresh = Images(source.array[missing], source.unit_range)
                (maps,) = self._network([fresh], tile)
                for row, i in enumerate(missing):
                    cached[keys[i]] = [array[row].copy() for array in maps]
                    cache.put(keys[i], cached[keys[i]])
            yield [np.stack([cached[key][k] for key in keys]) for k in range(len(self.heads))]
