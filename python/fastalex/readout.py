"""Activations of layers for a folder of images, as ``.npy`` files: one file per layer, one row per image.

Memory is bounded by two batches of images and the results of one, because the files are written in place. The state of
the run is saved about once a second and on interruption, so that a run can be resumed. Files get their final names
only when they are complete.

A folder of results contains

* ``<layer>.npy``: float32 or float16, ``[images, C, H, W]`` or ``[images, features]``, in C order;
* ``file_names.txt``: the image of each row, relative to the folder of images, as in thingsvision;
* ``readout.json``: the network, the settings, the layers with their files and shapes, and the images that were left
  out because they cannot be read, with the reason.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from ._util.arguments import positive_int
from ._util.files import replacing
from ._version import __version__
from .errors import UserError
from .images import listing, profiles
from .networks import taps
from .weights import mean_image

BATCH = 16
SAVE_EVERY_S = 1.0  # work that may be lost when the machine stops
DTYPES = ("float32", "float16")
STATE, RESULT, NAMES = "readout.state.json", "readout.json", "file_names.txt"
PART = ".part"  # suffix of incomplete files
_COPY_BYTES = 1 << 24


def read_out(
    net: Any,
    folder: str,
    output: str,
    layers: Union[Sequence[str], Mapping[str, str]],
    profile: Any = None,
    batch: int = BATCH,
    dtype: str = "float32",
    restart: bool = False,
    report: Optional[Callable[[int], None]] = None,
) -> Dict[str, Any]:
    """Write the activations of ``layers`` for every image in ``folder`` and its subfolders, sorted by path.

    Images that cannot be read are left out.

    :param net: an :class:`~fastalex.AlexNet`.
    :param output: the folder for the results, which is created if necessary. An interrupted run with the same images,
        network and settings is resumed; a complete one is not repeated.
    :param layers: layer names as in :mod:`fastalex.networks.taps`; or a mapping of the names under which results are
        stored to those of the layers that they are of, such as :meth:`fastalex.networks.taps.Tool.reads` returns.
    :param profile: preprocessing profile; default: the variant's own. It must take ``net.mean_image``, if there is one.
    :param batch: number of images per batch.
    :param dtype: of the files, ``"float32"`` or ``"float16"``; values out of the range of float16 become infinite.
    :param restart: discard the results of an earlier run in ``output``.
    :param report: called after each batch with the number of images done.
    :returns: the content of ``readout.json``.
    :raises UserError: for invalid arguments, if there are no readable images, if the disk is full, or if ``output``
        has results of other images, another network or other settings.
    """
    names = list(dict.fromkeys(layers))
    if isinstance(layers, str) or not names:
        raise UserError(f"layers must be a list of one or more layer names, not {layers!r}")
    reads = dict(layers) if isinstance(layers, Mapping) else {name: name for name in names}
    taps.resolve(net.variant, list(reads.values()))
    if dtype not in DTYPES:
        raise UserError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    positive_int("batch", batch)
    row = profiles.get(net.variant.profile if profile is None else profile)
    paths = [os.path.relpath(path, folder) for path in listing.below(folder)]
    mean_image.check(net.mean_image, net.variant, row)
    settings = {
        "version": __version__,
        "folder": os.path.abspath(folder),
        "variant": net.variant.name,
        "weights": net.fingerprint(),
        "device": net.device,
        "precision": net.precision,
        "exact": net.exact,
        "fc_weights": net.fc_weights,
        "profile": row.name,
        "mean_image": None if net.mean_image is None else hashlib.sha256(net.mean_image.tobytes()).hexdigest(),
        "dtype": dtype,
        "layers": names,
        "reads": reads,
    }
    settings.update(images=len(paths), images_sha256=_digest(folder, paths))
    run = _Run(output, settings, paths, restart)
    if run.complete is None:
        try:
            _work(net, folder, row, run, batch, report)
        finally:
            run.save()
    return run.finish()


def _digest(folder: str, paths: Sequence[str]) -> str:
    """Return a hash of the names and sizes of the images, to tell sets of images apart."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.fsencode(path) + b"\0%d\0" % _size(os.path.join(folder, path)))
    return digest.hexdigest()


