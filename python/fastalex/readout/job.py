"""One read-out: what is asked for, checked, and then carried out."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Union

from .._util import arguments
from ..errors import UserError
from ..images import profiles
from ..networks import taps
from ..weights import mean_image
from . import destinations, fitting
from . import reductions as steps
from . import run as running
from . import settings as settings_of
from .encoding import DTYPES, Encoder, Quantizer
from .lock import exclusive
from .reductions import Reductions
from .shards import parse
from .sources import Source, open_source
from .work import Block, Compute, Work, blocks

BATCH = 16
_MAX_SEED = (1 << 32) - 1  # scikit-learn's


class Job:
    """A read-out whose images are counted and whose settings are known; :meth:`run` carries it out.

    The parameters are those of :func:`fastalex.readout.read_out`. For other schedulers: :attr:`work` computes any block
    of :attr:`source`, in any process; :func:`fastalex.readout.work.spans` says which blocks there are;
    :meth:`opened` gives the run to which they are added in their order.

    :raises UserError: for an invalid argument, or a source that cannot be read.
    """

    def __init__(
        self,
        net: Any,
        source: Union[str, Source],
        output: str,
        layers: Union[Sequence[str], Mapping[str, str]],
        profile: Any = None,
        batch: int = BATCH,
        dtype: str = "float32",
        restart: bool = False,
        *,
        format: str = "npy",
        column: Optional[str] = None,
        reductions: Reductions = Reductions(),  # noqa: B008 (a tuple, which nobody changes)
        fitted: Optional[str] = None,
        shard: Optional[str] = None,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.batch, self.dtype, self.restart, self.reductions = batch, dtype, restart, reductions
        self._fitted = fitted
        reads = _reads(net, layers)
        arguments.one_of("dtype", dtype, DTYPES)
        arguments.one_of("format", format, tuple(destinations.FORMATS))
        arguments.positive_int("batch", batch)
        _check_reductions(reductions)
        part = parse(shard) if shard is not None else None
        if part and fitted is None and self._fits():
            raise UserError(
                "shards need what --pca and int8 are to be computed with: read out a sample of the images with the "
                "same options first, and name its folder by --fitted DIR"
            )
        if "://" in output:
            raise UserError(f"results are written to a folder of this machine, and then copied; not to '{output}'")
        row = profiles.get(net.variant.profile if profile is None else profile)
        mean_image.check(net.mean_image, net.variant, row)
        self.source = open_source(source, column, tell) if isinstance(source, str) else source
        settings = settings_of.of_network(net, row)
        settings.update(settings_of.of_reductions(reductions), format=format, dtype=dtype, batch=batch)
        settings.update(layers=list(reads), reads=reads, fitted=self._hashes(settings, reads))
        self.source.prepare(output)
        self.start, self.stop = part.span(len(self.source), batch) if part else (0, len(self.source))
        settings.update(settings_of.of_source(self.source))
        place = part and dict(dataclasses.asdict(part), start=self.start, stop=self.stop)
        self.settings = dict(settings, shard=place)
        self.folder = os.path.join(output, part.folder) if part else output
        self.work = Work(net, row, reads, Encoder("float32"))
        self._facts = settings_of.machine(net)

    @property
    def total(self) -> int:
        """The number of images that :meth:`run` reports in the end: all of them, in each pass."""
        passes = 1 + (0 if self._fitted else len(self._fits()))
        return passes * (self.stop - self.start)

    def run(self, report: Optional[Callable[[int], None]] = None, compute: Compute = blocks) -> Dict[str, Any]:
        """Compute what is missing, and return the content of ``readout.json``.

        :param report: called after each batch with the number of images done.
        :param compute: computes the blocks, such as :meth:`fastalex.readout.ray_data.Cluster.blocks`.
        :raises UserError: as :func:`fastalex.readout.read_out` does.
        """
        with exclusive(self.folder):
            opened = self.opened()
            if opened.complete is not None:
                return opened.complete
            before = self.prepare(opened, report, compute)
            try:
                for block in compute(self.work, self.source, opened.done, self.stop, self.batch):
                    opened.add(block)
                    if report is not None:
                        report(before + opened.next - self.start)
                opened.end()
            finally:
                opened.close()
            return opened.finish()

    def opened(self) -> running.Run:
        """Open the results for adding blocks; the caller holds the lock of :attr:`folder`."""
        return running.Run(self.folder, self.settings, self.start, self.stop, self.restart, self._facts)

    def prepare(
        self, opened: running.Run, report: Optional[Callable[[int], None]] = None, compute: Compute = blocks
    ) -> int:
        """Complete :attr:`work`: find or compute the components and scales that it needs.

        :returns: the number of images that were gone through for them.
        """
        done, self.work.encoder = 0, Encoder("float32")
        for name in self.settings["layers"]:
            self.work.steps[name] = self._first_steps(name)
        for kind in self._fits():
            if self._fitted is None and not self._is_fitted(self.folder, kind):
                opened.save()  # the folder is now that of these settings
                self._pass(kind, done, report, compute)
            paths = self._paths(self._fitted or self.folder, kind)
            found = {layer: fitting.load(path, layer, kind) for layer, path in paths.items()}
            if kind is fitting.Pca:
                for layer, components in found.items():
                    self.work.steps[layer].append(steps.Components(components))
            else:
                self.work.encoder = Quantizer(found)
            done += 0 if self._fitted else self.stop - self.start
            if self._fitted:
                self._copy_fits(kind)
        with destinations.writing(self.folder):
            destinations.remove(os.path.join(self.folder, fitting.FIT_STATE))
        if self.dtype != "int8":
            self.work.encoder = Encoder(self.dtype)
        return done

    # Passes before the last

    def _fits(self) -> List[Any]:
        kinds: List[Any] = [fitting.Pca] if self.reductions.pca is not None else []
        return kinds + ([fitting.Scales] if self.dtype == "int8" else [])

    def _first_steps(self, layer: str) -> List[steps.Step]:
        chosen: List[steps.Step] = [steps.spatial_mean] if self.reductions.spatial_mean else []
        if self.reductions.project is not None:
            chosen.append(steps.Projection(layer, self.reductions.project, self.reductions.seed))
        return chosen

    def _pass(self, kind: Any, before: int, report: Optional[Callable[[int], None]], compute: Compute) -> None:
        layers = self.settings["layers"]
        options = (self.reductions.pca,) if kind is fitting.Pca else ()
        fit = kind(layers, self.start, self.stop, *options)
        state = fitting.State(self.folder, [kind.what, self.settings], running.SAVE_EVERY_S)

        def blocks_from(done: int) -> Iterator[Block]:
            return compute(self.work, self.source, done, self.stop, self.batch)

        tell = report and (lambda done: report(before + done - self.start))
        fitting.run(fit, state, self.folder, layers, blocks_from, tell)

    def _paths(self, folder: str, kind: Any) -> Dict[str, str]:
        layers = self.work.reads
        return {layer: fitting.path_of(folder, layer, kind) for layer in layers}

    def _is_fitted(self, folder: str, kind: Any) -> bool:
        return all(os.path.isfile(path) for path in self._paths(folder, kind).values())

    def _copy_fits(self, kind: Any) -> None:
        """Keep what was used beside the results."""
        targets = self._paths(self.folder, kind)
        for layer, path in self._paths(str(self._fitted), kind).items():
            fitting.copy(path, targets[layer])

    def _hashes(self, settings: Dict[str, Any], reads: Dict[str, str]) -> Optional[Dict[str, str]]:
        """Return the hashes of the files in ``fitted``, after a check that they are of such values as these.

        :raises UserError: if they are not.
        """
        if self._fitted is None:
            return None
        if not self._fits():
            raise UserError("--fitted is for --pca and int8; leave it out")
        before = running.result_of(self._fitted)["settings"]
        keys = ("weights", "variant", "profile_sha256", "mean_image", "precision", "reads", "reductions")
        differing = {key for key in keys if before.get(key) != dict(settings, reads=reads)[key]}
        if differing:
            now = {key: dict(settings, reads=reads)[key] for key in differing}
            words = settings_of.differences({key: before.get(key) for key in differing}, now)
            raise UserError(f"what is in '{self._fitted}' was computed for other values ({words})")
        found = {}
        for kind in self._fits():
            for layer in reads:
                path = fitting.path_of(self._fitted, layer, kind)
                try:
                    with open(path, "rb") as stream:
                        found[os.path.basename(path)] = hashlib.sha256(stream.read()).hexdigest()
                except OSError as error:
                    raise UserError(f"cannot read '{path}', the {kind.what} of '{layer}': {error.strerror}") from None
        return found


def _reads(net: Any, layers: Union[Sequence[str], Mapping[str, str]]) -> Dict[str, str]:
    """Return the names of results, with the layers that they are of."""
    names = list(dict.fromkeys(layers))
    if isinstance(layers, str) or not names:
        raise UserError(f"layers must be a list of one or more layer names, not {layers!r}")
    reads = dict(layers) if isinstance(layers, Mapping) else {name: name for name in names}
    taps.resolve(net.variant, list(reads.values()))
    return reads


def _check_reductions(reductions: Reductions) -> None:
    for name in ("project", "pca"):
        value = getattr(reductions, name)
        if value is not None:
            arguments.positive_int(name, value)
    if reductions.project is not None and reductions.pca is not None:
        raise UserError("project and pca exclude each other; choose one")
    if not arguments.is_int(reductions.seed) or not 0 <= reductions.seed <= _MAX_SEED:
        raise UserError(f"seed must be a whole number from 0 to {_MAX_SEED}, not {arguments.brief(reductions.seed)}")
