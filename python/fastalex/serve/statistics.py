"""Triton's statistics of a model, from the metrics and the state of the server."""

from __future__ import annotations

from typing import Dict

from .lifecycle import State
from .metrics import Metrics

_SAMPLES = {
    "fastalex_batch_images_sum": "images",
    "fastalex_batch_images_count": "calls",
    "fastalex_queue_seconds_count": "queue_count",
    "fastalex_queue_seconds_sum": "queue_s",
    "fastalex_decode_seconds_total": "compute_input_s",
    "fastalex_engine_seconds_total": "compute_infer_s",
    "fastalex_encode_seconds_total": "compute_output_s",
}


def of_model(metrics: Metrics, state: State, name: str) -> Dict[str, float]:
    """Return what :func:`.protocol.metadata.statistics` takes."""
    counts = dict.fromkeys(_SAMPLES.values(), 0.0)
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name in _SAMPLES and sample.labels.get("model") == name:
                counts[_SAMPLES[sample.name]] = sample.value
    for part in ("compute_input", "compute_infer", "compute_output"):
        counts[part + "_count"] = counts["calls"]
    for part, good in (("success", True), ("fail", False)):
        counts[part + "_count"], counts[part + "_s"] = state.tallies.get((name, good), (0, 0.0))
    counts["last_ms"] = 1e3 * state.last.get(name, 0.0)
    return counts
