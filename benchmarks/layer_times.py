"""Time of each layer inside fastalex on the CPU.

A layer's time is the difference between two nets: the network up to this layer, and up to the one before. Activations
are fused into the layer before them, and are counted there. So that a difference means what it says:

- Before each timed call the whole network runs once, so a layer finds in the caches what it finds in steady state, and
  the weights of a big layer do not look as if they lay in the cache (a net of that layer alone would keep them there).
- A net that ends in a map gets an average pool to 1 x 1 behind it, so that writing the map out as an array of its own,
  which the whole network never does, is in no figure. The read of the map by that pool remains: it is in the figure of
  the layer that makes the map, and is taken off again from the next.
- The nets take turns in shuffled rounds, and the fastest call of each counts, for what disturbs a call only adds to
  it. A small layer is still the difference of two larger times: a few percent of the whole is its uncertainty, and on
  a busy machine it may come out negative. It is shown as it came.

It runs in a process of its own (``worker.py layers SPEC``; SPEC has fc_weights, batch and quick as well).

The limits are probes, not data sheets: the arithmetic is the best of several matrix products by numpy's BLAS, the
bandwidth the best of fastalex's own fp32 matrix-vector product over 151 MB of weights and of BLAS dot products over
256 MB, one slice for each thread. A convolution by fewer products (Winograd) may exceed 100 %.
"""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

import results_table
import timing

ROUNDS = {1: 40}  # by batch
ROUNDS_LARGE = 10
QUICK_ROUNDS = 4
PROBE_REPEATS = 7
POOL_BEHIND = "adaptive_avgpool name=fastalex_end out=1\n"
FUSED = ("relu", "tanh", "dropout")


def prefixes(layers: Sequence[Any]) -> List[Tuple[Any, int]]:
    """Each layer that is no activation, with the number of layers of the net that ends with it and what is fused."""
    found: List[Tuple[Any, int]] = []
    for index, layer in enumerate(layers):
        if layer.op in FUSED and found:
            found[-1] = (found[-1][0], index + 1)
        elif layer.op not in FUSED:
            found.append((layer, index + 1))
    return found


def build(row: Any, arrays: Mapping[str, np.ndarray], count: int, spec: Mapping[str, Any]) -> Callable[[Any], Any]:
    """The net of the first ``count`` layers of ``row``."""
    from fastalex import _core
    from fastalex.layers import layer_table
    from fastalex.model import FC_STORAGES

    layers = row.layers()[:count]
    table = layer_table(layers)
    if len(layers[-1].out_shape) == 3:
        table += POOL_BEHIND
    params = [arrays[name] for layer in layers for name in layer.param_shapes]
    shape = [row.channels, row.input_size, row.input_size]
    net = _core.Net(table, shape, params, "cpu", FC_STORAGES.index(spec["fc_weights"]), spec["threads"])
    return lambda images: net.run(images, False)


def measure(spec: Mapping[str, Any]) -> Dict[str, Any]:
    """The layers of ``spec["variant"]`` at one batch, and the probes, in ms, GFLOP/s and GB/s."""
    from fastalex import variants
    from fastalex.weights import initial

    row = variants.get(spec["variant"])
    arrays = initial.random_weights(row)
    ends = prefixes(row.layers())
    nets = [build(row, arrays, count, spec) for _, count in ends]
    images = timing.random_images((row.channels, row.input_size, row.input_size), spec["batch"])
    rounds = QUICK_ROUNDS if spec["quick"] else ROUNDS.get(spec["batch"], ROUNDS_LARGE)
    fastest = turns(nets, images, rounds)
    limits = probes(spec["threads"], spec["quick"])
    report = table_rows([layer for layer, _ in ends], fastest, spec, limits)
    return {"total_ms": fastest[-1], "limits": limits, "layers": report}


def turns(
    nets: Sequence[Callable[[Any], Any]],
    images: Any,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> List[float]:
    """Fastest ms of each net; the last, which is the whole network, runs untimed before each timed call."""
    shuffle = random.Random(2012)
    times: List[List[float]] = [[] for _ in nets]
    for index in range(rounds + 1):
        order = list(range(len(nets)))
        shuffle.shuffle(order)
        for one in order:
            nets[-1](images)
            before = clock()
            nets[one](images)
            after = clock()
            if index:  # the first round warms up
                times[one].append((after - before) * 1e3)
    return [min(one) for one in times]


def table_rows(
    layers: Sequence[Any], fastest: Sequence[float], spec: Mapping[str, Any], limits: Mapping[str, float]
) -> List[Dict[str, Any]]:
    """ms, GFLOP/s and the share of the limit that binds: arithmetic, or reading the weights."""
    size = {"fp32": 4, "fp16": 2, "int8": 1}[spec["fc_weights"]]
    rows = []
    for layer, ms, before in zip(layers, fastest, [0.0, *fastest]):
        own = ms - before
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
        "A layer's time is the network up to it minus the network up to the one before, each after an untimed run\n"
        "of the whole; activations are part of the layer before. Last columns: percent of what was probed, of matrix\n"
        "products (FMA) or of reading the weights (read). `benchmarks/layer_times.py` says how, and how sure it is.\n"
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
