"""Activations to compute an RDM of: a layer of a read-out, or any file with a row for each stimulus."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional

import numpy as np

from ..errors import UserError, printable
from ..readout import RESULT, Results, destinations

_LAYERS = 10  # that a sentence names


class Activations:
    """Values with a row for each stimulus, read some rows at a time.

    :param stored: has ``shape``, ``dtype`` and numpy's basic indexing: an array, or one of Zarr or HDF5.
    :param names: of the stimuli, if they have any; ``facts``: what the manifest of an RDM says about the values.
    :param scales: what stored values are multiplied by, of the shape of a row.
    :raises UserError: if there are no rows of numbers.
    """

    def __init__(
        self,
        stored: Any,
        where: str = "the activations",
        names: Optional[List[str]] = None,
        facts: Optional[Dict[str, Any]] = None,
        scales: Optional[np.ndarray] = None,
    ) -> None:
        self.stored, self.where, self.names, self.facts = stored, where, names, dict(facts or {})
        self._scales = scales
        shape = tuple(stored.shape)
        if len(shape) < 2 or not all(shape) or np.dtype(stored.dtype).kind not in "fiu":
            raise UserError(
                f"{where} must have a row of numbers for each stimulus, not the shape {shape} of {stored.dtype}"
            )
        if names is not None and len(names) != shape[0]:
            raise UserError(f"{where} has {shape[0]} rows, but there are {len(names)} names of stimuli")
        self.count, self.features = shape[0], int(np.prod(shape[1:], dtype=np.int64))
        self.chunk_rows = int((getattr(stored, "chunks", None) or (1,))[0])  # that are read together, whatever is asked

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return rows as float64 ``[stop - start, features]``.

        :raises UserError: if they cannot be read, or one has a value that is not finite.
        """
        try:
            values = np.asarray(self.stored[start:stop]).astype(np.float64)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"cannot read {self.where}: {error}") from None
        if self._scales is not None:
            values *= self._scales
        values = values.reshape(stop - start, -1)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            row = self.row(start + int(np.argmin(finite)))
            raise UserError(f"{row} has values that are not finite (NaN or infinity); leave that stimulus out")
        return values

    def row(self, index: int) -> str:
        """Name a row in a sentence."""
        name = f" ('{printable(self.names[index][:80])}')" if self.names else ""
        return f"row {index}{name} of {self.where}"


def open_activations(path: str, layer: Optional[str] = None) -> Activations:
    """Open the activations at ``path``.

    :param path: the folder of a read-out, or the file of a layer: ``.npy``, ``.zarr``, ``.h5`` with the dataset
        ``activations``, or ``.parquet`` as ``fastalex readout`` writes it.
    :param layer: the layer, if the folder has several.
    :raises UserError: if there are none, they cannot be read, or a package is missing.
    """
    if os.path.exists(os.path.join(path, RESULT)):
        return _of_results(Results(path), layer)
    if layer is not None:
        raise UserError(f"--layer is for the folder of a read-out, which '{path}' is not; leave it out")
    folder, name = os.path.split(os.path.abspath(path))
    if os.path.exists(os.path.join(folder, RESULT)):
        results = Results(folder)
        for key, row in results.manifest["layers"].items():
            if row["file"] == name:
                return _of_results(results, key)
    if not os.path.exists(path):
        raise UserError(f"'{path}' does not exist; name the folder of a read-out, or a file of activations")
    if os.path.splitext(path)[1] not in (".npy", ".zarr", ".h5", ".parquet"):
        raise UserError(f"'{path}' is neither the folder of a read-out nor a .npy, .zarr, .h5 or .parquet of one layer")
    return Activations(destinations.reader(path), f"'{path}'", facts={"activations": os.path.abspath(path)})


def _of_results(results: Results, layer: Optional[str]) -> Activations:
    if not results.layers:
        raise UserError(f"'{results.folder}' has no rows: none of its images can be read")
    if layer is None:
        if len(results.layers) > 1:
            names = ", ".join(results.layers[:_LAYERS]) + (", ..." if len(results.layers) > _LAYERS else "")
            raise UserError(f"'{results.folder}' has several layers; choose one by --layer ({names})")
        layer = results.layers[0]
    stored = results.stored(layer)
    scales = results.scales(layer).astype(np.float64) if np.dtype(stored.dtype) == np.int8 else None
    path = os.path.join(os.path.abspath(results.folder), results.manifest["layers"][layer]["file"])
    facts = {"activations": path, "layer": layer, "readout": results.manifest["settings"]}
    return Activations(stored, f"'{layer}' in '{results.folder}'", list(results.names()), facts, scales)
