"""What a worker shows and obeys from outside, before there is a pipeline too."""

import os
import threading
import time

from detection_worker.metrics import Metrics
from detection_worker.outbox.service import OutboxService
from detection_worker.pipeline.service.control import Controls
from detection_worker.pipeline.service.pipeline import Pipeline


class Steering:
    """Shows and steers one pipeline and the outbox beside it.

    Args:
        queue_url: The queue.
        outbox: The outbox; None without one.
        metrics: The worker's series.
        stopping: Set once the worker stops.

    Attributes:
        waiting_for: Why there is no pipeline yet.
        draining: Nothing is to be received.
    """

    def __init__(
        self,
        *,
        queue_url: str,
        outbox: OutboxService | None,
        metrics: Metrics,
        stopping: threading.Event,
    ) -> None:
        self._queue_url = queue_url
        self._outbox = outbox
        self._metrics = metrics
        self._stopping = stopping
        self._started_s = time.time()
        self._pipeline: Pipeline | None = None
        self.waiting_for = "starting"
        self.draining = False

    def wait_for(self, what: str) -> None:
        """Note why there is no pipeline yet."""
        self.waiting_for = what

    def begin(self, pipeline: Pipeline) -> None:
        """Steer a pipeline that has not started yet; a drain that was asked for holds for it."""
        self._pipeline = pipeline
        if self.draining:
            pipeline.drain()

    def end(self) -> None:
        """Let go of the pipeline."""
        self._pipeline = None

    def controls(self) -> Controls:
        """Return what the control server shows and steers."""
        return Controls(
            health=self.liveness,
            readiness=self.readiness,
            state=self.state,
            drain=self.drain,
            resume=self.resume,
            registry=self._metrics.registry,
            refresh=self.refresh,
        )

    def drain(self) -> None:
        """Receive nothing more."""
        # Before there is a pipeline, the word is kept for it.
        self.draining = True
        if pipeline := self._pipeline:
            pipeline.drain()
        if self._outbox:
            self._outbox.sender.pause()

    def resume(self) -> None:
        """Receive again."""
        self.draining = False
        if pipeline := self._pipeline:
            pipeline.resume()
        if self._outbox:
            self._outbox.sender.resume()

    def liveness(self) -> dict[str, bool]:
        """Return the checks of /healthz."""
        pipeline = self._pipeline
        alive = pipeline.health.liveness() if pipeline else {"starting": True}
        return {**alive, "outbox": self._outbox.is_alive()} if self._outbox else alive

    def readiness(self) -> dict[str, bool | str]:
        """Return the checks of /readyz."""
        if self._stopping.is_set():
            return {"running": "stopping"}
        pipeline = self._pipeline
        return pipeline.health.readiness() if pipeline else {"models and queue": self.waiting_for}

    def is_ready(self) -> bool:
        """Return whether every check of /readyz is good."""
        return all(value is True for value in self.readiness().values())

    def refresh(self) -> None:
        """Bring the gauges up to date."""
        self._metrics.ready.set(self.is_ready())
        if pipeline := self._pipeline:
            pipeline.health.refresh()

    def state(self) -> dict[str, object]:
        """Return /state."""
        base: dict[str, object] = {
            "pid": os.getpid(),
            "started_at": self._started_s,
            "time": time.time(),
            "queue_url": self._queue_url,
            "stopping": self._stopping.is_set(),
        }
        if self._outbox:
            base["outbox"] = self._outbox.state()
        pipeline = self._pipeline
        if pipeline is None:
            idle = {"ready": False, "busy": False, "in_flight": 0}
            return {**base, **idle, "draining": self.draining, "drained": self.draining}
        return {**base, "ready": self.is_ready(), **pipeline.health.state()}
