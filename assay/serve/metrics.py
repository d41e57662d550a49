"""Prometheus metrics of one server."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, exposition

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counts what a server does, in a registry of its own.

    Args:
        waiting: Called for the items that wait now.
        stalled: Called for the seconds since the oldest batch that is being scored began.
    """

    def __init__(self, waiting: Callable[[], float], stalled: Callable[[], float]):
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "assay_requests", "Requests answered.", ("path", "status"), registry=own
        )
        self.seconds = Histogram(
            "assay_request_seconds",
            "Seconds of a request in all.",
            ("path",),
            registry=own,
            buckets=SECONDS,
        )
        self.items = Counter("assay_items", "Items answered, by status.", ("status",), registry=own)
        self.batch_items = Histogram(
            "assay_batch_items", "Items of a batch.", registry=own, buckets=SIZES
        )
        self.batch_seconds = Histogram(
            "assay_batch_seconds", "Seconds that a batch was scored.", registry=own, buckets=SECONDS
        )
        self.active = Gauge("assay_requests_active", "Requests under way.", registry=own)
        self.about = Info("assay_reward", "What is served.", registry=own)
        queue = Gauge("assay_queue_items", "Items that wait to be scored.", registry=own)
        queue.set_function(waiting)
        oldest = Gauge(
            "assay_batch_running_seconds", "Age of the oldest running batch.", registry=own
        )
        oldest.set_function(stalled)

    def batch(self, items: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_items.observe(items)
        self.batch_seconds.observe(seconds)

    def written(self, accept: str) -> tuple[bytes, str]:
        """The metrics as a scraper wants them.

        Args:
            accept: The request's Accept header.

        Returns:
            (the text, its content type).
        """
        write, kind = exposition.choose_encoder(accept)
        return write(self.registry), kind
