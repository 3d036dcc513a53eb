"""Where a network's maps come from in the image: sizes, receptive fields, and tiles whose results are the whole's."""

from __future__ import annotations

from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import UserError
from ..networks.layers import Layer


class Field(NamedTuple):
    """Output i of a layer reads the pixels from ``i * stride - before`` on, ``size`` of them."""

    size: int
    stride: int
    before: int


class Part(NamedTuple):
    """A stretch of a layer's outputs: ``[first, last)`` of the tile's; the image's from ``to`` on."""

    first: int
    last: int
    to: int


class Stretch(NamedTuple):
    """One tile along one axis: pixels ``[begin, end)`` and the outputs of each tap that it is to give."""

    begin: int
    end: int
    parts: Tuple[Part, ...]


class Tile(NamedTuple):
    rows: Stretch
    columns: Stretch


class Geometry:
    """The windows of a table of convolutions and pools, with the names of its ``taps``.

    Tiles begin at multiples of the last stride, so that the windows of every layer fall on the same pixels as in the
    whole image.
    """

    def __init__(self, layers: Sequence[Layer], taps: Sequence[str]) -> None:
        self._windows = [
            (layer.name, layer.options["kernel"], layer.options["stride"], layer.options.get("pad", 0))
            for layer in layers
            if layer.op in ("conv", "maxpool")
        ]
        if any(layer.options.get("rounding") == "ceil" for layer in layers):
            raise ValueError("tiles need layers that round down")
        sources = {}
        source = ""  # the window whose results a layer has; an activation moves nothing
        for layer in layers:
            source = layer.name if layer.op in ("conv", "maxpool") else source
            sources[layer.name] = source
        self._taps = [sources[name] for name in taps]
        fields = dict(zip((window[0] for window in self._windows), self._fields()))
        self.fields = [fields[name] for name in self._taps]
        self.alignment = max(field.stride for field in self.fields)
        self.least_side = next(side for side in range(1, 1 << 16) if min(self._sides(side)) >= 1)

    def _fields(self) -> Iterator[Field]:
        size, stride, before = 1, 1, 0
        for _, kernel, step, pad in self._windows:
            size += (kernel - 1) * stride
            before += pad * stride
            stride *= step
            yield Field(size, stride, before)

    def _sides(self, side: int) -> List[int]:
        """The sides of all layers for an image of ``side``; some are below 1 if it is too small."""
        found = []
        for _, kernel, step, pad in self._windows:
            side = (side + 2 * pad - kernel) // step + 1 if side + 2 * pad >= kernel else 0
            found.append(side)
        return found

    def sides(self, side: int) -> List[int]:
        """The sides of the taps' maps for an image of ``side`` pixels."""
        by_name = dict(zip((window[0] for window in self._windows), self._sides(side)))
        return [by_name[name] for name in self._taps]

    def values(self, channels: Sequence[int], height: int, width: int) -> int:
        """Values in the taps of one image."""
        return sum(c * h * w for c, h, w in zip(channels, self.sides(height), self.sides(width)))

    def check(self, height: int, width: int) -> None:
        """:raises UserError: for images that are too small."""
        if min(height, width) < self.least_side:
            raise UserError(
                f"images of {height} x {width} are too small for LPIPS with AlexNet; the least side is {self.least_side}: enlarge them"
            )

    def tiles(self, height: int, width: int, side: int) -> List[Tile]:
        """Tiles that give each output of the image once; ``side``: of what a tile gives, in pixels, without overlap."""
        rows, columns = self._stretches(height, side), self._stretches(width, side)
        return [Tile(row, column) for row in rows for column in columns]

    def _stretches(self, size: int, side: int) -> List[Stretch]:
        side = max(self.alignment, side // self.alignment * self.alignment)
        counts = self.sides(size)
        borders = list(range(0, size, side))
        if len(borders) > 1 and size - borders[-1] < side // 2:  # a narrow last one goes to the one before it
            borders.pop()
        return [
            self._stretch(size, counts, begin, borders[i + 1] if i + 1 < len(borders) else None)
            for i, begin in enumerate(borders)
        ]

    def _stretch(self, size: int, counts: Sequence[int], begin: int, border: Optional[int]) -> Stretch:
        """``border``: where the next tile's outputs begin; None: this is the last one."""
        owned = []
        for field, count in zip(self.fields, counts):
            first = min(begin // field.stride, count)
            owned.append((first, count if border is None else min(border // field.stride, count)))
        needs = [(field, first, last) for field, (first, last) in zip(self.fields, owned) if last > first]
        start = max(0, min(first * field.stride - field.before for field, first, _ in needs))
        start = min(start, size - self.least_side) // self.alignment * self.alignment
        end = max((last - 1) * field.stride - field.before + field.size for field, _, last in needs)
        end = size if border is None else min(size, max(end, start + self.least_side))
        parts = []
        for field, (first, last) in zip(self.fields, owned):
            shift = start // field.stride
            parts.append(Part(first - shift, last - shift, first))
        return Stretch(start, end, tuple(parts))
