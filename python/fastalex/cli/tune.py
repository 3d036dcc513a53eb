"""The command ``fastalex tune``."""

from __future__ import annotations

import argparse
from typing import Any, Dict, List

from .._util import console
from ..errors import UserError
from .common import MAX_BATCH
from .options import add_command, positive


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "tune", run, "find the fastest kernels for this GPU and save them in the cache")
    parser.add_argument("--device", default="cuda", metavar="D", help="GPU, such as cuda:1 (default: cuda)")
    parser.add_argument(
        "--variant",
        nargs="+",
        default=["alexnet2012"],
        metavar="V",
        help="network variants; see 'fastalex summary' (default: alexnet2012)",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        default=["fp32", "fp16"],
        metavar="T",
        help="activation precisions (default: fp32 fp16)",
    )
    parser.add_argument(
        "--fc-weights",
        nargs="+",
        metavar="T",
        help="precisions of the fully connected weights (default: that of --precision)",
    )
    parser.add_argument("--batch", type=positive, nargs="+", default=[1], metavar="N", help="batch sizes (default: 1)")
    parser.add_argument(
        "--repeat", type=positive, default=20, metavar="N", help="timed runs in each of three rounds (default: 20)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the results without saving them")


def run(options: argparse.Namespace) -> int:
    """Measure every candidate kernel of each layer, and save the winners in the user's cache."""
    from ..runtime import device_spec
    from ..tuning import measure as tuner
    from ..tuning import user_cache
    from ..tuning.trials import DEFAULT, SETTINGS
    from ..tuning.trials import settings as chosen_settings

    if max(options.batch) > MAX_BATCH:
        raise UserError(f"--batch must be at most {MAX_BATCH}, not {max(options.batch)}")
    device = device_spec.choose(options.device)
    if device.gpu is None:
        raise UserError(f"device='{device.name}' has no kernels to choose from; tune a GPU: --device cuda")
    if device.engines:
        raise UserError("TensorRT tunes its engines when it builds them; tune fastalex's own kernels: --device cuda")
    trials: List[Dict[str, Any]] = []
    for job in _jobs(options, device):
        log = (lambda line: None) if options.json else console.note
        known = {row["key"] for row in trials if (row["precision"], row["batch"]) == (job.precision, job.batch)}
        trials += tuner.tune(job, options.repeat, log, known)
    rules = tuner.rules(trials)
    settings = chosen_settings(trials)
    path = None if options.dry_run else user_cache.write_cache(device, rules, trials)
    facts = {"device": device.name, "gpu": device.gpu.name, "cache": path, "rules": [rule.text for rule in rules]}
    facts["settings"] = settings
    if options.json:
        console.write_json(dict(facts, trials=trials))
        return 0
    _print(trials)
    saved = "not saved (--dry-run)" if path is None else f"saved in {path}"
    layers = sum(row["verdict"] == DEFAULT and row["key"] not in SETTINGS for row in trials)
    console.write(f"{device.name}, {device.gpu.name}: {len(rules)} of {layers} layers have a faster kernel, {saved}")
    if settings:
        console.write(f"better on this GPU than its device file: {', '.join(settings)}")
    return 0


def _jobs(options: argparse.Namespace, device: Any) -> List[Any]:
    """Return a job for each network, precision, precision of fully connected weights, and batch size."""
    from ..networks import variants
    from ..runtime import precisions
    from ..tuning.measure import TuningJob
    from ..weights import initial

    jobs = []
    for name in options.variant:
        row = variants.get(name)
        parameters = initial.check(row, initial.random_weights(row))
        for precision in dict.fromkeys(options.precision):
            for fc_weights in dict.fromkeys(options.fc_weights or [precision]):
                resolved = precisions.resolve(device, precision, fc_weights)
                jobs += [TuningJob(row, parameters, device, *resolved, batch) for batch in sorted(set(options.batch))]
    return jobs


def _print(trials: List[Dict[str, Any]]) -> None:
    """Print a table for each precision and batch size; losing kernels follow the one they lost to."""
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
