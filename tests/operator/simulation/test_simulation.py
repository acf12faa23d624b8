import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_operator.scaling.observation import Observation
from detection_operator.simulation import compare, oracle, report
from detection_operator.simulation.policies import Fixed, Keda, Ours
from detection_operator.simulation.simulator import EPOCH_S, Run, Sample, Simulator, World
from detection_operator.simulation.workload import (
    LEAD_S,
    SHAPES,
    InvalidTrace,
    Workload,
    generated,
    read_trace,
)
from detection_operator.spec.queue_spec import QueueSpec

QUIET = World(noise=0.0, tail_s=600.0)


def workload(arrivals: list[float], service_s: float = 10.0) -> Workload:
    return Workload(
        name="t", arrivals_s=tuple(arrivals), services_s=tuple(service_s for _ in arrivals)
    )


def test_two_workers_serve_in_order_and_are_billed_from_their_start() -> None:
    policy = Fixed((2,) * 100, step_s=5.0, start_s=EPOCH_S)

    run = Simulator(workload([0.0, 0.0, 0.0]), QUIET, policy).run()

    assert run.waits_s == pytest.approx([120.0, 120.0, 130.0])
    assert run.unserved == 0
    # Both exist for the 500 s of the schedule; afterwards nothing is left to do.
    assert run.replica_s == pytest.approx(1000.0)


def test_without_workers_nothing_is_served_and_nothing_is_billed() -> None:
    run = Simulator(workload([1.0, 2.0]), QUIET, Fixed((0,), step_s=5.0, start_s=EPOCH_S)).run()

    assert (run.unserved, run.replica_s, run.waits_s) == (2, 0.0, [])


def test_blind_scale_in_kills_busy_pods_and_draining_does_not() -> None:
    class Blind(Fixed):
        drains = False

    plan = (4,) * 40 + (1,) * 200
    arrivals = [float(n) for n in range(100, 300)]

    drained = Simulator(workload(arrivals), QUIET, Fixed(plan, step_s=5.0, start_s=EPOCH_S)).run()
    blind = Simulator(workload(arrivals), QUIET, Blind(plan, step_s=5.0, start_s=EPOCH_S)).run()

    assert drained.killed_busy == 0
    assert blind.killed_busy == 3


class Watching(Fixed):
    """A schedule that keeps what it saw."""

    def __init__(self, replicas: tuple[int, ...], *, step_s: float, start_s: float) -> None:
        super().__init__(replicas, step_s=step_s, start_s=start_s)
        self.seen: list[tuple[float, Observation]] = []

    def choose(self, seen: Observation, now_s: float) -> tuple[int, float]:
        self.seen.append((now_s - EPOCH_S, seen))
        return super().choose(seen, now_s)


def watched(world: World, arrivals: list[float], count: int = 2) -> tuple[Run, Watching]:
    policy = Watching((count,) * 100, step_s=5.0, start_s=EPOCH_S)
    return Simulator(workload(arrivals), world, policy).run(), policy


def test_a_cold_start_is_known_once_a_pod_is_ready() -> None:
    _, policy = watched(QUIET, [0.0])

    known = {at_s: seen.cold_start_s for at_s, seen in policy.seen}
    assert known[115.0] is None
    assert known[120.0] == 120.0


def test_counts_lag_behind_the_queue() -> None:
    late, policy = watched(replace(QUIET, lag_s=30.0), [200.0] * 9)

    visible = {at_s: seen.visible for at_s, seen in policy.seen}
    assert (visible[0.0], visible[225.0], visible[230.0]) == (0, 0, 7)
    assert late.waits_s == watched(QUIET, [200.0] * 9)[0].waits_s


def test_prefetched_messages_are_in_flight_and_wait_in_their_pod() -> None:
    ahead, policy = watched(replace(QUIET, prefetch=2), [200.0] * 9)

    counts = {at_s: (seen.visible, seen.in_flight) for at_s, seen in policy.seen}
    # Two at work and two ahead of each.
    assert counts[200.0] == (3, 6)
    assert sorted(ahead.waits_s) == sorted(watched(QUIET, [200.0] * 9)[0].waits_s)


