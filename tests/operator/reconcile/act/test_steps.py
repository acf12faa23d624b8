"""Laws of the steps: whatever is seen, nobody who may hold a message goes unasked."""

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from detection_operator.kube.nodes import NodeView
from detection_operator.kube.pods.ranking import ASKED_COST, LEAST_COST, removal_rank
from detection_operator.kube.pods.views import PodView
from detection_operator.readers.values import WorkerState
from detection_operator.reconcile.act.steps import Steps, departing, next_steps
from detection_operator.reconcile.observe.fleet import Group, decision_pods, group
from detection_operator.scaling.pods import PodPhase, scale_in_candidates

NOW_S = 1000.0


NODES = {
    "cordoned": NodeView(name="cordoned", leaving="it is cordoned"),
    "spot": NodeView(name="spot", leaving="its spot instance is interrupted", soon=True),
}


@st.composite
def fleets(draw: st.DrawFn, *, nodes: tuple[str, ...] = ("stays",)) -> Group:
    count = draw(st.integers(0, 8))
    pods: list[PodView] = []
    states: dict[str, WorkerState] = {}
    for number in range(count):
        ready, asked = draw(st.booleans()), draw(st.booleans())
        scheduled = ready or draw(st.booleans())
        started = ready or (scheduled and draw(st.booleans()))
        pods.append(
            PodView(
                name=f"pod-{number}",
                uid=f"uid-{number}",
                ip="10.0.0.1" if scheduled else None,
                port=8080,
                revision="r",
                template_hash="h",
                created_s=float(draw(st.integers(0, 99))),
                ready_s=1.0 if ready else None,
                scheduled=scheduled,
                running=scheduled,
                started=started,
                admitted=started or (scheduled and draw(st.booleans())),
                unschedulable_since_s=None if scheduled else 1.0,
                unschedulable_why="",
                broken="",
                deletion_cost=draw(st.sampled_from([ASKED_COST, LEAST_COST])) if asked else 0,
                drain_since_s=NOW_S - draw(st.integers(0, 400)) if asked else None,
                terminating=False,
                node=draw(st.sampled_from(nodes)) if scheduled else "",
            )
        )
        if scheduled and draw(st.booleans()):
            busy, draining = draw(st.booleans()), asked and draw(st.booleans())
            states[f"uid-{number}"] = WorkerState(
                busy=busy, draining=draining, drained=draining and not busy
            )
    replicas = count + draw(st.integers(0, 2))
    deployment = {"metadata": {"name": "d"}, "spec": {"replicas": replicas}}
    return group(deployment, pods, states, current=True, nodes=NODES)


on_any_node = fleets(nodes=("stays", "cordoned", "spot"))


@given(on_any_node, st.integers(0, 10), st.permutations(list(range(8))))
def test_a_departing_worker_never_costs_the_place_of_one_that_stays(
    fleet: Group, desired: int, order: list[int]
) -> None:
    steps = next_steps([fleet], desired=desired, drain_timeout_s=1e9, drain_ages={})

    for item, replicas in steps.scale:
        pods = [item.workers[n] for n in order if n < len(item.workers)]
        removed = sorted(pods, key=lambda w: removal_rank(w.pod))[: max(0, len(pods) - replicas)]
        assert all(worker.may_go for worker in removed)
        assert sum(w.node is None for w in removed) <= max(0, fleet.staying - desired)


@given(on_any_node, st.integers(0, 10))
def test_every_departing_worker_has_a_substitute_before_it_goes(
    fleet: Group, desired: int
) -> None:
    steps = next_steps([fleet], desired=desired, drain_timeout_s=300, drain_ages={})

    if fleet.staying < desired:
        assert steps.scale == ((fleet, desired + len(fleet.departing)),)
    asked = {worker.pod.uid for worker in (*steps.drain, *steps.dismiss)}
    most = max(0, fleet.staying - desired)
    assert sum(w.node is None and w.pod.uid in asked for w in fleet.workers) <= most


@given(on_any_node, st.integers(0, 10))
def test_all_drain_whose_node_goes_within_minutes_and_not_all_of_the_others(
    fleet: Group, desired: int
) -> None:
    going = {worker.pod.uid for worker in departing(fleet, desired)}

    soon = {w.pod.uid for w in fleet.departing if w.node == NODES["spot"]}
    assert soon <= going <= {worker.pod.uid for worker in fleet.departing}
    later = len(fleet.departing) - len(soon)
    serving = sum(w.pod.ready and not w.draining and w.node is None for w in fleet.workers)
    kept = len(fleet.departing) - len(going)
    assert serving + kept >= min(desired - math.ceil(desired / 4), serving + later)


@given(fleets(), st.integers(0, 10), st.permutations(list(range(8))))
def test_replicas_fall_only_by_pods_that_may_go(
    fleet: Group, desired: int, order: list[int]
) -> None:
    steps = next_steps([fleet], desired=desired, drain_timeout_s=1e9, drain_ages={})

    for item, replicas in steps.scale:
        assert replicas >= min(desired, item.replicas)
        pods = [item.workers[n] for n in order if n < len(item.workers)]
        removed = sorted(pods, key=lambda w: removal_rank(w.pod))[: max(0, len(pods) - replicas)]
        assert all(worker.may_go for worker in removed)


