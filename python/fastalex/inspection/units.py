"""What a unit likes: the images of a folder, and the places in them, to which it answers most."""

from __future__ import annotations

import io
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .._util.arguments import positive_int
from .._util.files import replacing
from ..errors import UserError
from ..networks import taps
from ..networks.architecture import Variant
from ..networks.layers import Layer
from .folders import BATCH, Folder
from .inputs import Report, computed, index_of, shape_of, silent

COUNT = 9  # images of a unit, three rows of three
_FILE = "units.npz"
_EMPTY = -1  # in place of an image, where a folder has fewer


class Liked(NamedTuple):
    """An image that a unit likes: the highest ``value`` of its map there, and the ``row`` and ``column`` of that."""

    path: str
    value: float
    row: int
    column: int


class Ranking:
    """The images that each unit of some layers likes most.

    * ``layers``: their names. ``left_out``: path in the folder -> the sentence that says why an image is not ranked.
    """

    def __init__(self, source: Folder, variant: Variant, tables: Dict[str, np.ndarray], left_out: Dict[str, str]):
        self.layers, self.left_out = list(tables), left_out
        self._source, self._variant, self._tables = source, variant, tables

    def best(self, layer: str, unit: int) -> List[Liked]:
        """Return the images that a unit likes most, the first the most.

        :raises UserError: for a layer that was not ranked, or a unit that does not exist.
        """
        if layer not in self._tables:
            raise UserError(
                f"the images were not ranked for the layer {layer!r:.80}; there are: {', '.join(self.layers)}"
            )
        table = self._tables[layer]
        width = shape_of(self._variant, layer)[2]
        found = table[:, index_of("unit", unit, table.shape[1])]
        return [
            Liked(self._path(row["image"]), float(row["value"]), *divmod(int(row["place"]), width))
            for row in found
            if row["image"] != _EMPTY
        ]

    def _path(self, number: int) -> str:
        return self._source.path(self._source.names[number])


#: Of a table ``[count, units]``: the value, the number of the image, and the number of the place in the map.
_ROW = np.dtype([("value", "<f4"), ("image", "<i4"), ("place", "<i4")])


def build(
    net: Any,
    folder: str,
    layers: Sequence[str],
    count: int = COUNT,
    profile: Any = None,
    cache: Optional[str] = None,
    batch: int = BATCH,
    report: Report = silent,
) -> Ranking:
    """Rank the images of a folder for every unit of some layers, or open the ranking that is kept.

    It is kept under the conditions of :func:`.neighbors.build`; an interrupted run begins anew. Of equal values the
    earlier path is first. Images that cannot be read, or whose results are not finite, are left out.

    :param layers: names as for :meth:`fastalex.AlexNet.taps`.
    :param count: images of a unit.
    :param cache: as for :func:`.neighbors.build`, like ``batch``.
    :param report: called after each batch with the number of images done and their number.
    :raises UserError: for a layer that does not exist, a folder that has no images that can be read, or vanishes, or a
        cache that cannot be written.
    """
    names = list(dict.fromkeys(layers))
    taps.resolve(net.variant, names)
    positive_int("count", count)
    positive_int("batch", batch)
    source = Folder(net, folder, ["units", *names, str(count)], profile, cache)
    with source.locked():
        kept = _kept(net, source, names, count) if source.kept_digest() == source.digest else None
        if kept is None:
            source.forget()
            with source.unchanged():
                kept = _ranked(net, source, names, count, batch, report)
            _keep(source, *kept)
            source.note_digest()
    return Ranking(source, net.variant, *kept)


def field(variant: Variant, layer: str, row: int, column: int) -> Tuple[int, int, int, int]:
    """Return the part of the input that a place in a layer's map is made of: (left, top, right, bottom) in pixels.

    The right and the bottom are the first pixels outside. A place of a vector is made of the whole input.

    :raises UserError: for a layer or a place that does not exist.
    """
    name = taps.resolve(variant, [layer])[0]
    rows = computed(variant)
    chain = list(rows.values())[: list(rows).index(name) + 1] if name in rows else []
    height, width = shape_of(variant, layer)[1:]
    if not chain or len(chain[-1].out_shape) != 3:
        return 0, 0, variant.input_size, variant.input_size
    top, bottom = _along(chain, 1, index_of("row", row, height))
    left, right = _along(chain, 2, index_of("column", column, width))
    return left, top, right, bottom


