"""What is seen of pods, messages and dead letters over time, and what the status says of it."""

import contextlib
import copy
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from detection_operator.kube.rest import Rest
from detection_operator.scaling.observation import ReadError
from detection_testing.kubernetes.apiserver import ApiServer
from detection_testing.kubernetes.cluster import slot_of
from detection_testing.kubernetes.controllers import Nodes
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.world import MINIMAL, World

NO_ACCOUNT = (
    'pods "video-6d5f-" is forbidden: error looking up service account default/nobody: '
    'serviceaccount "nobody" not found'
)


def spec(**parts: Any) -> dict[str, Any]:
    merged = copy.deepcopy(dict(MINIMAL))
    for name, value in parts.items():
        merged[name] = {**merged.get(name, {}), **value} if isinstance(value, dict) else value
    return merged


def refuse_pods(world: World, why: str | None) -> None:
    assert isinstance(world.nodes, Nodes)
    world.nodes.refused = why


def test_pods_that_may_not_be_created_are_reported_in_the_controller_s_words() -> None:
    world = World()
    refuse_pods(world, NO_ACCOUNT)
    key = world.create_queue("video", spec(scaling={"minReplicas": 2}))

    world.run(60)

    capacity, ready = (world.condition(key, name) for name in ("CapacityAvailable", "Ready"))
    assert (capacity["status"], capacity["reason"]) == ("False", "FailedCreate")
    assert NO_ACCOUNT in capacity["message"]
    assert (ready["status"], ready["reason"]) == ("False", "FailedCreate")
    refuse_pods(world, None)
    world.run(60)
    assert world.condition(key, "CapacityAvailable")["status"] == "True"
    assert world.condition(key, "Ready")["status"] == "True"


@pytest.mark.cluster
@pytest.mark.slow
def test_a_real_cluster_s_refusal_of_pods_is_reported(api_server: ApiServer) -> None:
    if not api_server.controllers:
        pytest.skip("NO CONTROLLERS: kube-controller-manager not found beside kube-apiserver")
    with (
        contextlib.closing(Rest(api_server.configuration())) as operator,
        contextlib.closing(Rest(api_server.configuration())) as admin,
    ):
        scene = ApiScene(operator, admin, f"scene-{uuid.uuid4().hex[:8]}")
        world = World(cluster=scene)
        limits = {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}
        admin.call(
            "POST",
            f"/api/v1/namespaces/{scene.namespace}/limitranges",
            {"metadata": {"name": "small"}, "spec": limits},
        )
        large = {"image": "worker:1", "resources": {"limits": {"cpu": "4"}}}
        key = world.create_queue(
            "video", spec(scaling={"minReplicas": 2}, worker={"template": large})
        )

        world.run(20)

        capacity = world.condition(key, "CapacityAvailable")
        assert (capacity["status"], capacity["reason"]) == ("False", "FailedCreate")
        assert "maximum cpu usage per Container is 1" in capacity["message"]
        assert world.condition(key, "Ready")["reason"] == "FailedCreate"


def test_a_quota_that_ends_a_scale_out_is_reported_while_the_rest_works() -> None:
    world = World()
    key = world.create_queue("video", spec(scaling={"minReplicas": 2}))
    world.run(20)
    refuse_pods(world, "exceeded quota: gpus, requested: 1, used: 2, limited: 2 " + "x" * 5000)
    world.queue.visible = 300

    world.run(60)

    capacity = world.condition(key, "CapacityAvailable")
    assert (capacity["status"], capacity["reason"]) == ("False", "FailedCreate")
    assert "exceeded quota: gpus" in capacity["message"]
    assert len(capacity["message"]) <= 1024
    assert world.condition(key, "Ready")["status"] == "True"


