"""Laws of the allocation of a pool, whatever its queues ask for."""

import dataclasses
import itertools
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_operator.scaling.pools.allocate import allocate, unallocated
from detection_operator.scaling.pools.claims import STEADY, needed
from detection_operator.scaling.pools.demand import Demand
from detection_operator.scaling.pools.share import (
    TAKERS_MAX,
    Allocation,
    Pool,
    PoolProblem,
    Taker,
    most_takers,
    share_beside,
    share_of,
)
from detection_operator.spec.worker_pool import Sharing

LAW = settings(max_examples=100, deadline=None)


@st.composite
def demands(draw: st.DrawFn, *, costs: bool = True, pins: bool = True) -> Demand:
    guaranteed = draw(st.integers(0, 6))
    return Demand(
        key="",
        wanted=draw(st.integers(0, 20)),
        fewest=draw(st.sampled_from([0, 0, 1, 3])),
        guaranteed=guaranteed,
        priority=draw(st.sampled_from([0, 0, 50, 100])),
        weight=draw(st.sampled_from([1, 1, 2, 10])),
        borrow=draw(st.booleans()) or not guaranteed,
        units_each=draw(st.sampled_from([1, 1, 2, 4])) if costs else 1,
        held=(held := draw(st.integers(0, 12))),
        leaving=draw(st.sampled_from([0, 0, min(2, held), held])),
        granted=draw(st.integers(0, 12)),
        pinned=pins and draw(st.integers(0, 5)) == 0,
        startable=draw(st.sampled_from([None, None, None, 0, 1, 4])),
        work_s=draw(st.sampled_from([0.0, 30.0, 500.0, 5000.0])),
        age_s=draw(st.sampled_from([0.0, 60.0, 400.0])),
        wait_s=draw(st.sampled_from([30.0, 120.0, 3600.0])),
        cold_start_s=draw(st.sampled_from([0.0, 120.0, 600.0])),
        load=draw(st.sampled_from([0.0, 0.5, 3.0])),
    )


@st.composite
def members(draw: st.DrawFn, /, **kinds: bool) -> tuple[Demand, ...]:
    found = draw(st.lists(demands(**kinds), max_size=7))
    return tuple(dataclasses.replace(item, key=f"q{n}") for n, item in enumerate(found))


pools = st.builds(
    Pool,
    name=st.just("gpu"),
    capacity=st.integers(0, 40),
    sharing=st.sampled_from(Sharing),
)


def units(made: Allocation, key: str) -> int:
    return made.grants[key].share * made.demands[key].units_each


def free(made: Allocation) -> int:
    return (made.pool.capacity or 0) - made.granted


def short(made: Allocation, key: str) -> bool:
    return made.grants[key].share < made.demands[key].limit


def q(key: str, wanted: int, **fields: Any) -> Demand:
    return Demand(key=key, wanted=wanted, **fields)


def shares(capacity: int | None, *asked: Demand, sharing: Sharing = Sharing.PRIORITY) -> list[int]:
    made = allocate(Pool(name="gpu", capacity=capacity, sharing=sharing), asked)
    return [made.grants[demand.key].share for demand in asked]


@LAW
@given(pools, members())
def test_never_above_the_capacity_nor_above_what_is_asked_for(
    pool: Pool, asked: tuple[Demand, ...]
) -> None:
    made = allocate(pool, asked)

    assert made.granted <= (pool.capacity or 0)
    for demand in asked:
        assert 0 <= made.grants[demand.key].share <= demand.limit
        if not (demand.borrow or demand.pinned):
            assert made.grants[demand.key].share <= demand.guaranteed


@LAW
@given(pools, members())
def test_what_exists_never_exceeds_the_capacity_unless_that_fell(
    pool: Pool, asked: tuple[Demand, ...]
) -> None:
    made = allocate(pool, asked)

    later = sum(max(d.held, made.grants[d.key].replicas + d.leaving) * d.units_each for d in asked)
    assert later <= max(pool.capacity or 0, made.held)
    for demand in asked:
        grant = made.grants[demand.key]
        staying = demand.held - demand.leaving
        assert min(grant.share, staying) <= grant.replicas <= grant.share


