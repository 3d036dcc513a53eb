"""The service's metrics, in the text format of Prometheus."""

from __future__ import annotations

from typing import Callable, Optional, Sized

from ..errors import UserError

# Seconds: a call of a small network takes under a millisecond, one that waited for a full queue tens of seconds.
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ModelMetrics:
    """The instruments of one model, looked up once."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.queue_seconds = metrics.queue_seconds.labels(model)
        self.batch_images = metrics.batch_images.labels(model)
        self.decode_seconds = metrics.decode_seconds.labels(model)
        self.engine_seconds = metrics.engine_seconds.labels(model)
        self._length = metrics.queue_length.labels(model)

    def follow_queue(self, queue: Callable[[], Optional[Sized]]) -> None:
        """Ask for the length of a queue when the metrics are read; ``queue`` returns None once it is gone."""
        self._length.set_function(lambda: len(queue() or ()))


class Metrics:
    """The instruments of one server, in a registry of its own.

    :raises UserError: if prometheus-client is not installed.
    """

    def __init__(self) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError:
            raise UserError("the service needs prometheus-client: pip install 'fastalex[serve]'") from None
        self._prometheus = prometheus
        self.registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)  # resident memory, processor time, open files
        counter, gauge, histogram = prometheus.Counter, prometheus.Gauge, prometheus.Histogram

        self.requests = counter(
            "fastalex_requests", "Requests answered.", ["model", "route", "status"], registry=registry
        )
        self.latency = histogram(
            "fastalex_request_seconds",
            "From the request's head to the answer.",
            ["model", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = gauge("fastalex_requests_in_flight", "Requests without an answer yet.", registry=registry)
        self.queue_length = gauge(
            "fastalex_queue_images", "Images accepted, not computed.", ["model"], registry=registry
        )
        self.queue_seconds = histogram(
            "fastalex_queue_seconds",
            "Wait of a request for the engine.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_images = histogram(
            "fastalex_batch_images", "Images in a call of the engine.", ["model"], buckets=_IMAGES, registry=registry
        )
        self.decode_seconds = counter(
            "fastalex_decode_seconds", "Processor time of decoding and preprocessing.", ["model"], registry=registry
        )
        self.engine_seconds = counter(
            "fastalex_engine_seconds", "In calls of the engine.", ["model"], registry=registry
        )
        self.encode_seconds = counter("fastalex_encode_seconds", "Writing of answers.", ["model"], registry=registry)

    def of_model(self, name: str) -> ModelMetrics:
        """Return the instruments of the model ``name``."""
        return ModelMetrics(self, name)

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def render(self) -> bytes:
        """Return all values in Prometheus' text format."""
        text: bytes = self._prometheus.generate_latest(self.registry)
        return text