def test_an_old_refusal_is_nothing_once_all_pods_are_there() -> None:
    world = World()
    key = world.create_queue("video", spec(scaling={"minReplicas": 2}))
    world.run(20)
    (deployment,) = world.cluster.of_kind("Deployment")

    def refuse(obj: dict[str, Any]) -> None:
        stale = {"type": "ReplicaFailure", "status": "True", "message": NO_ACCOUNT}
        obj["status"] = {"conditions": [stale]}

    world.cluster.edit(slot_of(deployment), refuse)
    assert world.reconciler is not None
    world.reconciler.reconcile(key)

    assert world.condition(key, "CapacityAvailable")["status"] == "True"


@pytest.mark.parametrize("error", [ReadError.ACCESS_DENIED, ReadError.NO_SUCH_QUEUE])
def test_an_edited_spec_is_tried_at_once(error: ReadError) -> None:
    world = World()
    world.queue.error = error
    key = world.create_queue("video", MINIMAL)
    world.run(60)
    assert world.condition(key, "QueueReachable")["reason"] == str(error)
    world.queue.error = None

    def mend(obj: dict[str, Any]) -> None:
        obj["spec"]["queue"]["region"] = "eu-west-1"

    world.edit_queue(key, mend)
    world.run(2)

    assert world.condition(key, "QueueReachable")["status"] == "True"


def test_a_denied_queue_is_not_asked_again_and_again() -> None:
    world = World()
    world.queue.error = ReadError.ACCESS_DENIED
    world.create_queue("video", MINIMAL)

    world.run(600)

    assert world.queue.reads <= 3


def ready_gauge(world: World, name: str) -> float | None:
    labels = {"namespace": "default", "name": name, "type": "Ready"}
    return world.metrics.registry.get_sample_value("detection_operator_condition", labels)


def test_an_invalid_spec_is_not_ready_in_the_metrics_too() -> None:
    world = World()
    key = world.create_queue("video", MINIMAL)
    world.run(10)
    assert ready_gauge(world, "video") == 1.0

    def zone(name: str) -> Callable[[dict[str, Any]], None]:
        day = {"name": "day", "cron": "0 7 * * *", "durationSeconds": 60, "minReplicas": 1}
        return lambda obj: obj["spec"]["scaling"].update(schedules=[{**day, "timeZone": name}])

    world.edit_queue(key, zone("Mars/Olympus"))
    world.run(5)
    assert ready_gauge(world, "video") == 0.0

    world.edit_queue(key, zone("Europe/Berlin"))
    world.run(5)
    assert ready_gauge(world, "video") == 1.0


def test_a_queue_that_was_never_valid_is_in_the_metrics_until_it_is_deleted() -> None:
    world = World()
    key = world.create_queue("video", spec(queue={"endpointURL": "http://local_stack:4566"}))
    world.run(5)
    assert ready_gauge(world, "video") == 0.0

    world.cluster.delete(("DetectionQueue", key.namespace, key.name))
    world.touch()
    world.run(2)

    assert ready_gauge(world, "video") is None


def test_two_detectionqueues_on_one_queue_are_named_to_each_other() -> None:
    world = World()
    first, second = (world.create_queue(name, spec()) for name in ("video", "video-too"))

    world.run(10)

    for key, other in ((first, "default/video-too"), (second, "default/video")):
        sound = world.condition(key, "ConfigurationHealthy")
        assert sound["status"] == "False"
        assert f"{other} also scales for all messages of this queue" in sound["message"]


@pytest.mark.parametrize(
    "harmless",
    [
        pytest.param({"scaling": {"mode": "Shadow"}}, id="a shadow"),
        pytest.param({"paused": True}, id="paused"),
        pytest.param({"queue": {"url": "https://sqs.eu-west-1.amazonaws.com/1/b"}}, id="its own"),
        pytest.param({"queue": {"endpointURL": "http://localstack:4566"}}, id="another endpoint"),
    ],
)
def test_a_detectionqueue_that_takes_no_part_is_no_finding(harmless: dict[str, Any]) -> None:
    world = World()
    first, second = world.create_queue("video", spec()), world.create_queue("x", spec(**harmless))

    world.run(10)

    for key in (first, second):
        assert world.condition(key, "ConfigurationHealthy")["status"] == "True"