def _size(path: str) -> int:
    """Return the size of a file, -1 for a link to nothing: it is left out later, like any image that cannot be read."""
    try:
        return os.path.getsize(path)
    except OSError:
        return -1


def _work(
    net: Any, folder: str, row: profiles.Profile, run: _Run, batch: int, report: Optional[Callable[[int], None]]
) -> None:
    with ThreadPoolExecutor(net.threads) as pool:
        for prepared in _prepared(pool, net, folder, run.paths[run.done :], row, batch):
            good = [path for path, image in prepared if not isinstance(image, UserError)]
            bad = {path: str(image) for path, image in prepared if isinstance(image, UserError)}
            inputs = [image for _, image in prepared if not isinstance(image, UserError)]
            results = _read(net, np.concatenate(inputs), run.settings["reads"]) if inputs else {}
            run.add(good, results, bad)
            if report is not None:
                report(run.done)


def _read(net: Any, x: np.ndarray, reads: Mapping[str, str]) -> Dict[str, np.ndarray]:
    """Return the results of one batch by the names under which they are stored."""
    results = net.taps(x, list(reads.values()))
    return {name: results[layer] for name, layer in reads.items()}


def _prepared(
    pool: ThreadPoolExecutor, net: Any, folder: str, paths: Sequence[str], row: profiles.Profile, batch: int
) -> Iterator[List[Tuple[str, Any]]]:
    """Yield batches of (path, input ``[1, C, S, S]`` or error). The next batch is decoded in the background."""

    def prepare(path: str) -> Any:
        try:
            return net.preprocess(os.path.join(folder, path), row)
        except UserError as error:
            return error

    before: List[Tuple[str, Future[Any]]] = []
    for start in range(0, len(paths) + batch, batch):
        after = [(path, pool.submit(prepare, path)) for path in paths[start : start + batch]]
        if before:
            yield [(path, future.result()) for path, future in before]
        before = after