@LAW
@given(pools, members())
def test_once_the_others_have_drained_each_has_its_share(
    pool: Pool, asked: tuple[Demand, ...]
) -> None:
    made = allocate(pool, asked)
    drained = [
        dataclasses.replace(d, held=min(d.held, made.grants[d.key].share), leaving=0)
        for d in asked
    ]

    free_units = (pool.capacity or 0) - sum(d.held * d.units_each for d in drained)
    after = allocate(pool, drained)

    assert free_units >= 0
    if not any(d.pinned for d in asked):
        assert after.grants == {
            key: dataclasses.replace(grant, replicas=grant.share)
            for key, grant in made.grants.items()
        }


@LAW
@given(pools, members())
def test_no_unit_is_idle_while_a_queue_can_use_it(pool: Pool, asked: tuple[Demand, ...]) -> None:
    made = allocate(pool, asked)

    for demand in asked:
        assert not short(made, demand.key) or demand.units_each > free(made)


@LAW
@given(pools, members())
def test_floors_are_met_before_anybody_borrows(pool: Pool, asked: tuple[Demand, ...]) -> None:
    made = allocate(pool, asked)
    borrowed = sum(max(0, made.grants[d.key].share - d.floor) * d.units_each for d in asked)

    assert made.covered == all(made.grants[d.key].share >= d.floor for d in asked)
    for demand in asked:
        if made.grants[demand.key].share < demand.floor:
            assert demand.units_each > free(made) + borrowed
    if sum(d.floor * d.units_each for d in asked) <= (pool.capacity or 0):
        assert made.covered


@LAW
@given(pools, members())
def test_guarantees_are_met_before_minimums(pool: Pool, asked: tuple[Demand, ...]) -> None:
    made = allocate(pool, asked)
    above = sum(max(0, made.grants[d.key].share - d.guarantee) * d.units_each for d in asked)

    for demand in asked:
        if made.grants[demand.key].share < demand.guarantee:
            assert demand.units_each > free(made) + above


@LAW
@given(pools.filter(lambda pool: pool.sharing is Sharing.PRIORITY), members(pins=False))
def test_a_higher_priority_is_not_short_while_a_lower_one_holds_what_it_borrowed(
    pool: Pool, asked: tuple[Demand, ...]
) -> None:
    made = allocate(pool, asked)

    for high in asked:
        borrowed = sum(
            max(0, made.grants[low.key].share - low.floor) * low.units_each
            for low in asked
            if low.priority < high.priority
        )
        # What is too little for one of its replicas may go to the lower one.
        is_short = made.grants[high.key].share < high.usable
        assert not is_short or high.units_each > free(made) + borrowed


@LAW
@given(pools, members(pins=False))
def test_pods_that_do_not_start_have_only_what_nobody_else_can_use(
    pool: Pool, asked: tuple[Demand, ...]
) -> None:
    made = allocate(pool, asked)
    unused = sum(max(0, made.grants[d.key].share - d.usable) * d.units_each for d in asked)

    for demand in asked:
        is_short = made.grants[demand.key].share < demand.usable
        assert not is_short or demand.units_each > free(made) + unused


@LAW
@given(pools, members(), st.randoms(use_true_random=False))
def test_the_order_of_the_demands_does_not_matter(
    pool: Pool, asked: tuple[Demand, ...], rng: random.Random
) -> None:
    shuffled = rng.sample(asked, len(asked))

    assert allocate(pool, shuffled).grants == allocate(pool, asked).grants


@LAW
@given(pools, members())
def test_pinned_queues_keep_what_they_hold(pool: Pool, asked: tuple[Demand, ...]) -> None:
    made = allocate(pool, asked)
    pinned = [demand for demand in asked if demand.pinned]

    if sum(d.held * d.units_each for d in pinned) <= (pool.capacity or 0):
        assert all(made.grants[d.key].share >= d.held for d in pinned)


@LAW
@given(pools, members())
def test_granted_once_it_is_granted_again(pool: Pool, asked: tuple[Demand, ...]) -> None:
    first = allocate(pool, asked)
    again = allocate(
        pool, [dataclasses.replace(d, granted=first.grants[d.key].share) for d in asked]
    )
    third = allocate(
        pool, [dataclasses.replace(d, granted=again.grants[d.key].share) for d in asked]
    )

    assert third.grants == again.grants


