"""What happens over time: bursts, faults, kills, hands and rivals."""

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import pytest

from detection_contract.environment import ANNOTATION_DELETION_COST
from detection_operator.errors import Conflict, cluster_error
from detection_operator.kube.pods.ranking import LEAST_COST
from detection_operator.kube.port import Key
from detection_operator.scaling.observation import ReadError
from detection_operator.scaling.records import from_line, redecide, to_line
from detection_testing.kubernetes.cluster import slot_of
from detection_testing.scenes.fakes import FakeWorker
from detection_testing.scenes.world import MINIMAL, World

MakeWorld = Callable[[], World]


def spec(**parts: Any) -> dict[str, Any]:
    merged = copy.deepcopy(dict(MINIMAL))
    for name, value in parts.items():
        merged[name] = {**merged.get(name, {}), **value} if isinstance(value, dict) else value
    return merged


def busy_world(make_world: MakeWorld, replicas: int, busy: int) -> tuple[World, Key]:
    """Return a world with idle and busy workers, about to lose some."""
    world = make_world()
    world.workers.service_s = 1e6
    key = world.create_queue("video", spec(scaling={"minReplicas": replicas}))
    world.queue.visible = busy
    assert world.run(
        60, until=lambda: sum(w.left_s is not None for w in world.workers.workers.values()) == busy
    )
    world.run(10)
    set_min(world, key, 0)
    return world, key


def set_min(world: World, key: Key, replicas: int) -> None:
    def change(obj: dict[str, Any]) -> None:
        obj["spec"]["scaling"]["minReplicas"] = replicas

    world.edit_queue(key, change)


def test_scale_in_takes_the_idle_ones_only(make_world: MakeWorld) -> None:
    world, _ = busy_world(make_world, 8, 5)

    world.run(300)

    assert world.lost == []
    assert world.replicas == 5
    assert len(world.nodes.removed) == 3


def test_a_pod_is_asked_to_drain_before_the_replicas_fall(make_world: MakeWorld) -> None:
    world, _ = busy_world(make_world, 4, 1)

    assert world.run(120, until=lambda: world.replicas < 4)

    removed = set(world.nodes.removed)
    assert removed
    assert world.metrics.drains.labels("asked")._value.get() >= len(removed)


def test_a_worker_that_refuses_to_drain_keeps_its_pod(make_world: MakeWorld) -> None:
    world = make_world()
    world.workers.made = lambda: FakeWorker(refuses=True)
    key = world.create_queue("video", spec(scaling={"minReplicas": 2}))
    world.run(20)
    set_min(world, key, 0)

    world.run(250)

    assert world.replicas == 2
    assert world.metrics.drains.labels("refused")._value.get() >= 1


