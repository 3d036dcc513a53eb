"""The command ``fastalex readout``."""

from __future__ import annotations

import argparse
from typing import Any, Dict, Optional

from .._util import console
from ..errors import UserError
from .common import MAX_BATCH, OK, USAGE_ERROR, net_from
from .options import add_command, add_mean, add_net, add_profile, add_weights, positive

# Option -> its default; what the shards were made with, and --merge cannot change.
_OF_SHARDS = {
    "layers": None, "tool": None, "column": None, "format": "npy", "dtype": "float32", "spatial_mean": False,
    "project": None, "pca": None, "fitted": None, "shard": None, "ray": None,
}  # fmt: skip


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "readout", run, "save layer activations of many images as arrays in files")
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="folder of images, which is searched recursively; or tar, HDF5 or Parquet files: one, a folder, a pattern "
        "such as 'shards/*.tar'; or the address of any of these, such as s3://bucket/shards/",
    )
    parser.add_argument("--out", metavar="DEST", help="folder to write; an interrupted run is resumed")
    add_weights(parser, "--weights", metavar="W")
    parser.add_argument(
        "--tool",
        metavar="T",
        help="use the layers and preprocessing of brain-score, brain-score-convs, thingsvision or net2brain",
    )
    parser.add_argument("--layers", nargs="+", metavar="L", help="layer names; see docs/readouts.md")
    add_profile(parser, "the tool's, otherwise the variant's own")
    add_mean(parser)
    parser.add_argument("--batch", type=positive, default=16, metavar="N", help="images per batch (default: 16)")
    parser.add_argument("--column", metavar="C", help="column of the images in Parquet, or their dataset in HDF5")
    _add_storage(parser)
    parser.add_argument("--shard", metavar="I/N", help="do only the I-th of N parts, counted from 1; see docs/scale.md")
    parser.add_argument("--merge", metavar="DEST", help="join the shards in DEST, and do nothing else")
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="compute by the actors of a Ray cluster, each with --threads threads (default: 1) on as many CPUs; local "
        "starts one on this machine",
    )
    parser.add_argument("--restart", action="store_true", help="discard the results of an earlier run in DEST")
    add_net(parser, "that of the weights")


def _add_storage(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is stored, and how."""
    parser.add_argument("--format", default="npy", metavar="F", help="npy, zarr, hdf5 or parquet (default: npy)")
    parser.add_argument(
        "--dtype",
        default="float32",
        metavar="T",
        help="type of the stored values: float32, float16, or int8 with a scale for each unit, which takes another "
        "pass over the images (default: float32)",
    )
    parser.add_argument("--spatial-mean", action="store_true", help="average maps over space")
    parser.add_argument("--project", type=positive, metavar="K", help="project each layer to K features at random")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of --project (default: 0)")
    parser.add_argument(
        "--pca",
        type=positive,
        metavar="K",
        help="keep K principal components, found in a first pass over the images",
    )
    parser.add_argument(
        "--fitted", metavar="DIR", help="results whose components and scales are used instead of another pass"
    )


def run(options: argparse.Namespace) -> int:
    """Save the activations of layers for a source of images."""
    if options.merge is not None:
        result = _merge(options)
        output = options.merge
    else:
        job = _job(options)
        with console.progress("reading out", job.total, options.json) as report:
            result = _carried_out(job, options.ray, report)
        output = job.folder
    for reason in result["left_out"].values():
        console.error(reason)
    for layer, count in result["clipped"].items():
        console.error(f"{count} values of {layer} are beyond the range of the scales, and stored as its ends")
    if options.json:
        console.write_json(dict(result, output=output))
    else:
        rows = [(name, " x ".join(map(str, row["shape"])), row["file"]) for name, row in result["layers"].items()]
        console.table(f"Activations in {output}", ("layer", "shape", "file"), rows)
    return USAGE_ERROR if result["left_out"] else OK


def _carried_out(job: Any, ray: Optional[str], report: Any) -> Dict[str, Any]:
    """Run a job in this process, or by a Ray cluster."""
    if ray is None:
        return dict(job.run(report))
    from ..readout import ray_data

    with ray_data.Cluster(ray) as cluster:
        return dict(job.run(report, cluster.blocks))


def _merge(options: argparse.Namespace) -> Dict[str, Any]:
    from .. import readout

    if options.source is not None or options.out is not None:
        raise UserError("--merge takes the folder of the shards and no SOURCE or --out: fastalex readout --merge DEST")
    for name, default in _OF_SHARDS.items():
        if getattr(options, name) != default:
            raise UserError(f"--merge joins shards as they are; leave out --{name.replace('_', '-')}")
    return readout.merge(options.merge, options.restart)


def _job(options: argparse.Namespace) -> Any:
    """Check the options, and return the job that they describe."""
    from .. import readout
    from .._util import arguments
    from ..networks import taps
    from ..weights import registry

    if options.source is None or options.out is None:
        raise UserError("name the images and the folder for the results: fastalex readout SOURCE --out DEST")
    if options.weights in (None, "random"):
        raise UserError("readout needs trained weights: use --weights FILE, or the built-in --weights digits")
    if options.batch > MAX_BATCH:
        raise UserError(f"--batch must be at most {MAX_BATCH}, not {options.batch}")
    tool = None
    if options.tool is not None:
        arguments.one_of("--tool", options.tool, tuple(taps.TOOLS))
        tool = taps.TOOLS[options.tool]
        options.layers, options.profile = options.layers or tool.layers, options.profile or tool.profile
    if not options.layers:
        raise UserError("name the layers to read out: --layers conv5 fc7, or --tool thingsvision")
    options.weights = registry.locate(options.weights)
    if options.ray is not None:
        options.threads = options.threads or 1  # an actor decodes with one
    net = net_from(options)
    return readout.Job(
        net,
        options.source,
        options.out,
        tool.reads(net.variant, options.layers) if tool else options.layers,
        options.profile,
        options.batch,
        options.dtype,
        options.restart,
        format=options.format,
        column=options.column,
        reductions=readout.Reductions(options.spatial_mean, options.project, options.seed, options.pca),
        fitted=options.fitted,
        shard=options.shard,
        tell=console.error,
    )
