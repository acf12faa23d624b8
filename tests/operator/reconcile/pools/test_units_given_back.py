"""Queues that cannot use their share of a pool: others have it until they can."""

import copy
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from detection_contract.environment import LABEL_QUEUE
from detection_operator.errors import ClusterError, cluster_error
from detection_operator.kube.port import Key
from detection_testing.kubernetes.cluster import InMemoryCluster
from detection_testing.kubernetes.controllers import Nodes, condition_set
from detection_testing.scenes.fleet import Fleet, Side
from detection_testing.scenes.world import MINIMAL

CAPACITY = 8
POLICY = cluster_error(422, 'ValidatingAdmissionPolicy "gpus" denied request: too many')
PATIENCE_S = 360
"""After five minutes, and a hold and a drain."""
UNSCHEDULABLE_S = 180

Pod = dict[str, Any]


class Picky(Nodes):
    """Nodes that the pods of one queue do not get on with.

    Attributes:
        queue: The queue.
        status: What becomes of its pods; None: they stay without a node.
        well: They start.
        forbidden: Why no more of them may be created; None: they may.
    """

    queue = "urgent"
    status: Mapping[str, Any] | None = None
    well = True
    forbidden: str | None = None

    def _replicate(self, deployment: dict[str, Any]) -> None:
        self.refused = self.forbidden if self._is_its(deployment) else None
        super()._replicate(deployment)

    def _schedule(self) -> None:
        if self.status is None and not self.well:
            for pod in self.cluster.of_kind("Pod"):
                if self._is_its(pod) and "nodeName" not in pod["spec"]:
                    message = "0/3 nodes are available: 3 node(s) had untolerated taint"
                    why = {"reason": "Unschedulable", "message": message}
                    condition_set(pod, "PodScheduled", "False", self.cluster.clock(), **why)
                    pod["spec"]["nodeName"] = ""
        super()._schedule()
        for pod in self.cluster.of_kind("Pod"):
            if not pod["spec"].get("nodeName"):
                pod["spec"].pop("nodeName", None)

    def _run(self, pod: Pod) -> None:
        if self._is_its(pod) and self.status is not None and not self.well:
            pod["status"] |= self.status
            pod["_node_s"] = self.cluster.clock()
            return
        super()._run(pod)

    def _is_its(self, obj: dict[str, Any]) -> bool:
        return bool(obj["metadata"]["labels"].get(LABEL_QUEUE) == self.queue)


def spec(priority: int = 0, membership: Any = (), **scaling: Any) -> dict[str, Any]:
    made = copy.deepcopy(dict(MINIMAL))
    made["queue"] = {**made["queue"], "pollIntervalSeconds": 1}
    made["scaling"] |= {"idle": {"policy": "Fixed", "fixedSeconds": 5}, **scaling}
    made["scaling"]["scaleDown"] = {"holdSeconds": 5, "maxPercent": 100}
    made["scaling"]["pool"] = {"name": "gpu", "priority": priority, **dict(membership)}
    return made


def contended(membership: Any = (), **scaling: Any) -> tuple[Fleet, Side, Side]:
    """Return a pool, a queue of low priority that has all of it, and an urgent one at rest."""
    fleet = Fleet()
    assert isinstance(fleet.cluster, InMemoryCluster)
    fleet.nodes = Picky(fleet.cluster)
    fleet.create_pool("gpu", {"replicas": CAPACITY})
    bulk = fleet.add("bulk", spec())
    urgent = fleet.add("urgent", spec(100, membership, **scaling))
    bulk.queue.visible = 10_000
    assert fleet.run(60, until=lambda: len(bulk.workers.workers) >= CAPACITY - 2)
    return fleet, bulk, urgent


def picky(fleet: Fleet) -> Picky:
    assert isinstance(fleet.nodes, Picky)
    return fleet.nodes


class Refusing:
    """An API server that takes no more than ``most`` replicas of one queue's Deployment."""

    def __init__(self, fleet: Fleet, queue: str, most: int, error: ClusterError = POLICY) -> None:
        self.most = most
        self.tries: list[tuple[float, int]] = []
        scale = fleet.cluster.scale

        def guarded(
            namespace: str, name: str, replicas: int, *, resource_version: str | None
        ) -> None:
            if name.startswith(queue):
                self.tries.append((fleet.clock.monotonic, replicas))
                if replicas > self.most:
                    raise error
            scale(namespace, name, replicas, resource_version=resource_version)

        fleet.cluster.scale = guarded  # type: ignore[method-assign]  # an admission policy


def has(fleet: Fleet, side: Side, count: int, within_s: int) -> bool:
    return fleet.run(within_s, until=lambda: len(side.workers.workers) == count, each_s=2.0)