@LAW
@given(
    st.integers(1, 40),
    members(pins=False, costs=False),
    st.integers(0, 2**32),
)
def test_noise_moves_no_replica_back_and_forth(
    capacity: int, asked: tuple[Demand, ...], seed: int
) -> None:
    rng, pool = random.Random(seed), Pool(name="gpu", capacity=capacity)
    history: list[Mapping[str, int]] = []
    now = asked
    for _ in range(30):
        noisy = [
            dataclasses.replace(
                d, work_s=d.work_s * rng.uniform(0.9, 1.1), load=d.load * rng.uniform(0.9, 1.1)
            )
            for d in now
        ]
        grants = allocate(pool, noisy).grants
        history.append({key: grant.share for key, grant in grants.items()})
        now = tuple(
            dataclasses.replace(d, granted=grants[d.key].share, needed_before=needed(seen))
            for d, seen in zip(now, noisy, strict=True)
        )

    for demand in asked:
        counts = [step[demand.key] for step in history]
        steps = [b - a for a, b in itertools.pairwise(counts) if a != b]
        turns = sum((a > 0) != (b > 0) for a, b in itertools.pairwise(steps))
        assert (turns, len(steps)) == (0, 0)


def test_a_need_that_has_not_clearly_changed_moves_nothing() -> None:
    pool = Pool(name="gpu", capacity=16)
    other = q("b", 16, work_s=1000.0, wait_s=100.0)
    before = needed(other)

    def share(factor: float) -> int:
        changed = q("a", 16, work_s=1000.0 * factor, wait_s=100.0, needed_before=before)
        return allocate(pool, [changed, other]).grants["a"].share

    assert [share(factor) for factor in (0.81, 1.0, 1.24)] == [8, 8, 8]
    assert [share(factor) for factor in (1.3, STEADY * 2)] == [9, 12]
    assert share(0.5) == 6


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param([q("a", 20, priority=100), q("b", 20)], [16, 0], id="priority first"),
        pytest.param(
            [q("a", 20, priority=100), q("b", 20, guaranteed=4)], [12, 4], id="guarantee first"
        ),
        pytest.param(
            [q("a", 20, priority=100), q("b", 2, guaranteed=4)],
            [14, 2],
            id="unused guarantee lent",
        ),
        pytest.param(
            [q("a", 20, guaranteed=5, borrow=False), q("b", 20)], [5, 11], id="no borrowing"
        ),
        pytest.param([q("a", 0, fewest=3), q("b", 20, priority=9)], [3, 13], id="minReplicas"),
        pytest.param([q("a", 20, weight=3), q("b", 20)], [12, 4], id="weight"),
        pytest.param([q("a", 20), q("b", 20)], [8, 8], id="equal"),
        pytest.param([q("a", 2, weight=9), q("b", 20)], [2, 14], id="no more than wanted"),
        pytest.param(
            [q("a", 20, guaranteed=12), q("b", 20, guaranteed=12, priority=1)],
            [4, 12],
            id="guarantees above the capacity go by priority",
        ),
        pytest.param(
            [q("a", 20, guaranteed=12, weight=3), q("b", 20, guaranteed=12)],
            [12, 4],
            id="guarantees above the capacity go by weight",
        ),
        pytest.param(
            [q("a", 20, fewest=16, priority=1), q("b", 20, guaranteed=4)],
            [12, 4],
            id="guarantees before minimums of a higher priority",
        ),
        pytest.param(
            [q("a", 20, held=6, pinned=True), q("b", 20, priority=9)],
            [6, 10],
            id="an unreadable queue keeps what it has",
        ),
        pytest.param([q("a", 20, units_each=20), q("b", 20)], [0, 16], id="too large for it"),
        pytest.param([q("a", 20, units_each=5), q("b", 20)], [1, 11], id="costs"),
        pytest.param(
            [q("a", 20, priority=9, guaranteed=4, startable=1), q("b", 20)],
            [1, 15],
            id="pods that do not start",
        ),
        pytest.param(
            [q("a", 20, fewest=4, startable=1), q("b", 5)], [11, 5], id="nobody else can use it"
        ),
        pytest.param([], [], id="nobody"),
    ],
)
def test_shares_of_sixteen(asked: list[Demand], expected: list[int]) -> None:
    assert shares(16, *asked) == expected


