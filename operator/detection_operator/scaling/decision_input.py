"""The inputs of one decision and the numbers that several of its rules share."""

from dataclasses import dataclass
from typing import Final

from detection_operator.scaling.estimates import idle_time as idle
from detection_operator.scaling.estimates import learning
from detection_operator.scaling.estimates.arrivals import rate_per_s
from detection_operator.scaling.estimates.service_time import Mix
from detection_operator.scaling.estimates.state import EstimatorState
from detection_operator.scaling.memory import PlanHistory
from detection_operator.scaling.observation import Observation
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.scaling import IdlePolicy

SHORTEST_HOLD_S: Final = 20.0
"""Four polls: the counts of one or two of them may err."""
LONGEST_HOLD_S: Final = 60.0
"""Longer holds cost slow starters more than they save; see benchmarks/autoscaling_policies.py."""
STUCK_S: Final = 300.0
"""Pods that have been stuck for this long leave the units of their pool to other queues."""
LULL_S: Final = 60.0
"""With fewer than one message in this time, each worker is idle now and then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionInput:
    """What every rule sees.

    Attributes:
        spec: The desired state.
        seen: The observation.
        estimators: Their state, this observation included.
        history: What earlier plans said.
        now_s: Time of the decision.
        fresh: The counts of ``seen`` are recent and without error.
        mix: Service time over the media types.
        cold_start_s: Measured cold start, else the spec's.
        rate_per_s: Arrival rate in messages/s without poison; None while unknown.
        poison: Share of the messages that cannot succeed and so is no demand.
        waiting: Visible messages that can succeed.
    """

    spec: QueueSpec
    seen: Observation
    estimators: EstimatorState
    history: PlanHistory
    now_s: float
    fresh: bool
    mix: Mix
    cold_start_s: float
    rate_per_s: float | None
    poison: float
    waiting: float

    @property
    def lane_s(self) -> float:
        """Seconds that one message costs one replica."""
        return self.mix.mean_s / self.spec.service_time.messages_in_parallel

    @property
    def settled_replicas(self) -> int:
        """Replicas that run, without the surge of a roll-out or for departing ones.

        The surge comes on top of the plan: if it counted as what runs, each decision that keeps
        what runs would ask for more than the one before.
        """
        seen, planned = self.seen, self.history.desired
        surge = seen.outdated or seen.departing
        return min(seen.existing, planned) if surge and planned is not None else seen.existing

    @property
    def startable(self) -> int | None:
        """Replicas that would run, and a probe, if others have been stuck for long; None: all."""
        since_s, seen = self.estimators.stuck_since_s, self.seen
        if since_s is None or self.now_s - since_s < STUCK_S:
            return None
        return seen.placed + seen.launching + self.spec.capacity.probe_replicas

    @property
    def present(self) -> int:
        """Replicas that work or soon will."""
        return self.seen.ready + self.seen.starting

    @property
    def flowing(self) -> bool:
        """Messages keep coming: an idle worker soon receives one."""
        return bool(self.seen.visible) or (self.rate_per_s or 0.0) * LULL_S >= 1.0

    @property
    def phantom(self) -> bool:
        """Messages are in flight although every worker has been idle for ``idle.maxSeconds``."""
        since_s = self.estimators.idle_since_s
        seen = self.seen
        if seen.working or seen.silent or seen.visible or since_s is None:
            return False
        return self.now_s - since_s >= self.spec.scaling.idle.max_s

    @property
    def abandoned(self) -> bool:
        """The queue has been idle long enough that past arrivals are no demand any more."""
        since_s = self.estimators.idle_since_s
        if since_s is None:
            return False
        keep_s = self.keep_s
        if self.spec.scaling.idle.policy is IdlePolicy.BREAK_EVEN:
            # Idle times seen before are mostly lulls of a burst: they do not shorten it.
            keep_s = max(keep_s, self._keep_s(()))
        return self.now_s - since_s >= keep_s

    @property
    def hold_s(self) -> float:
        """Seconds that a surplus lasts before it goes: what a new start of it would take."""
        hold_s = self.spec.scaling.scale_down.hold_s
        if hold_s is not None:
            return float(hold_s)
        return min(LONGEST_HOLD_S, max(SHORTEST_HOLD_S, self.cold_start_s))

    @property
    def keep_s(self) -> float:
        """Idle seconds after which the last replica goes."""
        return self._keep_s(self.estimators.gaps)

    def _keep_s(self, gaps: tuple[float, ...]) -> float:
        return idle.keep_s(
            self.spec.scaling.idle,
            gaps=gaps,
            cold_start_s=self.cold_start_s,
            wait_s=self.spec.slo.queue_wait_s,
        )

    @property
    def age_s(self) -> float | None:
        """Age of the oldest waiting message, at least; None while nothing waits."""
        if not self.seen.visible:
            return None
        if self.seen.oldest_age_s is not None and self.seen.ready:
            return self.seen.oldest_age_s
        waiting = self.estimators.queue_age
        return 0.0 if waiting is None else waiting.oldest_s(self.now_s)


def decision_input(
    spec: QueueSpec,
    seen: Observation,
    estimators: EstimatorState,
    history: PlanHistory,
    *,
    now_s: float,
    fresh: bool,
) -> DecisionInput:
    """Return the shared numbers. ``estimators`` have learned ``seen``."""
    if estimators.service is None:
        raise ValueError("the observation was not learned")
    poison = learning.poison_share(estimators.failures)
    rate = None if estimators.arrivals is None else rate_per_s(estimators.arrivals)
    return DecisionInput(
        spec=spec,
        seen=seen,
        estimators=estimators,
        history=history,
        now_s=now_s,
        fresh=fresh,
        mix=estimators.service.mix,
        cold_start_s=learning.cold_start_s(spec, seen),
        rate_per_s=None if rate is None else rate * (1.0 - poison),
        poison=poison,
        waiting=seen.visible * (1.0 - poison),
    )
