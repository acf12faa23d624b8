"""Problems with a queue's configuration, its Deployment or its pods, a sentence each. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from detection_operator.readers.values import QueueReading, QueueSettings
from detection_operator.reconcile.observe import trouble
from detection_operator.reconcile.observe.fleet import Group
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Estimates
from detection_operator.spec.queue_spec import QueueSpec

MIN_SAMPLES: Final = 20
P90_Z: Final = 1.2816
P99_Z: Final = 2.3263
"""Quantiles of the normal distribution: a 99th percentile from mean and 90th, roughly."""
OUTBOX_S: Final = 900.0
"""Whatever sends callbacks polls the outbox at least every 20 s; this is after a restart, too."""
GROUPS_READINGS: Final = 6
"""Readings in a row before idle workers of a FIFO queue count as too few message groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticInput:
    """What findings are made from.

    Attributes:
        spec: The spec.
        reading: The newest reading of the queue.
        seen: The observation.
        estimates: The estimates behind the plan.
        groups: The Deployments with their pods.
        idle_worker_readings: Readings in a row of a FIFO queue with waiting messages and idle
            workers.
        problems: Findings from elsewhere: the spec, Deployments, the disruption budget.
        now_s: The present, seconds since the epoch.
    """

    spec: QueueSpec
    reading: QueueReading
    seen: Observation
    estimates: Estimates
    groups: Collection[Group]
    idle_worker_readings: int = 0
    problems: Collection[str] = ()
    now_s: float = 0.0


def findings(case: DiagnosticInput) -> tuple[str, ...]:
    """Return the findings; empty when the checks passed."""
    found = [
        *case.problems,
        *trouble.findings(case.groups, case.estimates.cold_start_s, case.now_s),
    ]
    settings = case.reading.settings
    if settings is not None:
        found += [*_queue(case, settings), *_dead_letters(case, settings)]
    return (*found, *_outbox(case))


def has_idle_workers(reading: QueueReading, seen: Observation) -> bool:
    """Say whether a FIFO queue has waiting messages while some workers are idle."""
    fifo = reading.settings is not None and reading.settings.fifo
    return fifo and seen.visible > 0 and 0 < seen.busy < seen.ready


def _queue(case: DiagnosticInput, settings: QueueSettings) -> Iterator[str]:
    estimates = case.estimates
    p99_s = estimates.service_s + (estimates.service_p90_s - estimates.service_s) * P99_Z / P90_Z
    timeout_s = settings.visibility_timeout_s
    if estimates.service_samples >= MIN_SAMPLES and p99_s > timeout_s:
        yield (
            f"VisibilityTimeout is {timeout_s} s, 1 in 100 messages takes longer: if a worker"
            " fails to extend it, the message is delivered again"
        )
    if case.idle_worker_readings >= GROUPS_READINGS:
        yield "the FIFO queue has fewer message groups than workers: more workers cannot help"
    lanes = case.seen.ready * case.spec.service_time.messages_in_parallel
    if lanes and estimates.age_s is not None:
        clear_s = estimates.work_s / lanes
        if estimates.age_s + clear_s > settings.retention_s:
            yield (
                f"messages will expire unread: the queue retains them for"
                f" {settings.retention_s} s, clearing the backlog takes longer"
            )


def _outbox(case: DiagnosticInput) -> Iterator[str]:
    """Workers send the outbox; without any, another sender shows in the outbox's counts."""
    if case.seen.replicas == 0 and case.reading.outbox_idle_s >= OUTBOX_S:
        yield (
            "callbacks in the outbox are due, but there are no workers and nothing else receives"
            " them: run detection-worker deliver (the chart's deliver.enabled), or set minReplicas"
            " to 1"
        )


def _dead_letters(case: DiagnosticInput, settings: QueueSettings) -> Iterator[str]:
    if settings.max_receive_count is None:
        yield "no redrive policy: a message that always fails is redelivered until it expires"
    elif settings.max_receive_count == 1:
        yield "maxReceiveCount is 1: one interruption moves a message to the dead-letter queue"
    if case.reading.dead_letter_error is not None:
        yield f"the dead-letter queue cannot be read: {case.reading.dead_letter_error}"
    kept_s = case.reading.dead_letter_retention_s
    if kept_s is not None and kept_s <= settings.retention_s:
        yield (
            f"the dead-letter queue retains messages for {kept_s} s, the queue for"
            f" {settings.retention_s} s: retention counts from the first send, so old messages"
            " expire as soon as they are moved"
        )
