"""Under steady traffic nobody is ever idle: what is too much finishes what it holds, and goes."""

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest

from detection_operator.kube.port import Key
from detection_operator.scaling.estimates.recent_load import MEAN_S
from detection_operator.spec.parse import parse_spec
from detection_testing.scenes.fakes import FakeWorker
from detection_testing.scenes.world import MINIMAL, World

MakeWorld = Callable[[], World]
HOLD_S = 10
JOB_S = 3.0
LANES = 16
A_SECOND = 4
"""Messages; with these figures one worker would be busy for 0.75 of the time."""


def spec(**scaling: Any) -> dict[str, Any]:
    made = copy.deepcopy(dict(MINIMAL))
    made["queue"] = {**made["queue"], "pollIntervalSeconds": 1}
    made["scaling"] = {
        "minReplicas": 3,
        "maxReplicas": 20,
        "scaleDown": {"holdSeconds": HOLD_S, "maxPercent": 100},
        **scaling,
    }
    made["serviceTime"] = {
        "coldStartSeconds": 5,
        "priors": [{"mediaType": "video", "seconds": 1}],
    }
    return made


class Traffic:
    """A world in which messages keep coming.

    Args:
        world: The cluster and the queue.
        noise: Relative noise of the messages of each second.
        seed: Seed of the noise.
    """

    def __init__(self, world: World, *, noise: float = 0.0, seed: int = 7) -> None:
        self.world = world
        self.sent = 0
        self.a_second = A_SECOND
        self.idle_at_times = 0
        self.serving: list[int] = []
        self._noise = noise
        self._random = random.Random(seed)
        self.take_their_time(JOB_S)

    def take_their_time(self, job_s: float) -> None:
        """Let jobs take longer, and workers hold more of them: the load stays the same."""
        self.world.workers.service_s = job_s
        self.world.workers.lanes = round(LANES * job_s / JOB_S)

    def run(self, seconds: int, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; say whether ``until`` came true."""
        for _ in range(seconds):
            share = self._random.gauss(1.0, self._noise) if self._noise else 1.0
            count = max(0, round(self.a_second * share))
            self.sent += count
            self.world.queue.visible += count
            self.world.step()
            self.serving.append(self.takers)
            if until():
                return True
        return False

    @property
    def takers(self) -> int:
        """Workers that take messages."""
        return sum(not worker.draining for worker in self.world.workers.workers.values())

    def all_are_busy(self) -> bool:
        workers = self.world.workers.workers.values()
        return bool(workers) and all(worker.held for worker in workers)


def three_busy(
    make_world: MakeWorld, *, job_s: float = JOB_S, **scaling: Any
) -> tuple[Traffic, Key]:
    """Return a world of three workers of which one is needed, and none is ever idle."""
    world = make_world()
    key = world.create_queue("video", spec(**scaling))
    traffic = Traffic(world)
    traffic.take_their_time(job_s)
    assert traffic.run(60, until=lambda: len(world.workers.workers) == 3)
    traffic.run(40)
    assert world.replicas == 3
    assert traffic.all_are_busy()
    need(world, key, 0)
    return traffic, key


def need(world: World, key: Key, replicas: int) -> None:
    world.edit_queue(key, lambda obj: obj["spec"]["scaling"].update(minReplicas=replicas))


def finish(traffic: Traffic) -> None:
    """Let the last messages be done, and say whether each was, once."""
    traffic.a_second = 0
    traffic.run(60)
    assert traffic.world.lost == []
    assert traffic.world.queue.visible == 0
    assert traffic.world.workers.finished == traffic.sent


def test_surplus_goes_within_the_hold_and_the_longest_job(make_world: MakeWorld) -> None:
    traffic, key = three_busy(make_world)
    world = traffic.world
    since_s = world.clock.monotonic

    assert traffic.run(60, until=lambda: world.replicas == 1)

    # Two looks of a second: to see that it has finished, and to see its mark.
    assert world.clock.monotonic - since_s <= HOLD_S + JOB_S + 4
    assert world.status(key)["desiredReplicas"] == 1
    traffic.run(120)
    assert world.replicas == 1
    assert len(world.nodes.removed) == 2
    assert min(traffic.serving[-120:]) == 1
    finish(traffic)


def test_an_event_tells_of_it_when_it_happens_and_names_who_goes(make_world: MakeWorld) -> None:
    traffic, _ = three_busy(make_world, job_s=30.0)
    world = traffic.world
    world.cluster.events.clear()
    assert traffic.run(60, until=lambda: traffic.takers == 1)
    traffic.run(10)
    assert "Scaled" not in [event.reason for event in world.cluster.events]

    assert traffic.run(60, until=lambda: world.replicas < 3)

    (event,) = [event for event in world.cluster.events if event.reason == "Scaled"]
    assert event.message.startswith(f"3 to {world.replicas} replicas of video-")
    traffic.run(5)
    assert all(name in event.message for name in world.nodes.removed[: 3 - world.replicas])


def test_at_most_a_share_is_asked_at_a_time(make_world: MakeWorld) -> None:
    world = make_world()
    key = world.create_queue("video", spec(minReplicas=12, scaleDown={"holdSeconds": HOLD_S}))
    traffic = Traffic(world)
    traffic.a_second = 18
    world.workers.lanes = 64
    assert traffic.run(60, until=lambda: len(world.workers.workers) == 12)
    traffic.run(40)
    assert traffic.all_are_busy()
    need(world, key, 0)
    asked: list[int] = []

    def done() -> bool:
        asked.append(sum(w.draining for w in world.workers.workers.values()))
        return world.replicas == 1

    assert traffic.run(400, until=done)

    assert max(asked) == 6, "half of twelve"
    assert world.lost == []


def test_idle_workers_are_asked_before_busy_ones(make_world: MakeWorld) -> None:
    world = make_world()
    key = world.create_queue("video", spec(minReplicas=5))
    traffic = Traffic(world)
    traffic.take_their_time(30.0)
    traffic.a_second = 0
    traffic.run(20)
    world.queue.visible = 2
    traffic.run(2)
    busy = {uid for uid, worker in world.workers.workers.items() if worker.held}
    assert len(busy) == 2

    need(world, key, 0)
    traffic.run(15)

    assert world.replicas == 2
    assert busy == set(world.workers.workers)


def test_load_that_returns_has_its_workers_back_in_a_poll(make_world: MakeWorld) -> None:
    traffic, _ = three_busy(make_world, job_s=30.0)
    world = traffic.world
    assert traffic.run(60, until=lambda: traffic.takers == 1)
    before = set(world.workers.workers)
    assert len(before) == 3

    world.queue.visible += 3000
    traffic.run(4)

    assert not any(world.workers.workers[uid].draining for uid in before)
    assert world.nodes.removed == []


def test_the_next_operator_goes_on_with_the_drains_of_the_last(make_world: MakeWorld) -> None:
    traffic, _ = three_busy(make_world, job_s=30.0)
    world = traffic.world
    assert traffic.run(60, until=lambda: traffic.takers == 1)

    world.kill()
    traffic.run(5)
    world.start()
    traffic.run(3)

    assert traffic.takers == 1
    assert traffic.run(60, until=lambda: world.replicas == 1)
    finish(traffic)


def test_a_worker_that_refuses_stays_and_others_go_for_it(make_world: MakeWorld) -> None:
    traffic, _ = three_busy(make_world)
    world = traffic.world
    newest = list(world.workers.workers.values())
    newest[0].refuses = True

    traffic.run(60)

    assert world.replicas == 1
    assert world.lost == []


def test_a_worker_that_cannot_be_reached_stays_and_others_go(make_world: MakeWorld) -> None:
    traffic, _ = three_busy(make_world)
    world = traffic.world
    lonely, *_ = world.workers.workers.values()
    lonely.silent = True

    traffic.run(60)

    assert list(world.workers.workers.values()) == [lonely]
    assert not lonely.draining
    finish(traffic)


def test_a_worker_that_hangs_in_its_drain_goes_after_the_timeout(make_world: MakeWorld) -> None:
    down = {"holdSeconds": HOLD_S, "maxPercent": 100, "drainTimeoutSeconds": 45}
    traffic, _ = three_busy(make_world, scaleDown=down)
    world = traffic.world
    assert traffic.run(20, until=lambda: traffic.takers == 1)
    for worker in world.workers.workers.values():
        worker.hung = worker.draining

    traffic.run(40)
    assert world.replicas == 3
    assert traffic.run(20, until=lambda: world.replicas == 1)


def test_what_was_needed_within_the_hold_is_not_surplus(make_world: MakeWorld) -> None:
    world = make_world()
    world.create_queue("video", spec(minReplicas=0, scaleDown={"holdSeconds": 60}))
    traffic = Traffic(world)
    traffic.a_second = 4 * A_SECOND
    traffic.run(200)
    before = world.replicas
    assert before >= 3

    traffic.a_second = A_SECOND
    traffic.run(50)

    assert traffic.takers == before
    assert traffic.run(400, until=lambda: world.replicas == 1)
    finish(traffic)


def test_a_new_image_comes_in_while_surplus_goes(make_world: MakeWorld) -> None:
    traffic, key = three_busy(make_world)
    world = traffic.world
    traffic.run(HOLD_S + 2)

    world.edit_queue(key, lambda obj: obj["spec"]["worker"]["template"].update(image="worker:2"))

    def done() -> bool:
        pods = world.cluster.of_kind("Pod")
        images = {pod["spec"]["containers"][0]["image"] for pod in pods}
        return images == {"worker:2"} and world.replicas == 1

    assert traffic.run(120, until=done)
    assert min(traffic.serving) >= 1 or traffic.serving.count(0) == traffic.serving.index(3)
    finish(traffic)


def test_the_last_long_jobs_of_a_batch_are_left_alone() -> None:
    world = World()
    down = {"holdSeconds": HOLD_S, "maxPercent": 100, "drainTimeoutSeconds": 60}
    world.create_queue("video", spec(minReplicas=0, scaleDown=down))
    world.workers.made = FakeWorker
    world.workers.service_s = 600.0
    world.queue.visible = 12
    world.run(500)

    assert world.lost == []
    assert not any(w.draining and w.held for w in world.workers.workers.values())


@pytest.mark.parametrize("cold_start_s", [5, 120])
@pytest.mark.parametrize("hold_s", [HOLD_S, 60])
def test_a_new_operator_keeps_those_who_keep_up(hold_s: int, cold_start_s: int) -> None:
    world = World()
    made = spec(minReplicas=0, scaleDown={"holdSeconds": hold_s, "maxPercent": 100})
    made["queue"] = {**made["queue"], "pollIntervalSeconds": 5}
    made["serviceTime"]["coldStartSeconds"] = cold_start_s
    world.create_queue("video", made)
    world.nodes.ready_after_s = cold_start_s
    traffic = Traffic(world, noise=0.2)
    traffic.a_second = 10 * A_SECOND
    traffic.run(1800)
    settled = len(traffic.serving)
    assert traffic.takers >= traffic.a_second * JOB_S / LANES

    world.kill()
    world.start()
    traffic.run(600)

    # Where others start in time, half a replica too few may fill the allowed wait first.
    wait_s = parse_spec(made).slo.queue_wait_s
    most, waits_s = (1.0, 1.0) if cold_start_s > wait_s / 2 else (1.0 + wait_s / MEAN_S, wait_s)
    assert min(traffic.serving[settled:]) >= traffic.a_second * JOB_S / LANES / most
    assert world.queue.visible < traffic.a_second * waits_s
    finish(traffic)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "a_second", "percent"),
    [(1, 3, 20), (2, 8, 50), (4, 20, 20), (5, 3, 100), (104, 20, 100), (112, 20, 100)],
)
def test_constant_arrivals_with_noise_come_to_rest(seed: int, a_second: int, percent: int) -> None:
    world = World()
    down = {"holdSeconds": HOLD_S, "maxPercent": percent}
    key = world.create_queue("video", spec(minReplicas=12, scaleDown=down))
    traffic = Traffic(world, noise=0.2, seed=seed)
    traffic.a_second = a_second
    traffic.run(60)
    need(world, key, 0)
    traffic.run(500)
    resumed = world.metrics.drains.labels("resumed")
    before, settled = resumed._value.get(), len(traffic.serving)

    traffic.run(600)

    least = a_second * JOB_S / LANES
    assert min(traffic.serving[settled:]) >= least
    assert max(traffic.serving[settled:]) <= 1.6 * least + 2
    changes = sum(
        a != b
        for a, b in zip(traffic.serving[settled:], traffic.serving[settled + 1 :], strict=False)
    )
    assert changes <= 4
    assert resumed._value.get() - before <= 2
    finish(traffic)
