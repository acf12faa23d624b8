"""The parts of a decision: arrivals, service times, queueing, idling, schedules, scale-in."""

import math
import random
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.media_types import MediaKind
from detection_operator.scaling.estimates import arrivals
from detection_operator.scaling.estimates import idle_time as idle
from detection_operator.scaling.estimates import service_time as service
from detection_operator.scaling.observation import Served
from detection_operator.scaling.pods import Pod, PodPhase, scale_in_candidates
from detection_operator.scaling.rules import queueing
from detection_operator.scaling.rules import schedules as schedule
from detection_operator.spec.queue_spec import Prior
from detection_operator.spec.scaling import Idle, IdlePolicy, Schedule


def line_of(samples: list[tuple[float, float]], *, window_s: float = 60.0) -> arrivals.Arrivals:
    line = arrivals.start(*samples[0])
    for at_s, count in samples[1:]:
        line = arrivals.absorb(line, at_s=at_s, count=count, wait_s=120.0, window_s=window_s)
    return line


def test_one_difference_is_no_rate() -> None:
    assert arrivals.rate_per_s(line_of([(0.0, 0.0), (5.0, 500.0)])) is None
    assert arrivals.rate_per_s(line_of([(0.0, 0.0)])) is None


def test_a_steady_stream_is_measured_through_noise() -> None:
    rng = random.Random(3)
    samples = [(5.0 * i, 2.0 * 5.0 * i + rng.gauss(0.0, 5.0)) for i in range(200)]

    rate = arrivals.rate_per_s(line_of(samples))

    assert rate == pytest.approx(2.0, abs=0.15)


def test_a_burst_after_silence_is_not_taken_for_a_stream() -> None:
    samples = [(5.0 * i, 0.0 if i < 60 else 400.0) for i in range(62)]

    rate = arrivals.rate_per_s(line_of(samples))

    assert rate is not None
    assert rate < 400.0 / 60.0


def test_falling_counts_are_no_negative_rate() -> None:
    assert arrivals.rate_per_s(line_of([(5.0 * i, -10.0 * i) for i in range(20)])) == 0.0


def test_memory_of_arrivals_stays_small() -> None:
    line = line_of([(5.0 * i, float(i)) for i in range(5000)])

    assert len(line.shape) <= 2 * arrivals.SHAPE_POINTS + 2


def served(messages: int, seconds: float, kind: MediaKind = MediaKind.VIDEO) -> Served:
    return Served(media_type=kind, messages=messages, seconds=seconds, squares=seconds**2)


PRIORS = [
    Prior(media_type=MediaKind.VIDEO, seconds=20),
    Prior(media_type=MediaKind.IMAGE, seconds=1),
]


def test_priors_hold_until_measured() -> None:
    times = service.from_priors(PRIORS)

    assert times.mix.mean_s == pytest.approx(10.5)
    assert times.mix.samples == 0
    assert service.from_priors([]).mix.mean_s == service.UNKNOWN_S


def test_measurements_replace_the_prior_and_weigh_by_what_is_served() -> None:
    times = service.from_priors(PRIORS)
    for round_ in range(1, 50):
        times = service.absorb(times, (served(10 * round_, 40.0 * round_),))

    assert times.mix.mean_s == pytest.approx(4.0, rel=0.02)
    assert times.mix.samples > 100


def test_a_kind_without_a_prior_is_learned() -> None:
    times = service.absorb(service.from_priors(PRIORS), (served(50, 100.0, MediaKind.AUDIO),))

    assert times.mix.mean_s == pytest.approx(2.0)


def test_totals_that_start_anew_do_no_harm() -> None:
    times = service.absorb(service.from_priors(PRIORS), (served(100, 200.0),))
    again = service.absorb(times, (served(10, 20.0), served(5, 5.0, MediaKind.IMAGE)))
    quiet = service.absorb(again, (served(10, 20.0), served(6, 6.0, MediaKind.IMAGE)))

    assert again.mix.mean_s > 0.0
    assert quiet.mix.mean_s > 0.0