def test_a_worker_that_hangs_while_it_drains_goes_when_its_busy_mark_expires(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    expires_s = world.clock.wall + 200
    world.workers.made = lambda: FakeWorker(hung=True, expires_s=expires_s)
    key = world.create_queue(
        "video", spec(scaling={"mode": "Manual", "maxReplicas": 5}, replicas=1)
    )
    world.queue.visible = 1
    world.run(20)

    def stop(obj: dict[str, Any]) -> None:
        obj["spec"]["replicas"] = 0

    world.edit_queue(key, stop)
    world.run(100)
    assert world.replicas == 1

    assert world.run(200, until=lambda: world.replicas == 0)
    assert world.clock.wall >= expires_s


def test_a_worker_that_cannot_be_reached_goes_after_the_drain_timeout(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.workers.made = lambda: FakeWorker(silent=True)
    key = world.create_queue(
        "video",
        spec(
            scaling={"mode": "Manual", "maxReplicas": 5, "scaleDown": {"drainTimeoutSeconds": 60}},
            replicas=1,
        ),
    )
    world.run(20)

    def stop(obj: dict[str, Any]) -> None:
        obj["spec"]["replicas"] = 0

    world.edit_queue(key, stop)
    world.run(30)
    assert world.replicas == 1

    assert world.run(60, until=lambda: world.replicas == 0)


def test_unknown_workers_are_no_reason_to_scale_in(make_world: MakeWorld) -> None:
    world = make_world()
    key = world.create_queue("video", spec(scaling={"minReplicas": 3}))
    world.run(20)
    for worker in world.workers.workers.values():
        worker.silent = True
    set_min(world, key, 0)

    world.run(600)

    assert world.replicas == 3


def test_load_that_returns_before_the_replicas_fell_resumes_the_drained(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.workers.service_s = 60.0
    queue = {**MINIMAL["queue"], "pollIntervalSeconds": 1}
    key = world.create_queue("video", spec(scaling={"minReplicas": 4}, queue=queue))
    world.run(20)
    before = set(world.workers.workers)
    set_min(world, key, 0)
    assert world.run(60, until=lambda: any(w.draining for w in world.workers.workers.values()))

    world.queue.visible = 200
    world.run(10)

    assert before <= set(world.workers.workers)
    assert not any(w.draining for w in world.workers.workers.values())
    assert sum(w.left_s is not None for w in world.workers.workers.values()) >= 4
    assert world.nodes.removed == []


@pytest.mark.parametrize("moment", range(1, 60, 3))
def test_an_operator_killed_at_any_moment_is_continued_by_the_next(moment: int) -> None:
    world, _ = busy_world(World, 8, 3)
    world.run(moment)
    world.kill()
    world.run(5)

    world.start()
    world.run(300)

    assert world.lost == []
    assert world.replicas == 3
    assert not any(w.draining and w.left_s is not None for w in world.workers.workers.values())


def test_two_operators_at_once_kill_nobody(make_world: MakeWorld) -> None:
    world, key = busy_world(make_world, 8, 4)
    other = world.operator()

    for _ in range(200):
        world.step()
        with contextlib.suppress(Conflict):
            other.reconcile(key)

    assert world.lost == []
    assert world.replicas == 4


@pytest.mark.parametrize(
    "error", [ReadError.ACCESS_DENIED, ReadError.NO_SUCH_QUEUE, ReadError.THROTTLED]
)
def test_a_queue_that_cannot_be_read_keeps_its_workers(
    make_world: MakeWorld, error: ReadError
) -> None:
    world = make_world()
    key = world.create_queue("video", spec(scaling={"minReplicas": 3}))
    world.run(20)
    set_min(world, key, 0)
    world.queue.error = error

    world.run(900)

    assert world.replicas == 3
    reachable = world.condition(key, "QueueReachable")
    assert (reachable["status"], reachable["reason"]) == ("False", str(error))
    world.queue.error = None
    assert world.run(1500, until=lambda: world.replicas == 0)
    assert world.condition(key, "QueueReachable")["status"] == "True"


@pytest.mark.parametrize("status", [409, 410, 429, 500, 503, 0])
@pytest.mark.parametrize(
    "call", ["queue", "deployments", "pods", "apply", "scale", "annotate_pod", "apply_status"]
)
def test_errors_of_the_api_server_are_survived(call: str, status: int) -> None:
    world = World()
    world.create_queue("video", MINIMAL)
    world.cluster.fail(call, *[cluster_error(status, "injected")] * 3)
    world.queue.visible = 100

    world.run(100)
    world.cluster.fail(call, *[cluster_error(status, "injected")] * 3)
    assert world.run(2000, until=lambda: world.replicas == 0)

    assert world.queue.visible == 0
    assert world.lost == []


def test_a_deployment_deleted_by_hand_comes_back(make_world: MakeWorld) -> None:
    world = make_world()
    world.create_queue("video", spec(scaling={"minReplicas": 2}))
    world.run(20)
    (deployment,) = world.cluster.of_kind("Deployment")

    world.cluster.delete(slot_of(deployment))
    world.touch()
    world.run(20)

    assert world.replicas == 2


def test_a_deployment_edited_by_hand_is_mended(make_world: MakeWorld) -> None:
    world = make_world()
    world.create_queue("video", spec(scaling={"minReplicas": 2}))
    world.run(20)
    (deployment,) = world.cluster.of_kind("Deployment")

    def change(obj: dict[str, Any]) -> None:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = "evil:latest"
        obj["spec"]["replicas"] = 7

    world.cluster.edit(slot_of(deployment), change)
    world.run(200)

    (deployment,) = world.cluster.of_kind("Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "worker:1"
    assert world.replicas == 2


def test_an_autoscaler_on_the_same_deployment_is_named_and_not_fought(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    key = world.create_queue("video", spec(scaling={"minReplicas": 2}))
    world.run(20)
    (deployment,) = world.cluster.of_kind("Deployment")
    _, namespace, name = slot_of(deployment)

    world.cluster.scale_by("kube-controller-manager", namespace, name, 9)
    world.touch()
    world.run(300)

    assert world.replicas == 9
    active = world.condition(key, "ScalingActive")
    assert (active["status"], active["reason"]) == ("False", "Conflict")
    assert "kube-controller-manager" in active["message"]
    world.run(1200)
    assert world.replicas == 2
    assert world.condition(key, "ScalingActive")["status"] == "True"


def test_pods_that_never_start_are_reported_and_buy_no_more_than_needed(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.nodes.waiting = "ImagePullBackOff"
    key = world.create_queue("video", MINIMAL)
    world.queue.visible = 50

    world.run(600)

    assert 0 < world.replicas <= 20
    sound = world.condition(key, "ConfigurationHealthy")
    assert "ImagePullBackOff" in sound["message"]


def test_a_cluster_without_room_is_asked_for_little_more_and_used_when_it_has_some(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.nodes.slots = 2
    key = world.create_queue(
        "video", spec(capacity={"unschedulableSeconds": 30, "maxBackoffSeconds": 120})
    )
    world.workers.service_s = 1000.0
    world.queue.visible = 40
    world.run(60)
    asked = world.replicas
    assert 2 < asked < 20
    assert world.condition(key, "CapacityAvailable")["status"] == "False"

    world.queue.visible = 500
    world.run(200)

    assert asked <= world.status(key)["desiredReplicas"] <= asked + 4
    assert world.status(key)["plan"]["binding"] == "Capacity"
    world.nodes.slots = None
    assert world.run(1500, until=lambda: world.replicas == 20)


@pytest.mark.parametrize("jump_s", [-7200.0, 7200.0, 400 * 86_400.0])
def test_a_clock_that_jumps_removes_nobody_at_once(make_world: MakeWorld, jump_s: float) -> None:
    world, _ = busy_world(make_world, 6, 3)
    before = world.replicas
    for worker in world.workers.workers.values():
        worker.expires_s = world.workers.now_s + 600.0

    world.clock.jump(jump_s)
    world.touch()
    world.step()

    assert world.replicas == before
    world.run(400)
    assert world.lost == []
    assert world.replicas == 3


def draining_world(make_world: MakeWorld, replicas: int) -> World:
    """Return a world whose workers were all asked to drain while they work, for 100 s more."""
    world = make_world()
    world.workers.service_s = 120.0
    key = world.create_queue("video", spec(scaling={"mode": "Manual"}, replicas=replicas))
    world.queue.visible = replicas
    world.run(10)
    assert sum(w.left_s is not None for w in world.workers.workers.values()) == replicas
    world.edit_queue(key, lambda obj: obj["spec"].update(replicas=0))
    world.run(10)
    assert all(worker.draining for worker in world.workers.workers.values())
    return world


@pytest.mark.parametrize("jump_s", [-7200.0, 1000.0, 400 * 86_400.0])
def test_a_clock_that_jumps_during_drains_cuts_none_short(
    make_world: MakeWorld, jump_s: float
) -> None:
    world = draining_world(make_world, 10)
    for worker in world.workers.workers.values():
        worker.expires_s = world.workers.now_s + 300.0

    world.clock.jump(jump_s)
    world.touch()
    world.run(50)

    assert world.replicas == 10
    assert world.run(200, until=lambda: world.replicas == 0)
    assert world.lost == []


@pytest.mark.parametrize("behind_s", [100.0, -100.0, 3600.0])
def test_busy_marks_hold_by_the_worker_s_own_clock(make_world: MakeWorld, behind_s: float) -> None:
    world = draining_world(make_world, 10)
    world.workers.now_s -= behind_s
    for worker in world.workers.workers.values():
        worker.expires_s = world.workers.now_s + 110.0

    world.run(50)

    assert world.replicas == 10
    assert world.run(200, until=lambda: world.replicas == 0)
    assert world.lost == []


def test_a_new_operator_counts_a_drain_from_when_it_first_saw_it() -> None:
    world = World()
    world.workers.made = lambda: FakeWorker(silent=True)
    down = {"mode": "Manual", "maxReplicas": 5, "scaleDown": {"drainTimeoutSeconds": 60}}
    key = world.create_queue("video", spec(scaling=down, replicas=1))
    world.run(20)
    world.edit_queue(key, lambda obj: obj["spec"].update(replicas=0))
    world.run(50)

    world.kill()
    world.clock.jump(1000.0)
    world.start()
    world.run(50)

    assert world.replicas == 1
    assert world.run(20, until=lambda: world.replicas == 0)


def test_nothing_is_written_while_nothing_changes(make_world: MakeWorld) -> None:
    world = make_world()
    world.create_queue("video", MINIMAL)
    world.run(300)
    before = world.cluster.writes.total()

    world.run(3600)

    assert world.cluster.writes.total() == before


def test_status_is_written_at_most_once_a_minute_while_only_numbers_move(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    key = world.create_queue("video", spec(scaling={"minReplicas": 2, "maxReplicas": 2}))
    world.workers.service_s = 3.0
    world.run(60)
    before = world.cluster.writes["Status"]

    for _ in range(600):
        world.queue.visible = world.queue.visible + 1 if world.queue.visible < 4 else 4
        world.step()

    status_writes = world.cluster.writes["Status"] - before
    assert world.status(key)["replicas"] == 2
    assert status_writes <= 14


def test_events_come_on_transitions_only(make_world: MakeWorld) -> None:
    world = make_world()
    world.create_queue("video", MINIMAL)
    world.run(60)
    world.cluster.events.clear()
    world.queue.error = ReadError.ACCESS_DENIED

    world.run(1000)

    reasons = [event.reason for event in world.cluster.events]
    assert reasons.count("AccessDenied") == 1
    assert len(reasons) == len(set(reasons))


def test_an_invalid_spec_is_refused_with_the_field_s_name(make_world: MakeWorld) -> None:
    world = make_world()
    schedule = {
        "name": "night",
        "cron": "99 0 * * *",
        "durationSeconds": 60,
        "minReplicas": 1,
    }
    key = world.create_queue("video", spec(scaling={"schedules": [schedule]}))

    world.run(60)

    ready = world.condition(key, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert "spec.scaling.schedules[0].cron" in ready["message"]
    assert world.cluster.of_kind("Deployment") == []


def test_fields_of_a_newer_version_are_named_and_the_rest_is_followed() -> None:
    world = World()
    key = world.create_queue("video", spec(scaling={"minReplicas": 2, "burstReplicas": 7}))

    world.run(20)

    assert world.replicas == 2
    assert world.condition(key, "Ready")["status"] == "True"
    sound = world.condition(key, "ConfigurationHealthy")
    assert sound["status"] == "False"
    assert "spec.scaling.burstReplicas is unknown to this version" in sound["message"]


def test_shadow_writes_nothing_but_its_plan(make_world: MakeWorld) -> None:
    world = make_world()
    key = world.create_queue("video", spec(scaling={"mode": "Shadow"}))
    world.queue.visible = 100

    world.run(60)

    assert world.status(key)["desiredReplicas"] > 0
    assert set(world.cluster.writes) <= {"Status", "Event"}


def test_a_plan_in_shadow_is_not_told_as_a_change_of_the_replicas(make_world: MakeWorld) -> None:
    world = make_world()
    key = world.create_queue("video", spec(scaling={"mode": "Shadow"}))
    world.run(20)
    before = world.status(key).get("lastScaleTime")
    world.queue.visible = 100
    world.run(60)
    assert world.status(key)["desiredReplicas"] > 0
    assert "Scaled" not in [event.reason for event in world.cluster.events]
    assert world.status(key).get("lastScaleTime") == before

    world.edit_queue(key, lambda obj: obj["spec"]["scaling"].update(mode="Auto"))
    # Times of a real server make cold starts long, and the next plan another.
    assert world.run(5, until=lambda: world.replicas > 0)

    scaled = [event.message for event in world.cluster.events if event.reason == "Scaled"]
    assert [message[:5] for message in scaled] == ["0 to "]
    assert world.status(key)["lastScaleTime"] != before


def test_workers_that_start_are_marked_before_they_go(make_world: MakeWorld) -> None:
    world = make_world()
    world.nodes.ready_after_s = None
    key = world.create_queue(
        "video", spec(scaling={"mode": "Manual", "maxReplicas": 5}, replicas=3)
    )
    world.run(5)
    first = {pod["metadata"]["name"] for pod in world.cluster.of_kind("Pod")}
    assert len(first) == 3

    world.edit_queue(key, lambda obj: obj["spec"].update(replicas=1))
    world.step()

    costs = [
        pod["metadata"].get("annotations", {}).get(ANNOTATION_DELETION_COST)
        for pod in world.cluster.of_kind("Pod")
    ]
    assert sorted(costs, key=str) == [str(LEAST_COST), str(LEAST_COST), None]
    assert world.replicas == 3
    assert world.run(5, until=lambda: world.replicas == 1)


def test_a_worker_that_starts_and_stays_after_all_loses_its_mark(make_world: MakeWorld) -> None:
    world = make_world()
    world.nodes.ready_after_s = None
    key = world.create_queue(
        "video", spec(scaling={"mode": "Manual", "maxReplicas": 5}, replicas=3)
    )
    world.run(5)
    world.edit_queue(key, lambda obj: obj["spec"].update(replicas=1))
    world.step()

    world.edit_queue(key, lambda obj: obj["spec"].update(replicas=3))
    world.run(5)

    assert world.replicas == 3
    assert not any(
        ANNOTATION_DELETION_COST in pod["metadata"].get("annotations", {})
        for pod in world.cluster.of_kind("Pod")
    )


def test_paused_leaves_everything_as_it_is(make_world: MakeWorld) -> None:
    world = make_world()
    key = world.create_queue("video", spec(scaling={"minReplicas": 3}))
    world.run(20)

    def pause(obj: dict[str, Any]) -> None:
        obj["spec"]["paused"] = True
        obj["spec"]["scaling"]["minReplicas"] = 0

    world.edit_queue(key, pause)
    world.run(600)

    assert world.replicas == 3


def test_a_new_image_comes_in_without_a_message_lost(make_world: MakeWorld) -> None:
    world = make_world()
    world.nodes.ready_after_s = 5.0
    world.workers.service_s = 20.0
    key = world.create_queue("video", spec(scaling={"minReplicas": 6, "maxReplicas": 6}))
    world.queue.visible = 10_000
    world.run(60)
    least = [10]

    def change(obj: dict[str, Any]) -> None:
        obj["spec"]["worker"]["template"]["image"] = "worker:2"

    world.edit_queue(key, change)

    def done() -> bool:
        least.append(sum(not w.draining for w in world.workers.workers.values()))
        images = {pod["spec"]["containers"][0]["image"] for pod in world.cluster.of_kind("Pod")}
        return images == {"worker:2"} and len(world.cluster.of_kind("Deployment")) == 1

    assert world.run(600, until=done)
    assert world.lost == []
    assert min(least) >= 5
    assert max(len(world.nodes.removed), 6) == 6
    assert world.replicas == 6


def test_a_new_image_comes_in_where_there_is_no_room_for_more_pods(make_world: MakeWorld) -> None:
    world = make_world()
    world.nodes.slots = 3
    world.workers.service_s = 20.0
    key = world.create_queue("video", spec(scaling={"minReplicas": 3, "maxReplicas": 3}))
    world.queue.visible = 10_000
    world.run(60)

    def change(obj: dict[str, Any]) -> None:
        obj["spec"]["worker"]["template"]["image"] = "worker:2"

    world.edit_queue(key, change)

    def done() -> bool:
        images = {pod["spec"]["containers"][0]["image"] for pod in world.cluster.of_kind("Pod")}
        return images == {"worker:2"}

    assert world.run(900, until=done)
    assert world.lost == []


def test_the_surge_of_a_roll_out_is_not_kept_when_the_queue_is_unread(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.nodes.ready_after_s = 30.0
    key = world.create_queue("video", spec(scaling={"minReplicas": 4, "maxReplicas": 20}))
    world.run(60)
    world.queue.error = ReadError.THROTTLED

    def change(obj: dict[str, Any]) -> None:
        obj["spec"]["worker"]["template"]["image"] = "worker:2"

    world.edit_queue(key, change)
    most = [0]

    def done() -> bool:
        most.append(sum(d["spec"]["replicas"] for d in world.cluster.of_kind("Deployment")))
        images = {pod["spec"]["containers"][0]["image"] for pod in world.cluster.of_kind("Pod")}
        return images == {"worker:2"} and len(world.cluster.of_kind("Deployment")) == 1

    assert world.run(900, until=done)
    assert world.replicas == 4
    assert max(most) == 5


def adopt(world: World, replicas: int) -> Key:
    world.create_deployment("mine", replicas=replicas)
    return world.create_queue("video", adopting("mine"))


def adopting(name: str) -> dict[str, Any]:
    return {**spec(), "worker": {"deploymentRef": {"name": name}}}


def test_an_adopted_deployment_gets_replicas_and_nothing_else(make_world: MakeWorld) -> None:
    world = make_world()
    adopt(world, 1)
    (before,) = copy.deepcopy(world.cluster.of_kind("Deployment"))
    world.queue.visible = 300

    assert world.run(60, until=lambda: world.replicas > 5)
    assert world.run(3000, until=lambda: world.replicas == 0)

    (after,) = world.cluster.of_kind("Deployment")
    assert {**after["spec"], "replicas": 1} == before["spec"]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert "PodDisruptionBudget" not in world.cluster.writes
    assert world.lost == []


def test_a_missing_deployment_is_a_finding(make_world: MakeWorld) -> None:
    world = make_world()
    key = world.create_queue("video", adopting("nobody"))
    world.queue.visible = 50

    world.run(60)

    assert "nobody does not exist" in world.condition(key, "ConfigurationHealthy")["message"]


def test_of_two_detectionqueues_on_one_deployment_the_older_scales(make_world: MakeWorld) -> None:
    world = make_world()
    first = adopt(world, 1)
    world.clock.advance(10)
    second = world.create_queue("video-too", adopting("mine"))

    world.run(60)

    assert world.condition(first, "ScalingActive")["status"] == "True"
    conflict = world.condition(second, "ScalingActive")
    assert (conflict["reason"], "DetectionQueue video" in conflict["message"]) == (
        "Conflict",
        True,
    )


def test_deleting_a_detectionqueue_takes_its_children_and_needs_no_operator(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    world.create_queue("video", spec(scaling={"minReplicas": 2}))
    world.run(20)
    world.kill()

    (queue,) = world.cluster.of_kind("DetectionQueue")

    world.cluster.delete(slot_of(queue))

    assert world.cluster.of_kind("DetectionQueue") == []
    assert world.run(90, until=lambda: not world.cluster.of_kind("Deployment"))


def test_every_recorded_decision_replays_bit_for_bit(make_world: MakeWorld) -> None:
    world = make_world()
    world.create_queue("video", MINIMAL)
    world.queue.visible = 200
    world.run(900)

    for record in world.records:
        again = from_line(to_line(record))
        assert redecide(again) == record.plan