def test_the_one_that_is_late_first_comes_first_among_equals() -> None:
    calm = q("calm", 16, work_s=600.0, wait_s=600.0, load=1.0)
    late = q("late", 16, work_s=600.0, wait_s=60.0, load=1.0)

    assert needed(calm) == pytest.approx(2.0)
    assert needed(late) == pytest.approx(11.0)
    assert shares(2, calm, late) == [0, 2]
    assert shares(11, calm, late) == [1, 10]
    # What the objective needs is there: the rest goes by weight.
    assert shares(20, calm, late) == [9, 11]


def test_age_raises_urgency_up_to_a_bound_and_slow_starters_are_no_help() -> None:
    young = q("young", 9, work_s=900.0, wait_s=100.0)

    assert needed(young) == pytest.approx(9.0)
    assert needed(dataclasses.replace(young, age_s=50.0)) == pytest.approx(18.0)
    assert needed(dataclasses.replace(young, age_s=1e9)) == pytest.approx(36.0)
    assert needed(dataclasses.replace(young, age_s=1e9, cold_start_s=300.0)) == pytest.approx(3.0)


def test_fair_sharing_looks_at_weights_alone() -> None:
    a, b = q("a", 20, priority=100, work_s=1e6), q("b", 20, weight=3)

    assert shares(16, a, b, sharing=Sharing.FAIR) == [4, 12]
    assert shares(16, a, b) == [16, 0]


def test_fair_sharing_divides_units_not_replicas() -> None:
    a, b = q("a", 20, units_each=4), q("b", 20)

    assert shares(16, a, b, sharing=Sharing.FAIR) == [2, 8]


@LAW
@given(st.integers(0, 60), members(costs=False, pins=False))
def test_fair_sharing_fills_all_to_the_same_level(
    capacity: int, asked: tuple[Demand, ...]
) -> None:
    plain: dict[str, Any] = {
        "granted": 0,
        "guaranteed": 0,
        "fewest": 0,
        "borrow": True,
        "startable": None,
    }
    fresh = [dataclasses.replace(d, **plain) for d in asked]
    made = allocate(Pool(name="gpu", capacity=capacity, sharing=Sharing.FAIR), fresh)

    for poor, rich in itertools.permutations(fresh, 2):
        if short(made, poor.key):
            level = (made.grants[poor.key].share + 1) / poor.weight
            assert made.grants[rich.key].share / rich.weight <= level + 1e-9


def settled(pool: Pool, asked: tuple[Demand, ...]) -> tuple[Demand, ...]:
    """Return the demands with what they are granted in the end while nothing changes."""
    for _ in range(3):
        grants = allocate(pool, asked).grants
        asked = tuple(dataclasses.replace(d, granted=grants[d.key].share) for d in asked)
    grants = allocate(pool, asked).grants
    assert {d.key: d.granted for d in asked} == {key: g.share for key, g in grants.items()}
    return asked


@LAW
@given(
    st.integers(1, 60),
    st.sampled_from(Sharing),
    members(pins=False),
    st.sampled_from([{}, {"work_s": 500.0, "load": 0.5}, {"work_s": 90_000.0, "load": 3.0}]),
)
def test_who_came_first_keeps_nothing_of_equals(
    capacity: int, sharing: Sharing, asked: tuple[Demand, ...], urgency: dict[str, float]
) -> None:
    pool = Pool(name="gpu", capacity=capacity, sharing=sharing)
    same = {"work_s": 0.0, "load": 0.0, "age_s": 0.0, "wait_s": 120.0, "cold_start_s": 0.0}
    saturated: dict[str, Any] = {
        "wanted": 60,
        "priority": 0,
        "borrow": True,
        "startable": None,
        **same,
        **urgency,
    }
    equals = tuple(
        dataclasses.replace(d, **saturated, granted=d.granted * 5 % 61, held=0) for d in asked
    )
    fresh = allocate(pool, [dataclasses.replace(d, granted=0) for d in equals]).grants
    largest = max((d.units_each for d in equals), default=0)

    for demand in settled(pool, equals):
        off = abs(demand.granted - fresh[demand.key].share) * demand.units_each
        assert off <= largest, (demand, fresh)


