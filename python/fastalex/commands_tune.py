"""The command ``fastalex tune``, and the tables of kernels of ``fastalex summary --kernels``."""

from __future__ import annotations

import argparse
from typing import Any, Dict, List

from . import console
from .errors import UserError

LARGEST_BATCH = 4096


def tune(options: argparse.Namespace) -> int:
    """Measure every kernel that could serve each layer, and keep the winners in the user's cache."""
    from . import placement, tuning
    from . import tune as tuner

    if max(options.batch) > LARGEST_BATCH:
        raise UserError("--batch may be at most %d, not %d" % (LARGEST_BATCH, max(options.batch)))
    place = placement.choose(options.device)
    if place.gpu is None:
        raise UserError("device='%s' has one set of kernels; tune is for a GPU: --device cuda" % place.name)
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
    path = None if options.dry_run else tuning.write_cache(place, rules, trials)
    facts = {"device": place.name, "gpu": place.gpu.name, "cache": path, "rules": [rule.text for rule in rules]}
    if options.json:
        console.write_json(dict(facts, trials=trials))
        return 0
    _print(trials)
    kept = "not kept (--dry-run)" if path is None else "kept in %s" % path
    console.write(
        "%s, %s: %d of %d layers have a quicker kernel, %s"
        % (place.name, place.gpu.name, len(rules), sum(row["verdict"] == tuner.DEFAULT for row in trials), kept)
    )
    return 0


def _works(options: argparse.Namespace, place: Any) -> List[Any]:
    """One for each network, precision, kind of fully connected weights and batch."""
    from . import placement, variants
    from .tune import Work
    from .weights import initial

    found = []
    for name in options.variant:
        row = variants.get(name)
        parameters = initial.check(row, initial.random_weights(row))
        for precision in dict.fromkeys(options.precision):
            for fc_weights in dict.fromkeys(options.fc_weights or [precision]):
                numbers = placement.numbers(place, precision, fc_weights)
                found += [Work(row, parameters, place, *numbers, batch) for batch in sorted(set(options.batch))]
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
            figures = ["" if row[key] is None else "%.4f" % row[key] for key in ("ms", "noise_ms")]
            verdict = "%s: %s" % (row["verdict"], row["reason"]) if row["reason"] else row["verdict"]
            cells.append((layers, row["candidate"], row["split"], *figures, verdict))
        console.table("%s, batch %d" % (precision, batch), columns, cells, right=("split", "ms", "+-"))


def print_kernels(facts: Dict[str, Any]) -> None:
    """The kernels of one network: what ``AlexNet.kernels`` found."""
    cells = []
    for step in facts["steps"]:
        cells.append((", ".join(step["layers"]), step["candidate"], step.get("split", 1), *_kernel(step, 0)))
        cells += [("", "", "", *_kernel(step, index)) for index in range(1, len(step["kernels"]))]
    title = "%(variant)s on %(device)s, %(precision)s, fc weights %(fc_weights)s, batch %(batch)d" % facts
    title += "; one CUDA graph" if facts["graph"] else ""
    console.table(
        title, ("layers", "chosen", "split", "kernel", "grid", "threads", "shared B"), cells, right=("split",)
    )
    if facts["tuning"]:
        console.write("tuning: %s" % console.printable(facts["tuning"]))


def _kernel(step: Dict[str, Any], index: int) -> Any:
    if index >= len(step["kernels"]):
        return "", "", "", ""
    one = step["kernels"][index]
    return one["name"], " x ".join(map(str, one["grid"])), one["threads"], one["shared_bytes"]
