"""Every Prometheus series that the worker exports, named in one place.

Units end the names; labels are few and bounded: never a message id, key, URL or host. Request ids
travel as exemplars only.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from detection_contract.process.emf import Chosen
from detection_tracing.port import Span

STAGES: Final = ("download", "decode", "inference", "callback")
SECONDS_BUCKETS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
OUTCOMES: Final = ("deleted", "dead_lettered", "retried", "released", "kept", "lost")
"""How messages are settled."""
RARE_ENTRIES: Final = ("dead_lettered", "kept", "refused")
"""What alerts look for. Exported from the start, as ``OUTCOMES`` are: Prometheus sees no increase
in a series that begins with 1, and a worker that starts for one message may never count to 2."""
SCORE_BUCKETS: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Narrow at the ends, where most scores are; none is above 1."""
EMF: Final = (
    Chosen("detection_worker_messages_total", ("outcome",)),
    Chosen("detection_worker_jobs_total", ("verdict",)),
    Chosen("detection_worker_failures_total"),
    Chosen("detection_worker_job_seconds"),
    Chosen("detection_worker_queue_wait_seconds"),
    Chosen("detection_worker_downloaded_bytes_total"),
    Chosen("detection_worker_callbacks_total"),
    Chosen("detection_worker_callbacks_deferred_total"),
    Chosen("detection_worker_callback_circuits_open"),
    Chosen("detection_worker_results_total"),
    Chosen("detection_worker_batch_units"),
    Chosen("detection_worker_leases_lost_total"),
    Chosen("detection_worker_last_poll_age_seconds"),
    Chosen("detection_worker_in_flight"),
    Chosen("detection_worker_ready"),
    Chosen("detection_worker_draining"),
)
"""What CloudWatch gets: at most 30 metrics a queue with their dimensions, because each costs."""
EXEMPLAR_CHARS: Final = 100
"""OpenMetrics allows 128 characters for names and values of one exemplar together."""
TRACE_CHARS: Final = 40
"""``trace_id`` and its digits."""


