"""The running stages behind ports: start, drain, resume, stop."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from detection_worker.cache.scores import ScoreCache
from detection_worker.core.batch_size import CPU_UNITS
from detection_worker.core.messages.admission import HoldLimits
from detection_worker.core.messages.outcome import RELEASE, Outcome, RetryRules
from detection_worker.metrics import Metrics
from detection_worker.pipeline.files.handovers import Decoded, Inference, Scored, Unscored
from detection_worker.pipeline.messages.acks import AckWriter, busy_linger_s
from detection_worker.pipeline.messages.flights import Flights
from detection_worker.pipeline.messages.in_flight import InFlight
from detection_worker.pipeline.messages.jobs import Job
from detection_worker.pipeline.messages.parsing import body_parser
from detection_worker.pipeline.messages.poller import Poller, PollingRules, Routes
from detection_worker.pipeline.messages.result_cache import Finished
from detection_worker.pipeline.messages.settlement import (
    MessageCounts,
    Settlement,
    SettlementRules,
)
from detection_worker.pipeline.messages.visibility_extender import VisibilityExtender
from detection_worker.pipeline.service.dependencies import (
    PipelineDependencies,
    make_context,
    make_scores,
)
from detection_worker.pipeline.service.health import PipelineHealth
from detection_worker.pipeline.stages.context import ResultHandler, StageContext
from detection_worker.pipeline.stages.delivery import Delivery
from detection_worker.pipeline.stages.handlers import StageHandlers
from detection_worker.pipeline.stages.handovers import Concluded, Fetched
from detection_worker.pipeline.stages.inference import InferenceStage
from detection_worker.pipeline.stages.stage import UNBOUNDED, Activity, Stage
from detection_worker.settings import ConsumerSettings, Settings

EXIT_MARGIN_S = 2.0
"""Kept of the grace period for the last acknowledgements and the exit."""
CLOSE_S = 1.0
"""A part of that margin for calls that hang, whose messages are handed back already: all stages
together, or they would take more than the margin has."""
LAST_CLOSE_S = 0.1
"""For threads of a stage that have nothing to do, after another has used that time up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stages:
    """The stages in the order of a job; each hands over to the next.

    Attributes:
        download: Job → Fetched.
        decode: Fetched → Decoded.
        inference: Decoded → Scored.
        callback: Scored, or a failure, → posted and settled.
    """

    download: Stage[Job, Fetched]
    decode: Stage[Fetched, Decoded[Fetched]]
    inference: Inference[Fetched]
    callback: Stage[Scored[Fetched] | Concluded, None]

    def close(self, *, pass_until_s: float) -> bool:
        """Let each finish what it has, in order, then stop; wait for no call that hangs.

        For a forward pass it waits until ``pass_until_s`` on ``time.monotonic``, and returns
        False if it goes on.
        """
        until_s = time.monotonic() + CLOSE_S

        def left_s() -> float:
            return max(LAST_CLOSE_S, until_s - time.monotonic())

        self.download.close(timeout_s=left_s())
        self.decode.close(timeout_s=left_s())
        left = max(LAST_CLOSE_S, pass_until_s - time.monotonic())
        ended = self.inference.close(timeout_s=left)
        self.callback.close(timeout_s=left_s())
        return ended


