"""Time of each layer inside fastalex on the CPU, by the engine's own clock (``fastalex_profile``).

The engine runs the whole network as it always does and notes the time of each step. Activations are fused into the
layer before them and are counted there; bringing the input into the engine's layout is part of the first layer. The
median over many calls counts.

It runs in a process of its own (``worker.py layers SPEC``; SPEC has fc_weights, batch and quick as well).

The limits are probes, not data sheets: the arithmetic is the best of several matrix products by numpy's BLAS, the
bandwidth the best of fastalex's own fp32 matrix-vector product over 151 MB of weights and of BLAS dot products over
256 MB, one slice for each thread. A convolution by fewer products (Winograd) may exceed 100 %.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

import results_table
import timing

CALLS = {1: 200}  # by batch
CALLS_LARGE = 20
QUICK_CALLS = 5
PROBE_REPEATS = 7
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
    """The layers of ``spec["variant"]`` at one batch, and the probes, in ms, GFLOP/s and GB/s."""
    from fastalex import _core, variants
    from fastalex.layers import FC_STORAGES, layer_table
    from fastalex.weights import initial

    row = variants.get(spec["variant"])
    layers = row.layers()
    shape = [row.channels, row.input_size, row.input_size]
    params = list(initial.random_weights(row).values())
    net = _core.Net(layer_table(layers), shape, params, "cpu", FC_STORAGES.index(spec["fc_weights"]), spec["threads"])
    images = timing.random_images(tuple(shape), spec["batch"])
    calls = QUICK_CALLS if spec["quick"] else CALLS.get(spec["batch"], CALLS_LARGE)
    times = medians(lambda: net.profile(images), groups(layers), calls)
    limits = probes(spec["threads"], spec["quick"])
    report = table_rows([layer for layer in layers if layer.name in times], times, spec, limits)
    return {"total_ms": sum(times.values()), "limits": limits, "layers": report}


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
    layers: Sequence[Any], times: Mapping[str, float], spec: Mapping[str, Any], limits: Mapping[str, float]
) -> List[Dict[str, Any]]:
    """ms, GFLOP/s and the share of the limit that binds: arithmetic, or reading the weights."""
    size = {"fp32": 4, "fp16": 2, "int8": 1}[spec["fc_weights"]]
    rows = []
    for layer in layers:
        own = times[layer.name]
        row: Dict[str, Any] = {"layer": layer.name, "ms": own, "gflop_s": None, "gb_s": None, "bound": None}
        row["percent"] = None
        if layer.macs and own > 0:
            flops = 2.0 * layer.macs * spec["batch"]
            row["gflop_s"] = flops / own / 1e6
            math_ms, read_ms = flops / limits["gflop_s"] / 1e6, 0.0
            if layer.op == "fc":
                read = layer.params * size
                row["gb_s"] = read / own / 1e6
                read_ms = read / limits["gb_s"] / 1e6
            row["bound"] = "FMA" if math_ms >= read_ms else "read"
            row["percent"] = 100 * max(math_ms, read_ms) / own
        rows.append(row)
    return rows


def probes(threads: int, quick: bool) -> Dict[str, float]:
    """The best GFLOP/s and GB/s that were seen (see the module)."""
    repeats = 2 if quick else PROBE_REPEATS
    return {"gflop_s": gemm_probe(repeats), "gb_s": max(stream_probe(threads, repeats), dot_probe(threads, repeats))}


def gemm_probe(repeats: int, side: int = 2048) -> float:
    a = np.ones((side, side), np.float32)
    out = np.empty_like(a)
    return 2.0 * side**3 / best(lambda: np.matmul(a, a, out=out), repeats) / 1e9


def stream_probe(threads: int, repeats: int, inputs: int = 9216, outputs: int = 4096) -> float:
    """Matrix-vector product by fastalex: it reads each weight once."""
    from fastalex import _core

    weights = [np.ones((outputs, inputs), np.float32), np.zeros(outputs, np.float32)]
    net = _core.Net("fc name=fc out=%d\n" % outputs, [inputs, 1, 1], weights, "cpu", 0, threads)
    x = np.ones((1, inputs, 1, 1), np.float32)
    return weights[0].nbytes / best(lambda: net.run(x, False), repeats) / 1e9


def dot_probe(threads: int, repeats: int, megabytes: int = 256) -> float:
    """Each thread's BLAS dot product of one half of its slice with the other; numpy lets them run side by side."""
    values = np.ones(megabytes * 250_000, np.float32)
    slices = [np.array_split(part, 2) for part in np.array_split(values, threads)]
    pairs = [(a[: len(b)], b) for a, b in slices]
    with ThreadPoolExecutor(threads) as pool:
        return values.nbytes / best(lambda: list(pool.map(lambda pair: float(np.dot(*pair)), pairs)), repeats) / 1e9


def report_table(one: Mapping[str, Any]) -> Tuple[List[str], List[List[str]]]:
    """Head and lines of one network, batch and storage, the total last."""
    digits = results_table.digits
    head = ["%(variant)s, batch %(batch)d, fc %(fc_weights)s" % one, "ms", "GFLOP/s", "GB/s of weights", "%", "of"]
    lines = [
        [row["layer"], *(digits(row[key]) for key in ("ms", "gflop_s", "gb_s", "percent")), row["bound"] or ""]
        for row in one["layers"]
    ]
    return head, [*lines, ["total", digits(one["total_ms"]), "", "", "", ""]]


def limits_line(one: Mapping[str, Any]) -> str:
    return "probes: %(gflop_s).0f GFLOP/s, %(gb_s).1f GB/s" % one["limits"]


def terminal(record: Mapping[str, Any]) -> str:
    """What run.py prints."""
    parts = [results_table.text_table(*report_table(one)) + limits_line(one) + "\n" for one in record["rows"]]
    return results_table.machine_line(record) + "\n\n" + "\n".join(parts)


def section(record: Mapping[str, Any]) -> str:
    """The Markdown of one record."""
    text = "\n## Layers of fastalex, measured: %s\n\n%s\n\n" % (record["title"], results_table.machine_line(record))
    text += (
        "Median times by the engine's own clock; activations are part of the layer before them. Last columns: percent\n"
        "of what was probed in the same run, of matrix products (FMA) or of reading the weights (read).\n"
    )
    for one in record["rows"]:
        text += "\n" + results_table.table(*report_table(one)) + "\n" + limits_line(one) + "\n"
    return text


def best(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of ``repeats`` calls after one that is thrown away."""
    call()
    times = []
    for _ in range(repeats):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return min(times)
