"""From a plan to the next safe steps: which workers drain or resume, which replicas to set. Pure.

The promise is kept here: replicas fall only by as many pods as Kubernetes can remove without
removing one that may hold a message. Every step follows from what is observed, never from what
was done before, so that after a kill at any point the next process continues.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from detection_operator.kube.pods.ranking import LEAST_COST, safe_reduction
from detection_operator.reconcile.observe.fleet import Group, Worker, decision_pods
from detection_operator.scaling.pods import PodPhase, scale_in_candidates

SURGE: Final = 0.25
"""Surge during a roll-out, as a fraction of the plan's replicas; at least one replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What to do now.

    Attributes:
        drain: Workers to ask, or ask again, to drain.
        resume: Workers to ask to receive again.
        dismiss: Workers to give the least deletion cost, so that Kubernetes removes them first.
        scale: Deployments and the replicas to set.
        forced: Workers that are removed although they did not drain in ``drainTimeoutSeconds``.
        stop: Workers that started after replicas had fallen, which Kubernetes is to remove yet.
        pending: Steps are under way: reconcile again soon.
    """

    drain: tuple[Worker, ...] = ()
    resume: tuple[Worker, ...] = ()
    dismiss: tuple[Worker, ...] = ()
    scale: tuple[tuple[Group, int], ...] = ()
    forced: tuple[Worker, ...] = ()
    stop: tuple[Worker, ...] = ()
    pending: bool = False


@dataclass(frozen=True, slots=True)
class _Aim:
    """The goal of a Deployment: its replicas, and the workers to remove.

    Attributes:
        group: The Deployment.
        replicas: Its replicas once the workers are gone.
        leaving: Workers to remove.
        departing: How many of these go because of their node.
    """

    group: Group
    replicas: int
    leaving: tuple[Worker, ...]
    departing: int = 0


def next_steps(
    groups: Sequence[Group],
    *,
    desired: int,
    drain_timeout_s: float,
    drain_ages: Mapping[str, float],
    most: int | None = None,
    lasting: int | None = None,
) -> Steps:
    """Return the steps towards ``desired`` replicas in all.

    Args:
        groups: The Deployments; at most one is current.
        desired: Replicas of the plan.
        drain_timeout_s: A worker that drains for longer is removed anyway, by SIGTERM.
        drain_ages: Seconds since workers were asked to drain, by uid.
        most: Replicas that there may be at a time, with the surge of a roll-out; None: no limit.
        lasting: Replicas that there are to be once a pool has what goes back; None: as many as in
            the plan. So many less a surge go on until there are others in their place.
    """
    aims = _aims(groups, desired, most, max(desired, lasting or 0))
    chosen = {worker.pod.uid for aim in aims for worker in aim.leaving}
    workers = [worker for item in groups for worker in item.workers]
    resume = tuple(w for w in workers if w.drain_requested and w.pod.uid not in chosen)
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
    late_starts = tuple(w for item in groups for w in item.leaving if _is_to_go_yet(w, item))
    return Steps(
        drain=tuple(drain),
        resume=resume,
        dismiss=tuple(dismiss),
        scale=tuple(scale),
        forced=tuple(forced),
        stop=tuple(w for w in late_starts if w.busy is False),
        pending=bool(chosen or resume or scale or late_starts),
    )


def _aims(groups: Sequence[Group], desired: int, most: int | None, lasting: int) -> list[_Aim]:
    current = next((item for item in groups if item.current), None)
    others = [item for item in groups if not item.current and item.replicas]
    if current is None:
        return []
    if others:
        gone = sum(len(item.departing) + len(item.leaving) for item in groups)
        wanted = min(lasting, desired + gone)
        return _roll_out(current, others, desired, most=most, wanted=wanted)
    return [_aim(current, desired, departing(current, lasting))]


def _aim(item: Group, desired: int, going: tuple[Worker, ...]) -> _Aim:
    """Return the aim of ``desired`` replicas besides the departing ones, ``going`` among them.

    Each departing one has a substitute from the start: replicas rise first, and fall by one as
    each has finished.
    """
    stay = len(item.departing) - len(going)
    surplus = item.staying - desired
    replicas = desired + stay
    if surplus < 0:
        return _Aim(item, replicas + len(going), going, len(going))
    return _Aim(item, replicas, (*going, *_leaving(item, surplus)), len(going))


def departing(item: Group, wanted: int) -> tuple[Worker, ...]:
    """Return the workers on nodes that are going which should finish and go now.

    All of them where the node goes within minutes. Of those whose node has no deadline so many
    that most of the wanted replicas take messages: as substitutes become ready, the others follow.
    In a full pool a substitute starts when one has gone.
    """
    needed = max(min(1, wanted), wanted - surge_of(wanted))
    return _departing(item, max(0, needed - _serving(item)))


def _departing(item: Group, keep: int) -> tuple[Worker, ...]:
    """Return the same for a Deployment of which ``keep`` workers are to go on, if they may."""
    soon = [w for w in item.departing if w.node is not None and w.node.soon]
    others = sorted((w for w in item.departing if w not in soon), key=_first_to_depart)
    return (*soon, *others[: max(0, len(others) - keep)])


def _serving(item: Group) -> int:
    """Return the workers that take messages, on nodes that stay."""
    return sum(w.pod.ready and not w.draining and w.node is None for w in item.workers)


def _first_to_depart(worker: Worker) -> tuple[bool, bool, float, str]:
    """Sort those that drain already first, then idle ones, then the newest."""
    busy = worker.busy is not False
    return (not worker.draining, busy, -worker.pod.created_s, worker.pod.name)


def surge_of(desired: int) -> int:
    """Return the replicas that a roll-out adds to a plan."""
    return max(1, math.ceil(SURGE * desired)) if desired else 0


def _roll_out(
    current: Group, others: Sequence[Group], desired: int, *, most: int | None, wanted: int
) -> list[_Aim]:
    """Return the aims while pods of another template remain.

    New pods start first, within the surge; an old one is asked to drain when a new one is ready to
    replace it, and is removed when it has finished. If new pods are unschedulable, one old pod
    makes room. Where a pool has no room for any surge, as many old pods as that would be make
    room, and each new pod waits until an old one is gone.
    """
    old = sum(item.staying for item in others)
    surge = surge_of(desired)
    room = desired + surge if most is None else min(desired + surge, most)
    fresh = max(0, min(desired, room - old), min(current.staying, desired))
    stuck = any(w.phase is PodPhase.UNSCHEDULABLE for w in current.workers)
    unavailable = surge_of(wanted) if room <= desired else int(stuck)
    keep = max(0, wanted - _serving(current) - unavailable)
    aims = [_aim(current, fresh, departing(current, fresh))]
    for item in others:
        stay = min(item.staying, keep)
        keep -= stay
        # Their substitutes are new ones already.
        going = _departing(item, keep)
        kept = len(item.departing) - len(going)
        keep -= kept
        leaving = (*going, *_leaving(item, item.staying - stay))
        aims.append(_Aim(item, stay + kept, leaving))
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


def _is_to_go_yet(worker: Worker, item: Group) -> bool:
    """Say whether a pod that Kubernetes is to remove may take messages until it does.

    It was starting when replicas fell, and Kubernetes' controllers may be slow, as for seconds
    after another of them leads. In Kubernetes' own roll-outs nobody knows which ones will go.
    """
    asked = worker.state is not None and worker.state.draining
    templates = {w.pod.template_hash for w in (*item.workers, *item.leaving)}
    chosen = worker.pod.deletion_cost == LEAST_COST or len(templates) == 1
    return chosen and not asked and not worker.pod.terminating


def _must_ask(worker: Worker) -> bool:
    if worker.state is None:
        # It does not answer; the annotation starts the drain timeout if it may hold a message.
        return worker.pod.drain_since_s is None and (worker.pod.ready or worker.pod.started)
    return worker.pod.drain_since_s is None or not worker.state.draining


def _finished(aim: _Aim) -> list[Worker]:
    return [w for w in aim.leaving if w.may_go and not _must_ask(w)]


def _marked(worker: Worker, item: Group) -> bool:
    """Say whether Kubernetes removes it before all that may be busy.

    The least cost must be observed first: of several pods with the same cost Kubernetes would
    remove any, also one that was asked a moment ago and still works, or a busy one in place of one
    that was starting and is ready by then.
    """
    return worker.pod.deletion_cost == LEAST_COST or _is_far_from_ready(worker, item)


def _is_far_from_ready(worker: Worker, item: Group) -> bool:
    """Say whether a pod cannot be ready, let alone busy, by the time that replicas fall.

    It has no node, or no kubelet has admitted it, unless the Deployment counts more ready pods
    than were observed: then the observation is old.
    """
    if not worker.pod.scheduled:
        return True
    return not worker.pod.admitted and worker.may_go and item.all_ready_seen


def _reachable(aim: _Aim, late: Iterable[Worker]) -> int:
    """Return the replicas that can be set now without a risk to work in progress.

    Kubernetes removes pods that are not ready first, substitutes of departing ones too: until
    these are ready, the departing ones that have finished stay, drained.
    """
    item = aim.group
    surplus = item.replicas - aim.replicas
    if surplus <= 0:
        return aim.replicas
    if item.mixed or item.unseen:
        return item.replicas
    missing = item.missing
    safe = {w.pod.name for w in (*_finished(aim), *late) if _marked(w, item)}
    # Any of these may be removed in place of the chosen ones: none can be working.
    early = {w.pod.name for w in item.workers if _is_far_from_ready(w, item)}
    pods = [w.pod for w in item.workers]
    if not item.counted or len(early) + missing > surplus - aim.departing:
        surplus -= aim.departing
    least = missing + safe_reduction(pods, frozenset(safe | early), max(0, surplus - missing))
    return item.replicas - min(surplus, least)
