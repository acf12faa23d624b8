"""The decision by example: what is seen, what is wanted, and the sentence that people read."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from detection_contract.media_types import MediaKind
from detection_operator.scaling.decision import decide
from detection_operator.scaling.memory import Memory
from detection_operator.scaling.observation import Observation, ReadError, Served
from detection_operator.scaling.plan import Plan
from detection_operator.scaling.pods import Pod, PodPhase
from detection_operator.scaling.rules.terms import Rule
from detection_operator.simulation.policies import Ours
from detection_operator.simulation.simulator import Simulator, World
from detection_operator.simulation.workload import Workload
from detection_operator.spec.queue_spec import QueueSpec

NOON_S = 1_767_268_800.0
"""2026-01-01T12:00:00Z, a Thursday."""
TEN_SECONDS = {"priors": [{"mediaType": "video", "seconds": 10}]}
COLD_30 = {**TEN_SECONDS, "coldStartSeconds": 30}


def see(**what: Any) -> Observation:
    return Observation(sampled_at_s=None, **what)


def play(
    spec: QueueSpec,
    seen: Sequence[Observation],
    *,
    step_s: float = 5.0,
    memory: Memory | None = None,
) -> Plan:
    """Decide on each observation in turn, ``step_s`` apart, the last one at noon."""
    known = Memory() if memory is None else memory
    plan: Plan | None = None
    for index, what in enumerate(seen):
        now_s = NOON_S - step_s * (len(seen) - 1 - index)
        sampled = what if what.sampled_at_s is not None else replace(what, sampled_at_s=now_s)
        plan = decide(spec, sampled, known, now_s)
        known = plan.memory
    assert plan is not None
    return plan


EMPTY = see()
RUNNING = see(replicas=6, ready=6, busy=6, in_flight=6)
SERVED = Served(media_type=MediaKind.VIDEO, messages=100, seconds=1000.0, squares=12000.0)


@pytest.mark.parametrize(
    ("parts", "seen", "desired", "binding", "message"),
    [
        pytest.param({}, [EMPTY], 0, "Empty", "nothing to do", id="an empty queue needs nobody"),
        pytest.param(
            {},
            [see(visible=3)],
            0,
            "Activation",
            "1 needed to clear 3 messages (30 s of work) before they are 120 s old; "
            "waiting for 1 more reading(s) to confirm 3 message(s)",
            id="one reading of a few messages starts nothing",
        ),
        pytest.param(
            {},
            [see(visible=3), see(visible=3)],
            1,
            "Drain",
            "1 needed to clear 3 messages (30 s of work) before they are 120 s old",
            id="two readings in a row start a replica",
        ),
        pytest.param(
            {"serviceTime": COLD_30, "scaling": {"maxReplicas": 100}},
            [see(visible=400)],
            56,
            "Drain",
            "56 needed to clear 400 messages (4000 s of work) before they are 120 s old",
            id="a clear burst needs one reading and one step",
        ),
        pytest.param(
            {"serviceTime": COLD_30, "scaling": {"maxReplicas": 20}},
            [see(visible=400)],
            20,
            "Max",
            "56 needed to clear 400 messages (4000 s of work) before they are 120 s old; "
            "maxReplicas is 20",
            id="maxReplicas caps the burst",
        ),
        pytest.param(
            {"scaling": {"activation": {"minMessages": 5}}},
            [see(visible=4)] * 4,
            0,
            "Activation",
            "1 needed to clear 4 messages (40 s of work) before they are 120 s old; "
            "4 message(s), fewer than activation.minMessages (5)",
            id="too few messages start nothing however long they wait",
        ),
        pytest.param(
            {},
            [see(in_flight=5)] * 10,
            0,
            "Empty",
            "nothing to do",
            id="phantoms in flight buy no replica",
        ),
        pytest.param(
            {"scaling": {"policy": "Backlog", "backlogPerReplica": 5}},
            [see(visible=23, replicas=1, ready=1, in_flight=1, busy=1)],
            5,
            "Backlog",
            "5 needed for 24 messages at 5 per replica",
            id="the backlog rule divides",
        ),
        pytest.param(
            {"scaling": {"headroomReplicas": 2}, "serviceTime": COLD_30},
            [see(visible=90, replicas=1, ready=1, busy=1, in_flight=1)],
            14,
            "Headroom",
            "12 needed to clear 90 messages (900 s of work) before they are 120 s old; "
            "2 more as headroom while the queue is active",
            id="headroom is added while there is work",
        ),
        pytest.param(
            {"scaling": {"headroomReplicas": 2}},
            [EMPTY],
            0,
            "Empty",
            "nothing to do",
            id="headroom alone starts nothing",
        ),
        pytest.param(
            {"scaling": {"minReplicas": 2}},
            [EMPTY],
            2,
            "Min",
            "minReplicas is 2",
            id="minReplicas run on an empty queue",
        ),
        pytest.param(
            {
                "scaling": {
                    "schedules": [
                        {
                            "name": "office",
                            "cron": "0 7 * * 1-5",
                            "durationSeconds": 36000,
                            "minReplicas": 3,
                        }
                    ]
                }
            },
            [EMPTY],
            3,
            "Schedule",
            "schedule office sets a minimum of 3",
            id="a schedule has its replicas ready",
        ),
        pytest.param(
            {"scaling": {"scaleUp": {"maxReplicasPerMinute": 4}}, "serviceTime": COLD_30},
            [see(visible=400, replicas=2, ready=2, busy=2, in_flight=2)],
            6,
            "ScaleUp",
            "55 needed to clear 400 messages (4000 s of work) before they are 120 s old; "
            "up to 6 for now: scale-out is limited to 4 a minute",
            id="a limit slows the way up",
        ),
        pytest.param(
            {"budget": {"replicaHourCost": "2", "maxPerHour": "20"}, "serviceTime": COLD_30},
            [see(visible=400)],
            10,
            "Budget",
            "56 needed to clear 400 messages (4000 s of work) before they are 120 s old; "
            "capped at 10: 20 an hour at 2 per replica",
            id="the hourly budget caps",
        ),
        pytest.param(
            {"budget": {"replicaHourCost": "2", "maxPerDay": "24"}, "serviceTime": COLD_30},
            [see(visible=400)],
            12,
            "Budget",
            "56 needed to clear 400 messages (4000 s of work) before they are 120 s old; "
            "capped at 12: 24.00 of 24 left today",
            id="the daily budget caps",
        ),
        pytest.param(
            {
                "budget": {"replicaHourCost": "2", "maxPerHour": "20", "onExceeded": "Warn"},
                "serviceTime": COLD_30,
                "scaling": {"maxReplicas": 100},
            },
            [see(visible=400)],
            56,
            "Drain",
            "56 needed to clear 400 messages (4000 s of work) before they are 120 s old; "
            "56 exceed the budget (20 an hour at 2 per replica), which only warns",
            id="a budget that warns caps nothing",
        ),
        pytest.param(
            {"paused": True},
            [see(visible=400, replicas=3, ready=3)],
            3,
            "Paused",
            "paused at 3",
            id="pause keeps what runs",
        ),
        pytest.param(
            {"scaling": {"mode": "Manual", "minReplicas": 2}, "replicas": 0},
            [see(visible=400, replicas=3, ready=3, busy=3)],
            0,
            "Manual",
            "Manual: spec.replicas is 0",
            id="the manual brake goes below minReplicas",
        ),
        pytest.param(
            {"scaling": {"mode": "Manual"}, "replicas": 100},
            [EMPTY],
            40,
            "Manual",
            "Manual: spec.replicas is 100, capped at maxReplicas 40",
            id="manual stays below maxReplicas",
        ),
        pytest.param(
            {},
            [see(error=ReadError.ACCESS_DENIED, replicas=3, ready=3)],
            3,
            "Fallback",
            "queue not read (AccessDenied) for 0s: keeping 3",
            id="a queue that cannot be read scales nothing in",
        ),
        pytest.param(
            {"scaling": {"fallback": {"behavior": "AtLeast", "replicas": 5}}},
            [see(error=ReadError.UNREACHABLE, replicas=3, ready=3)] * 30,
            5,
            "Fallback",
            "queue not read (Unreachable) for 2m: at least 5",
            id="AtLeast raises after its time",
        ),
        pytest.param(
            {"scaling": {"fallback": {"behavior": "Static", "replicas": 1}}},
            [see(error=ReadError.UNREACHABLE, replicas=12, ready=12, busy=9)] * 30,
            9,
            "Busy",
            "queue not read (Unreachable) for 2m: fallback.replicas is 1; "
            "down to 6 for 35 s: scale-in is limited to 50 % a minute; "
            "9 kept: 9 busy, 0 messages in flight",
            id="Static goes down slowly and never below busy work",
        ),
        pytest.param(
            {
                "scaling": {
                    "scaleDown": {"holdSeconds": 0},
                    "idle": {"policy": "Fixed", "fixedSeconds": 0},
                }
            },
            [see(replicas=8, ready=8, in_flight=5, busy=5)] * 2,
            5,
            "Busy",
            "one replica kept: 5 in flight, 0 delayed, 5 busy, 0 unreachable worker(s); "
            "down to 3 for 55 s: scale-in is limited to 50 % a minute; "
            "5 kept: 5 busy, 5 messages in flight",
            id="work in hand keeps its replicas",
        ),
        pytest.param(
            {},
            [see(replicas=8, ready=8)],
            8,
            "Hold",
            "one warm replica kept for 240 s: cheaper than a cold start of 120 s; "
            "held at 8 for 60 s: scale-in waits until the surplus has lasted 60 s",
            id="a restarted operator holds what runs",
        ),
        pytest.param(
            {},
            [see(replicas=16, ready=16)] * 14,
            8,
            "ScaleDown",
            "one warm replica kept for 175 s: cheaper than a cold start of 120 s; "
            "down to 8 for 55 s: scale-in is limited to 50 % a minute",
            id="after the hold half may go",
        ),
        pytest.param(
            {},
            [see(replicas=5, ready=5)] * 14,
            1,
            "Idle",
            "one warm replica kept for 175 s: cheaper than a cold start of 120 s",
            id="the last few go together",
        ),
        pytest.param(
            {"scaling": {"scaleDown": {"maxPercent": 10}}},
            [see(replicas=5, ready=5)] * 14,
            4,
            "ScaleDown",
            "one warm replica kept for 175 s: cheaper than a cold start of 120 s; "
            "down to 4 for 55 s: scale-in is limited to 10 % a minute",
            id="one at a time, if that is what maxPercent means",
        ),
        pytest.param(
            {"serviceTime": COLD_30},
            [see(replicas=5, ready=5)] * 7,
            5,
            "Hold",
            "held at 5 for 0 s: scale-in waits until the surplus has lasted 30 s",
            id="a surplus of fast starters is held for a cold start",
        ),
        pytest.param(
            {"scaling": {"scaleDown": {"holdSeconds": 45}}, "serviceTime": COLD_30},
            [see(replicas=5, ready=5)] * 7,
            5,
            "Hold",
            "held at 5 for 15 s: scale-in waits until the surplus has lasted 45 s",
            id="a hold that is set is kept",
        ),
        pytest.param(
            {},
            [see(replicas=1, ready=1)] * 60,
            0,
            "Empty",
            "nothing to do",
            id="the last replica goes when idling cost a cold start",
        ),
        pytest.param(
            {"scaling": {"idle": {"policy": "Fixed", "fixedSeconds": 600}}},
            [see(replicas=1, ready=1)] * 60,
            1,
            "Idle",
            "one warm replica kept for 305 s",
            id="a fixed idle time is kept",
        ),
        pytest.param(
            {"scaling": {"idle": {"policy": "Never"}}},
            [see(replicas=1, ready=1)] * 100,
            1,
            "Idle",
            "one warm replica is always kept",
            id="the policy Never keeps the last replica",
        ),
        pytest.param(
            {},
            [see(replicas=1, ready=1, delayed=2)] * 60,
            1,
            "Occupied",
            "one replica kept: 0 in flight, 2 delayed, 0 busy, 0 unreachable worker(s)",
            id="delayed messages keep the last replica",
        ),
        pytest.param(
            {},
            [see(replicas=1, ready=1, silent=1)] * 60,
            1,
            "Occupied",
            "one replica kept: 0 in flight, 0 delayed, 0 busy, 1 unreachable worker(s)",
            id="a worker that says nothing may be busy",
        ),
        pytest.param(
            {"serviceTime": COLD_30},
            [
                see(
                    visible=400,
                    replicas=12,
                    ready=6,
                    unschedulable=6,
                    unschedulable_since_s=NOON_S - 240.0,
                    unschedulable_why="nvidia.com/gpu",
                )
            ],
            12,
            "Capacity",
            "52 needed to clear 400 messages (4000 s of work) before they are 120 s old; "
            "capped at 12: 6 pods unschedulable (nvidia.com/gpu) for 4m",
            id="no room means no more pods than wait for it",
        ),
        pytest.param(
            {},
            [Observation(sampled_at_s=NOON_S - 61.0, replicas=4, ready=4)] * 2,
            4,
            "Fallback",
            "queue not read (stale) for 61s: keeping 4",
            id="an old reading is none",
        ),
    ],
)
def test_the_decision(
    spec_of: Callable[..., QueueSpec],
    parts: dict[str, Any],
    seen: Sequence[Observation],
    desired: int,
    binding: str,
    message: str,
) -> None:
    plan = play(spec_of(**{"serviceTime": TEN_SECONDS, **parts}), seen)

    assert (plan.desired, plan.binding, plan.message) == (desired, binding, message)


def test_steady_arrivals_keep_their_replicas(spec_of: Callable[..., QueueSpec]) -> None:
    spec = spec_of(serviceTime=TEN_SECONDS)
    stream = [
        see(
            replicas=8,
            ready=8,
            busy=5,
            in_flight=5,
            served=(
                Served(
                    media_type=MediaKind.VIDEO, messages=n, seconds=10.0 * n, squares=100.0 * n
                ),
            ),
        )
        for n in range(0, 300, 2)
    ]

    plan = play(spec, stream)

    # 2 messages in 5 s of 10 s each are 4 replicas' work, which 5 do with ease; one is in hand in
    # the first hour.
    steady = next(term for term in plan.terms if term.rule is Rule.KEEP_UP_WITH_ARRIVALS)
    assert steady.replicas == 5
    assert plan.desired == 6
    assert plan.estimates.arrivals_per_s == pytest.approx(0.4, rel=0.05)


def test_a_short_objective_asks_for_the_tail(spec_of: Callable[..., QueueSpec]) -> None:
    spec = spec_of(serviceTime=COLD_30, slo={"queueWaitSeconds": 5})
    stream = [
        see(
            replicas=5,
            ready=5,
            busy=5,
            in_flight=5,
            served=(replace(SERVED, messages=2 * n, seconds=20.0 * n, squares=200.0 * n),),
        )
        for n in range(150)
    ]

    plan = play(spec, stream)

    tail = next(term for term in plan.terms if term.rule is Rule.MEET_TAIL_OBJECTIVE)
    assert tail.replicas > 4
    assert tail.sentence == f"{tail.replicas} needed so that 99 % wait less than 5 s"


def test_poison_buys_one_replica_only(spec_of: Callable[..., QueueSpec]) -> None:
    spec = spec_of(serviceTime=TEN_SECONDS)
    storm = [
        see(
            visible=300,
            replicas=1,
            ready=1,
            busy=1,
            in_flight=1,
            failed=4 * n,
            dead_letter=n,
        )
        for n in range(200)
    ]

    plan = play(spec, storm)

    assert plan.desired == 1
    assert plan.estimates.poison_share == 1.0
    assert Rule.LEAVE_OUT_POISON in [term.rule for term in plan.terms]


def test_failures_without_dead_letters_are_still_demand(spec_of: Callable[..., QueueSpec]) -> None:
    storm = [see(visible=300, replicas=1, ready=1, failed=4 * n, dead_letter=0) for n in range(20)]

    plan = play(spec_of(serviceTime=TEN_SECONDS), storm)

    assert plan.estimates.poison_share == 0.0
    assert plan.desired > 10


def test_phantoms_in_flight_hold_a_replica_for_a_time_only(
    spec_of: Callable[..., QueueSpec],
) -> None:
    spec = spec_of(scaling={"idle": {"maxSeconds": 300}})
    idle = [see(replicas=1, ready=1)] * 3
    phantom = [see(replicas=1, ready=1, in_flight=5)]

    assert play(spec, idle + phantom * 50).desired == 1
    assert play(spec, idle + phantom * 80).desired == 0


def traffic(messages_per_s: float, count: int, **what: Any) -> list[Observation]:
    """Return looks, 5 s apart, at messages that are done as they come, 0.2 s of work each."""
    looks = []
    for index in range(count):
        done = round(index * 5 * messages_per_s)
        served = Served(
            media_type=MediaKind.VIDEO, messages=done, seconds=done * 0.2, squares=done * 0.05
        )
        looks.append(see(served=(served,), **what))
    return looks


@pytest.mark.parametrize(
    ("replicas", "percent", "seen", "desired"),
    [
        pytest.param(
            3,
            100,
            traffic(4.0, 40, ready=1, busy=1, in_flight=63, unschedulable=2),
            1,
            id="one busy worker of which sixty messages are held, two without a node",
        ),
        pytest.param(
            20,
            50,
            traffic(7.0, 40, ready=20, busy=20, in_flight=21),
            10,
            id="nobody is idle: half may be asked",
        ),
        pytest.param(
            20,
            50,
            [
                *traffic(7.0, 39, ready=20, busy=19, in_flight=21),
                traffic(7.0, 40, ready=20, busy=20, in_flight=21)[-1],
            ],
            20,
            id="one was idle a moment ago",
        ),
        pytest.param(
            20,
            50,
            traffic(1.0, 40, ready=20, busy=12, in_flight=21),
            12,
            id="idle ones go first",
        ),
        pytest.param(
            18,
            50,
            traffic(7.0, 40, ready=10, busy=9, draining=8, finishing=8, in_flight=21),
            9,
            id="those that drain are not kept for what they hold",
        ),
        pytest.param(
            18,
            50,
            traffic(7.0, 40, ready=11, busy=11, draining=7, finishing=5, in_flight=21),
            9,
            id="those that drain keep no others: the share counts them all",
        ),
        pytest.param(
            20,
            50,
            traffic(0.0, 40, ready=20, busy=20, in_flight=21),
            20,
            id="without traffic every worker is idle soon",
        ),
        pytest.param(
            20,
            50,
            traffic(7.0, 40, ready=20, busy=14, silent=6, in_flight=21),
            10,
            id="the silent stay in any case",
        ),
    ],
)
def test_work_in_hand_is_what_workers_say_that_they_hold(
    spec_of: Callable[..., QueueSpec],
    replicas: int,
    percent: int,
    seen: list[Observation],
    desired: int,
) -> None:
    spec = spec_of(scaling={"scaleDown": {"holdSeconds": 10, "maxPercent": percent}})

    assert play(spec, [replace(look, replicas=replicas) for look in seen]).desired == desired


def test_who_works_goes_on_while_much_waits(spec_of: Callable[..., QueueSpec]) -> None:
    spec = spec_of(scaling={"scaleDown": {"holdSeconds": 10}}, slo={"queueWaitSeconds": 3600})
    much = traffic(4.0, 40, replicas=6, ready=6, busy=6, in_flight=60, visible=600)
    little = traffic(4.0, 40, replicas=6, ready=6, busy=6, in_flight=60, visible=20)

    assert play(spec, much).desired == 6
    assert play(spec, much).binding == "Full"
    assert play(spec, little).desired == 1


def test_a_budget_is_not_outbid_by_what_is_held(spec_of: Callable[..., QueueSpec]) -> None:
    spec = spec_of(budget={"replicaHourCost": "1", "maxPerHour": "2"})
    busy = traffic(40.0, 40, replicas=6, ready=6, busy=6, in_flight=60, visible=900)
    idle = traffic(40.0, 40, replicas=6, ready=6, busy=3, in_flight=60, visible=900)

    assert play(spec, busy).desired == 2
    assert play(spec, idle).desired == 3


def test_surplus_pods_are_named_and_busy_ones_are_not(spec_of: Callable[..., QueueSpec]) -> None:
    pods = tuple(
        Pod(name=f"w{n}", phase=PodPhase.READY, created_s=float(n), busy=n < 2) for n in range(4)
    )
    seen = see(replicas=4, ready=4, busy=2, in_flight=2, pods=pods)

    plan = play(spec_of(), [seen] * 14)

    assert plan.desired == 2
    assert plan.scale_in_candidates == ("w3", "w2")


def test_shadow_plans_and_applies_nothing(spec_of: Callable[..., QueueSpec]) -> None:
    auto = play(spec_of(), [see(visible=400)])
    shadow = play(spec_of(scaling={"mode": "Shadow"}), [see(visible=400)])

    assert (shadow.desired, shadow.terms) == (auto.desired, auto.terms)
    assert auto.apply
    assert not shadow.apply


@pytest.mark.parametrize(
    ("seen", "next_s"),
    [
        pytest.param(EMPTY, 5.0, id="just empty"),
        pytest.param(see(visible=3), 1.0, id="a sighting to confirm"),
        pytest.param(see(visible=300), 5.0, id="active"),
        pytest.param(see(in_flight=1), 5.0, id="something in flight"),
        pytest.param(see(error=ReadError.ACCESS_DENIED), 300.0, id="denied"),
        pytest.param(
            see(error=ReadError.UNREACHABLE, error_why="the endpoint is no address"),
            300.0,
            id="a human has to fix it",
        ),
        pytest.param(see(error=ReadError.NO_SUCH_QUEUE), 300.0, id="no queue"),
        pytest.param(see(error=ReadError.THROTTLED), 20.0, id="throttled"),
        pytest.param(see(error=ReadError.UNREACHABLE), 5.0, id="unreachable"),
    ],
)
def test_the_queue_is_read_as_often_as_it_matters(
    spec_of: Callable[..., QueueSpec], seen: Observation, next_s: float
) -> None:
    assert play(spec_of(), [seen]).next_poll_s == next_s


def test_a_queue_that_stays_empty_is_read_less_and_less_often(
    spec_of: Callable[..., QueueSpec],
) -> None:
    patient = spec_of(slo={"queueWaitSeconds": 3600})
    after = {minutes: play(patient, [EMPTY] * (12 * minutes + 1)) for minutes in (1, 15, 60)}

    assert {minutes: plan.next_poll_s for minutes, plan in after.items()} == {
        1: 5.0,
        15: 15.0,
        60: 30.0,
    }


def test_an_old_reading_counts_as_none(spec_of: Callable[..., QueueSpec]) -> None:
    seen = Observation(sampled_at_s=NOON_S - 61.0, replicas=4, ready=4)

    plan = play(spec_of(), [seen] * 2)

    assert not plan.estimates.fresh
    assert (plan.binding, plan.desired) == ("Fallback", 4)
    assert plan.terms[0].facts == {"error": "stale", "lost": "61s"}


def test_a_day_of_money_is_counted_and_the_next_day_starts_anew(
    spec_of: Callable[..., QueueSpec],
) -> None:
    spec = spec_of(budget={"replicaHourCost": "3.6", "maxPerDay": "100"})
    hour = [see(replicas=10, ready=10, busy=10, in_flight=10)] * 721

    spent = play(spec, hour).estimates.spent_today
    long_after = play(spec, hour, step_s=120.0).estimates.spent_today

    assert spent == pytest.approx(36.0)
    # 24 h at 2 min a step, of which the 12 h of this day count.
    assert long_after == pytest.approx(12 * 36.0, rel=0.01)


def test_attainment_covers_the_last_day(spec_of: Callable[..., QueueSpec]) -> None:
    seen = [
        see(received=0),
        see(received=100, received_late=2),
        see(received=150, received_late=2),
        see(received=10, received_late=1),
    ]

    estimates = play(spec_of(), seen).estimates

    assert (estimates.received, estimates.received_late) == (160, 3)


def test_age_is_what_workers_saw_or_what_the_operator_saw(
    spec_of: Callable[..., QueueSpec],
) -> None:
    waiting = [see(visible=3)] * 5
    worked = see(visible=3, ready=1, replicas=1, oldest_age_s=77.0)

    assert play(spec_of(), waiting).estimates.age_s == 20.0
    assert play(spec_of(), [*waiting, worked]).estimates.age_s == 77.0
    assert play(spec_of(), [EMPTY]).estimates.age_s is None


def test_a_measured_cold_start_replaces_the_spec(spec_of: Callable[..., QueueSpec]) -> None:
    slow = play(spec_of(serviceTime=TEN_SECONDS), [see(visible=400)])
    fast = play(spec_of(serviceTime=TEN_SECONDS), [see(visible=400, cold_start_s=10.0)])

    assert (slow.estimates.cold_start_s, fast.estimates.cold_start_s) == (120.0, 10.0)
    assert fast.desired <= slow.desired


def test_an_idle_time_is_remembered_when_it_ends(spec_of: Callable[..., QueueSpec]) -> None:
    plan = play(spec_of(), [EMPTY, EMPTY, see(visible=1), see(visible=1)])

    assert sum(plan.memory.estimators.gaps) == 1.0
    assert plan.memory.estimators.idle_since_s is None


def test_scaling_to_zero_survives_an_unread_moment(spec_of: Callable[..., QueueSpec]) -> None:
    calm = [see(replicas=1, ready=1)] * 20
    lost = [see(replicas=1, ready=1, error=ReadError.THROTTLED)]

    plan = play(spec_of(), calm + lost + calm)

    assert plan.desired == 1
    assert plan.memory.estimators.unread_since_s is None


def burst(visible: int, **what: Any) -> Observation:
    return see(visible=visible, **what)


def test_a_second_step_waits_for_evidence_from_the_first(
    spec_of: Callable[..., QueueSpec],
) -> None:
    spec = spec_of(serviceTime=COLD_30, scaling={"maxReplicas": 100})
    first = play(spec, [burst(100)])
    starting = {"replicas": first.desired, "starting": first.desired}

    some_more = play(spec, [burst(100), burst(140, **starting)])
    much_more = play(spec, [burst(100), burst(400, **starting)])
    seen_to_start = play(spec, [burst(100), burst(140, cold_start_s=30.0, **starting)])

    assert (some_more.desired, some_more.binding) == (first.desired, Rule.WAIT_FOR_EVIDENCE)
    assert some_more.message.endswith("the first of them must show how long they take")
    assert much_more.desired > 2 * first.desired
    assert seen_to_start.desired > first.desired


def test_a_cold_start_four_times_as_long_as_the_spec_says_buys_no_replica(
    spec_of: Callable[..., QueueSpec],
) -> None:
    spec = spec_of(serviceTime={**TEN_SECONDS, "coldStartSeconds": 15})
    load = Workload(name="burst", arrivals_s=(300.0,) * 100, services_s=(10.0,) * 100)
    world = World(cold_start_s=60.0, noise=0.05)

    run = Simulator(load, world, Ours(spec)).run()

    needed = play(spec, [burst(100)]).desired
    assert max(sample.desired for sample in run.samples) <= 1.1 * needed
    assert max(run.waits_s) <= world.wait_s + 10.0


def test_one_is_in_hand_once_a_burst_begins_of_which_nothing_is_known(
    spec_of: Callable[..., QueueSpec],
) -> None:
    spec = spec_of(serviceTime=TEN_SECONDS)

    new = play(spec, [EMPTY] * 100 + [burst(60)])
    old = play(spec, [EMPTY] * 721 + [burst(60)])
    trickle = play(spec, [EMPTY] * 100 + [burst(1)] * 2)
    fast = play(spec_of(serviceTime=COLD_30), [EMPTY] * 100 + [burst(60)])

    assert new.desired == old.desired + 1
    assert new.message.endswith("one more in hand: arrivals have been known for 8m only")
    assert trickle.desired == 1
    assert Rule.ONE_IN_HAND not in {term.rule for term in fast.terms}


def hour_with_a_burst(**after: Any) -> list[Observation]:
    """Return looks at 120 messages that came and went at once half an hour ago."""
    done = Served(media_type=MediaKind.VIDEO, messages=120, seconds=1200.0, squares=12_000.0)
    running = {"replicas": 9, "ready": 9, "busy": 1, "in_flight": 1}
    before = [see(**running)] * 400
    return [*before, *[see(**running, served=(done,), **after)] * 360]


@pytest.mark.parametrize(
    ("cold_s", "kept"),
    [
        pytest.param(30, 0, id="fast starters need none"),
        pytest.param(66, 6, id="a cold start a little longer than half of the wait"),
        pytest.param(120, 9, id="a cold start as long as the wait: four fifths"),
        pytest.param(240, 10, id="a cold start twice as long: all"),
    ],
)
def test_what_the_bursts_of_the_last_hour_needed_is_kept(
    spec_of: Callable[..., QueueSpec], cold_s: int, kept: int
) -> None:
    spec = spec_of(serviceTime={**TEN_SECONDS, "coldStartSeconds": cold_s})

    plan = play(spec, hour_with_a_burst())

    terms = {term.rule: term.replicas for term in plan.terms}
    assert terms.get(Rule.COVER_RECENT_BURSTS, 0) == kept


def test_a_measured_cold_start_decides_what_is_kept(spec_of: Callable[..., QueueSpec]) -> None:
    spec = spec_of(serviceTime=TEN_SECONDS)

    plan = play(spec, hour_with_a_burst(cold_start_s=30.0))

    assert Rule.COVER_RECENT_BURSTS not in {term.rule for term in plan.terms}
