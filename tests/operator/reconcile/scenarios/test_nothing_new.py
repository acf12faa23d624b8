"""What a reconcile skips because nothing changed, it would not have done differently."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_operator.kube.port import Key
from detection_operator.scaling.observation import ReadError
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.scenes.world import MINIMAL, World

EVENTS = (
    "rest",
    "rest",
    "messages",
    "messages",
    "drift",
    "replicas",
    "touch",
    "delete",
    "pod",
    "paused",
    "max",
    "template",
    "rival",
    "unread",
    "read",
    "restart",
)


@dataclass(slots=True)
class Forgetful(World):
    """A system whose operator remembers nothing of what it may skip."""

    def _reconcile(self, key: Key) -> None:
        assert self.reconciler is not None
        for state in self.reconciler._states.values():
            state.written.as_applied.clear()
        for place, shown in self.metrics._shown.items():
            # No value equals it, not even that of a gauge that is not shown.
            self.metrics._shown[place] = dict.fromkeys(shown, math.nan)
        self.metrics._conditions.clear()
        World._reconcile(self, key)


def change(world: World, key: Key, event: str) -> None:
    """Let something happen that a reconcile must see."""
    assert isinstance(world.cluster, InMemoryCluster)
    slots = [slot for slot in world.cluster.objects if slot[0] == "Deployment"]
    pods = [slot for slot in world.cluster.objects if slot[0] == "Pod"]
    if event == "messages":
        world.queue.visible += 7
    elif event == "drift" and slots:
        world.cluster.edit(slots[-1], _edit_image)
    elif event == "replicas" and slots:
        world.cluster.scale_by("kubectl", slots[-1][1], slots[-1][2], 3)
    elif event == "delete" and slots:
        world.cluster.delete(slots[-1])
    elif event == "pod" and pods:
        world.cluster.delete(pods[-1])
    elif event in ("paused", "max", "template"):
        world.edit_queue(key, lambda queue: _edit_spec(queue["spec"], event))
    elif event == "rival" and len(world.keys) == 1:
        world.create_queue("rival", MINIMAL)
    elif event in ("unread", "read"):
        world.queue.error = ReadError.UNREACHABLE if event == "unread" else None
    elif event == "restart":
        world.start()
    world.touch()


def _edit_image(deployment: dict[str, Any]) -> None:
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "drift:1"


def _edit_spec(spec: dict[str, Any], event: str) -> None:
    if event == "paused":
        spec["paused"] = not spec.get("paused", False)
    elif event == "max":
        spec["scaling"]["maxReplicas"] = 25 - spec["scaling"]["maxReplicas"]
    else:
        spec["worker"]["template"]["image"] += "0"


def made(kind: type[World]) -> tuple[World, Key]:
    world = kind()
    return world, world.create_queue("video", copy.deepcopy(dict(MINIMAL)))


def shown(world: World) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return all samples but those of real time."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in world.metrics.registry.collect()
        for sample in family.samples
        if "reconcile_seconds" not in sample.name and not sample.name.endswith("_created")
    }


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.sampled_from((1, 4, 20, 90))), max_size=12))
def test_plans_states_and_reports_are_those_of_one_that_skips_nothing(
    events: list[tuple[str, int]],
) -> None:
    (quick, key), (full, _) = made(World), made(Forgetful)
    for event, seconds in events:
        for world in (quick, full):
            change(world, key, event)
            world.run(seconds)
        for kind in ("DetectionQueue", "Deployment", "Pod", "PodDisruptionBudget"):
            assert quick.cluster.of_kind(kind) == full.cluster.of_kind(kind)
        assert shown(quick) == shown(full)

    assert quick.records == full.records
    assert quick.cluster.writes == full.cluster.writes
    assert quick.queue.reads == full.queue.reads


@pytest.mark.parametrize("event", ["drift", "delete"])
def test_a_deployment_that_was_changed_at_rest_is_applied_again(event: str) -> None:
    world, key = made(World)
    world.run(120)
    (before,) = world.cluster.of_kind("Deployment")
    wanted = copy.deepcopy(before["spec"])

    change(world, key, event)
    world.run(3)

    (after,) = world.cluster.of_kind("Deployment")
    assert after["spec"] == wanted
