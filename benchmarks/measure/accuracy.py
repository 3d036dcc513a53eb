"""Accuracy of each precision of the CPU engine: logits against the naive backend's, on real images.

``alexnet-digits`` has its trained weights; the standard networks have random ones, since none of the published ones
come with fastalex: their figures show what the arithmetic does, not what a user's photographs would be taken for. The
reference has float32 weights and accumulates in double, so what quantizing the weights costs is in the figures.
"""

from __future__ import annotations

import sys
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
from PIL import Image

from benchmarks.measure import machine
from benchmarks.measure.accuracy_images import SEED, TRAINED, data_for
from fastalex import AlexNet, quantize, weights
from fastalex.quantize.calibration import METHODS, Calibration
from fastalex.runtime import precisions
from fastalex.weights import initial

BATCH = 16


class Setting(NamedTuple):
    """One configuration of the engine: the arguments of :class:`fastalex.AlexNet`, and how int8 is calibrated."""

    precision: str
    fc_weights: str
    exact: bool = False
    method: Optional[str] = None


def settings() -> List[Setting]:
    """Every combination that the CPU engine has, int8 with every method of calibration."""
    combinations = []
    for precision, kinds in precisions.SUPPORTED["cpu"].items():
        for kind in kinds:
            methods: Sequence[Optional[str]] = METHODS if precision == "int8" else (None,)
            combinations += [Setting(precision, kind, False, method) for method in methods]
        if precision == "fp32":
            combinations.insert(1, Setting("fp32", "fp32", True))
    return combinations


def logits(net: AlexNet, x: np.ndarray) -> np.ndarray:
    parts = range(0, len(x), BATCH)
    return np.concatenate([np.asarray(net(x[first : first + BATCH])) for first in parts]).astype(np.float64)


def compare(result: np.ndarray, reference: np.ndarray) -> Dict[str, float]:
    """Compare logits ``[N, classes]``: the largest error of an image as a fraction of its largest reference logit, the
    least cosine of an image, and the share of images with the same largest logit.
    """
    error = np.abs(result - reference).max(axis=1) / np.abs(reference).max(axis=1)
    norms = np.linalg.norm(result, axis=1) * np.linalg.norm(reference, axis=1)
    return {
        "max_relative_error": float(error.max()),
        "cosine": float(((result * reference).sum(axis=1) / norms).min()),
        "top1_agreement": float((result.argmax(axis=1) == reference.argmax(axis=1)).mean()),
    }


def measure_network(name: str, threads: Optional[int], quick: bool, chosen: Sequence[Setting]) -> List[Dict[str, Any]]:
    arrays = weights.load_named("digits").arrays if name == TRAINED else initial.random_weights(name, SEED)
    plain = AlexNet(name, weights=arrays, device="cpu", threads=threads)
    data = data_for(plain, quick)
    reference = logits(AlexNet(name, weights=arrays, device="naive", threads=threads), data.images)
    calibrations: Dict[str, Calibration] = {}
    rows = []
    for setting in chosen:
        if setting.method is not None and setting.method not in calibrations:
            calibrations[setting.method] = quantize.calibrate(plain, [data.calibration], setting.method)
        net = AlexNet(
            name,
            weights=arrays,
            device="cpu",
            precision=setting.precision,
            fc_weights=setting.fc_weights,
            exact=setting.exact,
            threads=threads,
            calibration=calibrations.get(setting.method or ""),
        )
        row: Dict[str, Any] = {"variant": name, "weights": "trained" if name == TRAINED else "random"}
        row.update(setting._asdict(), images=len(data.images), **compare(logits(net, data.images), reference))
        row["calibration_images"] = len(data.calibration) if setting.method else None
        row["held_out_images"] = None if data.held is None else len(data.held)
        row["held_out_accuracy"] = None
        if data.held is not None:
            row["held_out_accuracy"] = float((logits(net, data.held).argmax(axis=1) == data.labels).mean())
        print(line(row), file=sys.stderr)
        rows.append(row)
    return rows


def line(row: Mapping[str, Any]) -> str:
    return "{}, {}{}, fc {}{}: error {:.2e}, cosine {:.7f}, same top-1 {:.1f} %".format(
        row["variant"],
        row["precision"],
        " exact" if row["exact"] else "",
        row["fc_weights"],
        ", " + row["method"] if row["method"] else "",
        row["max_relative_error"],
        row["cosine"],
        100 * row["top1_agreement"],
    )


def record(rows: List[Dict[str, Any]], quick: bool) -> Dict[str, Any]:
    return dict(machine.short_record("accuracy", quick, {}, {"pillow": Image.__version__}), rows=rows)
