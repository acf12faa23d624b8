"""The consumer process: adapters, signals, control server and statistics around the pipeline."""

import logging
import os
import signal
import sys
import threading
import time
from contextlib import closing

from detection_contract import user_messages
from detection_contract.environment import EXIT_FAILED, EXIT_OK
from detection_worker.aws_session import make_session
from detection_worker.callback.client import HttpCallbackClient
from detection_worker.cores import usable_cores
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.metrics import Metrics
from detection_worker.outbox.queue import check_outbox_url
from detection_worker.pipeline.files.downloads import sweep
from detection_worker.pipeline.messages.parsing import body_parser
from detection_worker.pipeline.messages.settlement import MessageCounts, Statistics
from detection_worker.pipeline.service.control import Controls, asking_to_stop, control_server
from detection_worker.pipeline.service.dependencies import PipelineDependencies
from detection_worker.pipeline.service.destinations import make_destinations, most_threads
from detection_worker.pipeline.service.dry_run import dry_run
from detection_worker.pipeline.service.outbox import make_outbox
from detection_worker.pipeline.service.pipeline import Pipeline
from detection_worker.pipeline.service.reaching import out_of_reach
from detection_worker.pipeline.service.startup import (
    load_models,
    spared_by_collector,
    wait_for_queue,
)
from detection_worker.pipeline.stages.context import ResultHandler
from detection_worker.results.checks import check_destinations
from detection_worker.settings import ConsumerSettings, Settings
from detection_worker.sources.base import QueueError
from detection_worker.sources.sqs import SqsSource
from detection_worker.storage.s3 import S3Storage

SWITCH_INTERVAL_S = 0.001
"""Python's 5 ms would let network threads delay each forward pass by as much."""

log = logging.getLogger(__name__)


