"""Every adapter that a pipeline works with, made of the settings."""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from detection_contract.media_types import MediaKind
from detection_worker.aws_session import make_session
from detection_worker.callback.client import HttpCallbackClient
from detection_worker.detectors.base import Detector
from detection_worker.media.values import Decoder
from detection_worker.metrics import Metrics
from detection_worker.outbox.queue import check_outbox_url
from detection_worker.pipeline.files.handovers import MakeInference
from detection_worker.pipeline.service.dependencies import PipelineDependencies, delivery_threads
from detection_worker.pipeline.service.destinations import make_destinations
from detection_worker.pipeline.service.outbox import make_outbox
from detection_worker.pipeline.service.pipeline import Pipeline
from detection_worker.pipeline.service.startup import wait_for_queue
from detection_worker.pipeline.stages.handovers import Fetched
from detection_worker.results.checks import check_destinations
from detection_worker.settings import ConsumerSettings, Settings
from detection_worker.sources.base import MessageSource, QueueError, QueueFacts
from detection_worker.sources.sqs import SqsSource
from detection_worker.sources.traced import TracedSource
from detection_worker.storage.s3 import S3Storage
from detection_worker.tracing import flush, tracing_here

log = logging.getLogger(__name__)


class Adapters:
    """The outside world of one worker; nothing is called yet.

    Args:
        settings: The process's.
        consumer: The consumer's.
        metrics: Series of the outbox.

    Attributes:
        tracing: Exports traces, if the environment asks for them; else None.
        source: The queue.
        destinations: Where results go besides the callback.
        outbox: The outbox; None without one.

    Raises:
        UsageError: A destination or the outbox is one of the queues; traces cannot be exported.
        QueueError: A URL of a queue is none.
    """

    def __init__(self, settings: Settings, consumer: ConsumerSettings, metrics: Metrics) -> None:
        self.tracing = tracing_here()
        session = make_session(settings.aws)
        self._settings = settings
        self._consumer = consumer
        self.source: MessageSource = SqsSource(
            session, settings.aws, consumer.queue_url, wait_time_s=consumer.wait_time_s
        )
        if self.tracing is not None:
            self.source = TracedSource(self.source, self.tracing, consumer.queue_url)
        self._storage = S3Storage(
            session,
            settings.aws,
            expected_bucket_owner=settings.aws.expected_bucket_owner,
            allowed_buckets=frozenset(settings.aws.allowed_buckets),
        )
        self.destinations = make_destinations(session, settings, consumer)
        self.outbox = make_outbox(
            session, settings, consumer, metrics.outbox, tracing=self.tracing
        )
        self.check_queues(consumer.queue_url, consumer.dead_letter_queue_url)

    def check_queues(self, *others: str | None) -> None:
        """Check that no result would come back to one of the queues.

        Raises:
            UsageError: One would.
        """
        check_destinations(self._settings.results, queues=others)
        if self.outbox:
            check_outbox_url(self.outbox.queue.url, others=others)

    def reach_queue(
        self, *, stop: threading.Event, on_wait: Callable[[str], None]
    ) -> QueueFacts | None:
        """Read the queue as ``wait_for_queue``, then check what it leads back to.

        Raises:
            QueueError: It cannot be read.
            UsageError: Results or callbacks would come back as messages.
        """
        facts = wait_for_queue(self.source, self._consumer, stop=stop, on_wait=on_wait)
        if facts is not None:
            self.check_queues(facts.dead_letter_queue_url, self.outbox_dead_letters())
        return facts

    def outbox_dead_letters(self) -> str | None:
        """Return the URL of the outbox's dead-letter queue; None if there is none, or for now."""
        try:
            return self.outbox.queue.dead_letter_url() if self.outbox else None
        except QueueError as exc:
            log.warning("the outbox cannot be read: %s", exc)
            return None

    def callback_client(self) -> HttpCallbackClient:
        """Return a new client, which must be closed."""
        threads = delivery_threads(
            self._settings.results, callback_workers=self._consumer.callback_workers
        )
        return HttpCallbackClient(self._settings.callback, connections=threads)

    def dependencies(
        self,
        *,
        facts: QueueFacts,
        decoder: Decoder,
        decoders: int,
        detectors: Mapping[MediaKind, Detector],
        callbacks: HttpCallbackClient,
        inference: MakeInference[Fetched] | None = None,
        device_share: float = 1.0,
    ) -> PipelineDependencies:
        """Return what a pipeline stands on; the arguments as in ``PipelineDependencies``."""
        outbox = self.outbox
        return PipelineDependencies(
            source=self.source,
            facts=facts,
            storage=self._storage,
            decoder=decoder,
            decoders=decoders,
            detectors=detectors,
            callbacks=(
                outbox.gated(callbacks, threads=self._consumer.callback_workers)
                if outbox
                else callbacks
            ),
            store=self.destinations.store,
            pages=self.destinations.store,
            notifier=self.destinations.notifier,
            outbox=outbox.box if outbox else None,
            entries=self.destinations.entries,
            inference=inference,
            device_share=device_share,
            tracing=self.tracing,
        )

    def stop(self, pipeline: Pipeline, *, grace_s: float, hurry: Callable[[], bool]) -> bool:
        """Drain a pipeline and the outbox beside it; see ``Pipeline.stop``."""
        until_s = time.monotonic() + grace_s
        if self.outbox:
            self.outbox.sender.request_stop()
        clean = pipeline.stop(grace_s=grace_s, hurry=hurry)
        left_s = 0.0 if hurry() else max(0.0, until_s - time.monotonic())
        clean = (self.outbox is None or self.outbox.stop(timeout_s=left_s)) and clean
        flush(self.tracing, until_s=time.monotonic() if hurry() else until_s)
        return clean