def test_erlang_c_agrees_with_published_values() -> None:
    # M/M/1: the probability of waiting is the utilisation. M/M/2 with a = 1: 1/3.
    assert queueing.erlang_c(1, 0.5) == pytest.approx(0.5)
    assert queueing.erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert queueing.erlang_c(3, 0.0) == 0.0
    assert queueing.erlang_c(3, 3.0) == 1.0


def test_the_tail_asks_for_more_than_the_mean_when_waits_are_short() -> None:
    least = queueing.steady_replicas(rate_per_s=1.0, service_s=9.0, parallel=1, target=0.97)

    tail = queueing.tail_replicas(
        least, rate_per_s=1.0, service_s=9.0, parallel=1, wait_s=5.0, late=0.01
    )

    late = queueing.late_share(tail, rate_per_s=1.0, service_s=9.0, wait_s=5.0)
    before = queueing.late_share(tail - 1, rate_per_s=1.0, service_s=9.0, wait_s=5.0)
    assert tail > least
    assert late <= 0.01 < before
    assert queueing.late_share(9, rate_per_s=1.0, service_s=9.0, wait_s=5.0) == 1.0


def test_the_tail_is_settled_without_erlang_where_the_wait_is_long() -> None:
    assert (
        queueing.tail_replicas(
            1, rate_per_s=1.0, service_s=1.0, parallel=1, wait_s=60.0, late=0.01
        )
        == 2
    )


def drain(
    waiting: float,
    held: float = 0.0,
    *,
    parallel: int = 1,
    ready: int = 0,
    mean_s: float = 10.0,
    ready_s: float = 60.0,
    spread_s: float = 0.0,
) -> int:
    return queueing.drain_replicas(
        waiting,
        held,
        ready=ready,
        mean_s=mean_s,
        parallel=parallel,
        times=queueing.DrainTimes(ready_s=ready_s, added_s=60.0, spread_s=spread_s),
    )


def test_a_backlog_is_divided_by_the_time_that_it_may_take() -> None:
    assert drain(60.0) == 10
    assert drain(60.0, parallel=4) == 3


def test_messages_in_hand_are_half_done() -> None:
    assert drain(60.0, 12.0) == 11


def test_there_is_no_replica_without_a_message() -> None:
    assert drain(3.0) == 1
    assert drain(3.0, 1.0, mean_s=90.0) == 4


def test_replicas_that_are_ready_have_the_time_that_others_take_to_start() -> None:
    assert drain(60.0, ready=5, ready_s=100.0) == 7  # 500 s of 600 s, the rest in 60 s each
    assert drain(60.0, ready=6, ready_s=100.0) == 6
    assert drain(60.0, ready=9, ready_s=100.0) == 6
    assert drain(60.0, ready=5) == drain(60.0) == 10


def test_service_times_that_scatter_need_more_replicas_for_few_messages() -> None:
    assert drain(36.0, spread_s=10.0) == drain(36.0) + 1  # 60 s more than 360 s
    assert drain(3600.0, spread_s=10.0) == drain(3600.0) + 10  # 600 s more than 36,000 s


@given(fewer=st.floats(0, 1e4), more=st.floats(0, 1e4), held=st.floats(0, 100))
def test_more_messages_never_drain_with_fewer(fewer: float, more: float, held: float) -> None:
    low, high = sorted((fewer, more))

    assert drain(low, held) <= drain(high, held)


def test_without_history_a_replica_is_kept_for_the_price_of_a_cold_start() -> None:
    assert idle.keep_s(Idle(), gaps=(), cold_start_s=60.0, wait_s=120.0) == 60.0
    assert idle.keep_s(Idle(), gaps=(), cold_start_s=120.0, wait_s=120.0) == 240.0
    assert idle.keep_s(Idle(max_s=100), gaps=(), cold_start_s=120.0, wait_s=120.0) == 100.0


