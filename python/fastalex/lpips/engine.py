"""From images to features to distances, with the native engine."""

from __future__ import annotations

from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from .. import _core
from .cache import FeatureCache
from .conventions import Convention, affine
from .features import Features
from .geometry import Tile
from .trunk import Trunk

ZIPPED, ALL, TRIANGLE = range(3)  # fastalex_pairing
# Of one round through the network: enough images that its weights are read seldom, few enough that their features are
# still in the processor's cache when they are compared.
ROUND_BYTES = 24 << 20
Maps = List[np.ndarray]  # of each layer, [N, C, h, w]


class Images(NamedTuple):
    """Images in host memory, ``[N, 3 or 1, H, W]``, and the range they are in."""

    array: np.ndarray
    unit_range: bool

    @property
    def size(self) -> Tuple[int, int]:
        return (int(self.array.shape[2]), int(self.array.shape[3]))

    def __len__(self) -> int:
        return len(self.array)

    def part(self, first: int, last: int) -> Images:
        return Images(self.array[first:last], self.unit_range)


Source = Union[Images, Features]


def part(source: Source, first: int, last: int) -> Source:
    return source.part(first, last) if isinstance(source, Images) else source[first:last]


class Distances(NamedTuple):
    """Of each layer: means over the positions, float64 ``[rows, columns]``, and if they were asked for, the values at
    each position, float32 ``[rows, h, w]``.
    """

    means: List[np.ndarray]
    maps: List[np.ndarray]