@pytest.mark.parametrize("sharing", Sharing)
@pytest.mark.parametrize("urgency", [{}, {"work_s": 6000.0}], ids=["at rest", "urgent"])
@pytest.mark.parametrize(
    ("capacity", "granted", "weights", "expected"),
    [
        pytest.param(16, (16, 0), (1, 1), (8, 8), id="two"),
        pytest.param(18, (18, 0, 0), (1, 1, 1), (6, 6, 6), id="three"),
        pytest.param(17, (9, 8), (1, 1), (9, 8), id="a tie stays"),
        pytest.param(17, (8, 9), (1, 1), (8, 9), id="a tie stays, the other way"),
        pytest.param(16, (4, 12), (3, 1), (12, 4), id="by weight"),
    ],
)
def test_equals_share_by_weight_whoever_came_first(
    capacity: int,
    granted: tuple[int, ...],
    weights: tuple[int, ...],
    expected: tuple[int, ...],
    urgency: dict[str, float],
    sharing: Sharing,
) -> None:
    pool = Pool(name="gpu", capacity=capacity, sharing=sharing)
    asked = tuple(
        q(f"f{n}", 20, granted=had, weight=weight, **urgency)
        for n, (had, weight) in enumerate(zip(granted, weights, strict=True))
    )

    assert tuple(demand.granted for demand in settled(pool, asked)) == expected


def test_equals_share_evenly_below_a_more_urgent_queue() -> None:
    asked = (
        q("urgent", 20, work_s=6000.0),
        q("first", 20, work_s=1000.0, granted=9),
        q("second", 20, work_s=1000.0, granted=1),
    )

    kept = {d.key: d.granted for d in settled(Pool(name="gpu", capacity=20), asked)}

    assert abs(kept["first"] - kept["second"]) <= 1
    assert kept["urgent"] >= 10


def test_a_winner_rises_only_as_the_loser_drains() -> None:
    pool = Pool(name="gpu", capacity=16)

    def grants(low_held: int) -> dict[str, tuple[int, int]]:
        made = allocate(
            pool,
            [
                q("high", 12, priority=100, held=2),
                q("low", 16, held=low_held, granted=low_held),
            ],
        )
        return {key: (grant.share, grant.replicas) for key, grant in made.grants.items()}

    assert grants(14) == {"high": (12, 2), "low": (4, 4)}
    assert grants(10) == {"high": (12, 6), "low": (4, 4)}
    assert grants(4) == {"high": (12, 12), "low": (4, 4)}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param([q("a", 12, held=12, leaving=6)], [10], id="as many as are free"),
        pytest.param([q("a", 12, held=16, leaving=6)], [10], id="they are there"),
        pytest.param([q("a", 12, held=12, leaving=2)], [12], id="all"),
        pytest.param([q("a", 16, held=16, leaving=6)], [10], id="none in a full pool"),
        pytest.param([q("a", 3, held=8, leaving=6)], [3], id="no more than its share"),
        pytest.param([q("a", 8, units_each=2, held=6, leaving=3)], [5], id="units"),
        pytest.param(
            [q("a", 12, held=12, leaving=6), q("b", 4, priority=9)], [6, 4], id="others come first"
        ),
        pytest.param(
            [q("a", 12, held=12, leaving=6, priority=9), q("b", 4)], [10, 0], id="others wait"
        ),
    ],
)
def test_what_leaves_is_replaced_from_what_is_free(
    asked: list[Demand], expected: list[int]
) -> None:
    made = allocate(Pool(name="gpu", capacity=16), asked)

    assert [made.grants[demand.key].replicas for demand in asked] == expected


def test_what_is_free_goes_to_the_highest_priority_first() -> None:
    made = allocate(
        Pool(name="gpu", capacity=16),
        [
            q("high", 8, priority=100, held=2),
            q("middle", 4, priority=50, held=1),
            q("low", 16, held=10),
        ],
    )

    assert {key: grant.replicas for key, grant in made.grants.items()} == {
        "high": 5,
        "middle": 1,
        "low": 4,
    }


