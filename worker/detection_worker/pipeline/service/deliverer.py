"""The process of ``deliver``: it sends an outbox, without a work queue, models or torch."""

import logging
import os
import signal
import threading
import time

from prometheus_client import CollectorRegistry

from detection_contract.environment import EXIT_FAILED, EXIT_OK
from detection_contract.user_messages import NO_OUTBOX
from detection_worker.aws_session import make_session
from detection_worker.errors import UsageError
from detection_worker.metrics import OutboxMetrics
from detection_worker.pipeline.service.control import Controls, asking_to_stop, shown_outside
from detection_worker.pipeline.service.outbox import make_outbox
from detection_worker.pipeline.service.reaching import out_of_reach, reach_queue
from detection_worker.settings import ConsumerSettings, Settings
from detection_worker.sources.base import QueueError
from detection_worker.tracing import flush, tracing_here

log = logging.getLogger(__name__)


class Deliverer:
    """One process that sends an outbox.

    Args:
        settings: The process's; ``outbox_url`` must be set.
        consumer: How to poll the outbox, which is its queue; ``callback_workers`` attempts are
            made at once.

    Raises:
        UsageError: There is no outbox, or it cannot be one; traces cannot be exported.
    """

    def __init__(self, settings: Settings, consumer: ConsumerSettings) -> None:
        self._consumer = consumer
        self._registry = CollectorRegistry()
        self._stop = threading.Event()
        self._signal: int | None = None
        self._waiting_for: str | None = "starting"
        self._started_s = time.time()
        self._tracing = tracing_here()
        outbox = make_outbox(
            make_session(settings.aws),
            settings,
            consumer,
            OutboxMetrics(self._registry),
            threads=consumer.callback_workers,
            pace_s=0.0,
            tracing=self._tracing,
        )
        if outbox is None:
            raise UsageError(NO_OUTBOX)
        self._outbox = outbox

    def run(self) -> int:
        """Send the outbox until told to stop, or once; return the exit code.

        Raises:
            UsageError: There is no such queue or no credentials, and nothing waits for them.
        """
        log.info("sending the outbox %s", self._outbox.queue.url)
        with (
            shown_outside(self._controls(), self._consumer),
            asking_to_stop(self._stop_for),
        ):
            try:
                return self._serve()
            except QueueError as exc:
                return out_of_reach(exc)

    def _serve(self) -> int:
        queue = self._outbox.queue
        facts = reach_queue(queue.facts, self._consumer, stop=self._stop, on_wait=self._wait_for)
        if facts is None:
            return self._exit_code(clean=True, finished=False)
        if facts.dead_letter_queue_url is None:
            log.warning(
                "the outbox has no dead-letter queue: callbacks that cannot be delivered stay in "
                "it, with an attempt a day; set a redrive policy"
            )
        self._waiting_for = None
        finished = False
        try:
            finished = self._send()
        finally:
            until_s = time.monotonic() + self._consumer.shutdown_grace_s
            clean = self._outbox.stop(timeout_s=self._consumer.shutdown_grace_s)
            flush(self._tracing, until_s=until_s)
        if not clean:
            log.error("some entries could not be handed back; SQS shows them again by itself")
        return self._exit_code(clean=clean, finished=finished)

    def _send(self) -> bool:
        """Send until told to stop, or once; return whether everything due was delivered."""
        sender = self._outbox.sender
        if self._consumer.run_once:
            sender.run_once(stop=self._stop.is_set)
            return self._outbox.handler.all_delivered and not self._stop.is_set()
        sender.start()
        while not self._stop.wait(0.5):
            if sender.refused is not None:
                raise sender.refused
        return True

    def _exit_code(self, *, clean: bool, finished: bool) -> int:
        if self._consumer.run_once and not finished:
            return EXIT_FAILED if self._signal is None else 128 + self._signal
        return EXIT_OK if clean else EXIT_FAILED

    # -- outside -------------------------------------------------------------------------------

    def _stop_for(self, number: signal.Signals) -> None:
        log.info("received %s: stopping", number.name)
        self._signal = number
        self._stop.set()
        self._outbox.sender.request_stop()

    def _wait_for(self, why: str) -> None:
        self._waiting_for = why

    def _controls(self) -> Controls:
        sender = self._outbox.sender
        return Controls(
            health=lambda: {"outbox": self._outbox.is_alive()},
            readiness=self._readiness,
            state=self._state,
            drain=sender.pause,
            resume=sender.resume,
            registry=self._registry,
            refresh=lambda: None,
        )

    def _readiness(self) -> dict[str, bool | str]:
        if self._stop.is_set():
            return {"running": "stopping"}
        return {"outbox": self._waiting_for or self._outbox.sender.error or True}

    def _state(self) -> dict[str, object]:
        sender = self._outbox.sender
        return {
            "pid": os.getpid(),
            "started_at": self._started_s,
            "time": time.time(),
            "queue_url": self._outbox.queue.url,
            "stopping": self._stop.is_set(),
            "ready": all(value is True for value in self._readiness().values()),
            "in_flight": sender.held,
            "draining": sender.paused,
            "drained": sender.paused and not sender.held,
            "outbox": self._outbox.state(),
        }
