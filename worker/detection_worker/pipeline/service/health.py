"""State, health and gauges of a running pipeline."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from detection_contract.results import iso_of
from detection_worker.metrics import Metrics
from detection_worker.pipeline.files.handovers import Inference
from detection_worker.pipeline.messages.acks import AckWriter
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.poller import Poller
from detection_worker.pipeline.messages.settlement import MessageCounts
from detection_worker.pipeline.messages.visibility_extender import VisibilityExtender
from detection_worker.pipeline.stages.breaker import CircuitBreaker
from detection_worker.pipeline.stages.handovers import Fetched
from detection_worker.pipeline.stages.stage import Stage

SLACK_S = 60.0
"""A loaded node delays everything; a restart is worse than a late answer."""
LONGEST_POLL_S = 120.0
"""A long poll of 20 s, its read timeout and the pause after an error, twice."""
STUCK_S = 900.0
"""A stage that works on one item for longer is stuck: no limit of one file allows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineHealth:
    """Looks at the parts of a pipeline; changes nothing but gauges.

    Attributes:
        in_flight: The messages in flight.
        poller: The pollers.
        breaker: Holds them back while downloads or destinations fail for every message.
        extender: The visibility extender.
        acks: The acknowledgements.
        inference: The device's stage.
        stages: The other stages.
        counts: Counts so far.
        metrics: Gauges to refresh.
        stall_s: Seconds without progress after which work counts as hung.
        wall_s: Clock in Unix seconds.
    """

    in_flight: InFlight
    poller: Poller
    breaker: CircuitBreaker
    extender: VisibilityExtender
    acks: AckWriter
    inference: Inference[Fetched]
    stages: Sequence[Stage[Any, Any]]
    counts: MessageCounts
    metrics: Metrics
    stall_s: float
    wall_s: Callable[[], float] = time.time

    def state(self) -> dict[str, object]:
        """Return what the operator wants to know of this worker."""
        # First: messages that come in before the drain are then among those that are counted.
        draining = self.poller.paused
        load = self.in_flight.load()
        busy = load.messages > 0
        patience_s = load.progress_s + self.stall_s - time.monotonic()
        return {
            "busy": busy,
            "since": iso_of(load.changed_s),
            # A hung worker must not look busy for ever: its mark expires without progress. How
            # long it still holds is monotonic, so that no jump of the wall clock ends it.
            "busy_expires_at": iso_of(self.wall_s() + patience_s) if busy else None,
            "in_flight": load.messages,
            "held_seconds": round(load.held_s, 3),
            "draining": draining,
            "drained": draining and not busy and self.poller.polling == 0,
            "polling": self.poller.polling,
            "service_seconds": {k.value: round(s, 4) for k, s in load.service_s.items()},
            "sustainable_messages_per_second": {
                k.value: round(1 / max(s, 1e-6), 3) for k, s in load.service_s.items()
            },
            "served": {k.value: asdict(s) for k, s in load.served.items()},
            "received": self.poller.received,
            "received_late": self.poller.received_late,
            "received_message_age_s": self.poller.received_age_s,
            "stages": {n: {"waiting": w, "busy": b} for n, w, b in self._loads()},
            "statistics": self._statistics(),
            "last_error": self.poller.error or self.breaker.reason,
        }

    def liveness(self) -> dict[str, bool]:
        """Return named signs of life; a False one means that only a restart helps."""
        now_s = time.monotonic()
        return {
            "polling": self.poller.idle_s() < LONGEST_POLL_S,
            "leases": now_s - self.extender.ticked_s < SLACK_S,
            "acknowledging": self.acks.alive,
            "inference": now_s - self.inference.alive_s < self.stall_s + SLACK_S,
            **{s.name: s.oldest_work_s() < STUCK_S for s in self.stages},
        }

    def readiness(self) -> dict[str, bool | str]:
        """Return named conditions for work: True, or the reason why not."""
        paused = self.breaker.reasons
        checks: dict[str, bool | str | None] = {
            "models and queue": self.poller.trouble or True,
            "downloads": paused.get("downloads", True),
            # Not every worker has destinations.
            "results": paused.get("results"),
            "notifications": paused.get("notifications"),
        }
        return {name: found for name, found in checks.items() if found is not None}

    def refresh(self) -> None:
        """Bring the gauges up to date."""
        m = self.metrics
        load = self.in_flight.load()
        m.in_flight.set(load.messages)
        m.held_seconds.set(load.held_s)
        m.draining.set(self.poller.paused)
        m.last_poll_age.set(time.monotonic() - self.poller.answered_s)
        for name, waiting, busy in self._loads():
            m.stage_waiting.labels(name).set(waiting)
            m.stage_busy.labels(name).set(busy)

    def _loads(self) -> list[tuple[str, int, int]]:
        others = [(s.name, s.waiting, s.busy) for s in self.stages]
        return [*others, ("inference", self.inference.waiting, self.inference.busy)]

    def _statistics(self) -> dict[str, object]:
        s = self.counts.snapshot()
        return {
            "processed": s.processed,
            "failed": s.failed,
            "retried": s.retried,
            "runtime_s": round(s.runtime_s, 1),
            "rate_per_s": round(s.rate_per_s, 3),
        }
