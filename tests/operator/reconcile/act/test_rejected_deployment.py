"""Templates that the API server refuses: said in the status, while what runs is scaled on."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from detection_operator.errors import cluster_error
from detection_operator.kube.port import Key
from detection_testing.scenes.fakes import FakeWorker
from detection_testing.scenes.world import MINIMAL, World

MakeWorld = Callable[[], World]
BAD_CPU = {"resources": {"limits": {"cpu": "abc"}}}
NUMBER = {"env": [{"name": "BATCH", "value": 5}]}


def with_template(**template: Any) -> dict[str, Any]:
    spec = copy.deepcopy(dict(MINIMAL))
    spec["worker"]["template"].update(template)
    return spec


def edit_template(world: World, key: Key, **template: Any) -> None:
    world.edit_queue(key, lambda obj: obj["spec"]["worker"]["template"].update(template))


def reasons(world: World) -> list[str]:
    return [event.reason for event in world.cluster.events]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        pytest.param(BAD_CPU, "quantities must match", id="a quantity that is none"),
        pytest.param(NUMBER, "expected string", id="a number for a variable"),
    ],
)
def test_a_first_template_that_is_refused_is_told_in_ready(
    make_world: MakeWorld, template: dict[str, Any], words: str
) -> None:
    world = make_world()
    key = world.create_queue("video", with_template(**template))
    world.queue.visible = 50

    world.run(120)

    ready = world.condition(key, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "TemplateRejected")
    assert words in ready["message"]
    assert world.cluster.of_kind("Deployment") == []
    assert reasons(world).count("TemplateRejected") == 1
    assert world.errors == []


def test_a_live_queue_whose_new_template_is_refused_scales_what_it_has(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    spec = with_template()
    spec["scaling"]["minReplicas"] = 2
    key = world.create_queue("video", spec)
    world.run(20)
    before = world.status(key)["observedGeneration"]

    edit_template(world, key, **BAD_CPU)
    world.queue.visible = 500
    world.run(30)

    assert world.replicas == 20
    ready = world.condition(key, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "TemplateRejected")
    assert "quantities must match" in ready["message"]
    assert world.status(key)["observedGeneration"] > before
    assert world.run(3000, until=lambda: world.replicas == 2)
    assert world.lost == []
    assert reasons(world).count("TemplateRejected") == 1
    assert len(world.cluster.of_kind("Deployment")) == 1

    edit_template(world, key, resources={"limits": {"cpu": "1"}})

    assert world.run(200, until=lambda: world.condition(key, "Ready")["status"] == "True")
    assert world.run(200, until=lambda: len(world.cluster.of_kind("Deployment")) == 1)
    (deployment,) = world.cluster.of_kind("Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"limits": {"cpu": "1"}}


def test_a_refused_template_is_tried_again_ever_more_rarely() -> None:
    world = World()
    tries: list[float] = []
    refuse = world.cluster.apply

    def counted(manifest: Any) -> Any:
        if manifest["kind"] == "Deployment":
            tries.append(world.clock.monotonic)
        return refuse(manifest)

    world.cluster.apply = counted  # type: ignore[method-assign]  # to count what comes through
    world.create_queue("video", with_template(**BAD_CPU))
    world.queue.visible = 50

    world.run(3600)

    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert 10 <= len(tries) <= 25
    assert pauses == sorted(pauses)


def test_a_role_that_may_not_write_deployments_is_told_in_ready() -> None:
    world = World()
    denied = [cluster_error(403, "403 cannot patch resource deployments")] * 3
    world.cluster.fail("apply", *denied)
    key = world.create_queue("video", with_template())
    world.queue.visible = 50

    world.run(10)

    ready = world.condition(key, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Forbidden")
    assert "cannot patch" in ready["message"]
    assert world.run(120, until=lambda: world.replicas > 0)
    assert world.condition(key, "Ready")["status"] == "True"


@pytest.mark.parametrize("status", [0, 401, 429, 500, 503])
def test_a_server_that_is_away_refuses_nothing(status: int) -> None:
    world = World()
    world.cluster.fail("apply", *[cluster_error(status, "injected")] * 5)
    key = world.create_queue("video", with_template())
    world.queue.visible = 50

    world.run(20)

    assert [error.status for error in world.errors] == [status] * 5
    assert world.condition(key, "Ready")["status"] == "True"
    assert world.replicas > 0


def rolling_world(make_world: MakeWorld) -> tuple[World, Key]:
    """Return a world in a roll-out: of six busy old workers the first has gone."""
    world = make_world()
    world.workers.service_s = 1000.0
    spec = with_template()
    spec["scaling"] |= {"minReplicas": 6, "maxReplicas": 6}
    key = world.create_queue("video", spec)
    world.queue.visible = 6
    assert world.run(60, until=lambda: sum(map(is_busy, world.workers.workers.values())) == 6)
    for number, worker in enumerate(world.workers.workers.values()):
        worker.left_s = 30.0 + 20.0 * number
    edit_template(world, key, image="worker:2")
    assert world.run(120, until=lambda: len(world.nodes.removed) == 1)
    return world, key


def is_busy(worker: FakeWorker) -> bool:
    return bool(worker.held)


def test_a_roll_out_refused_on_both_sides_tries_each_ever_more_rarely_and_ends_once_it_may(
    make_world: MakeWorld,
) -> None:
    world, key = rolling_world(make_world)
    tries: dict[str, list[float]] = {}
    take = world.cluster.scale

    def refuse(namespace: str, name: str, replicas: int, *, resource_version: str | None) -> None:
        tries.setdefault(name, []).append(world.clock.monotonic)
        raise cluster_error(400, 'admission webhook "policy" denied the request')

    world.cluster.scale = refuse  # type: ignore[method-assign]  # an admission policy
    world.run(600)

    assert world.condition(key, "CapacityAvailable")["reason"] == "ScaleRefused"
    assert len(tries) == len(world.cluster.of_kind("Deployment")) == 2
    for moments in tries.values():
        pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
        assert 3 <= len(moments) <= 10
        assert pauses == sorted(pauses)

    world.cluster.scale = take  # type: ignore[method-assign]  # none any more
    assert world.run(600, until=lambda: len(world.cluster.of_kind("Deployment")) == 1)
    assert world.run(60, until=lambda: world.replicas == 6)
    assert world.run(
        700, until=lambda: world.condition(key, "CapacityAvailable")["status"] == "True"
    )
    assert world.lost == []
