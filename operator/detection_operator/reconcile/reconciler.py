"""Reconcile one DetectionQueue: observe, decide, act, report."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from detection_operator.errors import ClusterError, Conflict, NotFound, Vanished
from detection_operator.kube.objects import key_of
from detection_operator.kube.port import Key, Object
from detection_operator.kube.store import POOL
from detection_operator.metrics import Metrics
from detection_operator.reconcile.act.executor import Executor
from detection_operator.reconcile.act.protection import keep_protection
from detection_operator.reconcile.act.refused_scale import refusal, still_known
from detection_operator.reconcile.act.rejected_deployment import (
    for_generation,
    is_rejection,
    rejected_deployment,
)
from detection_operator.reconcile.act.steps import next_steps
from detection_operator.reconcile.act.undrain import undrain, undrain_deployments
from detection_operator.reconcile.case import Case
from detection_operator.reconcile.observe.conflicts import (
    competing_writer,
    deployment_ref,
    older_owner,
)
from detection_operator.reconcile.observe.desired import DesiredSpec, resolve_spec
from detection_operator.reconcile.observe.fleet import Group, with_current
from detection_operator.reconcile.observe.gather import Sources, gather, read_queue
from detection_operator.reconcile.observe.observation import observation
from detection_operator.reconcile.observe.restore import restored
from detection_operator.reconcile.pools.ledger import Ledger, Turn
from detection_operator.reconcile.pools.reconciler import Look, PoolReconciler
from detection_operator.reconcile.report.status_writer import StatusWriter
from detection_operator.reconcile.state import QueueState
from detection_operator.scaling.decision import decide
from detection_operator.scaling.plan import Plan
from detection_operator.scaling.pools.share import PoolShare
from detection_operator.scaling.records import Record
from detection_operator.scaling.rules.terms import Rule
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.scaling import Mode
from detection_operator.spec.validation import InvalidSpec

SOON_S: Final = 1.0
"""While a drain or a scale-in is under way: a worker acknowledges within a second."""
INVALID_RETRY_S: Final = 300.0
"""Only an edit fixes an invalid spec, and an edit arrives as an event."""
UNDRAIN_RETRY_S: Final = 10.0
"""While a worker that should resume does not answer."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Reconciler:
    """Reconciles DetectionQueues. The same key must not be reconciled twice at a time.

    Attributes:
        sources: What is read from and written to.
        metrics: The operator's metrics.
        record: Takes each decision, for ``replay``; None drops them.
        pools: Reconciles WorkerPools.
    """

    sources: Sources
    metrics: Metrics
    record: Callable[[Record], None] | None = None
    pools: PoolReconciler = field(init=False)
    _states: dict[Key, QueueState] = field(default_factory=dict)
    _accounts: dict[Key, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        clock = self.sources.clock
        self.pools = PoolReconciler(
            cluster=self.sources.cluster,
            clock=clock,
            metrics=self.metrics,
            ledger=Ledger(clock.monotonic_s),
        )

    def reconcile(self, key: Key) -> float | None:
        """Bring one DetectionQueue a step nearer to its spec, or share one WorkerPool.

        Returns:
            Seconds until the next reconcile at the latest; None when the object is gone.

        Raises:
            ClusterError: The API server refused or did not answer. Whatever was left half done,
                the next reconcile continues.
        """
        if key.kind == POOL:
            return self.pools.reconcile(key)
        queue = self.sources.cluster.queue(key)
        if queue is None or queue["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return None
        state = self._state(key, queue["metadata"]["uid"])
        try:
            desired = resolve_spec(queue, state.desired)
        except InvalidSpec as exc:
            return self._reject_spec(queue, state, exc)
        state.follow(desired)
        self._accounts[key] = desired.spec.queue.account
        case = self._observe(queue, desired, state)
        conflict = self._conflict(case)
        older = older_owner(queue, case.spec, self.sources.cluster)
        turn = self._decide(case, followed=conflict is None and older is None)
        case, plan = replace(case, seen=replace(case.seen, pool=turn.share)), turn.plan
        try:
            pending = self._act(case, turn, conflict=conflict, older=older)
            self._protect(case, older=older)
        except Vanished:
            self._forget(key)
            return SOON_S
        except (Conflict, NotFound):
            # An object changed since it was read: read it again and decide again.
            pending = True
        report = case.report(plan, conflict=conflict or older, cluster=self.sources.cluster)
        if not self._status_writer.write(queue, state.reported, report):
            self._forget(key)
            return None
        left_s = state.observed.poll.remaining_s(self.sources.clock.monotonic_s())
        return min(left_s, SOON_S) if pending else left_s

    def _state(self, key: Key, uid: str) -> QueueState:
        state = self._states.get(key)
        if state is None or state.uid != uid:
            state = self._states[key] = QueueState(uid)
            self._accounts.pop(key, None)
        return state

    def _forget(self, key: Key) -> None:
        """Forget a DetectionQueue that is gone; workers of an adopted Deployment resume."""
        state = self._states.get(key)
        if state is not None and state.adopted:
            metadata = {"namespace": key.namespace, "name": key.name, "uid": state.uid}
            undrain_deployments(self._executor({"metadata": metadata}, state), state.adopted)
        self._states.pop(key, None)
        self._accounts.pop(key, None)
        self.pools.gone(key)
        self.metrics.forget(key.namespace, key.name)

    def _reject_spec(self, queue: Object, state: QueueState, error: InvalidSpec) -> float | None:
        """Report an invalid spec; workers that were asked to drain resume."""
        if not self._status_writer.write_invalid(queue, state.reported, error):
            self._forget(key_of(queue))
            return None
        self.pools.hold(key_of(queue))
        names = {str(name) for name in {deployment_ref(queue), *state.adopted} - {None}}
        waiting = undrain_deployments(self._executor(queue, state), names, own=True)
        return UNDRAIN_RETRY_S if waiting else INVALID_RETRY_S

    def _executor(self, queue: Object, state: QueueState) -> Executor:
        return Executor(
            sources=self.sources,
            metrics=self.metrics,
            queue=queue,
            written=state.written,
            scaled=state.reported.scaled,
        )

    @property
    def _status_writer(self) -> StatusWriter:
        sources = self.sources
        return StatusWriter(cluster=sources.cluster, clock=sources.clock, metrics=self.metrics)

    def _observe(self, queue: Object, desired: DesiredSpec, state: QueueState) -> Case:
        spec, observed, clock = desired.spec, state.observed, self.sources.clock
        if observed.starts.since_s is None:
            now_s = clock.wall_s()
            state.take_over(restored(queue, spec, now_s), now_s)
        polled = read_queue(self.sources, spec, observed)
        gathered = gather(
            self.sources,
            queue,
            desired,
            observed,
            refused_drain=state.written.refusing_drain(clock.monotonic_s()),
        )
        now_s = clock.wall_s()
        self._note_pods(state, gathered.groups, spec)
        seen = observation(
            gathered.groups,
            observed.reading,
            observed.counters,
            oldest_age_s=observed.oldest_age_s(gathered.states, now_s),
            starts=observed.starts.times(spec),
            now_s=now_s,
            neighbours=self._queues_of_account(spec),
            refusal=refusal(state.written.refused, gathered.groups, now_s=clock.monotonic_s()),
        )
        return Case(
            queue=queue,
            desired=desired,
            state=state,
            gathered=gathered,
            seen=seen,
            polled=polled,
            now_s=now_s,
        )

    def _note_pods(self, state: QueueState, groups: tuple[Group, ...], spec: QueueSpec) -> None:
        """Compare the pods with the last reconcile and count those terminated while busy."""
        terminated = state.observed.note_pods(
            groups, unschedulable_s=spec.capacity.unschedulable_s
        )
        for worker in terminated:
            by = "operator" if worker.pod.uid in state.written.removed else "other"
            self.metrics.busy_terminated.labels(by).inc()
            facts = {"pod": worker.pod.name, "by": by}
            log.warning("pod terminated while holding a message", extra=facts)
        present = [w.pod.uid for item in groups for w in (*item.workers, *item.leaving)]
        state.written.removed.intersection_update(present)

    def _queues_of_account(self, spec: QueueSpec) -> int:
        """Count the queues that share the request rate of an AWS account."""
        # A copy: other threads add keys meanwhile.
        return list(self._accounts.values()).count(spec.queue.account)

    def _decide(self, case: Case, *, followed: bool) -> Turn:
        state = case.state
        memory = state.memory

        def choose(share: PoolShare | None) -> Plan:
            return decide(case.spec, replace(case.seen, pool=share), memory, case.now_s)

        look = Look(
            groups=case.gathered.groups,
            choose=choose,
            pinned=not followed or case.state.written.rejected is not None,
            now_s=case.now_s,
        )
        turn = self.pools.decide(case.queue, case.spec, look)
        plan = turn.plan
        if self.record is not None:
            self.record(
                Record(
                    spec=case.spec,
                    observation=replace(case.seen, pool=turn.share),
                    memory=memory,
                    now_s=case.now_s,
                    plan=plan,
                )
            )
        state.memory = plan.memory
        now_s = self.sources.clock.monotonic_s()
        capped = any(term.rule is Rule.TAKEN_BY_SERVER for term in plan.terms)
        state.written.refused = still_known(state.written.refused, capped=capped, now_s=now_s)
        state.observed.poll.next_in(plan.next_poll_s, now_s, was_read=case.polled)
        return turn

    def _conflict(self, case: Case) -> str | None:
        """Return another writer of the replicas, or None."""
        now_s = self.sources.clock.monotonic_s()
        written, sightings = case.state.written, case.state.observed.other_writers
        for item in case.gathered.groups:
            other = competing_writer(
                sightings, item.deployment, written=written.replicas.get(item.name), now_s=now_s
            )
            if other is not None:
                return other
        return None

    def _act(self, case: Case, turn: Turn, *, conflict: str | None, older: str | None) -> bool:
        """Act on the plan; say whether something is under way."""
        plan = turn.plan
        executor, groups = self._executor(case.queue, case.state), case.gathered.groups
        self._undrain_former(executor, case)
        if older is not None:
            # The older DetectionQueue drains the workers of the shared Deployment.
            groups = tuple(item for item in groups if not item.current)
        if older is not None or not plan.apply:
            undrain(executor, (w for item in groups for w in item.workers))
            return False
        if conflict is not None:
            # Another writer of the replicas knows nothing of drains.
            for worker in (w for item in groups for w in item.workers if w.drain_requested):
                executor.resume(worker)
            return False
        if self._ensure(executor, case, plan.desired):
            # What was just written is read back before it is scaled.
            return True
        groups = with_current(groups)
        steps = next_steps(
            groups,
            desired=plan.desired,
            drain_timeout_s=case.spec.scaling.scale_down.drain_timeout_s,
            drain_ages=case.state.written.drain_ages(
                (worker for item in groups for worker in item.workers),
                self.sources.clock.monotonic_s(),
            ),
            most=turn.most,
            lasting=turn.lasting,
        )
        executor.execute(steps)
        return executor.delete_empty(groups) or steps.pending

    def _protect(self, case: Case, *, older: str | None) -> None:
        """Annotate workers by what they do, unless nothing may be written, or another does."""
        if older is not None or case.spec.scaling.mode is Mode.SHADOW:
            return
        watch, groups = case.state.written.protection, case.gathered.groups
        keep_protection(self.sources, case.queue, case.spec.worker, groups, watch=watch)

    @staticmethod
    def _undrain_former(executor: Executor, case: Case) -> None:
        """Let workers resume that were drained for a Deployment no longer referred to."""
        former = case.state.former
        # The plan covers the Deployments that are still followed, whatever refers to them.
        former -= {item.name for item in case.gathered.groups}
        if former and not undrain_deployments(executor, former):
            former.clear()

    def _ensure(self, executor: Executor, case: Case, replicas: int) -> bool:
        """Apply the Deployment; say whether it was written. A rejection is noted."""
        written, generation = case.state.written, case.desired.generation
        now_s = self.sources.clock.monotonic_s()
        before = for_generation(written.rejected, generation)
        if before is not None and now_s < before.retry_at_s:
            return False
        try:
            changed = executor.ensure(
                case.desired.manifest, case.gathered.groups, replicas=replicas
            )
        except ClusterError as exc:
            if not is_rejection(exc):
                raise
            written.rejected = rejected_deployment(exc, before, generation=generation, now_s=now_s)
            metadata = case.queue["metadata"]
            facts = {"namespace": metadata["namespace"], "queue": metadata["name"]}
            log.warning(
                "the API server refuses the Deployment", extra={**facts, "error": str(exc)}
            )
            return False
        written.rejected = None
        return changed
