"""The command ``fastalex tune``, and the tables of kernels of ``fastalex summary --kernels``."""

from __future__ import annotations

import argparse
from typing import Any, Dict, List

from .._util import console
from ..errors import UserError
from .options import add_command, positive

LARGEST_BATCH = 4096


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(
        commands, "tune", run, "measure which kernels are best on this GPU, and keep that in your cache"
    )
    parser.add_argument("--device", default="cuda", metavar="D", help="the GPU: cuda (default), or cuda:1")
    parser.add_argument(
        "--variant", nargs="+", default=["alexnet2012"], metavar="V", help="networks (alexnet2012); see 'summary'"
    )
    parser.add_argument(
        "--precision", nargs="+", default=["fp32", "fp16"], metavar="T", help="of activations (fp32 fp16)"
    )
    parser.add_argument("--fc-weights", nargs="+", metavar="T", help="fully connected weights; default: --precision")
    parser.add_argument("--batch", type=positive, nargs="+", default=[1], metavar="N", help="batch sizes (1)")
    parser.add_argument("--repeat", type=positive, default=20, metavar="N", help="runs of each of three rounds (20)")
    parser.add_argument("--dry-run", action="store_true", help="print the figures and keep nothing")


def run(options: argparse.Namespace) -> int:
    """Measure every kernel that could serve each layer, and keep the winners in the user's cache."""
    from ..runtime import device_spec
    from ..tuning import measure as tuner
    from ..tuning import user_cache
    from ..tuning.trials import SETTINGS
    from ..tuning.trials import settings as chosen_settings

    if max(options.batch) > LARGEST_BATCH:
        raise UserError(f"--batch may be at most {LARGEST_BATCH}, not {max(options.batch)}")
    place = device_spec.choose(options.device)
    if place.gpu is None:
        raise UserError(f"device='{place.name}' has one set of kernels; tune is for a GPU: --device cuda")
    if place.engines:
        raise UserError(
            "TensorRT chooses by timing when it builds an engine; tune is for fastalex's kernels: --device cuda"
        )
    trials: List[Dict[str, Any]] = []
    for work in _works(options, place):
        say = (lambda line: None) if options.json else console.note
        known = {row["key"] for row in trials if (row["precision"], row["batch"]) == (work.precision, work.batch)}
        trials += tuner.tune(work, options.repeat, say, known)
    rules = tuner.rules(trials)
    settings = chosen_settings(trials)
    path = None if options.dry_run else user_cache.write_cache(place, rules, trials)
    facts = {"device": place.name, "gpu": place.gpu.name, "cache": path, "rules": [rule.text for rule in rules]}
    facts["settings"] = settings
    if options.json:
        console.write_json(dict(facts, trials=trials))
        return 0
    _print(trials)
    kept = "not kept (--dry-run)" if path is None else f"kept in {path}"
    layers = sum(row["verdict"] == tuner.DEFAULT and row["key"] not in SETTINGS for row in trials)
    console.write(f"{place.name}, {place.gpu.name}: {len(rules)} of {layers} layers have a quicker kernel, {kept}")
    if settings:
        console.write(f"better on this GPU than what its device file says: {', '.join(settings)}")
    return 0


def _works(options: argparse.Namespace, place: Any) -> List[Any]:
    """One for each network, precision, kind of fully connected weights and batch."""
    from ..networks import variants
    from ..runtime import precisions
    from ..tuning.measure import TuningJob
    from ..weights import initial

    found = []
    for name in options.variant:
        row = variants.get(name)
        parameters = initial.check(row, initial.random_weights(row))
        for precision in dict.fromkeys(options.precision):
            for fc_weights in dict.fromkeys(options.fc_weights or [precision]):
                numbers = precisions.resolve(place, precision, fc_weights)
                found += [TuningJob(row, parameters, place, *numbers, batch) for batch in sorted(set(options.batch))]
    return found


def _print(trials: List[Dict[str, Any]]) -> None:
    """A table for each precision and batch; the losers stand below the kernel they lost to."""
    columns = ("layers", "kernel", "split", "ms", "+-", "result")
    for precision, batch in dict.fromkeys((row["precision"], row["batch"]) for row in trials):
        cells = []
        for row in trials:
            if (row["precision"], row["batch"]) != (precision, batch):
                continue
            layers = ", ".join(row["layers"]) if row["verdict"] == "default" else ""
            figures = ["" if row[key] is None else f"{row[key]:.4f}" for key in ("ms", "noise_ms")]
            verdict = f"{row['verdict']}: {row['reason']}" if row["reason"] else row["verdict"]
            cells.append((layers, row["candidate"], row["split"], *figures, verdict))
        console.table(f"{precision}, batch {batch}", columns, cells, right=("split", "ms", "+-"))
