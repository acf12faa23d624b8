"""What is measured of a start: from a new pod to ready, without waits for room."""

from typing import Any

import pytest

from detection_operator.kube.objects import timestamp
from detection_operator.kube.pods.views import pod_views
from detection_operator.reconcile.observe.fleet import Worker
from detection_operator.reconcile.observe.starts import StartHistory
from detection_operator.spec.parse import parse_spec
from detection_testing.scenes.world import MINIMAL

NOON_S = 1_767_268_800.0


def worker(number: int, *, node_after_s: float, ready_after_s: float) -> Worker:
    def since(name: str, after_s: float) -> dict[str, Any]:
        return {"type": name, "status": "True", "lastTransitionTime": timestamp(NOON_S + after_s)}

    conditions = [since("PodScheduled", node_after_s), since("Ready", ready_after_s)]
    metadata = {
        "name": f"p{number}",
        "uid": str(number),
        "creationTimestamp": timestamp(NOON_S),
    }
    pod = {
        "metadata": metadata,
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Running", "conditions": conditions},
    }
    return Worker(pod_views([pod])[0], None)


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
