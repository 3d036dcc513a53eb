"""A process that measures one engine on one GPU: ``run.py measure.gpu_worker TASK SPEC`` prints one JSON object.

TASK is ``measure`` (one engine, all batches) or ``peaks``. SPEC is a JSON object: variant, shape (of an image), folder
(of the files), path (of the naive backend's logits), device (fastalex's name of the GPU), torch_device, l2_bytes,
engine, batches, quick.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from benchmarks.measure import gpu_clock, layer_times, timing
from benchmarks.measure.agreement import LARGEST_ERROR
from benchmarks.measure.gpu_engines import ENGINES, Engine
from benchmarks.numeric_classes import BITS16

LIMITS_S = (1.0, 20)  # seconds and least runs of each measurement
QUICK = (0.05, 3)
LAYER_CALLS = 50


def measure(spec: Mapping[str, Any]) -> Dict[str, Any]:
    """Measure a row for each batch: correctness first; a wrong result is not timed.

    A batch for which there is too little memory has a row that says so, and the next one is tried.
    """
    engine = ENGINES[spec["engine"]]
    net = engine.make(spec, **engine.options)
    reference = np.load(spec["path"])
    rows: List[Dict[str, Any]] = []
    for batch in spec["batches"]:
        try:
            rows.append(measure_batch(engine, net, spec, reference, batch))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            rows.append({"batch": batch, "failed": f"out of memory: {str(error).strip().splitlines()[0][:200]}"})
    return {"rows": rows, "tuning": net.net.tuning if engine.peer == "fastalex" else None}


def measure_batch(
    engine: Engine, net: Any, spec: Mapping[str, Any], reference: np.ndarray, batch: int
) -> Dict[str, Any]:
    images = timing.random_images(spec["shape"], batch)
    clock = make_clock(spec, net)
    net.load(images, clock.stream)
    net.call()
    row: Dict[str, Any] = {"batch": batch, "correctness": correctness(engine, net, spec, reference)}
    if row["correctness"]["ok"]:
        row.update(times(clock, net.call, batch, spec["quick"]))
        row["layers"] = layers(net, images, spec["quick"]) if engine.peer == "fastalex" else None
    return row


def is_out_of_memory(error: BaseException) -> bool:
    """fastalex raises MemoryError; PyTorch a RuntimeError, named OutOfMemoryError since 1.13."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def make_clock(spec: Mapping[str, Any], net: Any) -> Any:
    """Clock by events if PyTorch can use the GPU, otherwise the host's clock."""
    if gpu_clock.torch_reason():
        return gpu_clock.HostClock(lambda: net.result(), net.flush(spec["l2_bytes"]))
    import torch

    return gpu_clock.EventClock(torch, torch.device(spec["torch_device"]), spec["l2_bytes"])


def times(clock: Any, call: Any, batch: int, quick: bool) -> Dict[str, Any]:
    """Hot and cold times of a batch, and the latency of one call."""
    seconds, least = QUICK if quick else LIMITS_S
    row = timing.summarize(gpu_clock.measure(clock, call, seconds, least, cold=False), batch)
    row["l2_cold"] = timing.summarize(gpu_clock.measure(clock, call, seconds, least, cold=True), batch)
    row["latency_ms"] = gpu_clock.latency(clock, call, least)
    row["clock"] = clock.name
    return row


def correctness(engine: Engine, net: Any, spec: Mapping[str, Any], reference: np.ndarray) -> Dict[str, Any]:
    """The first, the second and the last image (the first again), against the naive backend, which sums in double.

    fastalex's quantized weights are compared with what they became, and what quantization changes is a figure of its
    own: max|difference| to the unquantized network over its maximum.
    """
    result = net.result()
    count = len(result)
    result = result[[0, min(1, count - 1), -1]]
    expected = reference[[0, 1 if count > 2 else 0, 0]]
    kind = engine.numeric_class
    if engine.fc_weights not in ("int8", "int4"):
        report = timing.compare(result, expected, LARGEST_ERROR[kind])
    else:
        report = timing.compare(result, kept_reference(net, spec, count), LARGEST_ERROR[BITS16])
        error = float(np.abs(result - expected).max() / np.abs(expected).max())
        report["quantisation_error"] = error
        report["ok"] = report["ok"] and error <= LARGEST_ERROR[kind]
    report["reference"] = "fastalex naive backend (double accumulation)"
    return report


def kept_reference(net: Any, spec: Mapping[str, Any], count: int) -> np.ndarray:
    """Logits of the same three images by the naive backend, with the net's own (dequantized) weights."""
    if not hasattr(net, "kept"):
        from fastalex import AlexNet

        naive = AlexNet(spec["variant"], weights=net.net.state_dict(), device="naive")
        images = timing.random_images(spec["shape"], 3)[:2]
        net.kept = np.concatenate([naive(images[:1]), naive(images[1:])])
    return net.kept[[0, 1 if count > 2 else 0, 0]]


def layers(net: Any, images: np.ndarray, quick: bool) -> Dict[str, float]:
    """Layer -> median ms, by the engine's own events; activations count to the layer before them."""
    owners = layer_times.groups(net.net.variant.layers())
    return layer_times.medians(lambda: net.net.profile(images), owners, QUICK[1] if quick else LAYER_CALLS)


def peaks(spec: Mapping[str, Any]) -> Dict[str, Any]:
    """The ceilings of the GPU and the versions of PyTorch, or why there are none."""
    reason = gpu_clock.torch_reason()
    if reason:
        return {"peaks": None, "reason": reason, "versions": {}}
    import torch

    versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return {"peaks": gpu_clock.peaks(spec["torch_device"]), "reason": "", "versions": versions}


def main(words: Sequence[str]) -> int:
    task, spec = words[0], json.loads(words[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of an engine must not precede the answer
    answers.write(json.dumps({"measure": measure, "peaks": peaks}[task](spec)) + "\n")
    answers.flush()
    return 0
