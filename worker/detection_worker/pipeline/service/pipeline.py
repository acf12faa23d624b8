"""The running stages behind ports: start, drain, resume, stop."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from detection_contract.media_types import MediaKind
from detection_worker.callback.base import CallbackClient
from detection_worker.core.messages.admission import HoldLimits
from detection_worker.core.messages.outcome import RetryRules
from detection_worker.detectors.base import Detector
from detection_worker.media.values import Decoder
from detection_worker.metrics import Metrics
from detection_worker.pipeline.files.decoding import Decoding
from detection_worker.pipeline.files.downloads import DiskBudget
from detection_worker.pipeline.messages.acks import AckWriter
from detection_worker.pipeline.messages.counts import MessageCounts
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.jobs import Job
from detection_worker.pipeline.messages.poller import Poller, PollingRules, Routes
from detection_worker.pipeline.messages.result_cache import ResultCache
from detection_worker.pipeline.messages.settlement import Settlement, SettlementRules
from detection_worker.pipeline.messages.visibility_extender import VisibilityExtender
from detection_worker.pipeline.service.health import PipelineHealth
from detection_worker.pipeline.stages.breaker import CircuitBreaker
from detection_worker.pipeline.stages.context import ResultHandler, StageContext
from detection_worker.pipeline.stages.handlers import StageHandlers
from detection_worker.pipeline.stages.inference import InferenceStage
from detection_worker.pipeline.stages.stage import Stage
from detection_worker.settings import ConsumerSettings, Settings
from detection_worker.sources.base import MessageSource, QueueFacts
from detection_worker.storage.base import Storage

EXIT_MARGIN_S = 2.0
"""Kept of the grace period for the last acknowledgements and the exit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineDependencies:
    """The outside world, behind ports.

    Attributes:
        source: The queue.
        facts: Read from it at the start.
        storage: Where media come from.
        decoder: Makes units of them; the pipeline does not close it.
        decoders: How many files it decodes at once.
        detectors: By media kind.
        callbacks: Where results go.
    """

    source: MessageSource
    facts: QueueFacts
    storage: Storage
    decoder: Decoder
    decoders: int
    detectors: Mapping[MediaKind, Detector]
    callbacks: CallbackClient


