"""What servers and models say of themselves, as JSON of the protocol and of Triton's extensions."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

from ..._version import __version__
from ..served import TensorSpec

EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics")
PLATFORM = "fastalex"


def server() -> Dict[str, Any]:
    """Describe the server."""
    return {"name": "fastalex", "version": __version__, "extensions": list(EXTENSIONS)}


def model(name: str, version: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Dict[str, Any]:
    """Describe a model."""
    return {
        "name": name,
        "versions": [version],
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in inputs],
        "outputs": [_tensor(spec) for spec in outputs],
    }


def _tensor(spec: TensorSpec) -> Dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def config(
    name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], max_batch: int, max_delay_us: int
) -> Dict[str, Any]:
    """Describe a model as Triton's model configuration, where the axis of images is left out of the dimensions.

    Its inputs are marked as optional: a request has one of them.
    """
    return {
        "name": name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "max_batch_size": max_batch,
        "input": [dict(_dims(spec), optional=True) for spec in inputs],
        "output": [_dims(spec) for spec in outputs],
        "dynamic_batching": {"preferred_batch_size": [max_batch], "max_queue_delay_microseconds": max_delay_us},
    }


def _dims(spec: TensorSpec) -> Dict[str, Any]:
    datatype = "TYPE_STRING" if spec.datatype == "BYTES" else "TYPE_" + spec.datatype
    return {"name": spec.name, "data_type": datatype, "dims": list(spec.shape[1:]) or [1]}


def statistics(name: str, version: str, counts: Mapping[str, float]) -> Dict[str, Any]:
    """Return Triton's statistics of a model.

    :param counts: ``<part>_count`` and ``<part>_s``, seconds, of the parts success, fail, queue, compute_input,
        compute_infer and compute_output; ``images``, ``calls``, and ``last_ms``, milliseconds since the epoch.
    """
    parts = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    no_batches: List[Any] = []  # the histogram of the metrics knows ranges of sizes, not each size
    return {
        "name": name,
        "version": version,
        "last_inference": int(counts["last_ms"]),
        "inference_count": int(counts["images"]),
        "execution_count": int(counts["calls"]),
        "inference_stats": {
            part: {"count": int(counts[part + "_count"]), "ns": int(1e9 * counts[part + "_s"])} for part in parts
        },
        "batch_stats": no_batches,
    }
