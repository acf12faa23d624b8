"""The outbox of one process: its queue, what is known of hosts, and the threads that send."""

from dataclasses import replace
from typing import Final

import boto3

from detection_tracing.port import Tracing
from detection_worker.callback.base import CallbackClient
from detection_worker.callback.client import HttpCallbackClient
from detection_worker.metrics import OutboxMetrics
from detection_worker.outbox.box import SqsOutbox
from detection_worker.outbox.gate import GatedCallbacks, HostGate
from detection_worker.outbox.handler import EntryHandler
from detection_worker.outbox.queue import OutboxQueue
from detection_worker.outbox.sender import OutboxSender, SenderRules
from detection_worker.outbox.stored import StoredBodies
from detection_worker.settings import CallbackSettings, Settings

SILENCE_S: Final = 120.0
"""A long poll of 20 s, its read timeout and the pause after an error, twice."""


class OutboxService:
    """Makes the parts of the outbox and holds them together; connects to nothing yet.

    Args:
        session: Session from ``aws_session.make_session``.
        settings: The process's; ``outbox_url`` must be set.
        metrics: Series to report to.
        rules: How the outbox is sent.
        tracing: As for ``EntryHandler``.

    Attributes:
        queue: The outbox queue.
        box: Takes callbacks that failed for now.
        handler: Does what is to be done with them.
        sender: Sends them.

    Raises:
        QueueError: The outbox's URL is not a URL.
    """

    def __init__(
        self,
        session: boto3.Session,
        settings: Settings,
        metrics: OutboxMetrics,
        rules: SenderRules,
        *,
        tracing: Tracing | None = None,
    ) -> None:
        url = settings.results.outbox_url or ""
        self.queue = OutboxQueue(session, settings.aws, url, wait_time_s=rules.wait_s)
        self.box = SqsOutbox(self.queue, metrics)
        self._gate = HostGate(metrics)
        self._bodies = StoredBodies(
            session, settings.aws, bucket_owner=settings.results.results_bucket_owner
        )
        self._client = HttpCallbackClient(_single(settings.callback))
        gated = self.gated(self._client, threads=rules.threads)
        self.handler = EntryHandler(self.queue, gated, self._bodies, metrics, tracing=tracing)
        self.sender = OutboxSender(self.queue, self.handler, rules)

    def gated(self, client: CallbackClient, *, threads: int) -> GatedCallbacks:
        """Return a client that leaves out hosts that take nothing.

        Args:
            client: Makes the attempts.
            threads: How many threads use it.
        """
        return GatedCallbacks(client, self._gate, threads=threads)

    def stop(self, *, timeout_s: float) -> bool:
        """Stop sending and close all connections; see ``OutboxSender.stop``."""
        stopped = self.sender.stop(timeout_s=timeout_s)
        if not self.sender.held:
            self.close()
        return stopped

    def close(self) -> None:
        """Close all connections; the sender must have stopped."""
        self._client.close()
        self._bodies.close()
        self.queue.close()

    def state(self) -> dict[str, object]:
        """Return what /state shows of it."""
        return {
            "queue_url": self.queue.url,
            "sending": not self.sender.paused,
            "in_flight": self.sender.held,
            **self._gate.state(),
            "last_error": self.sender.error,
        }

    def is_alive(self) -> bool:
        """Return whether the sender shows signs of life."""
        return self.sender.idle_s() < SILENCE_S


def _single(settings: CallbackSettings) -> CallbackSettings:
    """Return the settings of attempts of one request each: the schedule is the retry."""
    longest_s = settings.connect_timeout_s + settings.read_timeout_s
    return replace(settings, attempts=1, max_elapsed_s=longest_s)
