"""The geometry of a network's maps: sizes, receptive fields, and tiles whose results equal those of the whole image."""

from __future__ import annotations

from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import UserError
from ..networks.layers import Layer


class Field(NamedTuple):
    """The receptive field of a layer: output i reads ``size`` pixels, from ``i * stride - before`` on."""

    size: int
    stride: int
    before: int


class Part(NamedTuple):
    """A range of a layer's outputs: ``[first, last)`` in the tile, and from ``to`` on in the whole image."""

    first: int
    last: int
    to: int


class Stretch(NamedTuple):
    """One tile along one axis: the pixels ``[begin, end)``, and the outputs of each tap that it contributes."""

    begin: int
    end: int
    parts: Tuple[Part, ...]


class Tile(NamedTuple):
    """A rectangle of the image."""

    rows: Stretch
    columns: Stretch


class Geometry:
    """The windows of the convolutions and pools in ``layers``; ``taps`` are the names of the layers read out.

    Tiles begin at multiples of the last stride, so that the windows of every layer cover the same pixels as in the
    whole image.

    :ivar fields: the receptive field of each tap.
    :ivar alignment: the largest stride, in pixels.
    :ivar least_side: the smallest image side, in pixels.
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
        source = ""  # the last layer with a window; activations have none
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
        """Return the sides of all layers for an image of ``side`` pixels; some are below 1 if it is too small."""
        sides = []
        for _, kernel, step, pad in self._windows:
            side = (side + 2 * pad - kernel) // step + 1 if side + 2 * pad >= kernel else 0
            sides.append(side)
        return sides

    def sides(self, side: int) -> List[int]:
        """Return the sides of the taps' maps for an image of ``side`` pixels."""
        by_name = dict(zip((window[0] for window in self._windows), self._sides(side)))
        return [by_name[name] for name in self._taps]

    def values(self, channels: Sequence[int], height: int, width: int) -> int:
        """Return the number of values in the taps of one image; ``channels`` has those of each tap."""
        return sum(c * h * w for c, h, w in zip(channels, self.sides(height), self.sides(width)))

    def check(self, height: int, width: int) -> None:
        """Check the size of images.

        :raises UserError: if they are too small.
        """
        if min(height, width) < self.least_side:
            raise UserError(
                f"images of {height} x {width} are too small for LPIPS with AlexNet; the smallest side is "
                f"{self.least_side}: enlarge them"
            )

    def tiles(self, height: int, width: int, side: int) -> List[Tile]:
        """Return tiles that contribute each output of the image once; ``side`` is theirs without overlap, in pixels."""
        rows, columns = self._stretches(height, side), self._stretches(width, side)
        return [Tile(row, column) for row in rows for column in columns]

    def _stretches(self, size: int, side: int) -> List[Stretch]:
        side = max(self.alignment, side // self.alignment * self.alignment)
        counts = self.sides(size)
        borders = list(range(0, size, side))
        if len(borders) > 1 and size - borders[-1] < side // 2:  # a narrow last tile is merged into the one before it
            borders.pop()
        return [
            self._stretch(size, counts, begin, borders[i + 1] if i + 1 < len(borders) else None)
            for i, begin in enumerate(borders)
        ]

    def _stretch(self, size: int, counts: Sequence[int], begin: int, border: Optional[int]) -> Stretch:
        """Return one tile; ``border`` is the begin of the next tile's outputs, None for the last tile."""
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
