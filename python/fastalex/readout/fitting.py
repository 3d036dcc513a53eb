"""Passes over the images before the one that stores: principal components, and the scales of int8.

A pass saves its state as a read-out does and goes on from it, so that what it finds is the same bits whether or not it
was interrupted.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile
import zlib
from typing import Any, Callable, Dict, Iterable, List, Optional

import numpy as np

from .._util.files import Replacement, replacing
from ..errors import UserError
from . import encoding, packages
from .destinations import writing
from .reductions import check_count, one_thread
from .work import Block

FIT_STATE = "fit.state.npz"
GROUP_BYTES = 64 << 20  # of the rows that a PCA takes at a time
GROUP_ROWS = 256  # at most, or four for each component
Arrays = Dict[str, np.ndarray]
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)  # what numpy raises for it


class Scales:
    """The largest magnitude of each unit, from which its scale follows."""

    suffix, what = ".scales.npy", "scales"

    def __init__(self, layers: Iterable[str], start: int, stop: int) -> None:
        self.done = start  # the images up to here are in the state
        self._largest: Arrays = {}

    def add(self, block: Block) -> None:
        """Take the values of a block, float32."""
        for layer, values in block.values.items():
            encoding.check_finite(layer, values)
            largest = np.abs(values).max(axis=0)
            self._largest[layer] = np.maximum(self._largest.get(layer, largest), largest)
        self.done = block.stop

    def state(self) -> Dict[str, Arrays]:
        """Return what :meth:`resume` takes, by layer."""
        return {layer: {"largest": values} for layer, values in self._largest.items()}

    def resume(self, done: int, state: Dict[str, Arrays]) -> None:
        """Go on from a state."""
        self.done, self._largest = done, {layer: arrays["largest"] for layer, arrays in state.items()}

    def write(self, layer: str, stream: Any) -> None:
        """Write the scales of a layer, float32 of the shape of a row."""
        if layer not in self._largest:
            raise UserError("none of the images can be read, so there are no scales of int8")
        np.save(stream, (self._largest[layer] / np.float32(encoding.LEVELS)).astype(np.float32))

    @staticmethod
    def load(path: str) -> np.ndarray:
        """Read a file of :meth:`write`."""
        return np.asarray(np.load(path, allow_pickle=False))


class Pca:
    """scikit-learn's incremental PCA of the rows of each layer, by groups of images whose bounds never change."""

    suffix, what = ".pca.npz", "PCA"
    _KEPT = (
        "components_", "singular_values_", "mean_", "var_", "n_samples_seen_", "explained_variance_",
        "explained_variance_ratio_", "noise_variance_",
    )  # fmt: skip

    def __init__(self, layers: Iterable[str], start: int, stop: int, count: int) -> None:
        self.done, self._seen, self._stop, self._count = start, start, stop, count
        self._start = start
        self._rows: Dict[str, List[np.ndarray]] = {layer: [] for layer in layers}
        self._models: Dict[str, Any] = {}

    def _model(self) -> Any:
        return packages.needed("sklearn.decomposition", "a PCA").IncrementalPCA(self._count)

    def add(self, block: Block) -> None:
        """Take the values of a block, float32, and fit those of a whole group."""
        for layer, values in block.values.items():
            self._rows[layer].append(values.reshape(len(values), -1))
        before, self._seen = self._seen - self._start, block.stop
        size = self._group_images(block)
        last = self._stop - block.stop < size  # what is left joins the last group
        ends = before // size != (block.stop - self._start) // size and not last
        rows = min(sum(map(len, parts)) for parts in self._rows.values())
        if block.stop == self._stop or (ends and rows >= self._count):
            self._fit(rows)
            self.done = block.stop

    def _group_images(self, block: Block) -> int:
        """Return the number of images of a group, by the size of the largest row."""
        widest = max([parts[0].shape[1] for parts in self._rows.values() if parts] or [1])
        return max(self._count, min(max(GROUP_ROWS, 4 * self._count), GROUP_BYTES // (8 * widest)))

    def _fit(self, rows: int) -> None:
        if rows < self._count and not self._models:
            raise UserError(f"a PCA of {self._count} components needs as many images that can be read, not {rows}")
        for layer, parts in self._rows.items():
            if rows:
                values = np.concatenate(parts).astype(np.float64)
                check_count(layer, values.shape[1], self._count, "pca")
                encoding.check_finite(layer, values)
                model = self._models.setdefault(layer, self._model())
                with one_thread():
                    model.partial_fit(values)
            parts.clear()

    def state(self) -> Dict[str, Arrays]:
        """Return what :meth:`resume` takes, by layer."""
        return {
            layer: {key: np.asarray(getattr(model, key)) for key in self._KEPT} for layer, model in self._models.items()
        }

    def resume(self, done: int, state: Dict[str, Arrays]) -> None:
        """Go on from a state."""
        self.done = self._seen = done
        for layer, arrays in state.items():
            model = self._models[layer] = self._model()
            for key, value in arrays.items():
                setattr(model, key, value if value.ndim else value[()])
            model.n_components_, model.n_features_in_ = arrays["components_"].shape

    def write(self, layer: str, stream: Any) -> None:
        """Write the components of a layer, under scikit-learn's names of them."""
        arrays: Dict[str, Any] = self.state()[layer]
        np.savez(stream, **arrays)

    @staticmethod
    def load(path: str) -> Arrays:
        """Read a file of :meth:`write`."""
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in ("mean_", "components_")}


class State:
    """The saved state of the pass that is going on in a folder.

    :param of: what is computed, any JSON value.
    """

    def __init__(self, folder: str, of: Any, every_s: float) -> None:
        self._path, self._of, self._every_s = os.path.join(folder, FIT_STATE), json.dumps(of, sort_keys=True), every_s
        self._saved, self._done = time.monotonic(), -1

    def resume(self, fit: Any) -> None:
        """Have ``fit`` go on from what was saved of the same pass, if anything was."""
        try:
            with np.load(self._path, allow_pickle=False) as arrays:
                if str(arrays["of"]) != self._of:
                    return
                state: Dict[str, Arrays] = {}
                for name in arrays.files:
                    layer, slash, key = name.rpartition("/")
                    if slash:
                        state.setdefault(layer, {})[key] = arrays[name]
                fit.resume(int(arrays["done"]), state)
        except _DAMAGED:  # none, or not whole: everything is computed again
            return

    def save(self, fit: Any, now: bool = False) -> None:
        """Save the state, if there is more than was saved, and that some time ago."""
        if fit.done != self._done and (now or time.monotonic() - self._saved > self._every_s):
            arrays = {f"{layer}/{key}": value for layer, row in fit.state().items() for key, value in row.items()}
            with replacing(self._path, tidy=True) as stream:
                np.savez(stream, of=np.array(self._of), done=np.array(fit.done), **arrays)
            self._saved, self._done = time.monotonic(), fit.done


def run(
    fit: Any,
    state: State,
    folder: str,
    layers: Iterable[str],
    compute: Callable[[int], Iterable[Block]],
    report: Optional[Callable[[int], None]],
) -> None:
    """Go through the images and write a file for each layer. The state stays until the last pass is over.

    :param compute: yields the blocks from an image on.
    """
    state.resume(fit)
    began = fit.done
    try:
        for block in compute(fit.done):
            if block.stop > began:
                fit.add(block)
                state.save(fit)
                if report is not None:
                    report(block.stop)
    finally:
        state.save(fit, now=True)
    for layer in layers:
        path = path_of(folder, layer, fit)
        with writing(path), replacing(path, tidy=True) as stream:
            fit.write(layer, stream)


def path_of(folder: str, layer: str, fit: Any) -> str:
    """Return the path of what a pass found for a layer."""
    return os.path.join(folder, layer.replace(":", "-") + fit.suffix)


def load(path: str, layer: str, kind: Any) -> Any:
    """Read what a pass of a kind found for a layer.

    :raises UserError: if it cannot be read.
    """
    try:
        return kind.load(path)
    except _DAMAGED:
        raise UserError(f"cannot read '{path}', the {kind.what} of '{layer}': it is damaged; make it again") from None


def copy(path: str, target: str) -> None:
    """Copy a file of a pass.

    :raises UserError: if it cannot be written.
    """
    file = Replacement(target)
    with file.writing():
        shutil.copyfile(path, file.temporary)
    file.keep()
