"""What a worker with feeders shows and obeys from outside: all of them as one."""

import os
import threading
import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from detection_worker.core.feeders.state import checks_of, merged
from detection_worker.metrics import Metrics
from detection_worker.pipeline.device.server import DeviceServer
from detection_worker.pipeline.messages.settlement import Statistics
from detection_worker.pipeline.service.control import Controls
from detection_worker.pipeline.service.feeders.fleet import Fleet
from detection_worker.pipeline.service.feeders.series import Family, MergedSeries, families_of
from detection_worker.pipeline.service.health import SLACK_S


class FleetSteering:
    """Shows and steers all feeders as one worker.

    Args:
        fleet: The feeders.
        queue_url: The queue.
        stall_s: Seconds without a sign of life after which the device counts as hung.
        metrics: Series of the main process.
        stopping: Set once the worker stops.

    Attributes:
        device: Where units are scored; None before models are loaded.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        queue_url: str,
        stall_s: float,
        metrics: Metrics,
        stopping: threading.Event,
    ) -> None:
        self._fleet = fleet
        self._queue_url = queue_url
        self._stall_s = stall_s
        self._metrics = metrics
        self._stopping = stopping
        self._started_s = time.time()
        self._started_monotonic_s = time.monotonic()
        self._waiting_for = "starting"
        self.device: DeviceServer | None = None

    def wait_for(self, what: str) -> None:
        """Note why the feeders have not begun yet."""
        self._waiting_for = what

    def controls(self) -> Controls:
        """Return what the control server shows and steers."""
        registry = CollectorRegistry()
        registry.register(MergedSeries(self._series, feeders=len(self._fleet.slots)))
        return Controls(
            health=self.liveness,
            readiness=self.readiness,
            state=self.state,
            drain=self._fleet.drain,
            resume=self._fleet.resume,
            registry=registry,
            refresh=self._refresh,
        )

    @property
    def statistics(self) -> Statistics:
        """Counts of all feeders so far."""
        counts = self._fleet.counts()["statistics"]
        return Statistics(**counts, runtime_s=self._runtime_s)

    @property
    def _runtime_s(self) -> float:
        return time.monotonic() - self._started_monotonic_s

    def hung_s(self) -> float | None:
        """Return for how long the device has shown no sign of life, if that is too long."""
        if self.device is None:
            return None
        silent_s = time.monotonic() - self.device.alive_s
        return silent_s if silent_s > self._stall_s + SLACK_S else None

    def liveness(self) -> dict[str, bool | str]:
        """Return the checks of /healthz."""
        if not self._fleet.begun:
            return {"starting": True}
        self._fleet.ask("status")
        found = checks_of([status["health"] for status in self._fleet.statuses()])
        healthy = all(slot.healthy for slot in self._fleet.slots)
        alive = self.hung_s() is None and found.get("inference", True)
        return {**found, "inference": alive, "feeders": healthy}

    def readiness(self) -> dict[str, bool | str]:
        """Return the checks of /readyz."""
        if not self._stopping.is_set() and self._fleet.begun:
            self._fleet.ask("status")
        return self._readiness()

    def _readiness(self) -> dict[str, bool | str]:
        if self._stopping.is_set():
            return {"running": "stopping"}
        if not self._fleet.begun:
            return {"models and queue": self._waiting_for}
        found = [status["readiness"] for status in self._fleet.statuses()]
        starting = any(slot.starts == 1 and slot.state is None for slot in self._fleet.slots)
        if starting or not found:
            return {"models and queue": "starting feeders"}
        return checks_of(found)

    def _is_ready(self) -> bool:
        return all(value is True for value in self._readiness().values())

    def state(self) -> dict[str, object]:
        """Return /state."""
        self._fleet.ask("status")
        states, draining = self._fleet.states(), self._fleet.draining
        base: dict[str, object] = {
            "pid": os.getpid(),
            "started_at": self._started_s,
            "time": time.time(),
            "queue_url": self._queue_url,
            "stopping": self._stopping.is_set(),
        }
        outboxes = [state["outbox"] for state in states if "outbox" in state]
        if outboxes:
            base["outbox"] = outboxes[0]
        if not states:
            idle = {"ready": False, "busy": False, "in_flight": 0}
            drained = draining and self._all_drained()
            return {**base, **idle, "draining": draining, "drained": drained}
        found = merged(
            states,
            counts=self._fleet.counts(),
            feeders=len(self._fleet.slots),
            age_s=self._fleet.age_s,
            runtime_s=self._runtime_s,
        )
        # Also of those that are started again, which begin drained.
        found["draining"] = draining
        found["drained"] = draining and self._all_drained()
        return {**base, "ready": self._is_ready(), **found}

    def _all_drained(self) -> bool:
        """Return whether every feeder that may hold a message has just said that it does not."""
        return all(slot.drained for slot in self._fleet.slots if slot.begun)

    def _refresh(self) -> None:
        self._metrics.draining.set(self._fleet.draining)
        self._metrics.ready.set(self._is_ready())

    def _series(self) -> Sequence[Sequence[Family]]:
        return [families_of(self._metrics.registry), *self._fleet.series()]