class Pipeline:
    """Every stage of one consumer.

    Args:
        dependencies: The outside world.
        settings: The process's.
        consumer: The consumer's.
        metrics: Series to report to.
        counts: Counts for the statistics line.
        on_result: Called with every delivered result.
        on_message_end: Called after each message with the number ended so far.
    """

    def __init__(
        self,
        dependencies: PipelineDependencies,
        *,
        settings: Settings,
        consumer: ConsumerSettings,
        metrics: Metrics,
        counts: MessageCounts,
        on_result: ResultHandler | None = None,
        on_message_end: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._dependencies = dependencies
        self._settings = settings
        self._consumer = consumer
        self._metrics = metrics
        tick_s = min(1.0, consumer.visibility_timeout_s / 5)
        self.in_flight = InFlight(
            visibility_s=consumer.visibility_timeout_s,
            tick_s=tick_s,
            limits=HoldLimits(messages=consumer.max_in_flight, seconds=consumer.prefetch_seconds),
        )
        self._acks = AckWriter(
            dependencies.source,
            self.in_flight,
            metrics,
            busy_linger_s=busy_linger_s(
                consumer.visibility_timeout_s, fifo=dependencies.facts.fifo
            ),
        )
        scores = make_scores(dependencies, settings=settings, metrics=metrics)
        self.flights = None if scores is None else self._make_flights(scores)
        self._settlement = self._make_settlement(counts, on_message_end)
        context = make_context(
            dependencies,
            settings=settings,
            consumer=consumer,
            metrics=metrics,
            in_flight=self.in_flight,
            settlement=self._settlement,
            scores=scores,
            flights=self.flights,
            on_result=on_result,
        )
        callback = self._callback_stage(context)
        handlers = StageHandlers(context, deliver=callback.put)
        self.stages = self._make_stages(handlers, callback)
        self._extender = VisibilityExtender(
            dependencies.source,
            self.in_flight,
            metrics,
            tick_s=tick_s,
            stall_s=consumer.stall_timeout_s,
            on_stall=handlers.stalled,
        )
        self.poller = self._make_poller(context, handlers)
        self.health = PipelineHealth(
            in_flight=self.in_flight,
            poller=self.poller,
            breaker=context.breaker,
            extender=self._extender,
            acks=self._acks,
            inference=self.stages.inference,
            stages=(self.stages.download, self.stages.decode, self.stages.callback),
            counts=counts,
            metrics=metrics,
            stall_s=consumer.stall_timeout_s,
        )
        self._acks.start()
        self._extender.start()
        self._stop_by_s = 0.0

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
        deadline = self._stop_by_s = time.monotonic() + grace_s
        work_until = deadline - min(EXIT_MARGIN_S, grace_s / 4)
        self.poller.stop()
        self._release(time_left_s=work_until - time.monotonic())
        while time.monotonic() < work_until and not hurry():
            # A poll that was answered as the stop came may still have brought something in.
            self._release(time_left_s=math.inf)
            if self.in_flight.wait_empty(timeout_s=0.1) and self.poller.join(timeout_s=0.1):
                break
        if hurry():
            self._stop_by_s = time.monotonic()  # nor is a forward pass waited for
        self._release(time_left_s=-1.0)
        flushed = self._acks.flush(timeout_s=max(0.5, deadline - time.monotonic()))
        answered = self.poller.join(timeout_s=max(0.0, deadline - time.monotonic()))
        self._extender.close()
        self._acks.close()
        return flushed and answered

    def close(self) -> bool:
        """Stop the stages' threads; what they work on is already handed back or done.

        Returns:
            False if a forward pass has not ended within the time that ``stop`` was given.
        """
        return self.stages.close(pass_until_s=self._stop_by_s)

    def _release(self, *, time_left_s: float) -> None:
        for message in self.in_flight.to_release(time_left_s=time_left_s):
            self._settlement.settle_message(message, RELEASE)

    # -- wiring --------------------------------------------------------------------------------

    def _make_settlement(
        self, counts: MessageCounts, on_message_end: Callable[[int], None]
    ) -> Settlement:
        consumer, facts = self._consumer, self._dependencies.facts
        return Settlement(
            source=self._dependencies.source,
            in_flight=self.in_flight,
            acks=self._acks,
            metrics=self._metrics,
            counts=counts,
            rules=SettlementRules(
                retry=RetryRules(
                    max_receive_count=facts.max_receive_count,
                    max_backoff_s=consumer.max_backoff_s,
                ),
                dead_letter_url=consumer.dead_letter_queue_url or facts.dead_letter_queue_url,
            ),
            on_message_end=on_message_end,
            on_job_end=(lambda _: None) if self.flights is None else self.flights.ended,
        )

    def _make_flights(self, scores: ScoreCache) -> Flights:
        def resume(job: Job) -> None:
            self.stages.download.put(job)

        return Flights(is_known=scores.remembers, resume=resume)

    def _callback_stage(self, context: StageContext) -> Stage[Scored[Fetched] | Concluded, None]:
        return Stage(
            "callback",
            Delivery(context).deliver,
            threads=int(context.lanes["callback"]),
            capacity=4 * self._consumer.max_in_flight,
        )

    def _make_stages(
        self, handlers: StageHandlers, callback: Stage[Scored[Fetched] | Concluded, None]
    ) -> _Stages:
        """Make the stages from the last to the first, for each knows only its next."""
        consumer, held = self._consumer, self._consumer.max_in_flight
        decoding = Activity()
        make_inference = self._dependencies.inference or self._inference_here
        inference = make_inference(
            decoding=lambda: len(decoding),
            on_scored=handlers.scored,
            on_progress=handlers.got_ahead,
        )
        decode = Stage(
            "decode",
            handlers.decode,
            then=inference.put,
            threads=self._dependencies.decoders,
            capacity=held,
            activity=decoding,
        )
        download = Stage(
            "download",
            handlers.download,
            then=decode.put,
            threads=consumer.downloaders,
            # Jobs that waited for the scores of another come back here from any stage: none may
            # wait for room. What there can be is bounded by what is in flight.
            capacity=4 * held if self.flights is None else UNBOUNDED,
        )
        return _Stages(download=download, decode=decode, inference=inference, callback=callback)

    def _inference_here(
        self,
        *,
        decoding: Callable[[], int],
        on_scored: Callable[[Fetched, Scored[Fetched] | Unscored | None], None],
        on_progress: Callable[[Fetched], None],
    ) -> Inference[Fetched]:
        # Few decoded files may wait: each can hold megabytes of units.
        return InferenceStage(
            max_units=self._consumer.batch_units,
            max_wait_s=self._consumer.batch_wait_s,
            more_coming=lambda: decoding() > 0,
            on_scored=on_scored,
            on_progress=on_progress,
            on_batch=self._metrics.batch_units.observe,
            capacity=max(8, self._consumer.batch_units or CPU_UNITS),
            tracing=self._dependencies.tracing,
        )

    def _make_poller(self, context: StageContext, handlers: StageHandlers) -> Poller:
        settlement = self._settlement
        return Poller(
            source=self._dependencies.source,
            in_flight=self.in_flight,
            results=context.results,
            may_receive=context.breaker.allows,
            routes=Routes(
                download=self.stages.download.put,
                deliver=lambda job, known: self.stages.callback.put(_remembered(job, known)),
                fail=handlers.fail,
                settle=settlement.settle_job,
                settle_empty=lambda message: settlement.settle_message(
                    message, Outcome(action="delete")
                ),
            ),
            metrics=self._metrics,
            rules=self._polling_rules(),
        )

    def _polling_rules(self) -> PollingRules:
        consumer = self._consumer
        return PollingRules(
            # Messages of one FIFO group that arrive together would overtake each other.
            max_messages=1 if self._dependencies.facts.fifo else consumer.max_messages,
            # A poll under way at SIGTERM cannot be called off without losing its messages, so it
            # must be answered well within the grace period.
            wait_s=min(consumer.wait_time_s, int(consumer.shutdown_grace_s / 2)),
            visibility_s=consumer.visibility_timeout_s,
            pause_s=consumer.poll_interval_s,
            pollers=consumer.pollers,
            late_after_s=consumer.queue_wait_objective_s,
            parse=body_parser(self._settings),
            callback_url=self._settings.callback.url,
        )


def _remembered(job: Job, known: Finished) -> Concluded:
    return Concluded(job=job, finished=known, kind=job.kind)