class Engine:
    """The distances of one trunk and one convention.

    :param heads: float32 ``[C]`` of each layer.
    :param tile: side of the tiles that larger images are cut into, in pixels; None: they are not.
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
        self.fingerprint = (trunk.digest, trunk.precision, version, convention.eps, convention.inside)

    def tiles(self, size: Tuple[int, int]) -> List[Tile]:
        """The tiles of images of ``size``; a single one is the whole image.

        :raises UserError: for images that are too small.
        """
        geometry = self.trunk.geometry
        geometry.check(*size)
        whole = self.tile is None or max(size) <= self.tile
        return geometry.tiles(*size, max(size) + geometry.alignment if whole else self.tile)

    def image_bytes(self, tile: Tile) -> int:
        """Of the features of one image in ``tile``."""
        height, width = tile.rows.end - tile.rows.begin, tile.columns.end - tile.columns.begin
        return 4 * self.trunk.geometry.values(self.trunk.channels, height, width)

    def features(self, images: Images) -> Features:
        """All features of the images."""
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
        """Of a[i] and b[i]; one of them may be a single image, which is compared with each of the other."""
        count = max(len(a), len(b))
        tiles = self.tiles(a.size)
        if count > 1 and len(tiles) == 1:
            a, b = (self._once(source) if len(source) == 1 else source for source in (a, b))
        step = max(1, ROUND_BYTES // (2 * self.image_bytes(tiles[0])))
        found = []
        for first in range(0, count, step):
            last = min(count, first + step)
            chunk = [source if len(source) == 1 else part(source, first, last) for source in (a, b)]
            found.append(self._compare(chunk[0], chunk[1], ZIPPED, with_maps))
        return Distances(*([np.concatenate(layer) for layer in zip(*parts)] for parts in zip(*found)))

    def matrix(self, a: Source, b: Optional[Source], memory: int) -> np.ndarray:
        """Float64 ``[N, M]``: a[i] and b[j], or a[j] without ``b``. Features take at most about ``memory`` bytes; only
        where those of the smaller side do not fit, they are computed more than once.
        """
        if b is not None and len(b) > len(a):
            return self.matrix(b, a, memory).T
        tiles = self.tiles(a.size)
        room = max(2, memory // self.image_bytes(tiles[0]))
        if b is None and len(a) <= room:
            upper = sum(self._compare(a, None, TRIANGLE, False).means)
            return upper + upper.T
        columns = a if b is None else b
        step = self._round(tiles[0])
        across = min(len(columns), max(room // 2, room - step))
        down = max(1, min(step, room - across))
        result = np.zeros((len(a), len(columns)))
        for left in range(0, len(columns), across):
            block = part(columns, left, min(len(columns), left + across))
            kept = block if len(tiles) > 1 else self._once(block)
            for top in range(0, len(a), down):
                rows = part(a, top, min(len(a), top + down))
                values = sum(self._compare(rows, kept, ALL, False).means)
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
            found = self._all_maps([a] if b is None else [a, b], tile)
            for k, (left, right) in enumerate(zip(found[0], found[-1])):
                if not left.size:  # a narrow tile may end before a coarse layer's next output
                    continue
                repeat = rows if pairing == ZIPPED else 1
                lists = [list(array) * (repeat if len(array) == 1 else 1) for array in (left, right)]
                added, values = _core.map_distances(*lists, self.heads[k], pairing, with_maps, self.trunk.threads)
                sums[k] += added
                if with_maps:
                    y, x = tile.rows.parts[k].to, tile.columns.parts[k].to
                    h, w = left.shape[2:]
                    maps[k][:, y : y + h, x : x + w] = values.reshape(rows, h, w)
        return Distances([total / (h * w) for total, h, w in zip(sums, *sides)], maps)

    def _all_maps(self, sources: Sequence[Source], tile: Tile) -> List[Maps]:
        """For each source, what ``tile`` gives of its features. Sources go through the network together if they are
        few, else round by round.
        """
        step = self._round(tile)
        if sum(len(source) for source in sources if isinstance(source, Images)) <= step:
            return self._maps(sources, tile)
        found = []
        for source in sources:
            if isinstance(source, Features):
                found.extend(self._maps([source], tile))
                continue
            whole: Maps = []
            for first in range(0, len(source), step):
                some = self._maps([source.part(first, first + step)], tile)[0]
                whole = whole or [np.empty((len(source), *array.shape[1:]), np.float32) for array in some]
                for array, more in zip(whole, some):
                    array[first : first + len(more)] = more
            found.append(whole)
        return found

    def _maps(self, sources: Sequence[Source], tile: Tile) -> List[Maps]:
        images = [source for source in sources if isinstance(source, Images)]
        computed = iter(self._cached(images, tile) if self.cache and images else self._network(images, tile))
        return [next(computed) if isinstance(one, Images) else self._cut(one.maps, tile, True) for one in sources]

    def _cut(self, maps: Maps, tile: Tile, whole: bool) -> Maps:
        """The tile's part of the maps of the whole image, or of the tile's own, which have a margin."""
        found = []
        for array, rows, columns in zip(maps, tile.rows.parts, tile.columns.parts):
            top, left = (rows.to, columns.to) if whole else (rows.first, columns.first)
            bottom, right = top + rows.last - rows.first, left + columns.last - columns.first
            found.append(np.ascontiguousarray(array[:, :, top:bottom, left:right]))
        return found

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
        """The network's input: the tile of all images, one after the other."""
        rows, columns = slice(tile.rows.begin, tile.rows.end), slice(tile.columns.begin, tile.columns.end)
        sides = (tile.rows.end - tile.rows.begin, tile.columns.end - tile.columns.begin)
        x = np.empty((sum(map(len, sources)), 3, *sides), np.float32)
        first = 0
        for source in sources:
            to = x[first : first + len(source)]
            factor, offset = affine(self.version, source.unit_range, source.array.dtype == np.uint8)
            np.multiply(source.array[:, :, rows, columns], factor[:, None, None], out=to)
            to += offset[:, None, None]
            first += len(source)
        return x

    def _cached(self, sources: Sequence[Images], tile: Tile) -> Iterator[Maps]:
        cache: Any = self.cache
        bounds = (tile.rows.begin, tile.rows.end, tile.columns.begin, tile.columns.end)
        for source in sources:
            keys = [cache.key(image, source.unit_range, bounds) for image in source.array]
            held = {key: cache.get(key) for key in dict.fromkeys(keys)}
            missing = [i for i, key in enumerate(keys) if held[key] is None and keys.index(key) == i]
            if missing:
                fresh = Images(source.array[missing], source.unit_range)
                (maps,) = self._network([fresh], tile)
                for place, i in enumerate(missing):
                    held[keys[i]] = [array[place].copy() for array in maps]
                    cache.put(keys[i], held[keys[i]])
            yield [np.stack([held[key][k] for key in keys]) for k in range(len(self.heads))]
