"""Reconcile one DetectionQueue: gather, decide, act, tell."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from detection_operator.errors import ClusterError, Conflict, NotFound, Vanished
from detection_operator.kube.objects import key_of
from detection_operator.kube.port import Key, Object
from detection_operator.metrics import Metrics
from detection_operator.reconcile.act.disruption import budget_problems
from detection_operator.reconcile.act.executor import Actor
from detection_operator.reconcile.act.rejected_deployment import is_refusal, refusal, standing
from detection_operator.reconcile.act.steps import next_steps
from detection_operator.reconcile.act.undrain import give_back, release
from detection_operator.reconcile.observe.conflicts import contender, elder, referred, sharers
from detection_operator.reconcile.observe.fleet import with_current
from detection_operator.reconcile.observe.gather import (
    Gathered,
    Sources,
    gather,
    read_queue,
    resolve_spec,
)
from detection_operator.reconcile.observe.observation import observation
from detection_operator.reconcile.observe.restore import restored
from detection_operator.reconcile.report.diagnostics import Examination, findings, is_starved
from detection_operator.reconcile.report.status import Report
from detection_operator.reconcile.report.status_writer import Teller
from detection_operator.reconcile.state import DesiredSpec, QueueState
from detection_operator.scaling.decision import decide
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Plan
from detection_operator.scaling.records import Record
from detection_operator.spec.parse import InvalidSpec
from detection_operator.spec.queue_spec import QueueSpec

SOON_S: Final = 1.0
"""While a drain or a scale-in is under way: a worker acknowledges within a second."""
INVALID_RETRY_S: Final = 300.0
"""Only an edit mends an invalid spec, and an edit comes as an event."""
HELD_RETRY_S: Final = 10.0
"""While a worker that is to be given back does not answer."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One DetectionQueue in one reconcile."""

    queue: Object
    desired_spec: DesiredSpec
    state: QueueState
    gathered: Gathered
    polled: bool
    now_s: float

    @property
    def spec(self) -> QueueSpec:
        return self.desired_spec.spec