class Consumer:
    """One consumer process.

    Args:
        settings: The process's settings.
        consumer: The consumer's settings.
        on_result: Called with every delivered result, one at a time.
    """

    def __init__(
        self,
        settings: Settings,
        consumer: ConsumerSettings,
        *,
        on_result: ResultHandler | None = None,
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._on_result = on_result
        self._metrics = Metrics()
        self._counts = MessageCounts()
        self._stop = threading.Event()
        self._signal: int | None = None
        self._hurry = threading.Event()
        self._pipeline: Pipeline | None = None
        self._draining = False
        self._waiting_for = "starting"
        self._started_s = time.time()
        session = make_session(settings.aws)
        self._source = SqsSource(
            session, settings.aws, consumer.queue_url, wait_time_s=consumer.wait_time_s
        )
        self._storage = S3Storage(
            session,
            settings.aws,
            expected_bucket_owner=settings.aws.expected_bucket_owner,
            allowed_buckets=frozenset(settings.aws.allowed_buckets),
        )
        self._destinations = make_destinations(session, settings, consumer)
        self._outbox = make_outbox(session, settings, consumer, self._metrics.outbox)
        self._check_queues(consumer.queue_url, consumer.dead_letter_queue_url)

    def request_stop(self) -> None:
        """Drain and return from ``run``; a second call hands everything back at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    @property
    def statistics(self) -> Statistics:
        """Counts so far."""
        return self._counts.snapshot()

    def run(self) -> int:
        """Consume until told to stop, or once; return the exit code (``docs/operating.md``).

        Raises:
            UsageError: If there is no model, no queue or no credentials, and nothing waits
                for them (no control server, or ``run_once``).
        """
        log.info(user_messages.LOG_STARTING.format(queue_url=self._consumer.queue_url))
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        # Read when torch is loaded. By default idle compute threads spin, on cores that decoding
        # and networking need.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        if self._consumer.dry_run:
            return self._dry_run()
        host, port = self._consumer.control_host, self._consumer.control_port
        with (
            control_server(self._controls(), host=host, port=port),
            asking_to_stop(self._drain_for),
        ):
            return self._serve()

    # -- phases --------------------------------------------------------------------------------

    def _serve(self) -> int:
        sweep(self._settings.data.s3_cache_dir)
        decoders = self._consumer.decoders or usable_cores()
        # Decoding children start while torch is imported: both take a second.
        with (
            ProcessDecoder(decoders) as decoder,
            closing(self._callback_client()) as callbacks,
        ):
            self._wait_for("loading models")
            loaded = load_models(self._settings, self._consumer, self._metrics)
            try:
                facts = wait_for_queue(
                    self._source, self._consumer, stop=self._stop, on_wait=self._wait_for
                )
            except QueueError as exc:
                return out_of_reach(exc)
            if facts is None:
                return self._exit_code(clean=True, finished=False)
            self._check_queues(facts.dead_letter_queue_url)
            outbox = self._outbox
            pipeline = Pipeline(
                PipelineDependencies(
                    source=self._source,
                    facts=facts,
                    storage=self._storage,
                    decoder=decoder,
                    decoders=decoders,
                    detectors=loaded.by_kind,
                    callbacks=(
                        outbox.gated(callbacks, threads=self._consumer.callback_workers)
                        if outbox
                        else callbacks
                    ),
                    store=self._destinations.store,
                    notifier=self._destinations.notifier,
                    outbox=outbox.box if outbox else None,
                    entries=self._destinations.entries,
                ),
                settings=self._settings,
                consumer=self._consumer,
                metrics=self._metrics,
                counts=self._counts,
                on_result=self._on_result,
                on_message_end=self._report_sometimes,
            )
            decoder.warm()
            self._pipeline = pipeline
            if self._draining:
                pipeline.drain()
            try:
                with spared_by_collector():
                    return self._run_pipeline(pipeline)
            except QueueError as exc:
                return out_of_reach(exc)
            finally:
                self._pipeline = None

    def _check_queues(self, *others: str | None) -> None:
        check_destinations(self._settings.results, queues=others)
        if self._outbox:
            check_outbox_url(self._outbox.queue.url, others=others)

    def _callback_client(self) -> HttpCallbackClient:
        threads = most_threads(self._consumer)
        return HttpCallbackClient(self._settings.callback, connections=threads)

    def _wait_for(self, what: str) -> None:
        self._waiting_for = what

    def _run_pipeline(self, pipeline: Pipeline) -> int:
        received = 0
        try:
            if self._consumer.run_once:
                received = self._run_once(pipeline)
            else:
                pipeline.start()
                if self._outbox:
                    self._outbox.sender.start()
                while not self._stop.wait(0.5):
                    pass
        finally:
            clean = self._stop_all(pipeline)
            log.info(str(self.statistics))
        if clean:
            pipeline.close()
        else:
            log.error("some messages could not be handed back; SQS shows them again by itself")
        return self._exit_code(clean=clean, finished=self._all_finished(received))

    def _stop_all(self, pipeline: Pipeline) -> bool:
        grace_s = self._consumer.shutdown_grace_s
        until_s = time.monotonic() + grace_s
        outbox = self._outbox
        if outbox:
            outbox.sender.request_stop()
        clean = pipeline.stop(grace_s=grace_s, hurry=self._hurry.is_set)
        left_s = 0.0 if self._hurry.is_set() else max(0.0, until_s - time.monotonic())
        return (outbox is None or outbox.stop(timeout_s=left_s)) and clean

    def _run_once(self, pipeline: Pipeline) -> int:
        """Poll once, work off what came, and return how many messages that were."""
        received = pipeline.poller.poll_once()
        while not self._stop.is_set() and not pipeline.in_flight.wait_empty(timeout_s=0.2):
            pass
        return received

    def _all_finished(self, received: int) -> bool:
        left = received - self.statistics.processed
        if left > 0:
            log.error("%d of %d message(s) not finished; the lines above say why", left, received)
        return left <= 0

    def _exit_code(self, *, clean: bool, finished: bool) -> int:
        if self._consumer.run_once and not finished:
            return EXIT_FAILED if self._signal is None else 128 + self._signal
        return EXIT_OK if clean else EXIT_FAILED

    def _dry_run(self) -> int:
        with asking_to_stop(self._drain_for):
            try:
                dry_run(
                    self._source,
                    self._consumer,
                    stop=self._stop,
                    parse=body_parser(self._settings),
                )
            except QueueError as exc:
                return out_of_reach(exc)
        return EXIT_OK

    def _report_sometimes(self, ended: int) -> None:
        interval = self._consumer.stats_interval
        if interval > 0 and ended % interval == 0:
            log.info(str(self.statistics))

    # -- outside -------------------------------------------------------------------------------

    def _drain_for(self, number: signal.Signals) -> None:
        log.info("received %s: draining", number.name)
        self._signal = number
        self.request_stop()

    def _controls(self) -> Controls:
        return Controls(
            health=self._liveness,
            readiness=self._readiness,
            state=self._state,
            drain=self._drain,
            resume=self._resume,
            registry=self._metrics.registry,
            refresh=self._refresh,
        )

    def _drain(self) -> None:
        # Before there is a pipeline, the word is kept for it.
        self._draining = True
        if pipeline := self._pipeline:
            pipeline.drain()
        if self._outbox:
            self._outbox.sender.pause()

    def _resume(self) -> None:
        self._draining = False
        if pipeline := self._pipeline:
            pipeline.resume()
        if self._outbox:
            self._outbox.sender.resume()

    def _liveness(self) -> dict[str, bool]:
        pipeline = self._pipeline
        alive = pipeline.health.liveness() if pipeline else {"starting": True}
        return {**alive, "outbox": self._outbox.is_alive()} if self._outbox else alive

    def _readiness(self) -> dict[str, bool | str]:
        if self._stop.is_set():
            return {"running": "stopping"}
        pipeline = self._pipeline
        return pipeline.health.readiness() if pipeline else {"models and queue": self._waiting_for}

    def _is_ready(self) -> bool:
        return all(value is True for value in self._readiness().values())

    def _refresh(self) -> None:
        self._metrics.ready.set(self._is_ready())
        if pipeline := self._pipeline:
            pipeline.health.refresh()

    def _state(self) -> dict[str, object]:
        base: dict[str, object] = {
            "pid": os.getpid(),
            "started_at": self._started_s,
            "time": time.time(),
            "queue_url": self._consumer.queue_url,
            "stopping": self._stop.is_set(),
        }
        if self._outbox:
            base["outbox"] = self._outbox.state()
        pipeline = self._pipeline
        if pipeline is None:
            idle = {"ready": False, "busy": False, "in_flight": 0}
            return {**base, **idle, "draining": self._draining, "drained": self._draining}
        return {**base, "ready": self._is_ready(), **pipeline.health.state()}