class Pipeline:
    """Every stage of one consumer.

    Args:
        parts: The outside world.
        settings: Of the process.
        consumer: Of the consumer.
        metrics: Series to report to.
        counts: Counts for the statistics line.
        on_result: Called with every delivered result.
        on_message_end: Called after each message with the number ended so far.
    """

    def __init__(
        self,
        parts: PipelineDependencies,
        *,
        settings: Settings,
        consumer: ConsumerSettings,
        metrics: Metrics,
        counts: MessageCounts,
        on_result: ResultHandler | None = None,
        on_message_end: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._dependencies = parts
        self._settings = settings
        self._consumer = consumer
        self._metrics = metrics
        self._counts = counts
        tick_s = min(1.0, consumer.visibility_timeout_s / 5)
        self.in_flight = InFlight(
            visibility_s=consumer.visibility_timeout_s,
            tick_s=tick_s,
            limits=HoldLimits(messages=consumer.max_in_flight, seconds=consumer.prefetch_seconds),
        )
        self._results = ResultCache()
        self._disk = DiskBudget(consumer.max_bytes_in_flight)
        self._breaker = CircuitBreaker(parts.storage, settings.data.s3_cache_dir)
        self._acks = AckWriter(parts.source, self.in_flight, metrics)
        self._settlement = self._make_settlement(on_message_end)
        self._handlers = self._make_handlers(on_result)
        self._make_stages()
        self._extender = VisibilityExtender(
            parts.source,
            self.in_flight,
            metrics,
            tick_s=tick_s,
            stall_s=consumer.stall_timeout_s,
            on_stall=self._handlers.stalled,
        )
        self.poller = self._make_poller()
        self.health = PipelineHealth(
            in_flight=self.in_flight,
            poller=self.poller,
            breaker=self._breaker,
            extender=self._extender,
            acks=self._acks,
            inference=self._inference,
            stages=(self._download, self._decode, self._deliver),
            counts=self._counts,
            metrics=metrics,
            stall_s=consumer.stall_timeout_s,
        )

    # -- running -------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to poll."""
        self.poller.start()

    def drain(self) -> None:
        """Receive nothing more and hand back what is not started; ``resume`` undoes it."""
        self.poller.pause()
        self._release(time_left_s=math.inf)

    def resume(self) -> None:
        """Receive again."""
        self.poller.resume()

    def stop(self, *, grace_s: float, hurry: Callable[[], bool] = lambda: False) -> bool:
        """Drain and stop for good.

        Args:
            grace_s: Finish what fits into this time, hand back the rest.
            hurry: Asked a few times a second; True hands everything back at once.

        Returns:
            False if something could not be handed back in time.
        """
        deadline = time.monotonic() + grace_s
        work_until = deadline - min(EXIT_MARGIN_S, grace_s / 4)
        self.poller.stop()
        self._release(time_left_s=work_until - time.monotonic())
        while time.monotonic() < work_until and not hurry():
            # A poll that was answered as the stop came may still have brought something in.
            self._release(time_left_s=math.inf)
            if self.in_flight.wait_empty(timeout_s=0.1) and self.poller.join(timeout_s=0):
                break
        self._release(time_left_s=-1.0)
        flushed = self._acks.flush(timeout_s=max(0.5, deadline - time.monotonic()))
        answered = self.poller.join(timeout_s=max(0.0, deadline - time.monotonic()))
        self._extender.close()
        self._acks.close()
        return flushed and answered

    def close(self) -> None:
        """Stop the stages' threads; what they work on is already handed back or done."""
        self._download.close()
        self._decode.close()
        self._inference.close()
        self._deliver.close()

    def _release(self, *, time_left_s: float) -> None:
        for message in self.in_flight.to_release(time_left_s=time_left_s):
            if self.in_flight.open_handle(message.message_id) is not None:
                self._settlement.release_now(message)

    # -- wiring --------------------------------------------------------------------------------

    def _make_settlement(self, on_message_end: Callable[[int], None]) -> Settlement:
        consumer, facts = self._consumer, self._dependencies.facts
        return Settlement(
            source=self._dependencies.source,
            in_flight=self.in_flight,
            acks=self._acks,
            metrics=self._metrics,
            counts=self._counts,
            rules=SettlementRules(
                retry=RetryRules(
                    max_receive_count=facts.max_receive_count,
                    max_backoff_s=consumer.max_backoff_s,
                ),
                dead_letter_url=consumer.dead_letter_queue_url or facts.dead_letter_queue_url,
                keep_files=not self._settings.data.cleanup_temp_files,
            ),
            on_message_end=on_message_end,
            disk=self._disk,
        )

    def _make_handlers(self, on_result: ResultHandler | None) -> StageHandlers:
        consumer, parts = self._consumer, self._dependencies
        context = StageContext(
            storage=parts.storage,
            decoding=Decoding(
                decoder=parts.decoder,
                detectors=parts.detectors,
                limits=self._settings.limits,
                video_audio=self._settings.video_audio,
            ),
            callbacks=parts.callbacks,
            in_flight=self.in_flight,
            settlement=self._settlement,
            breaker=self._breaker,
            results=self._results,
            metrics=self._metrics,
            data=self._settings.data,
            disk=self._disk,
            queue_url=consumer.queue_url,
            on_result=on_result,
            lanes={
                "download": consumer.downloaders,
                "decode": parts.decoders,
                "inference": 1,
                "callback": consumer.callback_workers,
            },
        )
        return StageHandlers(
            context,
            to_decode=self._to_decode,
            to_inference=self._to_inference,
            to_delivery=self._to_delivery,
        )

    # The stages and their work know each other; these three close the circle.
    def _to_decode(self, job: Job) -> None:
        self._decode.put(job)

    def _to_inference(self, job: Job) -> None:
        self._inference.put(job)

    def _to_delivery(self, job: Job) -> None:
        self._deliver.put(job)

    def _make_stages(self) -> None:
        consumer, held = self._consumer, self._consumer.max_in_flight
        self._deliver: Stage[Job] = Stage(
            "callback",
            self._handlers.deliver,
            threads=consumer.callback_workers,
            capacity=4 * held,
        )
        # Few decoded files may wait: each can hold megabytes of units.
        self._inference: InferenceStage[Job] = InferenceStage(
            max_units=consumer.batch_units,
            max_wait_s=consumer.batch_wait_s,
            more_coming=lambda: self._decode.busy > 0,
            on_scored=self._handlers.scored,
            on_progress=self.in_flight.progress,
            on_batch=self._metrics.batch_units.observe,
            capacity=max(8, consumer.batch_units),
        )
        self._decode: Stage[Job] = Stage(
            "decode", self._handlers.decode, threads=self._dependencies.decoders, capacity=held
        )
        self._download: Stage[Job] = Stage(
            "download", self._handlers.download, threads=consumer.downloaders, capacity=4 * held
        )

    def _make_poller(self) -> Poller:
        consumer = self._consumer
        # A poll under way at SIGTERM cannot be called off without losing its messages, so it must
        # be answered well within the grace period.
        wait_s = min(consumer.wait_time_s, int(consumer.shutdown_grace_s / 2))
        return Poller(
            source=self._dependencies.source,
            in_flight=self.in_flight,
            results=self._results,
            may_receive=self._breaker.allows,
            routes=Routes(
                download=self._download.put,
                deliver=self._deliver.put,
                fail=self._handlers.fail,
                done=self._settlement.job_ended,
                ended=self._settlement.message_ended,
            ),
            metrics=self._metrics,
            rules=PollingRules(
                # Messages of one FIFO group that arrive together would overtake each other.
                max_messages=1 if self._dependencies.facts.fifo else consumer.max_messages,
                wait_s=wait_s,
                visibility_s=consumer.visibility_timeout_s,
                pause_s=consumer.poll_interval_s,
                pollers=consumer.pollers,
                late_after_s=consumer.queue_wait_objective_s,
                endpoint_hosts=self._settings.aws.endpoint_hosts,
            ),
        )
