"""Activations of layers for a source of images, as files: one file per layer, one row per image.

The images are a folder, tar shards, HDF5 or Parquet, on this machine or at an address (:mod:`.sources`); the files are
``.npy``, Zarr, HDF5 or Parquet (:mod:`.destinations`). Memory is bounded by two batches of images, the results of one,
and for the chunked formats 64 MB of rows that wait to be written together. The state of the run is saved about once a
second and on interruption, so that a run can be resumed: also one that was killed, to the same bits. Files get their
final names only when they are complete.

A folder of results contains

* ``<layer>.npy`` (or ``.zarr``, ``.h5``, ``.parquet``): float32, float16 or int8, ``[images, C, H, W]`` or
  ``[images, features]``;
* ``<layer>.scales.npy``: for int8, the scale of each unit; ``<layer>.pca.npz``: the components, if there are any;
* ``file_names.txt``: the image of each row, relative to the source, as in thingsvision;
* ``readout.json``: the manifest: the network, the settings, the layers with their files and shapes, the machine, and
  the images that were left out because they cannot be read, with the reason;
* ``shard-<I>-of-<N>``: a folder of the same kind for each shard.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Union

from .encoding import DTYPES
from .job import BATCH, Job
from .merging import merge
from .reductions import Reductions
from .results import Results
from .run import NAMES, RESULT, STATE
from .sources import open_source

__all__ = [
    "BATCH", "DTYPES", "NAMES", "RESULT", "STATE", "Job", "Reductions", "Results", "merge", "open_source", "read_out",
]  # fmt: skip


def read_out(
    net: Any,
    source: Any,
    output: str,
    layers: Union[Sequence[str], Mapping[str, str]],
    profile: Any = None,
    batch: int = BATCH,
    dtype: str = "float32",
    restart: bool = False,
    report: Optional[Callable[[int], None]] = None,
    **options: Any,
) -> Dict[str, Any]:
    """Write the activations of ``layers`` for every image of a source, in its order.

    Images that cannot be read are left out: row r is the r-th image that can be.

    :param net: an :class:`~fastalex.AlexNet`.
    :param source: an address, as for :func:`fastalex.readout.sources.open_source`: a folder, whose images and those of
        its subfolders are sorted by path, or tar, HDF5 or Parquet files.
    :param output: the folder for the results, which is created if necessary. An interrupted run with the same images,
        network and settings is resumed; a complete one is not repeated.
    :param layers: layer names as in :mod:`fastalex.networks.taps`; or a mapping of the names under which results are
        stored to those of the layers that they are of, such as :meth:`fastalex.networks.taps.Tool.reads` returns.
    :param profile: preprocessing profile; default: the variant's own. It must take ``net.mean_image``, if there is one.
    :param batch: number of images per batch.
    :param dtype: of the files: ``"float32"``; ``"float16"``, in which values out of its range become infinite; or
        ``"int8"`` with a scale for each unit, 1/127 of its largest magnitude, which a first pass finds.
    :param restart: discard the results of an earlier run in ``output``.
    :param report: called after each batch with the number of images done, in all passes.
    :param options: ``format``, one of :data:`fastalex.readout.destinations.FORMATS`; ``column``, of the images in
        Parquet or HDF5; ``reductions``, a :class:`Reductions`; ``fitted``, the folder of a read-out whose components
        and scales are used; ``shard``, ``"I/N"``; ``tell``, called with a sentence about files that are no images.
    :returns: the content of ``readout.json``.
    :raises UserError: for invalid arguments, if there are no readable images, if the source cannot be read, if the disk
        is full, if another process writes to ``output``, or if that has results of other images, another network or
        other settings.
    """
    return Job(net, source, output, layers, profile, batch, dtype, restart, **options).run(report)