def lowest(fleet: Fleet, side: Side, seconds: int) -> int:
    counts: list[int] = []
    for _ in range(seconds // 3):
        fleet.step(3.0)
        counts.append(len(side.workers.workers))
    return min(counts)


def recovers(fleet: Fleet, side: Side, within_s: int) -> bool:
    def is_well() -> bool:
        return bool(fleet.condition(side.key, "CapacityAvailable")["status"] == "True")

    return fleet.run(within_s, until=is_well, each_s=3.0)


def plan(fleet: Fleet, key: Key) -> str:
    return str(fleet.status(key)["plan"]["message"])


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(POLICY, id="admission policy"),
        pytest.param(cluster_error(403, "403 cannot patch deployments/scale"), id="role"),
        pytest.param(
            cluster_error(500, 'Internal error occurred: failed calling webhook "gpus"'),
            id="webhook that is away",
        ),
        pytest.param(
            cluster_error(418, 'admission webhook "gpus" denied the request'), id="webhook"
        ),
    ],
)
def test_replicas_that_the_server_refuses_go_to_others(error: ClusterError) -> None:
    fleet, bulk, urgent = contended()
    Refusing(fleet, "urgent", 0, error)
    urgent.queue.visible = 1000

    assert has(fleet, bulk, 0, 60)
    assert has(fleet, bulk, CAPACITY, 10)

    told = fleet.condition(urgent.key, "CapacityAvailable")
    assert (told["status"], told["reason"]) == ("False", "ScaleRefused")
    assert str(error) in told["message"]
    assert f"capped at 0: the API server refuses more ({error})" in plan(fleet, urgent.key)
    assert fleet.errors == []
    assert fleet.lost == []


def test_more_replicas_are_tried_one_at_a_time_and_ever_more_rarely() -> None:
    fleet, bulk, urgent = contended()
    server = Refusing(fleet, "urgent", 2)
    urgent.queue.visible = 1000

    assert has(fleet, urgent, 2, 90)
    assert has(fleet, bulk, 6, 30)

    assert lowest(fleet, bulk, 600) >= CAPACITY - 4
    refused = [at_s for at_s, replicas in server.tries if replicas > 2]
    pauses = [later - earlier for earlier, later in itertools.pairwise(refused[2:])]
    assert len(refused) < 10
    assert pauses == sorted(pauses)
    assert fleet.most_pods == CAPACITY

    server.most = 100

    assert has(fleet, urgent, CAPACITY, 400)
    assert recovers(fleet, urgent, 60)
    assert fleet.lost == []


def test_replicas_grow_in_steps_up_to_what_the_server_takes() -> None:
    fleet, bulk, urgent = contended()
    server = Refusing(fleet, "urgent", 5)
    urgent.queue.visible = 1000

    assert has(fleet, urgent, 5, 300)
    assert has(fleet, bulk, 3, 60)
    urgent.queue.visible = 0
    assert has(fleet, bulk, CAPACITY, 120)
    urgent.queue.visible = 1000
    before = len(server.tries)

    # What was taken once is asked for at once.
    assert has(fleet, urgent, 5, 60)
    assert max(replicas for _, replicas in server.tries[before:]) == 5
    assert fleet.lost == []


def test_an_edit_is_tried_at_once_and_a_calm_queue_forgets() -> None:
    fleet, _, urgent = contended()
    server = Refusing(fleet, "urgent", 0)
    urgent.queue.visible = 1000
    fleet.run(600, each_s=3.0)
    server.most = 100

    fleet.edit_queue(urgent.key, lambda obj: obj["spec"]["scaling"].update(maxReplicas=7))
    assert has(fleet, urgent, 7, 30)

    server.most = 0
    fleet.edit_queue(urgent.key, lambda obj: obj["spec"]["scaling"].update(maxReplicas=8))
    fleet.run(60)
    assert fleet.condition(urgent.key, "CapacityAvailable")["reason"] == "ScaleRefused"
    urgent.queue.visible = 0
    server.most = 100
    assert recovers(fleet, urgent, 1200)


def test_replicas_that_the_server_does_not_let_fall_are_told_and_tried_rarely() -> None:
    fleet, bulk, _ = contended()
    tries: list[float] = []
    scale = fleet.cluster.scale

    def guarded(namespace: str, name: str, replicas: int, **others: Any) -> None:
        if name.startswith("bulk") and replicas < CAPACITY:
            tries.append(fleet.clock.monotonic)
            raise POLICY
        scale(namespace, name, replicas, **others)

    assert has(fleet, bulk, CAPACITY, 60)
    fleet.cluster.scale = guarded  # type: ignore[method-assign]  # an admission policy
    bulk.queue.visible = 0
    fleet.run(600, each_s=3.0)

    told = fleet.condition(bulk.key, "CapacityAvailable")
    assert told["reason"] == "ScaleRefused"
    assert "fewer replicas" in told["message"]
    assert 3 <= len(tries) <= 10

    fleet.cluster.scale = scale  # type: ignore[method-assign]  # none any more
    assert has(fleet, bulk, 0, 400)
    assert recovers(fleet, bulk, 60)
    assert fleet.lost == []


