"""What is known of the cluster's room for pods, and how many are asked for while there is none."""

from dataclasses import replace

import pytest

from detection_operator.scaling.estimates import cluster_capacity as capacity
from detection_operator.scaling.observation import Observation
from detection_operator.spec.queue_spec import Capacity

LIMITS = Capacity(unschedulable_s=180, probe_replicas=1, max_backoff_s=500)


def pods(*, ready: int, homeless: int = 0, since_s: float = 0.0, starting: int = 0) -> Observation:
    """Return an observation; starting pods have no node so far."""
    return Observation(
        sampled_at_s=0.0,
        ready=ready,
        starting=starting,
        unplaced=starting,
        replicas=ready + starting + homeless,
        unschedulable=homeless,
        unschedulable_since_s=since_s if homeless else None,
        unschedulable_why="nvidia.com/gpu" if homeless else "",
        unschedulable_said="0/3 nodes are available." if homeless else "",
    )


def look(
    room: capacity.ClusterCapacity, seen: Observation, now_s: float, wanted: int = 30
) -> capacity.ClusterCapacity:
    return capacity.learn(room, seen, limits=LIMITS, wanted=wanted, now_s=now_s)


WAITING = pods(ready=4, homeless=6)
BLOCKED = look(capacity.OPEN, WAITING, 200.0)


def test_pods_that_wait_stay_and_more_are_asked_for_after_growing_pauses() -> None:
    assert capacity.cap(look(capacity.OPEN, WAITING, 100.0), WAITING) is None
    assert capacity.cap(BLOCKED, WAITING) == 10

    room, grew, seen = BLOCKED, [], WAITING
    for now_s in range(201, 3000):
        room = look(room, seen, float(now_s))
        most = capacity.cap(room, seen)
        assert most is not None
        if most > seen.replicas:
            grew.append(now_s)
            seen = pods(ready=4, homeless=most - 4)

    assert grew == [380, 740, 1240, 1740, 2240, 2740]


def test_what_is_known_outlives_the_pods_that_waited() -> None:
    gone = pods(ready=4)

    room = look(BLOCKED, gone, 300.0)
    assert capacity.cap(room, gone) == 4
    assert (room.why, room.said) == ("nvidia.com/gpu", "0/3 nodes are available.")
    probing = look(room, gone, 400.0)
    assert capacity.cap(probing, gone) == 5
    # The probe has no node, and the scheduler has not said so yet.
    assert capacity.cap(look(probing, pods(ready=4, starting=1), 401.0), gone) == 4


def test_nodes_that_come_double_what_is_asked_for() -> None:
    one = look(BLOCKED, pods(ready=5, homeless=5), 210.0)
    assert capacity.cap(one, pods(ready=5, homeless=5)) == 12
    two = look(one, pods(ready=8, homeless=4), 220.0)
    assert capacity.cap(two, pods(ready=8, homeless=4)) == 16


def test_room_for_all_that_is_needed_ends_it() -> None:
    assert look(BLOCKED, pods(ready=10), 210.0, wanted=10) == capacity.OPEN
    assert look(BLOCKED, pods(ready=4), 379.0, wanted=4).blocked_since_s == 0.0
    assert look(BLOCKED, pods(ready=4), 380.0, wanted=4) == capacity.OPEN


def test_a_launch_that_takes_as_long_as_others_did_is_no_lack_of_room() -> None:
    slow = replace(WAITING, launch_s=600.0)

    assert look(capacity.OPEN, slow, 899.0) == capacity.OPEN
    assert look(capacity.OPEN, slow, 900.0).blocked_since_s == 0.0


@pytest.mark.parametrize(
    ("launching", "unpromised_since_s", "hopeless", "now_s", "blocked"),
    [
        pytest.param(6, None, 0, 5000.0, False, id="nodes are being launched for all"),
        pytest.param(5, 4900.0, 0, 5000.0, False, id="one has not waited long"),
        pytest.param(5, 4820.0, 0, 5000.0, True, id="one has"),
        pytest.param(0, None, 6, 20.0, True, id="none will come"),
        pytest.param(5, None, 1, 20.0, True, id="not for all of them"),
    ],
)
def test_an_autoscaler_is_believed(
    launching: int, unpromised_since_s: float | None, hopeless: int, now_s: float, *, blocked: bool
) -> None:
    seen = replace(
        WAITING,
        launching=launching,
        unpromised_since_s=unpromised_since_s,
        hopeless=hopeless,
    )

    assert (look(capacity.OPEN, seen, now_s).blocked_since_s is not None) is blocked


def test_an_autoscaler_that_adds_nodes_at_last_ends_it() -> None:
    coming = replace(WAITING, launching=6)

    assert look(BLOCKED, coming, 251.0) == capacity.OPEN