def _along(chain: Sequence[Layer], axis: int, place: int) -> Tuple[int, int]:
    """Return the first pixel along ``axis``, and the first behind it, that a ``place`` of the last layer is made of."""
    start, end = place, place + 1
    for layer in reversed(chain):
        size, count = layer.in_shape[axis], layer.out_shape[axis]
        if layer.op in ("conv", "maxpool"):
            stride, pad = layer.options["stride"], layer.options.get("pad", 0)
            start, end = start * stride - pad, (end - 1) * stride - pad + layer.options["kernel"]
        elif layer.op == "adaptive_avgpool":
            start, end = start * size // count, -(-end * size // count)
        elif layer.op == "spatial_norm":
            half = layer.options["size"] // 2
            start, end = start - half, end + half
        start, end = max(0, start), min(size, end)
    return start, end


def _ranked(
    net: Any, source: Folder, names: List[str], count: int, batch: int, report: Report
) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    nothing = np.array((-np.inf, _EMPTY, 0), _ROW)
    tables = {name: np.full((count, shape_of(net.variant, name)[0]), nothing) for name in names}
    left_out: Dict[str, str] = {}
    done = 0
    for numbers, x, bad in source.batches(net, batch):
        left_out.update(bad)
        results = net.taps(x, names) if numbers else {}
        fine = np.ones(len(numbers), bool)
        for values in results.values():
            fine &= np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        for position in np.flatnonzero(~fine):
            name = source.names[numbers[position]]
            left_out[name] = f"'{source.path(name)}' gives results that are not finite"
        for name, values in results.items():
            tables[name] = _merged(tables[name], values[fine], np.array(numbers)[fine])
        done += len(numbers) + len(bad)
        report(done, len(source.names))
    source.check_there(left_out)
    if len(left_out) == len(source.names):
        first = next(iter(left_out.values()))
        raise UserError(f"none of the {len(source.names)} images can be used; the first: {first}")
    return tables, left_out


def _merged(table: np.ndarray, values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the best of a table and of the results ``values`` ``[N, units, ...]`` of the images ``numbers``."""
    flat = values.reshape(*values.shape[:2], -1)
    added = np.empty(flat.shape[:2], _ROW)
    added["value"], added["place"], added["image"] = flat.max(axis=2), flat.argmax(axis=2), numbers[:, None]
    both = np.concatenate([table, added])
    order = np.argsort(-both["value"], axis=0, kind="stable")[: len(table)]
    return np.take_along_axis(both, order, 0)


def _keep(source: Folder, tables: Dict[str, np.ndarray], left_out: Dict[str, str]) -> None:
    arrays: Dict[str, Any] = {f"table{number}": table for number, table in enumerate(tables.values())}
    arrays.update(names=np.array(list(left_out), np.str_), reasons=np.array(list(left_out.values()), np.str_))
    content = io.BytesIO()
    np.savez(content, **arrays)
    with replacing(os.path.join(source.place, _FILE), tidy=True) as stream:
        stream.write(content.getvalue())


def _kept(
    net: Any, source: Folder, names: Sequence[str], count: int
) -> Optional[Tuple[Dict[str, np.ndarray], Dict[str, str]]]:
    """Return the ranking in the cache, or None if its file is damaged or missing."""
    import zipfile

    try:
        with np.load(os.path.join(source.place, _FILE)) as arrays:
            tables = {name: arrays[f"table{number}"] for number, name in enumerate(names)}
            left_out = dict(zip(arrays["names"].tolist(), arrays["reasons"].tolist()))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    fits = all(
        table.dtype == _ROW
        and table.shape == (count, shape_of(net.variant, name)[0])
        and table["image"].max() < len(source.names)
        for name, table in tables.items()
    )
    return (tables, left_out) if fits else None