def test_the_fixed_and_the_endless_policy_do_as_they_say() -> None:
    fixed = Idle(policy=IdlePolicy.FIXED, fixed_s=7)
    never = Idle(policy=IdlePolicy.NEVER)

    assert idle.keep_s(fixed, gaps=(), cold_start_s=60.0, wait_s=120.0) == 7.0
    assert math.isinf(idle.keep_s(never, gaps=(), cold_start_s=60.0, wait_s=120.0))


@pytest.mark.parametrize(
    ("gap_s", "least_s", "most_s"),
    [
        pytest.param(200.0, 240.0, 240.0, id="gaps of three minutes are bridged"),
        pytest.param(7200.0, 0.0, 15.0, id="gaps of hours are not worth a minute"),
        pytest.param(5.0, 15.0, 60.0, id="short gaps need a short time"),
    ],
)
def test_idle_times_seen_before_sharpen_the_choice(
    gap_s: float, least_s: float, most_s: float
) -> None:
    gaps: tuple[float, ...] = ()
    for _ in range(100):
        gaps = idle.noted(gaps, gap_s)

    kept_s = idle.keep_s(Idle(), gaps=gaps, cold_start_s=120.0, wait_s=120.0)

    assert least_s <= kept_s <= most_s
    assert sum(gaps) <= idle.MEMORY + 1


OFFICE = Schedule(
    name="office", cron="0 7 * * 1-5", duration_s=3600, time_zone="Europe/Berlin", min_replicas=2
)


@pytest.mark.parametrize(
    ("local", "holds"),
    [
        pytest.param("2026-11-23 06:59", False, id="a minute before"),
        pytest.param("2026-11-23 07:00", True, id="at its start"),
        pytest.param("2026-11-23 07:59", True, id="its last minute"),
        pytest.param("2026-11-23 08:00", False, id="at its end"),
        pytest.param("2026-11-22 07:30", False, id="on a Sunday"),
        pytest.param("2026-07-01 07:30", True, id="in summer time"),
        pytest.param("2026-03-30 07:30", True, id="the day after the clocks changed"),
    ],
)
def test_a_schedule_holds_in_its_own_time_zone(local: str, holds: bool) -> None:  # noqa: FBT001
    now = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo("Europe/Berlin"))

    assert (schedule.active((OFFICE,), now.timestamp()) is OFFICE) is holds


def test_of_two_schedules_the_larger_holds() -> None:
    more = Schedule(name="more", cron="0 7 * * *", duration_s=3600, min_replicas=5)
    now = datetime.fromisoformat("2026-11-23 07:30").replace(tzinfo=ZoneInfo("UTC")).timestamp()
    berlin_too = Schedule(name="low", cron="0 7 * * *", duration_s=3600, min_replicas=1)

    assert schedule.active((berlin_too, more), now) is more
    assert schedule.active((), now) is None


def pod(name: str, phase: PodPhase, created_s: float, *, busy: bool | None = False) -> Pod:
    return Pod(name=name, phase=phase, created_s=created_s, busy=busy)


def test_idle_and_newest_pods_go_first_then_busy_ones_and_silent_ones_last() -> None:
    pods = [
        pod("old-idle", PodPhase.READY, 1.0),
        pod("new-idle", PodPhase.READY, 9.0),
        pod("busy", PodPhase.READY, 10.0, busy=True),
        pod("silent", PodPhase.READY, 11.0, busy=None),
        pod("homeless", PodPhase.UNSCHEDULABLE, 2.0),
        pod("starting", PodPhase.STARTING, 3.0),
        pod("draining", PodPhase.DRAINING, 4.0, busy=True),
    ]

    waiting = ("homeless", "starting", "draining")
    assert scale_in_candidates(pods, 9) == (*waiting, "new-idle", "old-idle", "busy", "silent")
    assert scale_in_candidates(pods, 1) == ("homeless",)
    assert scale_in_candidates(pods, 0) == ()
