"""A process that does one task for one mode of fastalex on a CPU: ``run.py measure.cpu_worker TASK SPEC``.

TASK is "save", "quantize", "correct" or "time"; it prints one JSON object. Each task has a process of its own, so that
peak memory belongs to it alone and nothing is warm by accident.

A SPEC has: variant, precision, fc_weights, batch, threads, cpus (to pin to), folder (of the files), weights (the path
of those that the mode loads), quick.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Sequence

import numpy as np

from benchmarks.measure.timing import TOLERANCES, compare, peak_rss_mib, pin, random_images, summarize, time_calls


def _net(spec: Dict[str, Any], **changes: Any) -> Any:
    from fastalex import AlexNet

    options = {"device": "cpu"}
    options.update((key, spec[key]) for key in ("weights", "precision", "fc_weights", "threads"))
    options.update(changes)
    return AlexNet(spec["variant"], **options)


def _images(net: Any, batch: int) -> np.ndarray:
    row = net.variant
    return random_images((row.channels, row.input_size, row.input_size), batch)


def task_save(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Write seeded random weights of the variant into ``spec["folder"]``."""
    from benchmarks.measure import conversions

    conversions.write_weights(spec)
    return {}


def task_quantize(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Write the file that the mode of ``spec`` loads."""
    from benchmarks.measure import conversions
    from fastalex import variants

    row = variants.get(spec["variant"])
    shape = (row.channels, row.input_size, row.input_size)
    conversions.write_quantized(dict(spec, shape=shape), spec["precision"], spec["fc_weights"])
    return {}


def task_correct(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Compare the tuned engine with the naive one, which defines each op and sums in double.

    The first and the last image of the batch are the same image, and both results are compared. With rounded weights
    the naive net gets the tuned net's own dequantized weights, and what the rounding of weights and activations itself
    changes is a figure of its own: max|difference| to the fp32 result over max|fp32 result|.
    """
    from benchmarks.measure.engine_files import WEIGHTS

    rounded = (spec["precision"], spec["fc_weights"]) != ("fp32", "fp32")
    tuned = _net(spec)
    images = _images(tuned, spec["batch"])
    result = tuned(images)[[0, -1]]
    plain = {"precision": "fp32", "fc_weights": "fp32"}
    naive = _net(spec, weights=tuned.state_dict() if rounded else spec["weights"], device="naive", **plain)
    reference = naive(images[:1])
    report = compare(result, np.concatenate([reference, reference]), TOLERANCES[spec["precision"]])
    report["reference"] = "fastalex naive backend (double accumulation)"
    if rounded:
        unquantized = _net(spec, weights=os.path.join(spec["folder"], WEIGHTS), **plain)(images[:1])
        report["quantisation_error"] = float(np.max(np.abs(result[:1] - unquantized)) / np.max(np.abs(unquantized)))
    return report


def task_time(spec: Dict[str, Any]) -> Dict[str, Any]:
    """Time the tuned engine: batch in, logits out, everything warm."""
    net = _net(spec)
    images = _images(net, spec["batch"])
    seconds = (0.1, 0.3, 3) if spec["quick"] else (1.0, 5.0, 10)
    report = summarize(time_calls(lambda: net(images), *seconds), spec["batch"])
    report["peak_rss_mib"] = peak_rss_mib()
    return report


TASKS = {"save": task_save, "quantize": task_quantize, "correct": task_correct, "time": task_time}


def main(words: Sequence[str]) -> int:
    task, spec = words[0], json.loads(words[1])
    pin(spec["cpus"])  # before fastalex is imported: its threads inherit this
    print(json.dumps(TASKS[task](spec)))
    return 0
