"""The policies that the simulator compares: this operator's, KEDA's, and a plain backlog rule."""

import math
from collections import deque
from collections.abc import Callable
from typing import Final

from detection_operator.scaling.decision import decide
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.records import Record
from detection_operator.spec.queue_spec import QueueSpec


class Ours:
    """The decision of this operator, with its memory. ``log`` gets a record of each decision."""

    drains = True

    def __init__(self, spec: QueueSpec, log: Callable[[Record], None] | None = None) -> None:
        self._spec = spec
        self._memory = Memory()
        self._log = log

    def choose(self, seen: Observation, now_s: float) -> tuple[int, float]:
        """Return ``decide``'s replicas and poll interval."""
        plan = decide(self._spec, seen, self._memory, now_s)
        if self._log is not None:
            self._log(
                Record(
                    spec=self._spec,
                    observation=seen,
                    memory=self._memory,
                    now_s=now_s,
                    plan=plan,
                )
            )
        self._memory = plan.memory
        return plan.desired, plan.next_poll_s


HPA_SYNC_S: Final = 15.0
KEDA_POLL_S: Final = 30.0
KEDA_COOLDOWN_S: Final = 300.0
HPA_TOLERANCE: Final = 0.1
HPA_STABILIZATION_S: Final = 300.0


class Keda:
    """KEDA's aws-sqs-queue scaler with the HPA behind it, all defaults.

    From the documentation of both: the metric is visible + in flight; KEDA alone moves 0 to 1
    (poll 30 s) and N to 0 (300 s after the queue was last active); the HPA moves the rest every
    15 s to ⌈messages / queueLength⌉, not within 10 % of the present number, upwards by at most
    max(4, 100 %) in 15 s, downwards to the highest recommendation of the last 300 s.
    """

    drains = False

    def __init__(self, *, queue_length: float, max_replicas: int) -> None:
        self._queue_length = queue_length
        self._max = max_replicas
        self._active_s = -math.inf
        self._polled_s = -math.inf
        self._recommended: deque[tuple[float, int]] = deque()

    def choose(self, seen: Observation, now_s: float) -> tuple[int, float]:
        """Return the replicas of this HPA sync."""
        messages = seen.visible + seen.in_flight
        current = seen.replicas
        if now_s - self._polled_s >= KEDA_POLL_S:
            self._polled_s = now_s
            if messages > 0:
                self._active_s = now_s
                current = max(current, 1)
            elif current and now_s - self._active_s >= KEDA_COOLDOWN_S:
                self._recommended.clear()
                return 0, HPA_SYNC_S
        if current == 0 or seen.replicas == 0:
            return current, HPA_SYNC_S
        return self._sync(messages, current, now_s), HPA_SYNC_S

    def _sync(self, messages: int, current: int, now_s: float) -> int:
        ratio = messages / (self._queue_length * current)
        wanted = current
        if abs(ratio - 1.0) > HPA_TOLERANCE:
            wanted = math.ceil(messages / self._queue_length)
        wanted = min(max(wanted, 1), self._max)
        while self._recommended and now_s - self._recommended[0][0] > HPA_STABILIZATION_S:
            self._recommended.popleft()
        self._recommended.append((now_s, wanted))
        if wanted < current:
            return min(current, max(count for _, count in self._recommended))
        return min(wanted, max(current + 4, 2 * current))


class Fixed:
    """A precomputed schedule of replicas, looked at where it changes, or at every step."""

    drains = True

    def __init__(
        self,
        replicas: tuple[int, ...],
        *,
        step_s: float,
        start_s: float,
        every_step: bool = True,
    ) -> None:
        self._replicas = replicas
        self._step_s = step_s
        self._start_s = start_s
        self._every_step = every_step

    def choose(self, seen: Observation, now_s: float) -> tuple[int, float]:
        """Return the schedule's replicas; after its end those that work is left for."""
        index = int((now_s - self._start_s + 1e-6) // self._step_s)
        if index >= len(self._replicas):
            return min(seen.replicas, seen.visible + seen.working), self._step_s
        return self._replicas[index], self._steps_from(index) * self._step_s

    def _steps_from(self, index: int) -> int:
        """Return the steps to the next number."""
        after = index + 1
        while not self._every_step and after < len(self._replicas):
            if self._replicas[after] != self._replicas[index]:
                break
            after += 1
        return after - index