@pytest.mark.parametrize(
    ("demand", "expected"),
    [
        pytest.param(q("a", 9, held=4), 4, id="keeps what it holds"),
        pytest.param(q("a", 9, held=3, granted=4), 4, id="replaces what has gone"),
        pytest.param(q("a", 2, held=4, granted=4), 2, id="has no more than it wants"),
        pytest.param(q("a", 9), 1, id="keeps working"),
        pytest.param(q("a", 9, guaranteed=3), 3, id="has its guarantee"),
        pytest.param(q("a", 9, fewest=2), 2, id="has its minimum"),
        pytest.param(q("a", 0), 0, id="wants nothing"),
        pytest.param(q("a", 0, held=3, pinned=True), 3, id="pinned"),
        pytest.param(q("a", 9, held=8, guaranteed=2, borrow=False), 2, id="does not borrow"),
    ],
)
def test_a_pool_of_unknown_capacity_lets_queues_work(demand: Demand, expected: int) -> None:
    assert unallocated(demand) == expected
    assert shares(None, demand) == [expected]


def test_a_capacity_that_counts_for_another_pool_leaves_what_there_is() -> None:
    pool = Pool(name="gpu", capacity=None, problem=PoolProblem.CAPACITY_TAKEN)
    made = allocate(
        pool,
        [
            q("a", 9, held=3, guaranteed=5),
            q("b", 9, fewest=1),
            q("c", 1, held=2),
            q("d", 9, held=1, granted=2),
        ],
    )

    shared = {key: grant.share for key, grant in made.grants.items()}
    assert shared == {"a": 3, "b": 0, "c": 1, "d": 2}


def test_what_leaves_a_pool_of_unknown_capacity_is_replaced_when_it_is_gone() -> None:
    made = allocate(Pool(name="gpu", capacity=None), [q("a", 9, held=4, leaving=3)])

    assert (made.grants["a"].share, made.grants["a"].replicas) == (4, 1)


def test_no_capacity_grants_nothing_and_says_so() -> None:
    made = allocate(Pool(name="gpu", capacity=0), [q("a", 3, fewest=1, held=1)])

    assert made.grants["a"].share == made.grants["a"].replicas == 0
    assert not made.covered
    assert share_of(made, "a").problem is None
    assert (made.wanted, made.granted, made.held) == (3, 0, 1)


def test_replicas_that_never_fit_are_not_wanted() -> None:
    asked = [q("a", 4, units_each=20), q("b", 48)]

    def wanted(capacity: int | None) -> int:
        return allocate(Pool(name="gpu", capacity=capacity), asked).wanted

    assert [wanted(16), wanted(19), wanted(20), wanted(0), wanted(None)] == [48, 48, 128, 128, 128]


def test_a_queue_has_one_demand() -> None:
    with pytest.raises(ValueError, match="same key"):
        allocate(Pool(name="gpu", capacity=1), [q("a", 1), q("a", 2)])


def test_a_share_names_those_who_have_the_rest() -> None:
    asked = [q(f"q{n}", n, priority=n) for n in range(6)]
    made = allocate(Pool(name="gpu", capacity=100), asked)

    share = share_of(made, "q5")

    assert (share.name, share.capacity, share.share, share.replicas) == ("gpu", 100, 5, 5)
    assert share.takers == tuple(Taker(name=f"q{n}", units=n, priority=n) for n in (4, 3, 2))
    assert len(share.takers) == TAKERS_MAX
    assert share.others == 10
    assert share.problem is None


@LAW
@given(pools, members())
def test_a_share_is_the_same_without_a_look_at_all_others(
    pool: Pool, asked: tuple[Demand, ...]
) -> None:
    made = allocate(pool, asked)
    takers = most_takers(made)

    for demand in asked:
        assert share_beside(made, demand.key, takers) == share_of(made, demand.key)


def test_a_share_says_what_is_wrong() -> None:
    lost = Pool(name="gpu", capacity=None, problem=PoolProblem.NOT_FOUND, why="typo")
    share = share_of(allocate(lost, [q("a", 3)]), "a")
    assert (share.problem, share.why, share.replicas) == (PoolProblem.NOT_FOUND, "typo", 1)

    large = share_of(allocate(Pool(name="gpu", capacity=2), [q("a", 3, units_each=4)]), "a")
    assert (large.problem, large.replicas) == (PoolProblem.REPLICA_TOO_LARGE, 0)
