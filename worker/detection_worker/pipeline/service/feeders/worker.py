"""The main process of a worker with feeders: it owns the device and answers for all of them."""

import logging
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from detection_contract import user_messages
from detection_contract.environment import EXIT_FAILED, EXIT_OK
from detection_worker.cores import usable_cores
from detection_worker.memory import at_work
from detection_worker.metrics import Metrics
from detection_worker.pipeline.device.server import DeviceServer
from detection_worker.pipeline.files.downloads import sweep
from detection_worker.pipeline.messages.settlement import Statistics
from detection_worker.pipeline.service.adapters import Adapters
from detection_worker.pipeline.service.consumer import SWITCH_INTERVAL_S
from detection_worker.pipeline.service.control import Stoppable, asking_to_stop, shown_outside
from detection_worker.pipeline.service.feeders.fleet import Fleet
from detection_worker.pipeline.service.feeders.orders import Begin, orders_of
from detection_worker.pipeline.service.feeders.steering import FleetSteering
from detection_worker.pipeline.service.pipeline import LAST_CLOSE_S
from detection_worker.pipeline.service.reaching import out_of_reach
from detection_worker.pipeline.service.startup import load_models
from detection_worker.settings import ConsumerSettings, Settings
from detection_worker.sources.base import QueueError
from detection_worker.tracing import flush

LOOK_EVERY_S: Final = 1.0

log = logging.getLogger(__name__)


class FedWorker(Stoppable):
    """A worker whose feeders do everything but the forward pass.

    Args:
        settings: The process's.
        consumer: The consumer's; neither ``run_once`` nor ``dry_run``.
        feeders: How many, >= 1.

    Raises:
        UsageError: A destination or the outbox is one of the queues.
        QueueError: A URL of a queue is none.
    """

    def __init__(self, settings: Settings, consumer: ConsumerSettings, *, feeders: int) -> None:
        super().__init__()
        self._settings = settings
        self._consumer = consumer
        self._metrics = Metrics()
        # For the queue's attributes and the checks; it delivers nothing.
        self._adapters = Adapters(settings, consumer, self._metrics)
        decoders = consumer.decoders or usable_cores()
        self._fleet = Fleet(
            [
                orders_of(settings, consumer, decoders=decoders, index=index, feeders=feeders)
                for index in range(feeders)
            ],
            on_restart=self._metrics.feeder_restarts.inc,
        )
        self._steering = FleetSteering(
            self._fleet,
            queue_url=consumer.queue_url,
            stall_s=consumer.stall_timeout_s,
            metrics=self._metrics,
            stopping=self._stop,
        )
        self._reported = 0
        self._stop_by_s = 0.0

    @property
    def statistics(self) -> Statistics:
        """Counts so far."""
        return self._steering.statistics

    def run(self) -> int:
        """Consume until told to stop; return the exit code (``docs/operating.md``).

        Raises:
            UsageError: As ``Consumer.run``.
        """
        log.info(user_messages.LOG_STARTING.format(queue_url=self._consumer.queue_url))
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        sweep(self._settings.data.s3_cache_dir)
        with (
            shown_outside(self._steering.controls(), self._consumer),
            asking_to_stop(self._drain_for),
            self._running_fleet(),
        ):
            return self._serve()

    @contextmanager
    def _running_fleet(self) -> Iterator[None]:
        # Feeders and their decoders start while torch is imported.
        self._fleet.start()
        try:
            yield
        finally:
            self._fleet.kill()

    def _serve(self) -> int:
        self._steering.wait_for("loading models")
        loaded = load_models(self._settings, self._consumer, self._metrics)
        try:
            facts = self._adapters.reach_queue(stop=self._stop, on_wait=self._steering.wait_for)
        except QueueError as exc:
            return out_of_reach(exc)
        if facts is None:
            return EXIT_OK
        device = DeviceServer(
            loaded.by_kind,
            max_units=self._consumer.batch_units,
            max_wait_s=self._consumer.batch_wait_s,
            on_batch=self._metrics.batch_units.observe,
            tracing=self._adapters.tracing,
        )
        self._steering.device = device
        self._fleet.begin(Begin(facts=facts, draining=False), device)
        with at_work():
            code = self._watch()
        # Last: until then feeders may wait for scores.
        self._fleet.kill()
        flush(self._adapters.tracing, until_s=time.monotonic() + self._left_s())
        hung = self._steering.hung_s() is not None
        self.hangs = hung or not device.close(timeout_s=self._left_s())
        if self.hangs and not hung:
            log.error("a forward pass does not end: the worker ends without it")
        return EXIT_FAILED if self.hangs else code

    def _left_s(self) -> float:
        """Return what is left of the grace period for a pass that nobody waits for, seconds."""
        left_s = 0.0 if self._hurry.is_set() else self._stop_by_s - time.monotonic()
        return max(LAST_CLOSE_S, left_s)

    def _watch(self) -> int:
        """Look after the feeders until told to stop, then stop them; return the exit code."""
        hung_s = None
        try:
            while hung_s is None and not self._stop.wait(LOOK_EVERY_S):
                self._fleet.look()
                self._report_sometimes()
                hung_s = self._steering.hung_s()
        finally:
            if hung_s is not None:
                log.error(
                    "the device has shown no sign of life for %.0f s: the worker ends", hung_s
                )
                self._stop.set()
                self._hurry.set()
            self._stop_by_s = time.monotonic() + self._consumer.shutdown_grace_s
            clean = self._fleet.stop(
                grace_s=self._consumer.shutdown_grace_s, hurry=self._hurry.is_set
            )
            log.info(str(self.statistics))
        if not clean:
            log.error("some messages could not be handed back; SQS shows them again by itself")
        return EXIT_OK if clean and hung_s is None else EXIT_FAILED

    def _report_sometimes(self) -> None:
        now = self.statistics
        interval = self._consumer.stats_interval
        ended = now.processed + now.failed + now.retried
        if interval > 0 and ended // interval > self._reported // interval:
            log.info(str(now))
        self._reported = ended

    def _drain_for(self, number: signal.Signals) -> None:
        log.info("received %s: draining", number.name)
        self.request_stop()