@pytest.mark.parametrize(("drains", "killed"), [(True, 0), (False, 2)])
def test_prefetched_messages_come_back_from_pods_that_go(*, drains: bool, killed: int) -> None:
    plan = (3,) * 41 + (1,) * 200
    policy = Fixed(plan, step_s=5.0, start_s=EPOCH_S)
    policy.drains = drains

    run = Simulator(workload([200.0] * 12), replace(QUIET, prefetch=2), policy).run()

    assert (len(run.waits_s), run.unserved) == (12, 0)
    assert run.killed_busy == killed


def test_of_what_is_left_at_the_end_only_late_messages_are_judged() -> None:
    run = Run(waits_s=[1.0, 120.0, 200.0], unserved_s=[50.0, 120.0, 300.0])

    assert oracle.attainment(run, 120.0) == 2 / 4
    row = report.summarise("ours", run, World(wait_s=120.0), oracle=None)
    assert (row.attainment, row.unserved) == (2 / 4, 3)


def test_a_run_of_which_no_message_is_judged_has_no_attainment() -> None:
    run = Run(unserved_s=[50.0])

    row = report.summarise("ours", run, World(wait_s=120.0), oracle=None)

    assert (row.attainment, row.p99_wait_s, row.unserved) == (None, None, 1)
    [cells] = report.table([row], oracle_hours=None).splitlines()[1:]
    assert cells.split()[:3] == ["ours", "n/a", "n/a"]
    with pytest.raises(ValueError, match="no message was judged"):
        oracle.attainment(run, 120.0)


def test_what_a_pod_received_ahead_is_unserved_at_the_end() -> None:
    run, _ = watched(replace(QUIET, prefetch=2, tail_s=5.0), [200.0] * 9)

    assert run.unserved == 7


def test_figures_can_leave_out_the_beginning() -> None:
    whole, _ = watched(QUIET, [200.0, 300.0])
    later, _ = watched(replace(QUIET, from_s=250.0), [200.0, 300.0])

    assert (len(whole.waits_s), len(later.waits_s)) == (2, 1)
    assert later.replica_s == pytest.approx(whole.replica_s - 2 * 250.0)


def test_load_that_returns_resumes_draining_workers() -> None:
    plan = (2,) * 25 + (1,) + (2,) * 100
    arrivals = [100.0] * 10

    run = Simulator(
        workload(arrivals, 20.0), QUIET, Fixed(plan, step_s=5.0, start_s=EPOCH_S)
    ).run()

    assert len(run.waits_s) == 10
    # A resumed worker is back at once: five rounds of two, with no cold start between.
    assert max(run.waits_s) == pytest.approx(120.0 - 100.0 + 80.0)


def test_no_room_delays_pods_and_costs_nothing(spec_of: Callable[..., QueueSpec]) -> None:
    trace = generated("no-room", mean_s=10.0)

    run = Simulator(trace, QUIET, Ours(spec_of(scaling={"maxReplicas": 100}))).run()

    during = [s for s in run.samples if LEAD_S + 1500.0 <= s.at_s < LEAD_S + 2700.0]
    assert max(s.ready for s in during) < 40
    assert run.unserved == 0


def test_poison_goes_to_the_dead_letter_queue() -> None:
    bad = Workload(name="t", arrivals_s=(0.0, 0.0), services_s=(10.0, 10.0), poison=frozenset({0}))

    run = Simulator(bad, QUIET, Fixed((1,) * 80, step_s=5.0, start_s=EPOCH_S)).run()

    assert len(run.waits_s) == 1
    assert run.unserved == 0


def test_phantoms_wake_keda_and_not_us(spec_of: Callable[..., QueueSpec]) -> None:
    trace = generated("phantom", mean_s=10.0)
    setting = compare.Setting(spec=spec_of(), service_s=10.0)

    runs = compare.run_all(("ours", "keda"), trace, World(), setting)

    assert runs["ours"].replica_s == 0.0
    assert runs["keda"].replica_s > 1000.0


