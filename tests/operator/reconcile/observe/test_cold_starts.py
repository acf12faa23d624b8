"""What is measured of a start: from a new pod to ready, without waits for room."""

from typing import Any

import pytest

from detection_operator.kube.objects import timestamp
from detection_operator.kube.pods.events import by_pod, pull_s
from detection_operator.kube.pods.views import pod_views
from detection_operator.reconcile.observe.fleet import Worker
from detection_operator.reconcile.observe.starts import StartHistory
from detection_operator.scaling.cold_start import ColdStart, usual
from detection_operator.spec.parse import parse_spec
from detection_testing.scenes.node_pool import pod_event
from detection_testing.scenes.world import MINIMAL, World

NOON_S = 1_767_268_800.0


def worker(
    number: int,
    *,
    node_after_s: float,
    ready_after_s: float,
    begun_after_s: float | None = None,
    pulled: tuple[str, ...] = (),
) -> Worker:
    def since(name: str, after_s: float) -> dict[str, Any]:
        return {"type": name, "status": "True", "lastTransitionTime": timestamp(NOON_S + after_s)}

    conditions = [since("PodScheduled", node_after_s), since("Ready", ready_after_s)]
    metadata = {
        "name": f"p{number}",
        "namespace": "default",
        "uid": str(number),
        "creationTimestamp": timestamp(NOON_S),
    }
    pod: dict[str, Any] = {
        "metadata": metadata,
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Running", "conditions": conditions},
    }
    if begun_after_s is not None:
        running = {"running": {"startedAt": timestamp(NOON_S + begun_after_s)}}
        pod["status"]["containerStatuses"] = [{"name": "worker", "state": running}]
    events = by_pod(
        pod_event(pod, "Pulled", message, NOON_S, component="kubelet") for message in pulled
    )
    return Worker(pod_views([pod])[0], None, events=events.get(str(number), ()))


@pytest.mark.parametrize(
    ("node_after_s", "ready_after_s", "measured_s"),
    [
        pytest.param(0, 40, 40.0, id="a node with room"),
        pytest.param(90, 130, 130.0, id="a node that was made for it"),
        pytest.param(2400, 2440, 40.0, id="no room for forty minutes"),
    ],
)
def test_a_cold_start_leaves_out_that_there_was_no_room(
    node_after_s: float, ready_after_s: float, measured_s: float
) -> None:
    spec = parse_spec({**MINIMAL, "capacity": {"unschedulableSeconds": 180}})
    starts, limit_s = StartHistory(), float(spec.capacity.unschedulable_s)
    started = worker(1, node_after_s=node_after_s, ready_after_s=ready_after_s)

    starts.measure(started, None, unschedulable_s=limit_s)

    assert starts.cold_start_s == measured_s


IMAGE = 'image "registry.example/detection-worker:1"'
PRESENT = f"Container {IMAGE} already present on machine"
PULLED = f"Successfully pulled {IMAGE} in"


@pytest.mark.parametrize(
    ("messages", "seconds"),
    [
        pytest.param((f"{PULLED} 12.3s (15.1s including waiting). Image size: 5 bytes.",), 15.1),
        pytest.param((f"{PULLED} 1m2.5s (1m2.5s including waiting)",), 62.5),
        pytest.param((f"{PULLED} 562.25ms",), 0.56225),
        pytest.param((PRESENT,), 0.0),
        pytest.param((PRESENT, f"{PULLED} 3s"), 3.0),
        pytest.param(("Successfully pulled it",), None),
        pytest.param((PRESENT, f"{PULLED} no time"), None),
        pytest.param((), None),
    ],
)
def test_the_kubelet_says_how_long_pulls_took(
    messages: tuple[str, ...], seconds: float | None
) -> None:
    found = pull_s(worker(1, node_after_s=0, ready_after_s=9, pulled=messages).events)

    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("begun_after_s", "pulled", "parts"),
    [
        pytest.param(95, (f"{PULLED} 20s",), (60, 20, 40), id="the kubelet's event"),
        pytest.param(95, (PRESENT,), (60, 0, 60), id="image present, slow volume"),
        pytest.param(95, (), (60, 35, 25), id="no events"),
        pytest.param(None, (), (60, 0, 60), id="nothing known"),
        pytest.param(300, (), (60, 60, 0), id="restarted after it was ready"),
        pytest.param(95, (f"{PULLED} 10m0s",), (60, 60, 0), id="pulled for another pod too"),
    ],
)
def test_a_cold_start_has_three_parts_and_they_add_up(
    begun_after_s: float | None, pulled: tuple[str, ...], parts: tuple[float, ...]
) -> None:
    starts = StartHistory()
    started = worker(
        1, node_after_s=60, ready_after_s=120, begun_after_s=begun_after_s, pulled=pulled
    )

    starts.measure(started, None, unschedulable_s=180.0)

    launch_s, pulled_s, start_s = parts
    expected = ColdStart(launch_s=launch_s, pull_s=pulled_s, start_s=start_s)
    assert list(starts.cold_starts) == [expected]
    assert starts.cold_start_s == 120.0


def test_a_launch_is_expected_only_where_most_starts_needed_one() -> None:
    def start(launch_s: float) -> ColdStart:
        return ColdStart(launch_s=launch_s, pull_s=5.0, start_s=20.0)

    at_hand = usual([start(0), start(0), start(90)])
    launched = usual([start(80), start(0), start(90)])

    assert at_hand is not None
    assert at_hand.total_s == 25.0
    assert launched is not None
    assert launched.total_s == 105.0
    assert usual([]) is None


def test_the_status_shows_the_parts_and_a_new_operator_knows_them() -> None:
    world = World()
    world.nodes.ready_after_s = 12.0
    key = world.create_queue("video", {**MINIMAL, "scaling": {"minReplicas": 1}})
    assert world.run(60, until=lambda: bool(world.status(key).get("readyReplicas")))
    parts = {"launchMillis": 0, "pullMillis": 0, "startMillis": 12_000}
    assert world.status(key)["service"]["coldStart"] == parts

    world.kill()
    world.start()
    world.run(70)

    assert world.status(key)["service"]["coldStart"] == parts
    assert world.status(key)["service"]["coldStartMillis"] == 12_000