class _Run:
    """The state and the files of one run."""

    def __init__(self, output: str, settings: Dict[str, Any], paths: List[str], restart: bool) -> None:
        self.output, self.settings, self.paths = output, settings, paths
        self.done = 0  # number of images, including those left out
        self.rows: List[str] = []
        self.left_out: Dict[str, str] = {}
        self.complete: Optional[Dict[str, Any]] = None
        self._saved = time.monotonic()
        self._files: Dict[str, np.memmap] = {}
        with _writing(output):
            os.makedirs(output, exist_ok=True)
            if restart:
                self._clear()
        self._resume()

    def path(self, name: str) -> str:
        return os.path.join(self.output, name)

    def file(self, layer: str) -> str:
        return layer.replace(":", "-") + ".npy"

    def _part(self, layer: str) -> str:
        return self.path(self.file(layer) + PART)

    def _clear(self) -> None:
        """Remove the files of the previous run, including those of other layers."""
        layers = list(self.settings["layers"])
        for previous in (self._load(RESULT), self._load(STATE)):
            layers += previous["settings"]["layers"] if previous else []
        files = [RESULT, STATE, NAMES]
        for layer in layers:
            files += [self.file(layer), self.file(layer) + PART]
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(name))

    def _resume(self) -> None:
        complete, started = self._load(RESULT), self._load(STATE)
        for previous in (complete, started):
            if previous is not None and previous["settings"] != self.settings:
                raise UserError(
                    f"'{self.output}' has results of other images, another network or other settings; "
                    "choose another folder, or --restart"
                )
        layers = self.settings["layers"]
        if complete is not None and all(os.path.isfile(self.path(self.file(layer))) for layer in layers):
            self.complete = complete
        elif started is not None and all(self._existing(layer) for layer in layers):
            self.done, self.left_out = started["done"], started["left_out"]
            self.rows = [path for path in self.paths[: self.done] if path not in self.left_out]

    def _existing(self, layer: str) -> Optional[str]:
        """Return the file with the rows so far. The last run may have stopped while it was renaming the files."""
        paths = (self._part(layer), self.path(self.file(layer)))
        return next((path for path in paths if os.path.isfile(path)), None)

    def _load(self, name: str) -> Optional[Dict[str, Any]]:
        try:
            with open(self.path(name), encoding="utf-8") as stream:
                content = json.load(stream)
        except (OSError, ValueError):  # treated like a missing file: everything is computed again
            return None
        return content if isinstance(content, dict) and {"settings", "done", "left_out"} <= set(content) else None

    def add(self, paths: List[str], results: Dict[str, np.ndarray], left_out: Dict[str, str]) -> None:
        """Add the rows of one batch, and its images that cannot be read."""
        first = len(self.rows)
        for layer, values in results.items():
            if layer not in self._files:
                self._files[layer] = self._open(layer, values.shape[1:])
            with np.errstate(over="ignore"):  # values out of the range of float16 become infinite
                self._files[layer][first : first + len(paths)] = values
        self.rows += paths
        self.left_out.update(left_out)
        self.done += len(paths) + len(left_out)
        if time.monotonic() - self._saved > SAVE_EVERY_S:
            self.save()

    def _open(self, layer: str, shape: Tuple[int, ...]) -> np.memmap:
        path, whole = self._part(layer), (len(self.paths), *shape)
        with _writing(path):
            if self.rows:
                return np.lib.format.open_memmap(path, mode="r+")
            array = np.lib.format.open_memmap(path, mode="w+", dtype=self.settings["dtype"], shape=whole)
            # Allocate the disk space now: on a full disk, a write to a hole of a mapped file would kill the process.
            with open(path, "r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, os.path.getsize(path))
            return array

    def save(self) -> None:
        """Write the rows to disk, and then the state that counts them."""
        for array in self._files.values():
            array.flush()
        self._write(STATE, self._state())
        self._saved = time.monotonic()

    def _state(self) -> Dict[str, Any]:
        return {"settings": self.settings, "done": self.done, "left_out": self.left_out}

    def _write(self, name: str, content: Any) -> None:
        with replacing(self.path(name), tidy=True) as stream:
            stream.write((json.dumps(content, indent=1) + "\n").encode("utf-8"))

    def finish(self) -> Dict[str, Any]:
        """Rename the files; write readout.json last, so that it describes only complete files.

        :raises UserError: if no image could be read.
        """
        if self.complete is not None:
            return self.complete
        if not self.rows:
            first = next(iter(self.left_out.values()))
            raise UserError(f"none of the {len(self.paths)} images can be read; the first: {first}")
        self._files.clear()
        layers = {}
        for layer in self.settings["layers"]:
            with _writing(self.path(self.file(layer))):
                layers[layer] = {"file": self.file(layer), "shape": self._keep(layer)}
        with replacing(self.path(NAMES), tidy=True) as stream:
            stream.write("".join(name + "\n" for name in self.rows).encode("utf-8", "surrogateescape"))
        result = dict(self._state(), layers=layers)
        self._write(RESULT, result)
        with _writing(self.output):
            os.unlink(self.path(STATE))
        return result

    def _keep(self, layer: str) -> List[int]:
        """Rename a layer's file, without the unused rows at its end, and return its shape."""
        part, target = self._part(layer), self.path(self.file(layer))
        if os.path.isfile(part):
            array = np.lib.format.open_memmap(part, mode="r")
            if len(self.rows) < len(array):
                shorter = target + ".short"
                _copy(array, shorter, len(self.rows))
                os.replace(shorter, target)
                os.unlink(part)
            else:
                os.replace(part, target)
        return list(np.lib.format.open_memmap(target, mode="r").shape)


def _copy(array: np.ndarray, path: str, count: int) -> None:
    """Copy the first ``count`` rows to the file ``path``, a few megabytes at a time."""
    copy = np.lib.format.open_memmap(path, mode="w+", dtype=array.dtype, shape=(count, *array.shape[1:]))
    step = max(1, _COPY_BYTES // max(1, array[:1].nbytes))
    for start in range(0, count, step):
        copy[start : start + step] = array[start : min(start + step, count)]
    copy.flush()


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