@pytest.mark.slow
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_ours_removes_no_busy_pod_on_any_shape(
    spec_of: Callable[..., QueueSpec], shape: str
) -> None:
    run = Simulator(generated(shape, mean_s=10.0), World(), Ours(spec_of())).run()

    assert run.killed_busy == 0
    assert run.unserved <= 60 or shape in {"ramp", "step", "poison", "no-room"}


def test_ours_beats_keda_in_cost_and_time_on_a_ramp(spec_of: Callable[..., QueueSpec]) -> None:
    trace = generated("ramp", mean_s=10.0)
    spec = spec_of(scaling={"maxReplicas": 200})
    setting = compare.Setting(spec=spec, service_s=10.0, keda_queue_length=12.0)

    runs = compare.run_all(("ours", "keda"), trace, World(), setting)

    assert oracle.attainment(runs["ours"], 120.0) > oracle.attainment(runs["keda"], 120.0)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["steady", "ramp", "bursty"])
def test_fast_starters_keep_the_objective_near_the_price_of_the_work(
    spec_of: Callable[..., QueueSpec], shape: str
) -> None:
    spec = spec_of(
        scaling={"maxReplicas": 200},
        serviceTime={"coldStartSeconds": 30, "priors": [{"mediaType": "video", "seconds": 5}]},
    )
    load = generated(shape, mean_s=5.0)
    world = World(cold_start_s=30.0, wait_s=120.0)

    run = Simulator(load, world, Ours(spec)).run()

    assert oracle.attainment(run, world.wait_s) >= 0.99
    # The cold starts, the last hold and the idle time are in the price, too.
    assert run.replica_s <= 1.4 * sum(load.services_s)


def messages(count: int, replicas: int) -> Observation:
    return Observation(sampled_at_s=0.0, visible=count, replicas=replicas, ready=replicas)


def test_keda_starts_one_and_doubles() -> None:
    keda = Keda(queue_length=5.0, max_replicas=100)

    steps = [0]
    for index in range(7):
        steps.append(keda.choose(messages(500, steps[-1]), 15.0 * index)[0])

    assert steps == [0, 1, 5, 10, 20, 40, 80, 100]


def test_keda_ignores_ten_percent_and_waits_five_minutes_down() -> None:
    keda = Keda(queue_length=5.0, max_replicas=100)

    assert keda.choose(messages(54, 10), 0.0)[0] == 10
    down = [keda.choose(messages(10, 10), 15.0 * n)[0] for n in range(1, 25)]

    assert down[:19] == [10] * 19
    assert down[-1] == 2


def test_keda_goes_to_zero_at_once_after_its_cooldown() -> None:
    keda = Keda(queue_length=5.0, max_replicas=100)
    keda.choose(messages(50, 10), 0.0)

    empty = [keda.choose(messages(0, 10), 15.0 * n)[0] for n in range(1, 22)]

    assert 0 in empty
    assert empty[-2] == 0 or empty[-1] == 0


@given(steps=st.lists(st.floats(0, 50), min_size=2, max_size=60), delay=st.integers(1, 10))
def test_the_taut_string_stays_in_its_tube(steps: list[float], delay: int) -> None:
    upper = list(itertools.accumulate(steps))
    lower = [0.0] * delay + upper[:-delay] if delay < len(upper) else [0.0] * len(upper)
    lower, upper = lower[: len(upper)], [max(a, b) for a, b in zip(upper, lower, strict=False)]

    path = oracle.taut_string(lower, upper)

    assert len(path) == len(upper)
    for low, value, high in zip(lower, path, upper, strict=True):
        assert low - 1e-6 <= value <= high + 1e-6
    assert path[-1] == pytest.approx(lower[-1])


@pytest.mark.slow
def test_the_oracle_meets_the_objective_where_it_can() -> None:
    run, plan = oracle.best_run(
        generated("step", mean_s=10.0), World(), objective=0.99, max_replicas=100
    )

    assert oracle.attainment(run, 120.0) >= 0.99
    assert max(plan) < 40


