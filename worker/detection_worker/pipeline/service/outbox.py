"""The outbox beside a consumer: made of its settings, and stopped with it."""

from typing import Final

import boto3

from detection_tracing.port import Tracing
from detection_worker.metrics import OutboxMetrics
from detection_worker.outbox.queue import check_outbox_url
from detection_worker.outbox.sender import SenderRules
from detection_worker.outbox.service import OutboxService
from detection_worker.settings import ConsumerSettings, Settings

THREADS: Final = 4
"""Attempts from the outbox at once, beside the callbacks of new results: few, because they share
the interpreter with decoding and inference."""
PACE_S: Final = 0.1
"""Ten entries a poll and half a millisecond of CPU an entry: at most a twentieth of a core for
entries that are put off."""


def make_outbox(
    session: boto3.Session,
    settings: Settings,
    consumer: ConsumerSettings,
    metrics: OutboxMetrics,
    *,
    threads: int = THREADS,
    pace_s: float = PACE_S,
    tracing: Tracing | None = None,
) -> OutboxService | None:
    """Return the outbox that the settings name; None if they name none.

    Args:
        session: Session from ``aws_session.make_session``.
        settings: The process's.
        consumer: The consumer's: how long to poll.
        metrics: Series to report to.
        threads: Attempts at once.
        pace_s: As in ``SenderRules``.
        tracing: As for ``EntryHandler``.

    Raises:
        UsageError: The outbox is a FIFO queue.
        QueueError: Its URL is not a URL.
    """
    url = settings.results.outbox_url
    if url is None:
        return None
    check_outbox_url(url)
    # As for the work queue: a poll under way at SIGTERM must be answered within the grace period.
    wait_s = min(consumer.wait_time_s, int(consumer.shutdown_grace_s / 2))
    rules = SenderRules(threads=threads, wait_s=wait_s, pace_s=pace_s)
    return OutboxService(session, settings, metrics, rules, tracing=tracing)