class Metrics:
    """The worker's series in a registry of their own, so that two workers fit in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._messages()
        self._cache()
        self._stages()
        self._queue()
        self._capacity()

    def _messages(self) -> None:
        self.messages = Counter(
            "detection_worker_messages",
            "Settled messages, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in OUTCOMES:
            self.messages.labels(outcome)
        self.jobs = Counter(
            "detection_worker_jobs",
            "Finished detections, by media kind, label and verdict.",
            ["kind", "label", "verdict"],
            registry=self.registry,
        )
        self.scores = Histogram(
            "detection_worker_score",
            "Scores, P(fake), that each model gave to files; none from a cache.",
            ["kind", "model", "version"],
            buckets=SCORE_BUCKETS,
            registry=self.registry,
        )
        self.failures = Counter(
            "detection_worker_failures",
            "Failed jobs, by coded reason.",
            ["code"],
            registry=self.registry,
        )
        self.job_seconds = Histogram(
            "detection_worker_job_seconds",
            "From the receive of the message to the end of the job.",
            ["kind"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.downloaded_bytes = Counter(
            "detection_worker_downloaded_bytes",
            "Bytes of media fetched from S3.",
            registry=self.registry,
        )
        self.outbox = OutboxMetrics(self.registry)
        self.callbacks = self.outbox.callbacks
        self.results = Counter(
            "detection_worker_results",
            "Results at the store and at destinations, by service and how that ended.",
            ["destination", "result"],
            registry=self.registry,
        )

    def _cache(self) -> None:
        self.cache_lookups = Counter(
            "detection_worker_cache_lookups",
            "Lookups in the cache of scores: hit or memory (no inference), miss, stale (the "
            "object changed), damaged, error.",
            ["result"],
            registry=self.registry,
        )
        self.cache_writes = Counter(
            "detection_worker_cache_writes",
            "Writes to the cache of scores: ok, lost_race (another worker was faster), unfit, "
            "denied, error.",
            ["result"],
            registry=self.registry,
        )

    def _stages(self) -> None:
        self.stage_seconds = Histogram(
            "detection_worker_stage_seconds",
            "Time that one job spends being worked on in a stage.",
            ["stage"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.stage_waiting = Gauge(
            "detection_worker_stage_waiting",
            "Jobs that wait in front of a stage.",
            ["stage"],
            registry=self.registry,
        )
        self.stage_busy = Gauge(
            "detection_worker_stage_busy",
            "Jobs being worked on in a stage.",
            ["stage"],
            registry=self.registry,
        )
        self.batch_units = Histogram(
            "detection_worker_batch_units",
            "Units in one forward pass.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=self.registry,
        )

    def _queue(self) -> None:
        self.sqs_requests = Counter(
            "detection_worker_sqs_requests",
            "Calls to SQS, by operation and result.",
            ["operation", "result"],
            registry=self.registry,
        )
        self.leases_lost = Counter(
            "detection_worker_leases_lost",
            "Messages whose visibility timeout ran out while in flight here.",
            registry=self.registry,
        )
        self.redeliveries = Counter(
            "detection_worker_redeliveries_adopted",
            "Deliveries of a message that was in flight or just finished here.",
            registry=self.registry,
        )
        self.last_poll_age = Gauge(
            "detection_worker_last_poll_age_seconds",
            "Seconds since SQS last answered a poll.",
            registry=self.registry,
        )
        self.queue_wait = Histogram(
            "detection_worker_queue_wait_seconds",
            "From the sending of a message to its first receive.",
            buckets=(1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 21_600, 86_400),
            registry=self.registry,
        )

    def _capacity(self) -> None:
        self.in_flight = Gauge(
            "detection_worker_in_flight",
            "Messages in flight here.",
            registry=self.registry,
        )
        self.held_seconds = Gauge(
            "detection_worker_held_work_seconds",
            "Predicted seconds of work in flight: the time to drain.",
            registry=self.registry,
        )
        self.service_seconds = Gauge(
            "detection_worker_service_seconds",
            "Smoothed seconds of the busiest stage that one message costs, by media kind.",
            ["kind"],
            registry=self.registry,
        )
        self.sustainable_rate = Gauge(
            "detection_worker_sustainable_messages_per_second",
            "Messages of a kind that this worker can finish each second.",
            ["kind"],
            registry=self.registry,
        )
        self.draining = Gauge(
            "detection_worker_draining",
            "1 while the worker receives nothing more.",
            registry=self.registry,
        )
        self.ready = Gauge(
            "detection_worker_ready",
            "1 while models are loaded and the queue answers.",
            registry=self.registry,
        )
        self.feeder_restarts = Counter(
            "detection_worker_feeder_restarts",
            "Feeders that ended by themselves and were started again.",
            registry=self.registry,
        )
        self.model = Gauge(
            "detection_worker_model_info",
            "1 for each loaded model.",
            ["kind", "name", "version", "grade"],
            registry=self.registry,
        )


class OutboxMetrics:
    """The series of callbacks that a worker and ``deliver`` have in common.

    Args:
        registry: Where they are.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.callbacks = Counter(
            "detection_worker_callbacks",
            "Callbacks, by how they ended.",
            ["result"],
            registry=registry,
        )
        self.entries = Counter(
            "detection_worker_outbox_entries",
            "What became of callbacks in the outbox: entries put in, and after each receive.",
            ["result"],
            registry=registry,
        )
        for result in RARE_ENTRIES:
            self.entries.labels(result)
        self.deferred = Counter(
            "detection_worker_callbacks_deferred",
            "Callbacks that were not tried because their host takes none, by reason.",
            ["reason"],
            registry=registry,
        )
        self.circuits_open = Gauge(
            "detection_worker_callback_circuits_open",
            "Hosts that get no callbacks now because attempts failed in a row.",
            registry=registry,
        )


def exemplar(request_id: str, trace: Span | None = None) -> dict[str, str]:
    """Return the exemplar that ties one observation to its request, and to its recorded trace."""
    found = trace_exemplar(trace)
    if found is None:
        return {"request_id": request_id[:EXEMPLAR_CHARS]}
    return {**found, "request_id": request_id[: EXEMPLAR_CHARS - TRACE_CHARS]}


def trace_exemplar(trace: Span | None) -> dict[str, str] | None:
    """Return the exemplar that leads to a recorded trace; None if there is none."""
    return None if trace is None or not trace.sampled else {"trace_id": trace.trace_id}