@pytest.mark.slow
def test_a_schedule_that_is_looked_at_only_where_it_changes_does_the_same() -> None:
    shape = generated("bursty", mean_s=5.0, seed=3)
    plan = tuple(int(6 + 5 * math.sin(step / 40)) for step in range(900))
    looks: list[int] = []
    runs: list[Run] = []
    for every_step in (True, False):
        policy = Fixed(plan, step_s=5.0, start_s=EPOCH_S, every_step=every_step)
        runs.append(Simulator(shape, QUIET, policy).run())
        looks.append(runs[-1].decisions)

    assert runs[0].waits_s == runs[1].waits_s
    assert runs[0].replica_s == pytest.approx(runs[1].replica_s)
    assert runs[0].unserved == runs[1].unserved
    assert looks[1] < looks[0] / 2


def test_an_oracle_without_messages_runs_nothing() -> None:
    run, plan = oracle.best_run(
        generated("phantom", mean_s=10.0), World(), objective=0.99, max_replicas=10
    )

    assert run.replica_s == 0.0
    assert set(plan) == {0}


def sample(at_s: float, desired: int) -> Sample:
    return Sample(at_s=at_s, queue=0, age_s=0.0, replicas=desired, ready=desired, desired=desired)


def test_flaps_are_changes_of_direction() -> None:
    assert report.flaps([sample(n, d) for n, d in enumerate([1, 2, 3, 3, 2, 2, 4])]) == 2
    assert report.flaps([]) == 0


def test_overshoot_is_measured_against_the_oracle_at_the_same_time() -> None:
    ours = [sample(0.0, 2), sample(10.0, 4), sample(20.0, 1), sample(30.0, 1)]
    best = [sample(0.0, 2), sample(15.0, 2), sample(30.0, 2)]

    assert report.overshoot(ours, best) == pytest.approx(20.0 / 60.0)
    assert report.overshoot(ours, [sample(0.0, 0)]) is None


def test_a_table_of_nothing_still_has_its_heading() -> None:
    row = report.summarise("ours", Run(), World(), oracle=None)

    lines = report.table([row], oracle_hours=None).splitlines()
    assert lines[0].startswith("policy")
    assert lines[1].split()[:2] == ["ours", "n/a"]


def test_a_trace_of_times_and_sizes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "TIMESTAMP,Size\n2023-11-16 18:17:03.9799600,10\n2023-11-16 18:17:05.9799600,30\n"
    )

    trace = read_trace(path, mean_s=4.0, size_column="Size")

    assert trace.arrivals_s == pytest.approx((LEAD_S, LEAD_S + 2.0))
    assert trace.services_s == pytest.approx((2.0, 6.0))


def test_a_trace_of_plain_seconds_needs_no_header(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("7.5\n5\n\n10\n")

    trace = read_trace(path, mean_s=4.0)

    assert trace.arrivals_s == pytest.approx((LEAD_S, LEAD_S + 2.5, LEAD_S + 5.0))


@pytest.mark.parametrize(
    ("text", "column", "why"),
    [
        pytest.param("", None, "no rows", id="empty"),
        pytest.param("TIMESTAMP\n", None, "no rows below", id="header only"),
        pytest.param("5\nsoon\n", None, r"line 2: \['soon'\]", id="a word"),
        pytest.param("nan\n5\n", None, None, id="not a number is a header"),
        pytest.param("TIMESTAMP\n5\n", "Size", "no column 'Size'", id="no such column"),
        pytest.param("TIMESTAMP,Size\n5\n", "Size", "has no size", id="a short row"),
        pytest.param("a,TIMESTAMP\n5\n", None, r"line 2: \[\]", id="a row without a time"),
    ],
)
def test_a_broken_trace_is_refused_with_its_line(
    tmp_path: Path, text: str, column: str | None, why: str | None
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)

    if why is None:
        assert len(read_trace(path, mean_s=1.0).arrivals_s) == 1
        return
    with pytest.raises(InvalidTrace, match=why):
        read_trace(path, mean_s=1.0, size_column=column)


def test_unknown_policies_are_refused(spec_of: Callable[..., QueueSpec]) -> None:
    setting = compare.Setting(spec=spec_of(), service_s=1.0)

    with pytest.raises(KeyError):
        compare.run_all(("magic",), workload([1.0]), World(), setting)
