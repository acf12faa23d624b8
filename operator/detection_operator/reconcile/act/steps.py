"""From a plan to the next safe steps: who drains, who resumes, which Deployment gets how many.

Pure. The promise is made here: replicas fall only by as many pods as Kubernetes can take without
touching one that may hold a message. Every step is taken from what is seen, never from what was
done before, so that an operator which is killed anywhere is continued by the next one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from detection_operator.kube.pods.ranking import LEAST_COST, safe_reduction
from detection_operator.reconcile.observe.fleet import Group, Worker, decision_pods
from detection_operator.scaling.pods import PodPhase, scale_in_candidates

SURGE: Final = 0.25
"""Replicas above the plan while workers of another template come in, of the plan; at least one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What to do now.

    Attributes:
        drain: To ask, or to ask again, to drain.
        resume: To ask to receive again.
        dismiss: To mark as those that Kubernetes is to take.
        scale: Deployments and the replicas to set.
        forced: Workers that go although they did not finish in ``drainTimeoutSeconds``.
        pending: Something is under way that deserves another look soon.
    """

    drain: tuple[Worker, ...] = ()
    resume: tuple[Worker, ...] = ()
    dismiss: tuple[Worker, ...] = ()
    scale: tuple[tuple[Group, int], ...] = ()
    forced: tuple[Worker, ...] = ()
    pending: bool = False


@dataclass(frozen=True, slots=True)
class _Aim:
    """What a Deployment is on its way to."""

    group: Group
    replicas: int
    leaving: tuple[Worker, ...]


def next_steps(
    groups: Sequence[Group],
    *,
    desired: int,
    drain_timeout_s: float,
    drain_ages: Mapping[str, float],
) -> Steps:
    """Return the steps towards ``desired`` replicas in all.

    Args:
        groups: The Deployments; at most one is current.
        desired: Of the plan.
        drain_timeout_s: A worker that drains for longer goes anyway, by SIGTERM.
        drain_ages: For how long workers have been asked to drain, by uid.
    """
    aims = _aims(groups, desired)
    chosen = {worker.pod.uid for aim in aims for worker in aim.leaving}
    everybody = [worker for item in groups for worker in item.workers]
    resume = tuple(w for w in everybody if w.drain_requested and w.pod.uid not in chosen)
    drain: list[Worker] = []
    dismiss: list[Worker] = []
    forced: list[Worker] = []
    scale: list[tuple[Group, int]] = []
    for aim in aims:
        late = [
            w
            for w in aim.leaving
            if drain_ages.get(w.pod.uid, 0.0) > drain_timeout_s and not w.may_go
        ]
        drain += [w for w in aim.leaving if _must_ask(w)]
        dismiss += [w for w in (*_finished(aim), *late) if not _marked(w, aim.group)]
        replicas = _reachable(aim, late)
        if replicas != aim.group.replicas:
            scale.append((aim.group, replicas))
            if replicas < aim.group.replicas:
                forced += late
    return Steps(
        drain=tuple(drain),
        resume=resume,
        dismiss=tuple(dismiss),
        scale=tuple(scale),
        forced=tuple(forced),
        pending=bool(chosen or resume or scale),
    )


def _aims(groups: Sequence[Group], desired: int) -> list[_Aim]:
    current = next((item for item in groups if item.current), None)
    others = [item for item in groups if not item.current and item.replicas]
    if current is None:
        return []
    if others:
        return _roll_out(current, others, desired)
    surplus = current.replicas - desired
    if surplus <= 0:
        return [_Aim(current, desired, ())]
    return [_Aim(current, desired, _leaving(current, surplus))]


def _roll_out(current: Group, others: Sequence[Group], desired: int) -> list[_Aim]:
    """Return the aims while pods of another template remain.

    New pods start first, within the surge; an old one is asked to drain when a new one can take
    its place, and goes when it has finished. Where no new pod finds room, one old one makes room.
    """
    old = sum(item.replicas for item in others)
    surge = max(1, math.ceil(SURGE * desired)) if desired else 0
    wanted = max(0, min(desired, desired + surge - old))
    fresh = max(wanted, min(current.replicas, desired))
    serving = sum(w.pod.ready and not w.draining for w in current.workers)
    stuck = any(w.phase is PodPhase.UNSCHEDULABLE for w in current.workers)
    keep = max(0, desired - serving - (1 if stuck else 0))
    aims = [_Aim(current, fresh, _leaving(current, current.replicas - fresh))]
    for item in others:
        stay = min(item.replicas, keep)
        keep -= stay
        aims.append(_Aim(item, stay, _leaving(item, item.replicas - stay)))
    return aims


def _leaving(item: Group, surplus: int) -> tuple[Worker, ...]:
    """Return the workers to remove, in the order of the plan's scale-in candidates.

    Busy workers among them drain, that is they finish first.
    """
    # Pods that do not exist yet need not be asked.
    count = surplus - item.missing
    if count <= 0 or item.mixed:
        return ()
    workers = {worker.pod.name: worker for worker in item.workers}
    candidates = scale_in_candidates(decision_pods([item]), count)
    return tuple(workers[name] for name in candidates)


def _must_ask(worker: Worker) -> bool:
    if worker.state is None:
        # Nobody to ask; the annotation starts the clock for those that may hold a message.
        return worker.pod.drain_since_s is None and (worker.pod.ready or worker.pod.started)
    return worker.pod.drain_since_s is None or not worker.state.draining


def _finished(aim: _Aim) -> list[Worker]:
    return [w for w in aim.leaving if w.may_go and not _must_ask(w)]


def _marked(worker: Worker, item: Group) -> bool:
    """Say whether Kubernetes takes it before all that may be busy.

    It must be seen with the least cost first: of several with the same cost Kubernetes would take
    any, also one that was asked a moment ago and still works, or a busy one in place of one that
    starts and is ready by then.
    """
    return worker.pod.deletion_cost == LEAST_COST or _is_far_from_ready(worker, item)


def _is_far_from_ready(worker: Worker, item: Group) -> bool:
    """Say whether a pod cannot be ready, let alone busy, by the time that replicas fall.

    It has no node, or no kubelet has taken it in, unless the Deployment knows of more ready pods
    than were seen: then what was seen is old.
    """
    if not worker.pod.scheduled:
        return True
    return not worker.pod.admitted and worker.may_go and item.all_ready_seen


def _reachable(aim: _Aim, late: Iterable[Worker]) -> int:
    """Return the replicas that can be asked for now without a risk to anybody's work."""
    item = aim.group
    surplus = item.replicas - aim.replicas
    if surplus <= 0:
        return aim.replicas
    if item.mixed or item.unseen:
        return item.replicas
    missing = item.missing
    safe = {w.pod.name for w in (*_finished(aim), *late) if _marked(w, item)}
    # Any of these may go in place of those that were chosen: they are alike.
    safe |= {w.pod.name for w in item.workers if _is_far_from_ready(w, item)}
    pods = [w.pod for w in item.workers]
    return item.replicas - min(
        surplus, missing + safe_reduction(pods, frozenset(safe), max(0, surplus - missing))
    )
