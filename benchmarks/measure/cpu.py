"""Measuring fastalex on this CPU: every mode is checked, then timed, each in its own processes."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from benchmarks.measure import cold, processes
from benchmarks.measure.engine_files import WEIGHTS, weights_file
from benchmarks.measure.errors import WrongResultError

#: A function that runs a task with a SPEC in a fresh process and returns the JSON it printed.
Child = Callable[[str, Dict[str, Any]], Dict[str, Any]]


def run_child(task: str, spec: Dict[str, Any]) -> Dict[str, Any]:
    """Run ``task`` ("cold", or one of cpu_worker.py). :raises ChildError: if it fails, hangs or prints no JSON."""
    if task == "cold":
        return processes.answer(task, cold.command(spec))
    return processes.answer(task, processes.command("measure.cpu_worker", task, json.dumps(spec)))


def measure(
    base: Mapping[str, Any],
    variants: Sequence[str],
    modes: Sequence[Tuple[str, str]],
    batches: Sequence[int],
    child: Child = run_child,
) -> List[Dict[str, Any]]:
    """The rows of each network and mode.

    :param base: of :func:`machine.setting`.
    :raises WrongResultError: at the first wrong result, which ends the run: that case is not timed.
    """
    rows: List[Dict[str, Any]] = []
    for variant in variants:
        with tempfile.TemporaryDirectory(prefix="fastalex-bench-") as folder:
            spec = dict(base, variant=variant, folder=folder, batch=1, precision="fp32", fc_weights="fp32")
            child("save", spec)
            written = {WEIGHTS}
            for precision, fc_weights in modes:
                file = weights_file(precision, fc_weights)
                task_spec = dict(spec, precision=precision, fc_weights=fc_weights, weights=os.path.join(folder, file))
                if file not in written:
                    child("quantize", task_spec)
                    written.add(file)
                for threads in base["counts"]:
                    pinned = dict(task_spec, threads=threads, cpus=base["cpus"][:threads])
                    rows += measure_variant(pinned, batches, child)
    return rows


def measure_variant(spec: Dict[str, Any], batches: Sequence[int], child: Child) -> List[Dict[str, Any]]:
    """The rows of one network in one precision with one kind of fully connected weights: correctness first, then times.

    :raises WrongResultError: if the engine's result differs from the naive backend's.
    """
    rows = []
    for batch in batches:
        task_spec = dict(spec, batch=batch)
        row = {key: task_spec[key] for key in ("variant", "precision", "fc_weights", "batch", "threads")}
        row["correctness"] = child("correct", task_spec)
        if not row["correctness"]["ok"]:
            raise WrongResultError(
                f"{row['variant']} in {row['precision']} with fc weights {row['fc_weights']}, batch {row['batch']}: "
                + "max|difference| to the naive backend is {max_abs_diff:.3g}, ".format(**row["correctness"])
                + "allowed {tolerance:.3g} (max|reference| {max_abs_reference:.3g})".format(**row["correctness"])
            )
        row.update(child("time", task_spec))
        row["cold"] = cold.measure_cold(task_spec, child) if batch == 1 else None
        rows.append(row)
        print(
            "%(variant)s, %(precision)s, fc weights %(fc_weights)s, batch %(batch)d: %(median_ms).2f ms "
            "(p10 %(p10_ms).2f, p90 %(p90_ms).2f), %(images_per_s).1f images/s" % row,
            file=sys.stderr,
        )
    return rows
