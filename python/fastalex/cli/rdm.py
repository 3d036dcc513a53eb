"""The command ``fastalex rdm``."""

from __future__ import annotations

import argparse
from typing import Any

from .._util import console
from ..errors import UserError
from .common import OK
from .options import add_command, positive

_COMPARE = "compare"


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "rdm", run, "compute the dissimilarities of all pairs of stimuli, or compare two such matrices"
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="ACTIVATIONS | compare A B",
        help="folder of a read-out, or a .npy, .zarr, .h5 or .parquet of one layer; or the word compare and two RDMs",
    )
    first = parser.add_argument_group("computing an RDM")
    first.add_argument("--layer", metavar="L", help="layer, if ACTIVATIONS has several")
    first.add_argument(
        "--metric", metavar="M", help="pearson, spearman, cosine, euclidean or sqeuclidean (default: pearson)"
    )
    first.add_argument("--out", metavar="FILE", help=".npy to write; a manifest in .json comes beside it")
    first.add_argument("--condensed", action="store_true", help="keep only the pairs i < j, half of the matrix")
    first.add_argument("--memory", type=positive, metavar="MB", help="for blocks of activations (default: 512)")
    second = parser.add_argument_group("comparing two RDMs")
    second.add_argument("--method", metavar="M", help="pearson, spearman, tau-a or cosine (default: spearman)")
    second.add_argument("--bootstrap", type=positive, metavar="N", help="samples of stimuli (default: none)")
    second.add_argument("--confidence", type=float, metavar="P", help="of the interval (default: 0.95)")
    second.add_argument("--seed", type=int, metavar="S", help="of the samples (default: 0)")


def run(options: argparse.Namespace) -> int:
    """Compute an RDM, or compare two."""
    comparing = options.paths[0] == _COMPARE
    names = (
        ("layer", "metric", "out", "condensed", "memory")
        if comparing
        else ("method", "bootstrap", "confidence", "seed")
    )
    wrong = [name for name in names if getattr(options, name) is not None and getattr(options, name) is not False]
    if wrong:
        raise UserError(f"--{wrong[0]} is for {'computing' if comparing else 'comparing'} RDMs; leave it out")
    return _compare(options) if comparing else _compute(options)


def _given(options: argparse.Namespace, *names: str) -> Any:
    """Return the options of these names that were given; the others have their defaults where they are used."""
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _compute(options: argparse.Namespace) -> int:
    from .. import rdm
    from ..rdm import files

    if len(options.paths) > 1 or options.out is None:
        raise UserError("name the activations and the file to write: fastalex rdm ACTIVATIONS --out rdm.npy")
    files.check_target(options.out)
    activations = rdm.open_activations(options.paths[0], options.layer)
    metric = options.metric or "pearson"
    total = activations.count * (activations.count - 1) // 2
    memory = {} if options.memory is None else {"memory": options.memory * 10**6}
    with console.progress("comparing stimuli", total, options.json) as report:
        values = rdm.compute(activations, metric, options.condensed, report=report, **memory)
    manifest = rdm.write(options.out, values, metric, activations)
    if options.json:
        console.write_json(dict(manifest, output=options.out))
    else:
        console.write(f"{options.out}: {activations.count} stimuli, {manifest['formula']}")
    return OK


def _compare(options: argparse.Namespace) -> int:
    from .. import rdm

    if len(options.paths) != 3:
        raise UserError("name two RDMs: fastalex rdm compare A.npy B.npy")
    a, b = (rdm.load(path) for path in options.paths[1:])
    settings = _given(options, "method", "bootstrap", "confidence", "seed")
    with console.progress("drawing samples", options.bootstrap or 1, options.json) as report:
        result = rdm.compare(a, b, report=report, **settings)
    if options.json:
        console.write_json(dict(result, a=a.path, b=b.path))
        return OK
    line = f"{result['method']} {result['similarity']:.6f}"
    if "low" in result:
        line += f", {100 * result['confidence']:g} % interval {result['low']:.6f} to {result['high']:.6f}"
        line += f" ({result['bootstrap']} bootstrap samples of {result['stimuli']} stimuli, seed {result['seed']})"
        if result["undefined"]:
            console.error(f"{result['undefined']} of the samples have no correlation, and are left out")
    console.write(line)
    return OK
