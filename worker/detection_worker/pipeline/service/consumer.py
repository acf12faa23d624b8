"""The consumer process: adapters, signals, control server and statistics around the pipeline."""

import logging
import signal
import sys
from contextlib import closing

from detection_contract import user_messages
from detection_contract.environment import EXIT_FAILED, EXIT_OK
from detection_worker.cores import usable_cores
from detection_worker.media.jail.pool import ProcessDecoder
from detection_worker.media.jail.trust import trust_list_of
from detection_worker.memory import at_work
from detection_worker.metrics import Metrics
from detection_worker.pipeline.files.downloads import sweep
from detection_worker.pipeline.messages.parsing import body_parser
from detection_worker.pipeline.messages.settlement import MessageCounts, Statistics
from detection_worker.pipeline.service.adapters import Adapters
from detection_worker.pipeline.service.control import Stoppable, asking_to_stop, shown_outside
from detection_worker.pipeline.service.dry_run import dry_run
from detection_worker.pipeline.service.pipeline import Pipeline
from detection_worker.pipeline.service.reaching import out_of_reach
from detection_worker.pipeline.service.startup import load_models
from detection_worker.pipeline.service.steering import Steering
from detection_worker.pipeline.stages.context import ResultHandler
from detection_worker.settings import ConsumerSettings, Settings
from detection_worker.sources.base import QueueError

SWITCH_INTERVAL_S = 0.001
"""Python's 5 ms would let network threads delay each forward pass by as much."""

log = logging.getLogger(__name__)


class Consumer(Stoppable):
    """One consumer process.

    Args:
        settings: The process's settings.
        consumer: The consumer's settings.
        on_result: Called with every delivered result, one at a time.

    Attributes:
        steering: What the control server shows and steers.

    Raises:
        UsageError: A destination or the outbox is one of the queues.
        QueueError: A URL of a queue is none.
    """

    def __init__(
        self,
        settings: Settings,
        consumer: ConsumerSettings,
        *,
        on_result: ResultHandler | None = None,
    ) -> None:
        super().__init__()
        self._settings = settings
        self._consumer = consumer
        self._on_result = on_result
        self._metrics = Metrics()
        self._counts = MessageCounts()
        self._signal: int | None = None
        self._adapters = Adapters(settings, consumer, self._metrics)
        self.steering = Steering(
            queue_url=consumer.queue_url,
            outbox=self._adapters.outbox,
            metrics=self._metrics,
            stopping=self._stop,
        )

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
        if self._consumer.dry_run:
            return self._dry_run()
        with (
            shown_outside(self.steering.controls(), self._consumer),
            asking_to_stop(self._drain_for),
        ):
            return self._serve()

    # -- phases --------------------------------------------------------------------------------

    def _serve(self) -> int:
        sweep(self._settings.data.s3_cache_dir)
        decoders = self._consumer.decoders or usable_cores()
        # Decoding children start while torch is imported: both take a second.
        with (
            ProcessDecoder(
                decoders, trust_list=trust_list_of(self._settings.provenance)
            ) as decoder,
            closing(self._adapters.callback_client()) as callbacks,
        ):
            self.steering.wait_for("loading models")
            loaded = load_models(self._settings, self._consumer, self._metrics)
            try:
                facts = self._adapters.reach_queue(stop=self._stop, on_wait=self.steering.wait_for)
            except QueueError as exc:
                return out_of_reach(exc)
            if facts is None:
                return self._exit_code(clean=True, finished=False)
            pipeline = Pipeline(
                self._adapters.dependencies(
                    facts=facts,
                    decoder=decoder,
                    decoders=decoders,
                    detectors=loaded.by_kind,
                    callbacks=callbacks,
                ),
                settings=self._settings,
                consumer=self._consumer,
                metrics=self._metrics,
                counts=self._counts,
                on_result=self._on_result,
                on_message_end=self._report_sometimes,
            )
            decoder.warm()
            self.steering.begin(pipeline)
            try:
                with at_work():
                    return self._run_pipeline(pipeline)
            except QueueError as exc:
                return out_of_reach(exc)
            finally:
                self.steering.end()

    def _run_pipeline(self, pipeline: Pipeline) -> int:
        received = 0
        try:
            if self._consumer.run_once:
                received = self._run_once(pipeline)
            else:
                pipeline.start()
                if self._adapters.outbox:
                    self._adapters.outbox.sender.start()
                while not self._stop.wait(0.5):
                    pass
        finally:
            clean = self._adapters.stop(
                pipeline, grace_s=self._consumer.shutdown_grace_s, hurry=self._hurry.is_set
            )
            log.info(str(self.statistics))
        if not clean:
            log.error("some messages could not be handed back; SQS shows them again by itself")
        elif not pipeline.close():
            log.error("a forward pass does not end: the worker ends without it")
            self.hangs = True
        return self._exit_code(
            clean=clean and not self.hangs, finished=self._all_finished(received)
        )

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
                    self._adapters.source,
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
