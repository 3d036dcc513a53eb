"""A process that runs one engine, or makes the files of one conversion.

``run.py measure.worker serve SPEC`` answers one JSON object a line on stdin with one on stdout, and sleeps in between;
``cold SPEC`` measures its own start and first result; ``prepare SPEC`` writes files; ``reference SPEC`` writes the
logits of fastalex's naive backend and counts zeros; ``layers SPEC`` measures fastalex layer by layer.

SPEC is a JSON object: variant, shape (of an image), folder (of the files), threads, cpus (to pin to), batches, and
engine, conversion, path or started where the task needs it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Dict, Iterable, List, Mapping, Sequence

MARK = time.monotonic()


def serve(spec: Mapping[str, Any], lines: Iterable[str], log: Any) -> None:
    """Answer commands until the input ends; a command that fails is answered with its error."""
    from benchmarks.measure import timing
    from benchmarks.measure.engines import ENGINES

    engine = ENGINES[spec["engine"]]
    net = images = None
    for line in lines:
        command = json.loads(line)
        try:
            if command["do"] == "load":
                images = timing.random_images(spec["shape"], command["batch"])
                net, answer = load(net or engine.make(spec, **engine.options), images, command)
                answer["numeric_class"] = numeric_class(engine, net)
                if hasattr(net, "steps"):
                    answer["steps"] = net.steps(command["batch"])
            else:
                answer = {"times_ms": burst(net.run, images, command["calls"])}
        except Exception as error:  # noqa: BLE001  # any exception of a peer becomes its result
            answer = {"error": one_line(error)}
        log(answer)


def load(net: Any, images: Any, command: Mapping[str, Any]) -> Any:
    """Load for a batch, warm up, and keep the first, second and last row of the result."""
    import numpy as np

    start = time.perf_counter()
    net.load(len(images))
    net.run(images)
    loaded = time.perf_counter()
    result = np.asarray(net.run(images))
    call = time.perf_counter() - loaded
    np.save(command["path"], result[[0, min(1, len(images) - 1), -1]])
    return net, {"load_ms": (loaded - start) * 1e3, "call_ms": call * 1e3}


def burst(run: Any, images: Any, calls: int) -> Any:
    """Times of ``calls`` calls in ms; a first call, which warms caches and threads, is discarded."""
    run(images)
    times = []
    for _ in range(calls):
        before = time.perf_counter()
        run(images)
        times.append((time.perf_counter() - before) * 1e3)
    return times


def numeric_class(engine: Any, net: Any) -> str:
    return net.numeric_class() if hasattr(net, "numeric_class") else engine.numeric_class


def cold(spec: Mapping[str, Any]) -> Dict[str, Any]:
    """Start to first result in ms, in parts.

    What PyTorch takes from fastalex, the definition of the network, is imported outside the marks, and so is what has
    been there in every committed record: the figures stay comparable.
    """
    import importlib.metadata  # noqa: F401
    import subprocess  # noqa: F401

    import numpy

    from benchmarks.measure import timing
    from benchmarks.measure.engines import ENGINES

    engine = ENGINES[spec["engine"]]
    # Not random: numpy.random would count toward the engine's memory.
    images = numpy.linspace(-2, 2, int(numpy.prod(spec["shape"])), dtype=numpy.float32).reshape(1, *spec["shape"])
    if engine.peer == "torch":
        import fastalex.networks.torch_reference  # noqa: F401
    marks = [time.perf_counter()]
    net = engine.make(spec, **engine.options)
    marks.append(time.perf_counter())
    net.load(1)
    marks.append(time.perf_counter())
    numpy.asarray(net.run(images))
    marks.append(time.perf_counter())
    parts = [(after - before) * 1e3 for before, after in zip(marks, marks[1:])]
    report = dict(zip(("import_ms", "load_ms", "first_run_ms"), parts))
    report["start_ms"] = (MARK - spec["started"]) * 1e3
    report["total_ms"] = sum(parts) + report["start_ms"]
    report["peak_rss_mib"] = timing.peak_rss_mib()
    return report


def prepare(spec: Mapping[str, Any]) -> Dict[str, Any]:
    """Write the files of ``spec["conversion"]``."""
    from benchmarks.measure import timing
    from benchmarks.measure.conversions import CONVERSIONS

    CONVERSIONS[spec["conversion"]](dict(spec, images=timing.random_images(spec["shape"], 1)))
    return {}


def reference(spec: Mapping[str, Any]) -> Dict[str, Any]:
    """Logits of the first two images by the naive backend, which sums in double, to ``spec["path"]``.

    :returns: the mean density of the inputs of each fully connected layer, for each of ``spec["batches"]``.
    """
    import numpy as np

    from benchmarks.measure import timing
    from benchmarks.measure.engine_files import WEIGHTS
    from fastalex import AlexNet

    net = AlexNet(spec["variant"], weights=os.path.join(spec["folder"], WEIGHTS), device="naive")
    images = timing.random_images(spec["shape"], 3)[:2]
    np.save(spec["path"], np.concatenate([net(images[:1]), net(images[1:])]))
    return {"density": densities(spec)}


def densities(spec: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Count the zeros in fp32, with the engine of the CPU, which is faster than the naive one."""
    from benchmarks.measure import timing
    from benchmarks.measure.engine_files import WEIGHTS
    from fastalex import AlexNet, density

    weights = os.path.join(spec["folder"], WEIGHTS)
    net = AlexNet(spec["variant"], weights=weights, device="cpu", threads=spec.get("threads"))
    rows = []
    for batch in spec.get("batches", ()):
        shares = density.measure(net, timing.random_images(spec["shape"], batch))
        rows.append({"variant": net.variant.name, "batch": batch, **density.means(shares)})
    return rows


def layers(spec: Mapping[str, Any]) -> Dict[str, Any]:
    """Measure the layers of fastalex (layer_times.py)."""
    from benchmarks.measure import layer_times

    return layer_times.measure(spec)


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def main(words: Sequence[str]) -> int:
    task, spec = words[0], json.loads(words[1])
    if spec["cpus"]:
        os.sched_setaffinity(0, spec["cpus"])  # before an engine starts its threads
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of an engine must not mix with the answers

    def log(answer: Mapping[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    if task == "serve":
        serve(spec, iter(sys.stdin.readline, ""), log)
    else:
        log({"cold": cold, "prepare": prepare, "reference": reference, "layers": layers}[task](spec))
    return 0