@dataclass(slots=True)
class Reconciler:
    """Reconciles DetectionQueues. The same key must not be reconciled twice at a time.

    Attributes:
        sources: Where everything is read from, and written to.
        metrics: To show decisions.
        record: Takes each decision, for ``replay``; None drops them.
    """

    sources: Sources
    metrics: Metrics
    record: Callable[[Record], None] | None = None
    _states: dict[Key, QueueState] = field(default_factory=dict)

    def reconcile(self, key: Key) -> float | None:
        """Bring one DetectionQueue a step nearer to its spec.

        Returns:
            Seconds until it should be looked at again, at the latest; None when it is gone.

        Raises:
            ClusterError: The API server refused or did not answer; nothing is left half-done that
                the next try would not mend.
        """
        queue = self.sources.cluster.queue(key)
        if queue is None or queue["metadata"].get("deletionTimestamp"):
            self._let_go(key)
            return None
        state = self._state(key, queue["metadata"]["uid"])
        try:
            wanted = resolve_spec(queue, state)
        except InvalidSpec as exc:
            if not self._teller.refuse(queue, state, exc):
                self._let_go(key)
                return None
            names = {referred(queue), *state.adopted} - {None}
            held = release(self._actor(queue, state), {str(name) for name in names}, own=True)
            return HELD_RETRY_S if held else INVALID_RETRY_S
        if state.since_s is None:
            now_s = self.sources.clock.wall_s()
            state.take_over(restored(queue, wanted.spec, now_s), now_s)
        polled = read_queue(self.sources, wanted.spec, state)
        case = _Case(
            queue=queue,
            desired_spec=wanted,
            state=state,
            gathered=gather(self.sources, queue, wanted, state),
            polled=polled,
            now_s=self.sources.clock.wall_s(),
        )
        return self._settle(case)

    def _state(self, key: Key, uid: str) -> QueueState:
        state = self._states.get(key)
        if state is None or state.uid != uid:
            state = self._states[key] = QueueState(uid)
        return state

    def _let_go(self, key: Key) -> None:
        """Forget a DetectionQueue that is gone; what it had adopted is not left half-drained."""
        state = self._states.get(key)
        if state is not None and state.adopted:
            metadata = {"namespace": key.namespace, "name": key.name, "uid": state.uid}
            release(self._actor({"metadata": metadata}, state), state.adopted)
        self._states.pop(key, None)
        self.metrics.forget(key.namespace, key.name)

    def _actor(self, queue: Object, state: QueueState) -> Actor:
        return Actor(sources=self.sources, metrics=self.metrics, queue=queue, state=state)

    @property
    def _teller(self) -> Teller:
        sources = self.sources
        return Teller(cluster=sources.cluster, clock=sources.clock, metrics=self.metrics)

    def _settle(self, case: _Case) -> float | None:
        """Decide, act, tell; return the seconds until the next look, None when it is gone."""
        state = case.state
        self._verify(case)
        seen = _observe(case, self._neighbours(case.spec))
        plan = self._decide(case, seen)
        rival, older = self._rival(case), elder(case.queue, case.spec, self.sources.cluster)
        try:
            pending = self._act(case, plan, rival=rival, older=older)
        except Vanished:
            self._let_go(key_of(case.queue))
            return SOON_S
        except (Conflict, NotFound):
            # Somebody wrote or deleted meanwhile: look again and decide anew.
            pending = True
        refused = standing(state.refused, case.desired_spec.generation)
        report = Report(
            spec=case.spec,
            seen=seen,
            plan=plan,
            generation=int(case.queue["metadata"].get("generation", 0)),
            now_s=case.now_s,
            selector=case.gathered.selector,
            conflict=rival or older,
            findings=(
                *_findings(case, seen, plan),
                *sharers(case.queue, self.sources.cluster),
            ),
            refused=refused.condition if refused else None,
        )
        if not self._teller.tell(case.queue, state, report):
            self._let_go(key_of(case.queue))
            return None
        left_s = max(0.0, state.poll_at_s - self.sources.clock.monotonic_s())
        return min(left_s, SOON_S) if pending else left_s

    def _decide(self, case: _Case, seen: Observation) -> Plan:
        state = case.state
        memory = state.memory
        plan = decide(case.spec, seen, memory, case.now_s)
        if self.record is not None:
            self.record(
                Record(
                    spec=case.spec, observation=seen, memory=memory, now_s=case.now_s, plan=plan
                )
            )
        state.memory = plan.memory
        next_s = self.sources.clock.monotonic_s() + plan.next_poll_s
        # What is seen between two reads may make the next one come sooner, never later.
        state.poll_at_s = next_s if case.polled else min(state.poll_at_s, next_s)
        return plan

    def _neighbours(self, spec: QueueSpec) -> int:
        """Count the queues that share the rate of an account."""
        account = spec.queue.account
        # A copy: other threads come upon new keys meanwhile.
        specs = [state.desired_spec for state in list(self._states.values())]
        return sum(item is not None and item.spec.queue.account == account for item in specs)

    def _act(self, case: _Case, plan: Plan, *, rival: str | None, older: str | None) -> bool:
        """Act on the plan; say whether something is under way."""
        actor, groups = self._actor(case.queue, case.state), case.gathered.groups
        # What is still followed, by another reference or none, is the plan's.
        case.state.former -= {item.name for item in groups}
        if case.state.former and not release(actor, case.state.former):
            case.state.former.clear()
        if older is not None:
            # The drains of an older DetectionQueue on the shared Deployment are its own.
            groups = tuple(item for item in groups if not item.current)
        if older is not None or not plan.apply:
            give_back(actor, (w for item in groups for w in item.workers))
            return False
        if rival is not None:
            # Whoever else sets the replicas knows of no drain.
            for worker in (w for item in groups for w in item.workers if w.held):
                actor.resume(worker)
            return False
        if self._ensure(actor, case, plan.desired):
            # What was just made or mended is looked at before it is scaled.
            return True
        groups = with_current(groups)
        steps = next_steps(
            groups,
            desired=plan.desired,
            scale_in_candidates=plan.scale_in_candidates,
            drain_timeout_s=case.spec.scaling.scale_down.drain_timeout_s,
            drain_ages=case.state.drain_ages(
                (worker for item in groups for worker in item.workers),
                self.sources.clock.monotonic_s(),
            ),
        )
        actor.take(steps)
        return actor.retire(groups) or steps.pending

    def _ensure(self, actor: Actor, case: _Case, replicas: int) -> bool:
        """Make or mend the Deployment; say whether it was written. A refusal is noted."""
        state, generation = case.state, case.desired_spec.generation
        now_s = self.sources.clock.monotonic_s()
        before = standing(state.refused, generation)
        if before is not None and now_s < before.retry_at_s:
            return False
        try:
            written = actor.ensure(
                case.desired_spec.manifest, case.gathered.groups, replicas=replicas
            )
        except ClusterError as exc:
            if not is_refusal(exc):
                raise
            state.refused = refusal(exc, before, generation=generation, now_s=now_s)
            metadata = case.queue["metadata"]
            facts = {"namespace": metadata["namespace"], "queue": metadata["name"]}
            log.warning("Deployment refused", extra={**facts, "error": str(exc)})
            return False
        state.refused = None
        return written

    def _rival(self, case: _Case) -> str | None:
        now_s = self.sources.clock.monotonic_s()
        for item in case.gathered.groups:
            other = contender(case.state, item.deployment, now_s)
            if other is not None:
                return other
        return None

    def _verify(self, case: _Case) -> None:
        """Compare the pods with the last look: who went, and did anybody go while busy?"""
        state, groups = case.state, case.gathered.groups
        present = {w.pod.uid: w for item in groups for w in (*item.workers, *item.leaving)}
        leaving = {w.pod.uid for item in groups for w in item.leaving}
        for uid, worker in state.known.items():
            if worker.busy and (uid not in present or uid in leaving):
                by = "operator" if uid in state.dismissed else "other"
                self.metrics.busy_terminated.labels(by).inc()
                log.warning("a busy worker went", extra={"pod": worker.pod.name, "by": by})
        for worker in present.values():
            state.measure(worker)
        state.count_failed(pod for item in groups for pod in item.failed)
        state.known = {uid: w for uid, w in present.items() if uid not in leaving}
        state.retain(present.keys())


def _observe(case: _Case, neighbours: int) -> Observation:
    state = case.state
    return observation(
        case.gathered.groups,
        state.reading,
        state.counters,
        oldest_age_s=state.oldest_age_s(case.gathered.states, case.now_s),
        starts=state.start_times(case.spec),
        now_s=case.now_s,
        neighbours=neighbours,
    )


def _findings(case: _Case, seen: Observation, plan: Plan) -> tuple[str, ...]:
    state = case.state
    if case.polled:
        starved = is_starved(state.reading, seen)
        state.starved_readings = state.starved_readings + 1 if starved else 0
    return findings(
        Examination(
            spec=case.spec,
            reading=state.reading,
            seen=seen,
            estimates=plan.estimates,
            groups=case.gathered.groups,
            starved_readings=state.starved_readings,
            now_s=case.now_s,
            problems=(
                *case.gathered.problems,
                *budget_problems(state.budget, case.desired_spec.manifest),
            ),
        )
    )
