"""Limits by example: how many replicas each leaves, and its sentence."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from detection_operator.scaling.decision_input import DecisionInput, decision_input
from detection_operator.scaling.estimates.cluster_capacity import ClusterCapacity
from detection_operator.scaling.estimates.learning import learn
from detection_operator.scaling.estimates.pod_starts import PodStarts
from detection_operator.scaling.estimates.state import EstimatorState
from detection_operator.scaling.memory import PlanHistory
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.rules import demand, limits
from detection_operator.spec.queue_spec import QueueSpec

NOW_S = 10_000.0
FULL = ClusterCapacity(blocked_since_s=NOW_S - 240, retry_at_s=NOW_S + 60, why="nvidia.com/gpu")
STALLED = PodStarts(since_s=NOW_S - 600, retry_at_s=NOW_S + 60, base=3, why="ErrImagePull")
SpecOf = Callable[..., QueueSpec]


def inputs_of(
    spec: QueueSpec, *, known: dict[str, Any] | None = None, **what: Any
) -> DecisionInput:
    seen = Observation(sampled_at_s=NOW_S, **what)
    learned = learn(spec, seen, EstimatorState(), wanted=0, now_s=NOW_S, fresh=True)
    estimators = replace(learned, **(known or {}))
    return decision_input(spec, seen, estimators, PlanHistory(), now_s=NOW_S, fresh=True)


@pytest.mark.parametrize(
    ("known", "unschedulable", "sentence"),
    [
        pytest.param(
            replace(FULL, added=2),
            1,
            "capped at 5: trying 2 more, the cluster was full (nvidia.com/gpu)",
            id="a probe",
        ),
        pytest.param(
            FULL, 1, "capped at 3: 1 pod unschedulable (nvidia.com/gpu) for 4m", id="pods wait"
        ),
        pytest.param(
            replace(FULL, why=""),
            0,
            "capped at 3: the cluster is full (no reason given), next try in 60s",
            id="a pause",
        ),
    ],
)
def test_a_full_cluster_caps_the_replicas(
    known: ClusterCapacity, unschedulable: int, sentence: str, spec_of: SpecOf
) -> None:
    inputs = inputs_of(
        spec_of(), known={"capacity": known}, replicas=3, unschedulable=unschedulable
    )

    term = limits.cluster_capacity(inputs, 20)

    assert term is not None
    assert (term.replicas, term.sentence) == (3 + known.added, sentence)
    assert limits.cluster_capacity(inputs, 3) is None


@pytest.mark.parametrize(
    ("known", "sentence"),
    [
        pytest.param(
            replace(STALLED, retry_at_s=None, probe=2),
            "trying 2 more after pods did not start (ErrImagePull)",
            id="a probe",
        ),
        pytest.param(
            replace(STALLED, why=""),
            "pods do not start (no reason given), next try in 60s",
            id="a pause",
        ),
    ],
)
def test_pods_that_do_not_start_cap_the_replicas(
    known: PodStarts, sentence: str, spec_of: SpecOf
) -> None:
    inputs = inputs_of(spec_of(), known={"pod_starts": known}, replicas=3, ready=3)

    term = limits.starting_pods(inputs, 20)

    assert term is not None
    assert term.replicas < 20
    assert term.sentence == f"capped at {term.replicas}: {sentence}"
    assert limits.starting_pods(inputs, term.replicas) is None


def test_the_rate_of_scale_out_is_limited_from_the_start_of_its_minute(spec_of: SpecOf) -> None:
    spec = spec_of(scaling={"maxReplicas": 50, "scaleUp": {"maxReplicasPerMinute": 4}})
    inputs = inputs_of(spec, known={"up": (NOW_S - 30, 2)}, replicas=3)

    term = limits.limit_scale_out_rate(inputs, 20)

    assert term is not None
    assert (term.replicas, term.sentence) == (
        6,
        "up to 6 for now: scale-out is limited to 4 a minute",
    )
    assert limits.limit_scale_out_rate(inputs, 6) is None


def test_a_backlog_of_unknown_age_is_cleared_as_one_that_came_now(spec_of: SpecOf) -> None:
    spec = spec_of(serviceTime={"priors": [{"mediaType": "video", "seconds": 10}]})
    new = inputs_of(spec, visible=400)
    unknown = inputs_of(spec, visible=400, known={"depth_since_s": None})

    terms = [demand.clear_backlog_in_time(inputs, 0) for inputs in (new, unknown)]

    assert terms[0] is not None
    assert terms[0].replicas > 1
    assert terms[1] == terms[0]