@given(fleets(), st.integers(0, 10))
def test_nobody_is_drained_and_resumed_at_once(fleet: Group, desired: int) -> None:
    steps = next_steps([fleet], desired=desired, drain_timeout_s=300, drain_ages={})

    drained = {worker.pod.uid for worker in steps.drain}
    assert drained.isdisjoint(worker.pod.uid for worker in steps.resume)
    assert len(drained) <= max(0, fleet.replicas - desired)


@given(fleets())
def test_enough_replicas_resume_everybody(fleet: Group) -> None:
    steps = next_steps([fleet], desired=fleet.replicas, drain_timeout_s=300, drain_ages={})

    assert {w.pod.uid for w in steps.resume} == {w.pod.uid for w in fleet.workers if w.draining}
    assert not steps.drain
    assert not steps.scale


@given(fleets(), st.integers(0, 10))
def test_more_is_granted_at_once(fleet: Group, more: int) -> None:
    desired = fleet.replicas + more

    steps = next_steps([fleet], desired=desired, drain_timeout_s=300, drain_ages={})

    assert steps.scale == (((fleet, desired),) if more else ())


@given(fleets(), st.integers(0, 10))
def test_drains_leave_as_many_takers_as_the_plan_has_replicas(fleet: Group, desired: int) -> None:
    steps = next_steps([fleet], desired=desired, drain_timeout_s=300, drain_ages={})

    takers = {w.pod.uid for w in fleet.workers if w.phase is PodPhase.READY}
    asked = {worker.pod.uid for worker in steps.drain}
    assert len(takers - asked) >= min(len(takers), desired)


@given(fleets(), st.integers(0, 10))
def test_steps_and_plan_choose_the_same_pods(fleet: Group, desired: int) -> None:
    named = scale_in_candidates(decision_pods([fleet]), max(0, len(fleet.workers) - desired))

    steps = next_steps([fleet], desired=desired, drain_timeout_s=300, drain_ages={})

    asked = {worker.pod.name for worker in (*steps.drain, *steps.dismiss)}
    assert asked <= set(named)


@given(fleets(), st.integers(0, 10))
def test_a_busy_worker_is_asked_only_when_nobody_idle_is_left(fleet: Group, desired: int) -> None:
    steps = next_steps([fleet], desired=desired, drain_timeout_s=300, drain_ages={})

    takers = [w for w in fleet.workers if w.phase is PodPhase.READY]
    asked = {worker.pod.uid for worker in steps.drain}
    if any(w.busy for w in takers if w.pod.uid in asked):
        assert all(w.pod.uid in asked for w in takers if w.busy is False)


def drained(number: int, *, cost: int, busy: bool) -> tuple[PodView, WorkerState]:
    pod = PodView(
        name=f"pod-{number}",
        uid=f"uid-{number}",
        ip="10.0.0.1",
        port=8080,
        revision="r",
        template_hash="h",
        created_s=1.0,
        ready_s=1.0,
        scheduled=True,
        running=True,
        started=True,
        unschedulable_since_s=None,
        unschedulable_why="",
        broken="",
        deletion_cost=cost,
        drain_since_s=NOW_S - 5.0,
        terminating=False,
    )
    return pod, WorkerState(busy=busy, draining=True, drained=not busy)


def steps_for(*pods: tuple[PodView, WorkerState], desired: int) -> Steps:
    deployment = {"metadata": {"name": "d"}, "spec": {"replicas": len(pods)}}
    states = {pod.uid: state for pod, state in pods}
    fleet = group(deployment, [pod for pod, _ in pods], states, current=True)
    return next_steps([fleet], desired=desired, drain_timeout_s=300, drain_ages={})


def waiting(number: int) -> PodView:
    """Return a pod that finds no node."""
    pod, _ = drained(number, cost=0, busy=False)
    return replace(
        pod,
        ready_s=None,
        scheduled=False,
        running=False,
        started=False,
        admitted=False,
        unschedulable_since_s=1.0,
        drain_since_s=None,
    )


def test_of_pods_that_wait_for_a_node_any_may_go() -> None:
    deployment = {"metadata": {"name": "d"}, "spec": {"replicas": 7}}
    fleet = group(deployment, [waiting(number) for number in range(7)], {}, current=True)

    steps = next_steps([fleet], desired=4, drain_timeout_s=300, drain_ages={})

    assert [replicas for _, replicas in steps.scale] == [4]
    assert not steps.dismiss