def test_a_queue_that_may_not_fall_grows_all_the_same_and_a_calm_one_forgets() -> None:
    fleet = Fleet()
    fleet.create_pool("gpu", {"replicas": CAPACITY})
    bulk = fleet.add("bulk", spec())
    bulk.queue.visible = 30
    assert fleet.run(120, until=lambda: bulk.queue.visible == 0)
    scale, refusing = fleet.cluster.scale, [True]

    def guarded(namespace: str, name: str, replicas: int, **others: Any) -> None:
        if refusing[0] and replicas < fleet.replicas_of("bulk"):
            raise cluster_error(500, 'failed calling webhook "scale.example.com": EOF')
        scale(namespace, name, replicas, **others)

    def is_refused() -> bool:
        return bool(fleet.condition(bulk.key, "CapacityAvailable")["reason"] == "ScaleRefused")

    fleet.cluster.scale = guarded  # type: ignore[method-assign]  # a webhook that is away
    assert fleet.run(300, until=is_refused, each_s=3.0)
    assert 0 < len(bulk.workers.workers) < CAPACITY - 2
    refusing[0] = False
    bulk.queue.visible = 100_000

    assert has(fleet, bulk, CAPACITY, 60)
    # There is nothing to remove, so nobody asks whether that is refused still.
    assert recovers(fleet, bulk, 700)
    assert fleet.lost == []


NO_IMAGE = {
    "phase": "Pending",
    "startTime": "2026-01-01T00:00:00Z",
    "containerStatuses": [
        {"started": False, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}}
    ],
}
CRASHES = {
    "phase": "Running",
    "startTime": "2026-01-01T00:00:00Z",
    "containerStatuses": [
        {
            "started": False,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 1}},
        }
    ],
}


@pytest.mark.parametrize(
    ("status", "membership", "least"),
    [
        pytest.param(NO_IMAGE, {}, 0, id="no image"),
        pytest.param(NO_IMAGE, {"guaranteed": 4}, 6, id="no image, guaranteed"),
        pytest.param(CRASHES, {}, 0, id="crash loop"),
        pytest.param(None, {}, 0, id="unschedulable"),
        pytest.param(None, {"guaranteed": 4}, 6, id="unschedulable, guaranteed"),
    ],
)
def test_pods_that_do_not_start_leave_their_units_but_for_a_probe(
    status: Mapping[str, Any] | None, membership: Mapping[str, Any], least: int
) -> None:
    fleet, bulk, urgent = contended(membership)
    picky(fleet).status, picky(fleet).well = status, False
    if least:
        fleet.edit_queue(urgent.key, lambda o: o["spec"]["scaling"].update(minReplicas=least))
    urgent.queue.visible = 1000
    assert has(fleet, bulk, 0, 60)

    assert has(fleet, bulk, CAPACITY - 1, PATIENCE_S + UNSCHEDULABLE_S)

    assert fleet.replicas_of("urgent") == 1
    assert lowest(fleet, bulk, 400) >= CAPACITY - 2
    assert fleet.condition(urgent.key, "CapacityAvailable")["status"] == "False"
    assert fleet.most_pods == CAPACITY
    assert fleet.lost == []

    picky(fleet).well = True

    assert has(fleet, urgent, CAPACITY, 300)
    assert fleet.lost == []


def test_pods_that_a_quota_forbids_leave_their_units_but_for_a_probe() -> None:
    fleet, bulk, urgent = contended(maxReplicas=3)
    urgent.queue.visible = 1000
    assert has(fleet, urgent, 3, 60)
    picky(fleet).forbidden = "exceeded quota: gpus"
    fleet.edit_queue(urgent.key, lambda obj: obj["spec"]["scaling"].update(maxReplicas=20))

    assert has(fleet, bulk, 0, 60)
    assert has(fleet, bulk, CAPACITY - 4, PATIENCE_S)

    assert fleet.replicas_of("urgent") == 4
    assert "capped to 4: pool gpu has 8; 4 go to 'bulk' (priority 0) while pods here do not" in (
        plan(fleet, urgent.key)
    )

    picky(fleet).forbidden = None

    assert has(fleet, urgent, CAPACITY, 120)
    assert fleet.most_pods == CAPACITY
    assert fleet.lost == []


def test_units_that_nobody_else_wants_stay_with_pods_that_wait() -> None:
    fleet, bulk, urgent = contended()
    picky(fleet).well = False
    bulk.queue.visible = 0
    urgent.queue.visible = 1000
    assert has(fleet, bulk, 0, 60)

    fleet.run(1500, each_s=5.0)

    assert fleet.replicas_of("urgent") == CAPACITY
