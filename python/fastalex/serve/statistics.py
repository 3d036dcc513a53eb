"""Triton's statistics of a model, from the metrics."""

from __future__ import annotations

from typing import Dict

from .metrics import Metrics

_ROUTES = ("infer", "classify", "embeddings")
_SUCCESS = "200"


def of_model(metrics: Metrics, name: str) -> Dict[str, float]:
    """Return what :func:`.protocol.metadata.statistics` takes, save the time of the last request."""
    requests = {True: 0.0, False: 0.0}
    samples = {"images": 0.0, "calls": 0.0, "queue_count": 0.0, "queue_s": 0.0, "total_s": 0.0}
    names = {
        "fastalex_batch_images_sum": "images",
        "fastalex_batch_images_count": "calls",
        "fastalex_queue_seconds_count": "queue_count",
        "fastalex_queue_seconds_sum": "queue_s",
        "fastalex_request_seconds_sum": "total_s",
        "fastalex_decode_seconds_total": "compute_input_s",
        "fastalex_engine_seconds_total": "compute_infer_s",
        "fastalex_encode_seconds_total": "compute_output_s",
    }
    for family in metrics.registry.collect():
        for sample in family.samples:
            labels = sample.labels
            if labels.get("model") != name or labels.get("route", _ROUTES[0]) not in _ROUTES:
                continue
            if sample.name == "fastalex_requests_total":
                requests[labels["status"] == _SUCCESS] += sample.value
            elif sample.name in names:
                key = names[sample.name]
                samples[key] = samples.get(key, 0.0) + sample.value
    return _shared(requests[True], requests[False], samples)


def _shared(good: float, bad: float, samples: Dict[str, float]) -> Dict[str, float]:
    """Add the counts; the time of all requests is shared out by number, as the metrics do not tell them apart."""
    total_s = samples.pop("total_s")
    each = total_s / (good + bad) if good + bad else 0.0
    calls = samples["calls"]
    return {
        "success_count": good,
        "success_s": each * good,
        "fail_count": bad,
        "fail_s": each * bad,
        **{f"{part}_count": calls for part in ("compute_input", "compute_infer", "compute_output")},
        **{f"{part}_s": 0.0 for part in ("compute_input", "compute_infer", "compute_output")},
        **samples,
    }
