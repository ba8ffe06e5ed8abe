"""Metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BATCH = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one engine, in a registry of their own, so that one process can hold several."""

    def __init__(self, queue_length: Callable[[], float], ready: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "tsfm_requests", "Requests for inference by HTTP status", ["status"], registry=self._registry
        )
        self.latency = Histogram(
            "tsfm_request_seconds", "Time to answer a request", buckets=LATENCY_S, registry=self._registry
        )
        self.batch_size = Histogram(
            "tsfm_batch_size", "Series in one run of the model", buckets=BATCH, registry=self._registry
        )
        queue = Gauge("tsfm_queue_length", "Requests that wait for the model", registry=self._registry)
        queue.set_function(queue_length)
        model = Gauge("tsfm_model_ready", "1 when the model answers", registry=self._registry)
        model.set_function(ready)
        self.info = Info("tsfm", "What is served", registry=self._registry)
        ProcessCollector(namespace="tsfm", registry=self._registry)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)
