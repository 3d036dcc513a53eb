"""The error of single layers of a standard network on the emulated CUDA backend (cuda_emulator)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from fastalex import variants

from . import plans, predict

BIAS = 0.05  # standard deviation, beside sums whose own is 1


class Place(NamedTuple):
    """A layer of a network as it is run. ``layer``: the first of those that a step of the plan carries out.
    ``density``: share of its inputs that are not zero; None: all."""

    variant: str
    precision: str
    storage: str
    batch: int
    density: Optional[float]
    layer: str


class Emulated(NamedTuple):
    """``error``: root mean square, relative to the naive backend. ``kernels``: names of those that ran."""

    error: float
    kernels: Tuple[str, ...]


def read_errors(library: Path, device: str, places: Sequence[Place], card: str = "") -> Dict[Place, Emulated]:
    """The error of each place in a process that has the role of ``device``.

    :raises ToolError: with the library's message if it refuses one.
    """
    cases = list(dict.fromkeys(place[:4] for place in places))
    found = plans.read_plans(library, device, cases, card)
    wishes = []
    for place in places:
        rows = variants.get(place.variant).layers()
        steps = found[place[:4]]["steps"]
        groups = predict.step_layers(rows, steps)
        step, group = next(pair for pair in zip(steps, groups) if pair[1][0].name == place.layer)
        wishes.append([*place[:5], [one.name for one in group], _rule(place, step)])
    answers = plans.ask(library, device, card, "tools.cuda_gate.emulation", "errors", wishes)
    return {place: Emulated(error, tuple(kernels)) for place, (error, kernels) in zip(places, answers)}


def _rule(place: Place, step: Mapping[str, Any]) -> str:
    """The tuning rule for the choice of the network's plan: alone, a layer could be taken for one that is not behind a
    ReLU."""
    if not step.get("key"):
        return ""
    return f"{step['key']} 1-{place.batch} {step['candidate']} split={step['split']}"


def errors(library: str, wishes: Sequence[Sequence[Any]]) -> List[Any]:
    """Return [error, kernels] for each wish; runs in the process of one device."""
    import numpy as np  # not needed by the parent process

    from fastalex import _core
    from fastalex.networks.layers import layer_table
    from fastalex.selftest import native

    backend = plans.load(library)
    answers = []
    for variant, precision, storage, batch, density, names, rule in wishes:
        rows = [row for row in variants.get(variant).layers() if row.name in names]
        generator = np.random.default_rng(0)
        x = generator.standard_normal((batch, *(*rows[0].in_shape, 1, 1)[:3]), np.float32)
        if density is not None:  # as behind a ReLU
            x = np.abs(x) * (generator.random(x.shape) < density)
        x = x.astype(np.float16 if precision == "fp16" else np.float32).astype(np.float32)
        shapes = [shape for row in rows for shape in row.param_shapes.values()]
        scales = [np.float32(np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else BIAS) for shape in shapes]
        params = [generator.standard_normal(shape, np.float32) * scale for shape, scale in zip(shapes, scales)]
        table = layer_table(rows)
        net = native.make_net(table, x, params, backend, storage, precision, rule)
        kept = [net.param(index).reshape(shape) for index, shape in enumerate(shapes)]
        expected = np.asarray(native.run_native(table, x, kept, native.REFERENCE), np.float64)
        difference = native.output(net, x) - expected
        error = float(np.sqrt(np.mean(difference**2) / np.mean(expected**2)))
        steps = json.loads(net.describe(_core.Call(x)))["steps"]
        answers.append([error, [kernel["name"] for step in steps for kernel in step["kernels"]]])
    return answers


if __name__ == "__main__":
    json.dump(errors(sys.argv[2], json.loads(sys.argv[3])), sys.stdout)
