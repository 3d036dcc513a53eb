"""Time of each layer inside fastalex on the CPU, by the engine's own clock (``fastalex_profile``).

The engine runs the whole network as it always does and notes the time of each step. Activations are fused into the
layer before them and are counted there; bringing the input into the engine's layout is part of the first layer. The
median over many calls counts.

It runs in a process of its own (worker.py, ``layers SPEC``; SPEC has precision, fc_weights, batch, quick and limits as
well). The limits are those of limits.py, measured before it on the same CPUs; how near a layer is to them counts the
products that its own algorithm makes, so that Winograd's convolutions are held to their own, smaller number.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from benchmarks import floors
from benchmarks.measure import timing
from benchmarks.measure.conversions import calibration_images
from benchmarks.measure.runtimes import steps_of

CALLS = {1: 200}  # calls, by batch
CALLS_LARGE = 20
QUICK_CALLS = 5
FUSED = ("relu", "tanh", "dropout")


def groups(layers: Sequence[Any]) -> Dict[str, str]:
    """Name of each layer -> the layer whose time it is part of: its own, or for an activation the one before."""
    found: Dict[str, str] = {}
    owner = ""
    for layer in layers:
        owner = owner if layer.op in FUSED and owner else layer.name
        found[layer.name] = owner
    return found


def measure(spec: Mapping[str, Any]) -> Dict[str, Any]:
    """The layers of ``spec["variant"]`` at one batch, in ms, GFLOP/s and GB/s."""
    from fastalex import variants

    row = variants.get(spec["variant"])
    layers = row.layers()
    shape = (row.channels, row.input_size, row.input_size)
    net = network(dict(spec, shape=shape))
    images = timing.random_images(shape, spec["batch"])
    calls = QUICK_CALLS if spec["quick"] else CALLS.get(spec["batch"], CALLS_LARGE)
    times = medians(lambda: net.profile(images), groups(layers), calls)
    shown = [layer for layer in layers if layer.name in times]
    report = table_rows(shown, times, steps_of(net, spec["batch"]) or [], spec)
    return {"total_ms": sum(times.values()), "limits": spec["limits"], "layers": report}


def network(spec: Mapping[str, Any]) -> Any:
    """The network with random weights; for int8 calibrated on random images."""
    from fastalex import AlexNet

    options = {"device": "cpu", "threads": spec["threads"]}
    if spec["precision"] == "int8":
        from fastalex import quantize

        images = calibration_images(spec)
        options["calibration"] = quantize.calibrate(AlexNet(spec["variant"], **options), [images])
    return AlexNet(spec["variant"], precision=spec["precision"], fc_weights=spec["fc_weights"], **options)


def medians(profile: Callable[[], List[Tuple[str, float]]], owners: Mapping[str, str], calls: int) -> Dict[str, float]:
    """Layer -> median of its ms over ``calls`` calls of ``profile``, after two that are thrown away."""
    times: Dict[str, List[float]] = {}
    for index in range(calls + 2):
        one: Dict[str, float] = {}
        for name, seconds in profile():
            one[owners[name]] = one.get(owners[name], 0.0) + seconds * 1e3
        if index >= 2:
            for name, ms in one.items():
                times.setdefault(name, []).append(ms)
    return {name: float(np.median(values)) for name, values in times.items()}


def table_rows(
    layers: Sequence[Any], times: Mapping[str, float], steps: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]
) -> List[Dict[str, Any]]:
    """ms; of a layer with weights also the products of a direct convolution a second, the bytes of weights a second,
    and the share of the limit that binds: arithmetic in its kind of number, or reading the weights.

    ``steps``: of :func:`runtimes.steps_of`; what they do not tell stays None.
    """
    by_layer = {name: step for step in steps for name in step.get("layers", ())}
    rows = []
    for layer in layers:
        own = times[layer.name]
        row = dict.fromkeys(("gflop_s", "gb_s", "bound", "percent", "format"), None)
        row.update(layer=layer.name, ms=own)
        if layer.param and own > 0:
            step = by_layer.get(layer.name, {})
            row["gflop_s"] = 2.0 * layer.macs * spec["batch"] / own / 1e6
            row["format"] = step.get("format")
            if step.get("weight_bytes") is not None:
                row["gb_s"] = step["weight_bytes"] / own / 1e6
            floor = floors.step_floor_ms(step, spec["batch"], spec["limits"])
            if floor:
                row["bound"] = step["numeric"] if floor["bound"] == "math" else "read"
                row["percent"] = 100 * floor["ms"] / own
        rows.append(row)
    return rows
