"""What a plan makes of its pool's share, and the demand that it makes on the pool."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_contract.media_types import MediaKind
from detection_operator.scaling.decision import decide
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation, ReadError, Refusal, Served
from detection_operator.scaling.plan import Plan
from detection_operator.scaling.pool_demand import demand_of
from detection_operator.scaling.pools.demand import Demand
from detection_operator.scaling.pools.share import PoolProblem, PoolShare, Taker
from detection_operator.scaling.records import Record, from_line, redecide, to_line
from detection_operator.scaling.rules.terms import Rule
from detection_operator.spec.parse import parse_spec
from detection_operator.spec.queue_spec import QueueSpec

NOW_S = 1_767_268_800.0
URGENT = Taker(name="urgent", units=12, priority=100)
SHARE = PoolShare(name="gpu-a10", capacity=16, replicas=4, share=4, takers=(URGENT,), others=12)


def spec_of(*, pool: dict[str, Any] | None = None, **scaling: Any) -> QueueSpec:
    member = {"name": "gpu-a10", **(pool or {})}
    spec: dict[str, Any] = {
        key: scaling.pop(key) for key in ("replicas", "paused") if key in scaling
    }
    return parse_spec(
        {
            "queue": {"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/video"},
            "worker": {"deploymentRef": {"name": "video"}},
            "serviceTime": {"priors": [{"mediaType": "video", "seconds": 10}]},
            "scaling": {"pool": member, **scaling},
            **spec,
        }
    )


def plan_of(spec: QueueSpec, share: PoolShare | None = SHARE, **what: Any) -> Plan:
    return decide(spec, seen_of(share, **what), Memory(), NOW_S)


def seen_of(share: PoolShare | None = SHARE, **what: Any) -> Observation:
    return Observation(**{"sampled_at_s": NOW_S, "visible": 500, "pool": share, **what})


def test_a_queue_in_a_pool_does_not_wait_until_its_backlog_is_due() -> None:
    alone = parse_spec(
        {
            "queue": {"url": "https://sqs.eu-west-1.amazonaws.com/123456789012/video"},
            "worker": {"deploymentRef": {"name": "video"}},
            "serviceTime": {"priors": [{"mediaType": "video", "seconds": 10}]},
        }
    )
    seen = {"visible": 500, "replicas": 2, "ready": 2, "cold_start_s": 10.0}
    room = replace(SHARE, replicas=100, share=100)

    def need(spec: QueueSpec, share: PoolShare | None) -> int:
        terms = plan_of(spec, share, **seen).terms
        return next(t.replicas for t in terms if t.rule is Rule.CLEAR_BACKLOG_IN_TIME)

    safe = math.ceil(500 * 10.0 / (0.6 * alone.slo.queue_wait_s))
    assert need(spec_of(), room) == safe
    assert need(alone, None) < safe, "nobody else takes its replicas"


@pytest.mark.parametrize(
    ("share", "sentence"),
    [
        pytest.param(
            SHARE,
            "capped to 4: pool gpu-a10 has 16; 12 go to 'urgent' (priority 100)",
            id="another has the rest",
        ),
        pytest.param(
            replace(SHARE, takers=(URGENT, Taker(name="b", units=1, priority=0)), others=15),
            "capped to 4: pool gpu-a10 has 16; 12 go to 'urgent' (priority 100), 1 to 'b' "
            "(priority 0), 2 to others",
            id="several have the rest",
        ),
        pytest.param(
            replace(SHARE, share=7),
            "capped to 4 for now: pool gpu-a10 has 16; 3 more as other pods drain",
            id="others still drain",
        ),
        pytest.param(
            replace(SHARE, takers=(), others=0, capacity=4),
            "capped to 4: pool gpu-a10 has 4",
            id="alone in a small pool",
        ),
        pytest.param(
            replace(SHARE, problem=PoolProblem.NOT_FOUND, capacity=None),
            "kept at 4: there is no pool gpu-a10",
            id="no such pool",
        ),
        pytest.param(
            replace(SHARE, problem=PoolProblem.INVALID, capacity=None, why="spec.capacity: x"),
            "kept at 4: pool gpu-a10 is invalid (spec.capacity: x)",
            id="an invalid pool",
        ),
        pytest.param(
            replace(SHARE, problem=PoolProblem.CAPACITY_UNKNOWN, capacity=None, why="403"),
            "kept at 4: the capacity of pool gpu-a10 is unknown (403)",
            id="unknown capacity",
        ),
        pytest.param(
            replace(SHARE, problem=PoolProblem.REPLICA_TOO_LARGE, capacity=2, units_each=4),
            "kept at 4: pool gpu-a10 has 2, one replica takes 4",
            id="too large",
        ),
        pytest.param(None, "kept at 4: pool gpu-a10 has not been read yet", id="not read yet"),
    ],
)
def test_a_pool_caps_the_plan_and_says_why(share: PoolShare | None, sentence: str) -> None:
    plan = plan_of(spec_of(pool={"guaranteed": 4}), share)

    assert (plan.desired, plan.binding) == (4, Rule.SHARE_OF_POOL)
    assert plan.terms[-1].sentence == sentence
    assert plan.message.endswith(sentence)
    assert plan.estimates.unpooled == 40


def test_a_queue_that_may_not_borrow_is_told_so() -> None:
    plan = plan_of(spec_of(pool={"guaranteed": 4, "borrow": False}))

    assert plan.terms[-1].sentence == (
        "capped to 4: guaranteed by pool gpu-a10, and borrow is false"
    )


def test_a_pool_that_grants_enough_says_nothing() -> None:
    plan = plan_of(spec_of(), replace(SHARE, replicas=40, share=40))

    assert plan.desired == 40
    assert Rule.SHARE_OF_POOL not in {term.rule for term in plan.terms}


def test_without_a_pool_there_is_no_demand_and_no_cap() -> None:
    spec = spec_of()
    free = replace(spec, scaling=replace(spec.scaling, pool=None))

    plan = plan_of(free)

    assert (plan.desired, plan.estimates.unpooled) == (40, None)
    with pytest.raises(ValueError, match="names no pool"):
        demand_of("a", free, plan, units_each=1, held=0, granted=0, now_s=NOW_S)


@pytest.mark.parametrize(
    ("pool", "low", "runs", "most"),
    [
        pytest.param({}, 0, 0, 1, id="one works"),
        pytest.param({}, 0, 7, 7, id="what runs"),
        pytest.param({"guaranteed": 3}, 0, 0, 3, id="the guarantee"),
        pytest.param({}, 2, 0, 2, id="minReplicas"),
        pytest.param({"guaranteed": 3, "borrow": False}, 0, 7, 7, id="no borrowing, but it runs"),
        pytest.param({"guaranteed": 3, "borrow": False}, 0, 0, 3, id="no borrowing"),
    ],
)
def test_before_the_pool_is_read_the_queue_works_with_what_it_has(
    pool: dict[str, Any], low: int, runs: int, most: int
) -> None:
    plan = plan_of(spec_of(pool=pool, minReplicas=low), None, replicas=runs, ready=runs)

    assert (plan.desired, plan.binding) == (most, Rule.SHARE_OF_POOL)


def test_a_pool_goes_below_min_replicas_and_below_busy_workers() -> None:
    plan = plan_of(spec_of(minReplicas=6), replicas=10, ready=10, busy=10)

    assert plan.desired == 4
    assert plan.binding is Rule.SHARE_OF_POOL


@pytest.mark.parametrize(
    ("busy", "silent", "seconds", "desired"),
    [
        pytest.param(10, 0, 10.0, 4, id="busy ones finish and go"),
        pytest.param(3, 7, 10.0, 7, id="silent ones cannot be drained"),
        pytest.param(10, 0, 5000.0, 10, id="jobs that outlast the drain timeout are left alone"),
        pytest.param(2, 0, 5000.0, 4, id="idle ones go"),
    ],
)
def test_work_that_a_drain_could_not_save_stays(
    busy: int, silent: int, seconds: float, desired: int
) -> None:
    served = Served(
        media_type=MediaKind.VIDEO, messages=100, seconds=100 * seconds, squares=100 * seconds**2
    )

    plan = plan_of(spec_of(), replicas=10, ready=10, busy=busy, silent=silent, served=(served,))

    assert plan.desired == desired
    if desired > 4:
        assert plan.terms[-1].sentence == (
            f"{desired} kept while they work: pool gpu-a10 grants 4"
        )


def test_manual_replicas_fit_into_the_pool_and_paused_ones_stay() -> None:
    manual = plan_of(spec_of(mode="Manual", replicas=9), replicas=2)
    paused = plan_of(spec_of(paused=True), replicas=9)

    assert (manual.desired, manual.estimates.unpooled) == (4, 9)
    assert manual.message == (
        "Manual: spec.replicas is 9; capped to 4: pool gpu-a10 has 16; 12 go to 'urgent' "
        "(priority 100)"
    )
    assert paused.desired == 9


REFUSED = Refusal(why="denied", most=3, retry_in_s=40.0)


@pytest.mark.parametrize(
    ("refusal", "wanted", "sentence"),
    [
        pytest.param(
            REFUSED,
            3,
            "capped at 3: the API server refuses more (denied), next try in 40s",
            id="until the next try",
        ),
        pytest.param(
            replace(REFUSED, most=4, retry_in_s=None),
            4,
            "capped at 4: trying if the API server takes so many now (denied)",
            id="a try",
        ),
        pytest.param(replace(REFUSED, most=None), 40, None, id="it refuses to remove some"),
        pytest.param(replace(REFUSED, most=40), 40, None, id="it takes as many"),
    ],
)
def test_what_the_server_refuses_is_no_demand(
    refusal: Refusal, wanted: int, sentence: str | None
) -> None:
    spec = spec_of(minReplicas=10)
    plan = decide(spec, seen_of(replicas=3, ready=3, refusal=refusal), Memory(), NOW_S)

    demand = demand_of("a", spec, plan, units_each=1, held=3, granted=3, now_s=NOW_S)

    assert (demand.wanted, demand.fewest) == (wanted, min(10, wanted))
    said = [term.sentence for term in plan.terms if term.rule is Rule.TAKEN_BY_SERVER]
    assert said == ([] if sentence is None else [sentence])


def test_a_manual_number_that_the_server_refuses_is_no_demand() -> None:
    plan = plan_of(spec_of(mode="Manual", replicas=9), replicas=3, refusal=REFUSED)

    assert (plan.desired, plan.estimates.unpooled) == (3, 3)


def test_pods_that_cannot_be_created_are_left_out_after_five_minutes() -> None:
    spec = spec_of()
    what: dict[str, Any] = {"replicas": 4, "ready": 2, "refused_why": "exceeded quota"}

    def demand_after(seconds: float, memory: Memory, **news: Any) -> tuple[Demand, Plan]:
        now_s = NOW_S + seconds
        seen = seen_of(**{**what, **news, "sampled_at_s": now_s})
        plan = decide(spec, seen, memory, now_s)
        demand = demand_of("a", spec, plan, units_each=1, held=4, granted=4, now_s=now_s)
        return demand, plan

    first, plan = demand_after(0.0, Memory())
    early, _ = demand_after(299.0, plan.memory)
    late, plan = demand_after(300.0, plan.memory)
    well, _ = demand_after(301.0, plan.memory, refused_why="")

    # Two are there, and one probe.
    assert [d.startable for d in (first, early, late, well)] == [None, None, 3, None]
    assert (late.wanted, late.usable) == (40, 3)
    assert plan.message.endswith("while pods here do not start")


def test_shadow_plans_show_what_the_messages_need() -> None:
    assert plan_of(spec_of(mode="Shadow")).desired == 40


def test_an_unreadable_queue_follows_its_fallback_within_its_share() -> None:
    fallback = {"behavior": "AtLeast", "replicas": 9, "afterSeconds": 1}

    plan = plan_of(
        spec_of(fallback=fallback),
        sampled_at_s=NOW_S - 500,
        error=ReadError.THROTTLED,
        replicas=3,
        ready=3,
    )

    assert (plan.desired, plan.estimates.unpooled) == (4, 9)


def test_demand_is_what_the_plan_wants_without_the_pool() -> None:
    spec = spec_of(
        pool={"priority": 7, "weight": 3, "guaranteed": 2},
        minReplicas=1,
        schedules=[
            {"name": "day", "cron": "0 0 * * *", "durationSeconds": 86400, "minReplicas": 5}
        ],
    )
    seen = seen_of(replicas=4, ready=3, draining=1, oldest_age_s=30.0)
    plan = decide(spec, seen, Memory(), NOW_S)

    demand = demand_of("a", spec, plan, units_each=2, held=6, granted=4, now_s=NOW_S)

    assert (demand.wanted, demand.fewest, demand.guaranteed) == (40, 5, 2)
    assert (demand.priority, demand.weight, demand.borrow) == (7, 3, True)
    assert (demand.units_each, demand.held, demand.granted) == (2, 6, 4)
    assert not demand.pinned
    assert (demand.work_s, demand.age_s, demand.wait_s) == (5000.0, 30.0, 120.0)


@pytest.mark.parametrize(
    ("spec", "what", "followed"),
    [
        pytest.param(spec_of(paused=True), {}, True, id="paused"),
        pytest.param(spec_of(mode="Shadow"), {}, True, id="shadow"),
        pytest.param(spec_of(), {}, False, id="something else scales"),
        pytest.param(spec_of(), {"sampled_at_s": None}, True, id="unreadable"),
    ],
)
def test_what_does_not_follow_its_plan_keeps_what_it_holds(
    spec: QueueSpec,
    what: dict[str, Any],
    followed: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    seen = seen_of(replicas=3, ready=3, **what)
    plan = decide(spec, seen, Memory(), NOW_S)

    demand = demand_of(
        "a", spec, plan, units_each=1, held=3, granted=3, now_s=NOW_S, followed=followed
    )

    assert demand.pinned
    assert (demand.limit, demand.floor, demand.work_s) == (3, 3, 0.0)


def test_manual_replicas_are_a_minimum_in_the_pool() -> None:
    spec = spec_of(mode="Manual", replicas=9)
    seen = seen_of(replicas=2)
    plan = decide(spec, seen, Memory(), NOW_S)

    demand = demand_of("a", spec, plan, units_each=1, held=2, granted=2, now_s=NOW_S)

    assert (demand.wanted, demand.fewest, demand.floor) == (9, 9, 9)


def test_a_full_pool_is_no_full_cluster() -> None:
    """What the pool does not grant is not asked of the cluster: it counts as satisfied."""
    plan = plan_of(spec_of(), replicas=4, ready=4)

    assert plan.memory.history.wanted == 4


@settings(max_examples=60, deadline=None)
@given(
    runs=st.integers(0, 20),
    silent=st.integers(0, 5),
    most=st.integers(0, 20),
    low=st.integers(0, 5),
    readable=st.booleans(),
)
def test_a_plan_is_never_above_its_share_but_for_the_silent(
    runs: int, silent: int, most: int, low: int, *, readable: bool
) -> None:
    share = replace(SHARE, replicas=most, share=most)
    silent = min(silent, runs)
    plan = plan_of(
        spec_of(minReplicas=low),
        share,
        replicas=runs,
        ready=runs,
        silent=silent,
        busy=runs - silent,
        error=None if readable else ReadError.THROTTLED,
    )

    assert plan.desired <= max(most, silent)
    assert plan.desired <= (plan.estimates.unpooled or 0)


@pytest.mark.parametrize("share", [SHARE, None])
def test_records_carry_the_share(share: PoolShare | None) -> None:
    spec, seen = spec_of(), seen_of(share, replicas=2, ready=2)
    plan = decide(spec, seen, Memory(), NOW_S)
    record = Record(spec=spec, observation=seen, memory=Memory(), now_s=NOW_S, plan=plan)

    read = from_line(to_line(record))

    assert read == record
    assert redecide(read) == plan
