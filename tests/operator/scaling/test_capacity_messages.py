"""What ``CapacityAvailable`` says about pods that wait for a node or do not start."""

from typing import Any

import pytest

from detection_operator.scaling.capacity_messages import (
    cluster_full,
    leaving,
    not_starting,
    waiting,
)
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Estimates, Plan
from detection_operator.scaling.pools.share import PoolShare
from detection_operator.scaling.rules.terms import Rule

NOW_S = 1_767_268_800.0


def see(**what: Any) -> Observation:
    return Observation(sampled_at_s=NOW_S, **what)


def believe(**what: Any) -> Estimates:
    return Estimates(
        fresh=True,
        age_s=None,
        arrivals_per_s=None,
        service_s=5.0,
        service_p90_s=5.0,
        service_samples=0,
        cold_start_s=120.0,
        work_s=0.0,
        poison_share=0.0,
        over_budget=False,
        spent_today=0.0,
        received=0,
        received_late=0,
        asleep=False,
        **{"blocked_since_s": None, **what},
    )


def plan(binding: Rule) -> Plan:
    return Plan(
        desired=4,
        binding=binding,
        terms=(),
        apply=True,
        scale_in_candidates=(),
        next_poll_s=1.0,
        estimates=believe(),
        memory=Memory(),
    )


GPU = {"unschedulable_why": "nvidia.com/gpu", "unschedulable_said": "0/3 nodes are available."}


@pytest.mark.parametrize(
    ("seen", "estimates", "message"),
    [
        pytest.param(
            see(),
            believe(blocked_since_s=NOW_S - 240),
            "no capacity for more pods for 4m",
            id="full, and nothing waits",
        ),
        pytest.param(
            see(unschedulable=1, launch_s=420.0),
            believe(blocked_since_s=NOW_S - 45, blocked_why="cpu", blocked_said="0/3 nodes fit."),
            "1 pod unschedulable (cpu), no capacity for 45s, the slowest recent launch took 7m: "
            "0/3 nodes fit.",
            id="one pod waits",
        ),
        pytest.param(
            see(unschedulable=8, launching=1),
            believe(blocked_since_s=NOW_S - 7200),
            "8 pods unschedulable, no capacity for 2h, nodes are being launched for 1",
            id="a node is announced",
        ),
    ],
)
def test_a_full_cluster(seen: Observation, estimates: Estimates, message: str) -> None:
    assert cluster_full(seen, estimates, NOW_S) == message


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        pytest.param(
            see(unschedulable=1, unschedulable_since_s=NOW_S - 10),
            "1 pod waits for a node, for 10s so far",
            id="one pod",
        ),
        pytest.param(
            see(unschedulable=3, unschedulable_since_s=NOW_S - 180, launching=3, **GPU),
            "3 pods wait for a node (nvidia.com/gpu), for 3m so far, nodes are being launched for "
            "3: 0/3 nodes are available.",
            id="three pods and their nodes",
        ),
    ],
)
def test_pods_that_wait(seen: Observation, message: str) -> None:
    assert waiting(seen, NOW_S) == message


@pytest.mark.parametrize(
    ("seen", "estimates", "message"),
    [
        pytest.param(
            see(unready=1, not_starting_why="ImagePullBackOff"),
            believe(),
            "1 pod scheduled but not ready: ImagePullBackOff",
            id="one pod hangs",
        ),
        pytest.param(
            see(unready=2, rejected=5),
            believe(failing_since_s=NOW_S - 60, failing_why="UnexpectedAdmissionError"),
            "2 pods scheduled but not ready, 5 failed before they were ready, scale-out limited "
            "for 60s: UnexpectedAdmissionError",
            id="some hang and some fail",
        ),
        pytest.param(
            see(),
            believe(failing_since_s=NOW_S - 600),
            "scale-out limited for 10m: no reason given",
            id="no reason",
        ),
    ],
)
def test_pods_that_do_not_start(seen: Observation, estimates: Estimates, message: str) -> None:
    assert not_starting(seen, estimates, NOW_S) == message


@pytest.mark.parametrize(
    ("departing", "share", "applied", "message"),
    [
        pytest.param(1, None, True, "1 pod leaves with its node, 4 besides are requested", id="1"),
        pytest.param(
            3, 4, True, "3 pods leave with their nodes, 4 besides are requested", id="a share"
        ),
        pytest.param(
            3,
            6,
            True,
            "3 pods leave with their nodes, 4 besides are requested and 2 more when pool gpu has"
            " room",
            id="no room",
        ),
        pytest.param(3, 6, False, "3 pods leave with their nodes", id="not applied"),
    ],
)
def test_pods_whose_nodes_are_going(
    *, departing: int, share: int | None, applied: bool, message: str
) -> None:
    pool = None if share is None else PoolShare(name="gpu", capacity=8, replicas=4, share=share)
    seen = see(departing=departing, departing_why="ip-10-0-0-1: cordoned", pool=pool)

    text = leaving(seen, plan(Rule.SHARE_OF_POOL), applied=applied)

    assert text == f"{message}: ip-10-0-0-1: cordoned"


def test_replacements_that_the_plan_does_not_want_are_not_announced() -> None:
    pool = PoolShare(name="gpu", capacity=8, replicas=6, share=6)
    text = leaving(see(departing=1, pool=pool), plan(Rule.WITHIN_BUDGET), applied=True)

    assert text == "1 pod leaves with its node, 4 besides are requested"