def test_pods_that_no_kubelet_took_in_go_unless_the_deployment_knows_of_ready_ones() -> None:
    bound = [replace(waiting(n), scheduled=True, unschedulable_since_s=None) for n in range(4)]

    def scaled(ready: int) -> list[int]:
        deployment = {
            "metadata": {"name": "d"},
            "spec": {"replicas": 4},
            "status": {"replicas": 4, "readyReplicas": ready},
        }
        fleet = group(deployment, bound, {}, current=True)
        steps = next_steps([fleet], desired=1, drain_timeout_s=300, drain_ages={})
        return [replicas for _, replicas in steps.scale]

    assert scaled(ready=0) == [1]
    assert scaled(ready=1) == []


def test_who_finished_is_marked_and_goes_when_the_mark_is_seen() -> None:
    busy = drained(2, cost=ASKED_COST, busy=True)

    marking = steps_for(drained(1, cost=ASKED_COST, busy=False), busy, desired=0)
    going = steps_for(drained(1, cost=LEAST_COST, busy=False), busy, desired=0)

    assert [worker.pod.name for worker in marking.dismiss] == ["pod-1"]
    assert not marking.scale, "Kubernetes could take the busy one, whose cost is the same"
    assert not going.dismiss
    assert [replicas for _, replicas in going.scale] == [1]


def test_the_slowest_holds_up_nobody_who_finished() -> None:
    done = [drained(n, cost=LEAST_COST, busy=False) for n in range(5)]

    steps = steps_for(*done, drained(9, cost=ASKED_COST, busy=True), desired=0)

    assert [replicas for _, replicas in steps.scale] == [1]


def holding(replicas: int, *, made: int, seen: int, observed: int = 3) -> Steps:
    """Return the steps to zero for a Deployment that says it has made so many pods."""
    found = [drained(number, cost=LEAST_COST, busy=False) for number in range(seen)]
    deployment = {
        "metadata": {"name": "d", "generation": 3},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": observed, "replicas": made},
    }
    states = {pod.uid: state for pod, state in found}
    fleet = group(deployment, [pod for pod, _ in found], states, current=True)
    return next_steps([fleet], desired=0, drain_timeout_s=300, drain_ages={})


def test_pods_that_were_not_seen_are_never_taken_for_missing() -> None:
    assert holding(5, made=5, seen=0).scale == ()


def test_while_some_pods_are_not_seen_none_is_removed() -> None:
    assert holding(5, made=5, seen=3).scale == ()


def test_pods_that_the_deployment_has_not_made_go_without_being_asked() -> None:
    assert [replicas for _, replicas in holding(5, made=0, seen=0).scale] == [0]
    assert [replicas for _, replicas in holding(5, made=2, seen=2).scale] == [0]


def test_a_deployment_that_has_not_seen_its_newest_spec_is_not_believed() -> None:
    assert holding(5, made=0, seen=0, observed=2).scale == ()


def test_who_is_asked_for_longer_than_the_timeout_goes_and_nobody_before() -> None:
    busy = [drained(number, cost=LEAST_COST, busy=True) for number in range(2)]
    deployment = {"metadata": {"name": "d"}, "spec": {"replicas": 2}}
    states = {pod.uid: state for pod, state in busy}
    fleet = group(deployment, [pod for pod, _ in busy], states, current=True)

    def replicas(age_s: float) -> list[int]:
        ages = {pod.uid: age_s for pod, _ in busy}
        steps = next_steps([fleet], desired=0, drain_timeout_s=300, drain_ages=ages)
        return [count for _, count in steps.scale]

    assert replicas(299.0) == []
    assert replicas(301.0) == [0]


def surplus(*pods: tuple[PodView, WorkerState], replicas: int) -> Steps:
    """Return the steps after replicas fell, before Kubernetes has removed anybody."""
    deployment = {"metadata": {"name": "d"}, "spec": {"replicas": replicas}}
    states = {pod.uid: state for pod, state in pods}
    fleet = group(deployment, [pod for pod, _ in pods], states, current=True)
    return next_steps([fleet], desired=replicas, drain_timeout_s=300, drain_ages={})


def receiving(number: int, *, cost: int = 0, busy: bool = False) -> tuple[PodView, WorkerState]:
    pod, state = drained(number, cost=cost, busy=busy)
    return replace(pod, drain_since_s=None), replace(state, draining=False, drained=False)


def test_who_became_ready_after_replicas_fell_is_stopped_until_kubernetes_removes_it() -> None:
    busy, late = receiving(1, busy=True), receiving(2, cost=LEAST_COST)

    steps = surplus(busy, late, replicas=1)

    assert [worker.pod.name for worker in steps.stop] == ["pod-2"]
    assert steps.pending
    assert not steps.drain
    assert not steps.resume


def test_who_drained_before_replicas_fell_is_not_asked_again() -> None:
    steps = surplus(receiving(1), drained(2, cost=LEAST_COST, busy=False), replicas=1)

    assert not steps.stop
    assert not steps.pending


def test_new_pods_of_kubernetes_own_roll_out_are_not_stopped() -> None:
    pod, state = receiving(2)

    steps = surplus(receiving(1), (replace(pod, template_hash="new"), state), replicas=1)

    assert not steps.stop
