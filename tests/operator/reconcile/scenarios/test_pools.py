"""Queues that share a pool: who gets what, and that nobody loses work on the way."""

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest

from detection_operator.errors import Conflict, Forbidden, Unavailable
from detection_operator.kube.port import Key
from detection_operator.kube.store import POOL
from detection_operator.scaling.observation import ReadError
from detection_testing.kubernetes.controllers import GPU, Nodes
from detection_testing.scenes.fleet import Fleet, Side
from detection_testing.scenes.hosts import DISRUPTED, Hosts
from detection_testing.scenes.world import MINIMAL

CAPACITY = 8
NODE_READY = {"type": "Ready", "status": "True"}
JOB_S = 10.0
STEPS_S = 8.0
"""For the looks, the marks and the starts between one job and the next."""


def spec(pool: str | None = "gpu", membership: Any = (), **scaling: Any) -> dict[str, Any]:
    made = copy.deepcopy(dict(MINIMAL))
    made["queue"] = {**made["queue"], "pollIntervalSeconds": 1}
    made["scaling"] |= {"idle": {"policy": "Fixed", "fixedSeconds": 5}, **scaling}
    made["scaling"]["scaleDown"] = {"holdSeconds": 5, "maxPercent": 100}
    if pool is not None:
        made["scaling"]["pool"] = {"name": pool, **dict(membership)}
    return made


def contended(**low: Any) -> tuple[Fleet, Side, Side, Key]:
    """Return a pool of which a queue of low priority has everything, and an urgent one at rest."""
    fleet = Fleet()
    pool = fleet.create_pool("gpu", {"replicas": CAPACITY})
    bulk = fleet.add("bulk", spec(membership={"priority": 0, **low}))
    urgent = fleet.add("urgent", spec(membership={"priority": 100}))
    bulk.queue.visible = 10_000
    assert fleet.run(60, until=lambda: len(bulk.workers.workers) == CAPACITY)
    fleet.run(5)
    return fleet, bulk, urgent, pool


def takes_over(fleet: Fleet, side: Side, count: int = CAPACITY, within_s: int = 60) -> bool:
    return fleet.run(within_s, until=lambda: len(side.workers.workers) == count)


def pod_nodes(fleet: Fleet) -> Nodes:
    assert isinstance(fleet.nodes, Nodes)
    return fleet.nodes


def shares(fleet: Fleet, pool: Key) -> dict[str, tuple[int, int]]:
    """Return what each queue is granted and holds, as the pool's status says."""
    queues = fleet.status(pool)["queues"]
    return {item["name"]: (item["granted"], item["held"]) for item in queues}


def metric(fleet: Fleet, which: str, **labels: str) -> float | None:
    everything = {"namespace": "default", "pool": "gpu", **labels}
    name = f"detection_operator_pool_{which}"
    return fleet.metrics.registry.get_sample_value(name, everything)


def test_an_urgent_queue_takes_over_from_busy_workers_within_one_job() -> None:
    fleet, _, urgent, pool = contended()
    assert shares(fleet, pool) == {"bulk": (8, 8), "urgent": (0, 0)}
    urgent.queue.visible = 1000
    since_s = fleet.clock.monotonic

    assert takes_over(fleet, urgent)

    assert fleet.clock.monotonic - since_s <= JOB_S + STEPS_S
    assert fleet.most_pods == CAPACITY
    assert fleet.lost == []
    fleet.run(20)
    assert shares(fleet, pool) == {"bulk": (0, 0), "urgent": (8, 8)}


def test_pods_that_end_slowly_hold_their_units_until_they_are_gone() -> None:
    fleet, _, urgent, _ = contended()
    pod_nodes(fleet).ends_after_s = 7.0
    urgent.queue.visible = 1000
    since_s = fleet.clock.monotonic

    assert takes_over(fleet, urgent)

    assert fleet.clock.monotonic - since_s >= 7.0
    assert fleet.clock.monotonic - since_s <= JOB_S + 7.0 + STEPS_S
    assert fleet.most_pods == CAPACITY
    assert fleet.lost == []


def test_a_guarantee_stays_with_its_queue_and_what_is_lent_comes_back() -> None:
    fleet, bulk, urgent, pool = contended(guaranteed=3)
    urgent.queue.visible = 1000
    assert takes_over(fleet, urgent, 5)
    fleet.run(30)
    assert shares(fleet, pool) == {"bulk": (3, 3), "urgent": (5, 5)}
    assert len(bulk.workers.workers) == 3

    urgent.queue.visible = 0

    assert takes_over(fleet, bulk)
    assert fleet.most_pods == CAPACITY
    assert fleet.lost == []


def test_the_status_says_who_has_what_and_why() -> None:
    fleet, bulk, urgent, pool = contended(guaranteed=2)
    urgent.queue.visible = 1000
    assert takes_over(fleet, urgent, 6)
    fleet.run(70)

    status = fleet.status(pool)
    assert (status["capacity"], status["granted"], status["held"]) == (8, 8, 8)
    assert status["members"] == 2
    assert "6 to 'urgent' (priority 100), 2 to 'bulk'" in status["message"]
    assert "more wanted" in status["message"]
    assert {item["type"]: item["status"] for item in status["conditions"]} == {
        "Ready": "True",
        "CapacityKnown": "True",
        "GuaranteesCovered": "True",
        "WithinCapacity": "True",
    }
    assert "pool gpu has 8; 6 go to 'urgent'" in fleet.status(bulk.key)["plan"]["message"]
    assert fleet.condition(bulk.key, "PoolAvailable")["status"] == "True"
    assert metric(fleet, "capacity") == 8
    assert metric(fleet, "granted", name="bulk") == 2
    assert metric(fleet, "held", name="urgent") == 6


def test_nothing_is_written_while_nothing_changes() -> None:
    fleet, bulk, urgent, _ = contended()
    bulk.queue.visible = urgent.queue.visible = 0
    fleet.run(120)
    assert fleet.replicas == 0
    before = dict(fleet.cluster.writes)

    fleet.run(600)

    assert dict(fleet.cluster.writes) == before


@pytest.mark.parametrize("after_s", [0, 1, 3, 5, 8, 12])
def test_an_operator_that_is_killed_in_the_middle_is_succeeded(after_s: int) -> None:
    fleet, _, urgent, _ = contended()
    pod_nodes(fleet).ends_after_s = 3.0
    urgent.queue.visible = 1000
    fleet.run(after_s)
    fleet.kill()
    fleet.run(4)
    fleet.start()

    assert takes_over(fleet, urgent)

    assert fleet.most_pods == CAPACITY
    assert fleet.lost == []


def test_a_queue_that_was_not_decided_since_the_start_keeps_what_it_holds() -> None:
    fleet, _, urgent, pool = contended()
    fleet.kill()
    urgent.queue.visible = 1000
    fleet.start()
    reconciler = fleet.reconciler
    assert reconciler is not None

    # The urgent one comes first, and knows nothing of what the other needs.
    reconciler.reconcile(urgent.key)

    assert fleet.replicas_of("urgent") == 0
    demands = reconciler.pools.ledger.demands(pool)
    assert (demands["bulk"].held, demands["bulk"].pinned) == (CAPACITY, True)


def test_a_capacity_that_is_cut_is_reached_within_one_job() -> None:
    fleet, bulk, _, pool = contended()
    fleet.edit_queue(pool, lambda obj: obj["spec"]["capacity"].update(replicas=3))
    since_s = fleet.clock.monotonic
    fleet.run(3)
    assert fleet.condition(pool, "WithinCapacity")["reason"] == "Reclaiming"

    assert takes_over(fleet, bulk, 3)

    assert fleet.clock.monotonic - since_s <= JOB_S + STEPS_S
    assert fleet.lost == []
    fleet.run(5)
    assert fleet.condition(pool, "WithinCapacity")["status"] == "True"


def test_guarantees_beyond_the_capacity_are_reported() -> None:
    fleet, _, _, pool = contended(guaranteed=6)
    fleet.edit_queue(pool, lambda obj: obj["spec"]["capacity"].update(replicas=4))

    fleet.run(5)

    condition = fleet.condition(pool, "GuaranteesCovered")
    assert (condition["status"], condition["reason"]) == ("False", "Exceeded")
    assert "Exceeded" in [event.reason for event in fleet.cluster.events]


def test_a_pool_that_is_deleted_stops_nobody_s_work() -> None:
    fleet, bulk, urgent, pool = contended()
    fleet.cluster.delete((POOL, pool.namespace, pool.name))
    fleet.touch()
    urgent.queue.visible = 1000

    fleet.run(30)

    assert len(bulk.workers.workers) == CAPACITY
    assert len(urgent.workers.workers) == 1, "at least one"
    condition = fleet.condition(bulk.key, "PoolAvailable")
    assert (condition["status"], condition["reason"]) == ("False", "PoolNotFound")
    assert metric(fleet, "capacity") is None
    assert metric(fleet, "granted", name="bulk") is None

    fleet.cluster.create_pool("gpu", {"capacity": {"replicas": CAPACITY}})
    fleet.touch()
    assert takes_over(fleet, urgent)
    assert fleet.lost == []
    fleet.run(3)
    assert fleet.condition(bulk.key, "PoolAvailable")["status"] == "True"


def test_a_queue_that_moves_takes_its_pods_to_the_other_pool() -> None:
    fleet, bulk, urgent, pool = contended()
    other = fleet.create_pool("other", {"replicas": 4})

    fleet.edit_queue(bulk.key, lambda obj: obj["spec"]["scaling"]["pool"].update(name="other"))
    urgent.queue.visible = 1000

    assert fleet.run(60, until=lambda: len(bulk.workers.workers) == 4)
    assert takes_over(fleet, urgent)
    fleet.run(20)
    assert shares(fleet, pool) == {"urgent": (8, 8)}
    assert shares(fleet, other) == {"bulk": (4, 4)}
    assert fleet.lost == []
    assert metric(fleet, "granted", name="bulk") is None


def test_a_queue_that_leaves_its_pool_is_bound_by_its_maximum_alone() -> None:
    fleet, bulk, _, pool = contended()

    fleet.edit_queue(bulk.key, lambda obj: obj["spec"]["scaling"].pop("pool"))

    assert takes_over(fleet, bulk, 20)
    fleet.run(3)
    assert shares(fleet, pool) == {"urgent": (0, 0)}
    assert fleet.condition(bulk.key, "PoolAvailable") == {}


def test_a_deleted_queue_holds_its_units_until_its_pods_are_gone() -> None:
    fleet, bulk, urgent, _ = contended()
    pod_nodes(fleet).ends_after_s = 20.0
    for pod in fleet.cluster.of_kind("Pod"):
        # The garbage collector deletes pods, their workers finish within the grace period.
        pod_nodes(fleet)._remove(pod)
        pod["metadata"].pop("ownerReferences")
    for deployment in list(fleet.cluster.of_kind("Deployment")):
        fleet.cluster.delete(("Deployment", "default", deployment["metadata"]["name"]))
    fleet.cluster.delete((bulk.key.kind, bulk.key.namespace, bulk.key.name))
    fleet.touch()
    bulk.queue.visible = 0
    urgent.queue.visible = 1000

    fleet.run(15)
    assert len(urgent.workers.workers) == 0
    assert takes_over(fleet, urgent)
    assert fleet.most_pods == CAPACITY


def test_a_queue_that_cannot_be_read_keeps_what_it_has() -> None:
    fleet, bulk, urgent, _ = contended()
    bulk.queue.error = ReadError.UNREACHABLE
    fleet.run(60)
    urgent.queue.visible = 1000

    fleet.run(60)

    assert len(bulk.workers.workers) == CAPACITY
    assert len(urgent.workers.workers) == 0
    bulk.queue.error = None
    assert takes_over(fleet, urgent)
    assert fleet.lost == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda obj: obj["spec"].update(paused=True), id="paused"),
        pytest.param(lambda obj: obj["spec"]["scaling"].update(mode="Shadow"), id="Shadow"),
        pytest.param(lambda obj: obj["spec"].update(slo={"queueWaitSeconds": -1}), id="invalid"),
    ],
)
def test_a_queue_that_is_not_scaled_keeps_what_it_has(
    change: Callable[[dict[str, Any]], None],
) -> None:
    fleet, bulk, urgent, _ = contended()
    fleet.edit_queue(bulk.key, change)
    urgent.queue.visible = 1000

    fleet.run(60)

    assert len(bulk.workers.workers) == CAPACITY
    assert len(urgent.workers.workers) == 0
    assert fleet.most_pods == CAPACITY


def test_mode_manual_is_a_minimum_within_the_pool() -> None:
    fleet, bulk, urgent, _ = contended()
    fleet.edit_queue(bulk.key, lambda obj: obj["spec"]["scaling"].update(mode="Manual"))
    fleet.edit_queue(bulk.key, lambda obj: obj["spec"].update(replicas=2))
    urgent.queue.visible = 1000

    assert takes_over(fleet, urgent, 6)

    assert fleet.run(20, until=lambda: len(bulk.workers.workers) == 2)
    assert fleet.most_pods == CAPACITY


def test_units_of_a_resource_are_counted_by_the_limits_of_pods() -> None:
    fleet = Fleet()
    pool = fleet.create_pool("gpu", {"resource": {"name": GPU, "quantity": 8}})
    two, one = spec(), spec()
    two["worker"]["template"]["resources"] = {"limits": {GPU: 2}}
    one["worker"]["template"]["resources"] = {"limits": {GPU: "1"}}
    double, single = fleet.add("double", two), fleet.add("single", one)
    double.queue.visible = single.queue.visible = 10_000

    fleet.run(60)

    sizes = len(double.workers.workers), len(single.workers.workers)
    assert sizes[0] * 2 + sizes[1] == 8
    assert min(sizes) >= 2
    status = fleet.status(pool)
    assert {q["name"]: q["unitsPerReplica"] for q in status["queues"]} == {
        "double": 2,
        "single": 1,
    }
    assert status["granted"] == 8


def test_a_quota_leaves_what_others_do_not_use() -> None:
    fleet = Fleet()
    quota = fleet.cluster.create(
        {
            "kind": "ResourceQuota",
            "metadata": {"name": "gpus", "namespace": "default"},
            "status": {"hard": {f"requests.{GPU}": "6"}, "used": {f"requests.{GPU}": "2"}},
        }
    )
    pool = fleet.create_pool("gpu", {"fromResourceQuota": {"name": "gpus"}})
    made = spec()
    made["worker"]["template"]["resources"] = {"limits": {GPU: 1}}
    side = fleet.add("video", made)
    side.queue.visible = 10_000

    def count() -> None:
        quota["status"]["used"] = {f"requests.{GPU}": str(2 + len(side.workers.workers))}

    for _ in range(60):
        fleet.step()
        count()

    assert len(side.workers.workers) == 4
    assert fleet.status(pool)["capacity"] == 4
    assert "2 of them are used by others" in fleet.condition(pool, "CapacityKnown")["message"]

    fleet.cluster.delete(("ResourceQuota", "default", "gpus"))
    fleet.run(40)
    condition = fleet.condition(pool, "CapacityKnown")
    assert (condition["status"], condition["reason"]) == ("False", "NotFound")
    assert len(side.workers.workers) == 4
    assert fleet.condition(side.key, "PoolAvailable")["reason"] == "CapacityUnknown"


def test_a_quota_that_may_not_be_read_is_no_capacity() -> None:
    fleet = Fleet()
    fleet.cluster.fail("resource_quota", *[Forbidden("no rule for resourcequotas")] * 9)
    pool = fleet.create_pool("gpu", {"fromResourceQuota": {"name": "gpus"}})
    side = fleet.add("video", spec())
    side.queue.visible = 100

    fleet.run(30)

    condition = fleet.condition(pool, "CapacityKnown")
    assert (condition["status"], condition["reason"]) == ("False", "Forbidden")
    assert len(side.workers.workers) == 1


def test_nodes_count_that_are_ready_and_may_be_used() -> None:
    fleet = Fleet()
    nodes: dict[str, dict[str, Any]] = {
        "fine": {},
        "cordoned": {"spec": {"unschedulable": True}},
        "tainted": {"spec": {"taints": [{"key": "other", "value": "x", "effect": "NoSchedule"}]}},
        "gpu-taint": {"spec": {"taints": [{"key": GPU, "effect": "NoSchedule"}]}},
        "preferred": {"spec": {"taints": [{"key": "x", "effect": "PreferNoSchedule"}]}},
        "down": {"ready": "Unknown"},
        "also-down": {"ready": "False"},
        "long": {"spec": {"taints": [{"key": "a" * 90, "effect": "NoExecute"}]}},
        "another": {"labels": {"pool": "cpu"}},
    }
    for name, change in nodes.items():
        add_node(fleet, name, **change)
    pool = fleet.create_pool("gpu", {"fromNodes": {"selector": {"pool": "gpu"}}})

    fleet.run(3)

    assert fleet.status(pool)["capacity"] == 12
    message = fleet.condition(pool, "CapacityKnown")["message"]
    assert message == (
        f"3 nodes have 12 of {GPU}; 5 more are not ready (2), going: it is cordoned (1), tainted "
        "other=x:NoSchedule (1), …"
    )


def test_a_taint_is_named_up_to_a_bound() -> None:
    fleet = Fleet()
    add_node(fleet, "long", spec={"taints": [{"key": "a" * 300, "effect": "NoExecute"}]})
    pool = fleet.create_pool("gpu", {"fromNodes": {}})

    fleet.run(3)

    message = fleet.condition(pool, "CapacityKnown")["message"]
    assert message == f"0 nodes have 0 of {GPU}; 1 more are tainted {'a' * 80} (1)"


def test_a_node_counts_for_the_oldest_pool_that_selects_it() -> None:
    fleet = Fleet()
    for name in ("one", "two"):
        add_node(fleet, name)
    add_node(fleet, "other", labels={"pool": "cpu"})
    old = fleet.create_pool("old", {"fromNodes": {"selector": {"pool": "gpu"}}})
    fleet.run(2)
    young = fleet.create_pool("also", {"fromNodes": {}})
    cpus = fleet.create_pool("cpus", {"fromNodes": {"resource": "cpu"}})
    fleet.run(3)

    assert [fleet.status(pool)["capacity"] for pool in (old, young, cpus)] == [8, 4, 93]
    assert fleet.condition(old, "CapacityKnown")["reason"] == "Known"
    overlap = fleet.condition(young, "CapacityKnown")
    assert (overlap["status"], overlap["reason"]) == ("True", "Overlapping")
    assert overlap["message"].endswith("; 2 more count for older WorkerPools: default/old (2)")

    fleet.cluster.delete((POOL, old.namespace, old.name))
    fleet.touch()
    fleet.run(20)
    assert fleet.status(young)["capacity"] == 12
    assert fleet.condition(young, "CapacityKnown")["reason"] == "Known"


def test_a_quota_counts_for_the_oldest_pool_that_reads_it() -> None:
    fleet = Fleet()
    used = {"hard": {f"requests.{GPU}": "5"}, "used": {f"requests.{GPU}": "0"}}
    metadata = {"name": "gpus", "namespace": "default"}
    quota = fleet.cluster.create({"kind": "ResourceQuota", "metadata": metadata, "status": used})
    made = spec("old")
    made["worker"]["template"]["resources"] = {"limits": {GPU: 1}}
    old = fleet.create_pool("old", {"fromResourceQuota": {"name": "gpus"}})
    fleet.run(2)
    young = fleet.create_pool("gpu", {"fromResourceQuota": {"name": "gpus"}})
    first = fleet.add("first", made)
    made["scaling"]["pool"] = {"name": "gpu", "guaranteed": 3}
    second = fleet.add("second", made)
    first.queue.visible = second.queue.visible = 10_000

    for _ in range(60):
        fleet.step()
        quota["status"]["used"] = {f"requests.{GPU}": str(len(fleet.cluster.of_kind("Pod")))}

    assert (len(first.workers.workers), len(second.workers.workers)) == (5, 0)
    for kind in ("CapacityKnown", "Ready"):
        found = fleet.condition(young, kind)
        assert (found["status"], found["reason"]) == ("False", "CapacityTaken")
        assert "gpus counts for WorkerPool old, which is older" in found["message"]
    condition = fleet.condition(second.key, "PoolAvailable")
    assert (condition["status"], condition["reason"]) == ("False", "CapacityTaken")
    assert shares(fleet, old) == {"first": (5, 5)}

    fleet.cluster.delete((POOL, old.namespace, old.name))
    fleet.touch()
    fleet.run(40)
    assert fleet.condition(young, "CapacityKnown")["reason"] == "Known"
    assert fleet.condition(second.key, "PoolAvailable")["reason"] == "Shared"


@pytest.mark.parametrize("name", ["cpu", "memory"])
def test_a_quota_has_two_names_for_what_pods_request(name: str) -> None:
    fleet = Fleet()
    metadata = {"name": "quota", "namespace": "default"}
    status = {"hard": {name: "12", f"requests.{name}": "8", f"limits.{name}": "24"}}
    fleet.cluster.create({"kind": "ResourceQuota", "metadata": metadata, "status": status})
    made = spec("old")
    made["worker"]["template"]["resources"] = {"requests": {name: 2}, "limits": {name: 4}}
    old = fleet.create_pool("old", {"fromResourceQuota": {"name": "quota", "resource": name}})
    fleet.run(2)
    of_requests = {"fromResourceQuota": {"name": "quota", "resource": f"requests.{name}"}}
    of_limits = {"fromResourceQuota": {"name": "quota", "resource": f"limits.{name}"}}
    young = fleet.create_pool("gpu", of_requests)
    other = fleet.create_pool("other", of_limits)
    side = fleet.add("first", made)
    side.queue.visible = 10_000

    fleet.run(30)

    assert fleet.status(old)["capacity"] == 8
    assert len(side.workers.workers) == 4
    assert fleet.condition(young, "CapacityKnown")["reason"] == "CapacityTaken"
    assert (fleet.status(other)["capacity"], fleet.errors) == (24, [])


def test_a_quota_that_an_older_pool_leaves_is_used_by_the_queues_of_that_pool() -> None:
    fleet = Fleet()
    metadata = {"name": "gpus", "namespace": "default"}
    status = {"hard": {"pods": "8"}, "used": {"pods": "0"}}
    quota = fleet.cluster.create({"kind": "ResourceQuota", "metadata": metadata, "status": status})
    old = fleet.create_pool("old", {"replicas": 8})
    fleet.run(2)
    young = fleet.create_pool("gpu", {"fromResourceQuota": {"name": "gpus", "resource": "pods"}})
    first, second = fleet.add("first", spec("old")), fleet.add("second", spec())
    asked_for: list[int] = []

    def run(seconds: int) -> None:
        for _ in range(seconds):
            fleet.step()
            quota["status"]["used"] = {"pods": str(len(fleet.cluster.of_kind("Pod")))}
            asked_for.append(fleet.replicas_of("first") + fleet.replicas_of("second"))

    run(10)
    assert fleet.status(young)["capacity"] == 8
    of_a_quota(fleet, old)
    first.queue.visible = 10_000
    run(60)
    assert fleet.condition(young, "CapacityKnown")["reason"] == "CapacityTaken"

    second.queue.visible = 10_000
    deleted(fleet, old)
    fleet.touch()
    run(60)

    assert fleet.status(young)["capacity"] == 0
    assert (len(first.workers.workers), max(asked_for)) == (8, 8)


def test_a_pool_that_waits_for_its_finalizers_says_that_it_is_being_deleted() -> None:
    fleet, bulk, _, pool = contended()
    going = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/wait"]}
    fleet.edit_queue(pool, lambda obj: obj["metadata"].update(going))

    fleet.run(5)

    for kind in ("Ready", "CapacityKnown"):
        condition = fleet.condition(pool, kind)
        assert (condition["status"], condition["reason"]) == ("False", "Deleting")
    assert "capacity" not in fleet.status(pool)
    assert fleet.condition(bulk.key, "PoolAvailable")["reason"] == "PoolNotFound"
    assert metric(fleet, "capacity") is None
    before = fleet.status(pool)
    fleet.run(60)
    assert fleet.status(pool) == before
    assert len(bulk.workers.workers) == CAPACITY


def add_node(fleet: Fleet, name: str, **parts: Any) -> None:
    fleet.cluster.create(
        {
            "kind": "Node",
            "metadata": {
                "name": name,
                "namespace": "",
                "labels": parts.get("labels", {"pool": "gpu"}),
            },
            "spec": parts.get("spec", {}),
            "status": {
                "allocatable": {GPU: "4", "cpu": "31850m"},
                "conditions": [{"type": "Ready", "status": parts.get("ready", "True")}],
            },
        }
    )


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"unschedulable": True}},
        {"status": {"conditions": [NODE_READY, {"type": "TerminateScheduled", "status": "True"}]}},
    ],
    ids=["cordoned", "to be ended"],
)
def test_a_node_that_goes_is_no_capacity_when_its_worker_does_not_count(
    change: dict[str, Any],
) -> None:
    fleet = Fleet()
    hosts = Hosts(fleet, CAPACITY)
    names = [f"host-{number}" for number in range(CAPACITY)]
    for name in names:
        fleet.cluster.edit(
            ("Node", "", name), lambda node: node["status"].update(conditions=[NODE_READY])
        )
    made = spec()
    made["worker"]["template"]["resources"] = {"limits": {GPU: 1}}
    bulk = fleet.add("bulk", made)
    pool = fleet.create_pool("gpu", {"fromNodes": {"selector": {"pool": "gpu"}}})
    bulk.queue.visible = 10_000
    assert takes_over(fleet, bulk)
    assert hosts.used() == set(names)

    def goes(node: dict[str, Any]) -> None:
        for part, values in change.items():
            node.setdefault(part, {}).update(values)

    fleet.cluster.edit(("Node", "", "host-0"), goes)
    # Its watch tells the queues with a pod on it, and no pool.
    assert fleet.reconciler is not None
    fleet.reconciler.reconcile(bulk.key)
    fleet.run(30)

    assert fleet.most_pods == CAPACITY
    assert shares(fleet, pool) == {"bulk": (CAPACITY - 1, CAPACITY - 1)}
    assert fleet.lost == []


def six_busy(fleet: Fleet) -> Side:
    """Add a queue that keeps six workers of two GPUs each busy."""
    made = spec(minReplicas=6, maxReplicas=6)
    made["worker"]["template"]["resources"] = {"limits": {GPU: 2}}
    side = fleet.add("video", made)
    side.queue.visible = 10_000
    return side


@pytest.mark.parametrize(
    ("capacity", "free"),
    [
        pytest.param({"replicas": 10}, 4, id="replicas, room"),
        pytest.param({"replicas": 6}, 0, id="replicas, full"),
        pytest.param({"resource": {"name": GPU, "quantity": 20}}, 4, id="resource, room"),
        pytest.param({"resource": {"name": GPU, "quantity": 13}}, 0, id="resource, full"),
    ],
)
def test_workers_of_nodes_that_end_are_replaced_from_what_the_pool_has_free(
    capacity: dict[str, Any], free: int
) -> None:
    fleet = Fleet()
    hosts = Hosts(fleet, 20)
    pool = fleet.create_pool("gpu", capacity)
    side = six_busy(fleet)
    assert takes_over(fleet, side, 6)
    fleet.run(3)
    ending = [f"host-{number}" for number in range(5)]

    hosts.taint(DISRUPTED, *ending)
    fleet.run(2)

    assert fleet.replicas_of("video") == 6 + free
    assert sum(worker.draining for worker in side.workers.workers.values()) == 5
    message = fleet.status(side.key)["plan"]["message"]
    assert ("capped to 1 for now" in message) == (free == 0), message
    most = capacity.get("replicas", 6 + free)
    ended = 0
    while hosts.used() & set(ending):
        fleet.step()
        ended += 1
        asked = fleet.replicas_of("video")
        assert max(asked, fleet.most_pods) <= most
        assert ended < JOB_S + STEPS_S
    assert takes_over(fleet, side, 6)
    fleet.run(3)
    assert shares(fleet, pool) == {"video": (6, 6)}
    assert fleet.lost == []


def test_the_condition_of_nodes_that_go_says_what_a_full_pool_has_no_room_for() -> None:
    fleet = Fleet()
    hosts = Hosts(fleet, 20)
    fleet.create_pool("gpu", {"replicas": 7})
    side = fleet.add("video", spec(minReplicas=6, maxReplicas=6))
    side.queue.visible = 10_000
    assert takes_over(fleet, side, 6)
    fleet.run(3)
    pod_nodes(fleet).ready_after_s = None

    hosts.taint(DISRUPTED, "host-0", "host-1", "host-2")
    fleet.run(3)

    message = fleet.condition(side.key, "CapacityAvailable")["message"]
    assert message.startswith(
        "3 pods leave with their nodes, 4 besides are requested and 2 more when pool gpu has room"
    )


def test_nodes_that_may_not_be_read_are_no_capacity() -> None:
    fleet = Fleet()
    fleet.cluster.sees_nodes = False  # type: ignore[misc]
    pool = fleet.create_pool("gpu", {"fromNodes": {}})

    fleet.run(3)

    assert fleet.condition(pool, "CapacityKnown")["reason"] == "Forbidden"
    assert "nodes.enabled" in fleet.condition(pool, "Ready")["message"]


def test_without_the_kind_queues_are_scaled_without_pools() -> None:
    fleet = Fleet()
    fleet.cluster.pools_served = False  # type: ignore[misc]
    side = fleet.add("video", spec())
    side.queue.visible = 10_000

    assert takes_over(fleet, side, 20)

    fleet.run(3)
    condition = fleet.condition(side.key, "PoolAvailable")
    assert (condition["status"], condition["reason"]) == ("False", "PoolNotFound")
    assert "cannot read WorkerPools" in condition["message"]


def test_a_pool_with_an_invalid_spec_is_reported_and_nobody_loses_a_worker() -> None:
    fleet, bulk, _, pool = contended()
    fleet.edit_queue(pool, lambda obj: obj["spec"].update(capacity={}))

    fleet.run(20)

    condition = fleet.condition(pool, "Ready")
    assert (condition["status"], condition["reason"]) == ("False", "InvalidSpec")
    assert fleet.condition(bulk.key, "PoolAvailable")["reason"] == "PoolInvalid"
    assert len(bulk.workers.workers) == CAPACITY
    fleet.edit_queue(pool, lambda obj: obj["spec"].update(capacity={"replicas": 2}))
    assert takes_over(fleet, bulk, 2)
    assert fleet.lost == []


@pytest.mark.parametrize("call", ["scale", "annotate_pod", "apply_status", "pool"])
def test_a_hand_over_survives_errors_of_the_api_server(call: str) -> None:
    fleet, _, urgent, _ = contended()
    urgent.queue.visible = 1000
    for n in range(20):
        fleet.cluster.fail(call, Unavailable("no answer") if n % 2 else Conflict("changed"))
        fleet.step()

    assert takes_over(fleet, urgent)

    assert fleet.most_pods == CAPACITY
    assert fleet.lost == []


def test_a_roll_out_in_a_full_pool_makes_room_first() -> None:
    fleet, bulk, _, _ = contended()
    serving: list[int] = []
    fleet.edit_queue(
        bulk.key, lambda obj: obj["spec"]["worker"]["template"].update(image="worker:2")
    )

    def done() -> bool:
        serving.append(sum(not w.draining for w in bulk.workers.workers.values()))
        return all("worker:2" in str(pod["spec"]) for pod in fleet.cluster.of_kind("Pod"))

    assert fleet.run(300, until=done)
    assert takes_over(fleet, bulk)
    assert fleet.most_pods == CAPACITY
    assert min(serving) >= CAPACITY - 3
    assert fleet.lost == []


def deleted(fleet: Fleet, pool: Key) -> str:
    fleet.cluster.delete((POOL, pool.namespace, pool.name))
    return "PoolNotFound"


def of_a_quota(fleet: Fleet, pool: Key) -> None:
    capacity = {"fromResourceQuota": {"name": "gpus", "resource": "pods"}}
    fleet.edit_queue(pool, lambda obj: obj["spec"].update(capacity=capacity))


def unknown(fleet: Fleet, pool: Key) -> str:
    of_a_quota(fleet, pool)
    return "CapacityUnknown"


def taken(fleet: Fleet, pool: Key) -> str:
    old = fleet.create_pool("elder", {"replicas": 1})
    old_at = {"creationTimestamp": "2020-01-01T00:00:00Z"}
    fleet.edit_queue(old, lambda obj: obj["metadata"].update(old_at))
    for which in (old, pool):
        of_a_quota(fleet, which)
    return "CapacityTaken"


@pytest.mark.parametrize("happens", [deleted, unknown, taken])
def test_a_roll_out_without_a_capacity_keeps_what_there_is(
    happens: Callable[[Fleet, Key], str],
) -> None:
    fleet, bulk, _, pool = contended()
    reason = happens(fleet, pool)
    fleet.touch()
    fleet.run(20)
    assert fleet.condition(bulk.key, "PoolAvailable")["reason"] == reason
    fleet.edit_queue(
        bulk.key, lambda obj: obj["spec"]["worker"]["template"].update(image="worker:2")
    )

    def done() -> bool:
        pods = fleet.cluster.of_kind("Pod")
        return sum("worker:2" in str(pod["spec"]) for pod in pods) == CAPACITY == len(pods)

    assert fleet.run(300, until=done)
    assert fleet.most_pods == CAPACITY
    assert fleet.lost == []


def test_pods_that_become_ready_before_slow_controllers_remove_them_take_nothing() -> None:
    fleet, bulk, _, pool = contended()
    nodes = pod_nodes(fleet)
    nodes.ready_after_s, nodes.loads_s = 6.0, 3.0
    fleet.edit_queue(pool, lambda obj: obj["spec"]["capacity"].update(replicas=12))
    fleet.edit_queue(bulk.key, lambda obj: obj["spec"]["scaling"].update(maxReplicas=12))
    assert fleet.run(30, until=lambda: len(fleet.cluster.of_kind("Pod")) == 12)
    nodes.acts_after_s = 6.0
    fleet.edit_queue(pool, lambda obj: obj["spec"]["capacity"].update(replicas=CAPACITY))

    assert fleet.run(20, until=lambda: len(fleet.nodes.removed) == 4)

    assert fleet.lost == []
    assert len(bulk.workers.workers) == CAPACITY


def test_a_new_operator_counts_pods_that_slow_controllers_have_not_deleted_yet() -> None:
    fleet, bulk, urgent, _ = contended()
    pod_nodes(fleet).acts_after_s = 15.0
    urgent.queue.visible = 500
    assert fleet.run(60, until=lambda: fleet.replicas_of("bulk") < CAPACITY)

    # The one that gains is decided first.
    fleet.keys.reverse()
    fleet.start()
    taken: list[int] = []

    def taken_over() -> bool:
        taken.append(len(bulk.workers.workers) + fleet.replicas_of("urgent"))
        return len(urgent.workers.workers) == CAPACITY

    assert fleet.run(120, until=taken_over)
    assert max(taken) == CAPACITY
    assert fleet.lost == []


def test_a_roll_out_uses_room_that_nobody_has() -> None:
    fleet, bulk, _, pool = contended()
    fleet.edit_queue(bulk.key, lambda obj: obj["spec"]["scaling"].update(maxReplicas=8))
    fleet.edit_queue(pool, lambda obj: obj["spec"]["capacity"].update(replicas=9))
    fleet.run(5)
    fleet.edit_queue(
        bulk.key, lambda obj: obj["spec"]["worker"]["template"].update(image="worker:2")
    )
    serving: list[int] = []

    def done() -> bool:
        serving.append(sum(not w.draining for w in bulk.workers.workers.values()))
        return all("worker:2" in str(pod["spec"]) for pod in fleet.cluster.of_kind("Pod"))

    assert fleet.run(600, until=done)
    assert fleet.most_pods == 9
    assert min(serving) >= CAPACITY - 1
    assert fleet.lost == []


def test_many_queues_come_and_go_and_the_capacity_holds() -> None:
    rng = random.Random(11)
    fleet = Fleet()
    pod_nodes(fleet).ends_after_s = 2.0
    pod_nodes(fleet).ready_after_s = 3.0
    fleet.create_pool("gpu", {"replicas": 12})
    names = [f"q{number}" for number in range(4)]
    for number, name in enumerate(names):
        fleet.add(name, spec(membership={"priority": number % 3 * 100, "guaranteed": 1}))
    for _ in range(12):
        fleet.sides[rng.choice(names)].queue.visible += rng.randint(0, 40)
        fleet.run(rng.randint(3, 15))
        if rng.random() < 0.2:
            fleet.start()

    assert fleet.most_pods <= 12
    assert fleet.lost == []
    assert fleet.run(900, until=lambda: not any(s.queue.visible for s in fleet.sides.values()))


@pytest.mark.parametrize(
    ("capacity", "cordoned"),
    [
        pytest.param({"replicas": 6}, 3, id="replicas, some"),
        pytest.param({"replicas": 6}, 6, id="replicas, all"),
        pytest.param({"resource": {"name": GPU, "quantity": 13}}, 6, id="resource, all"),
        pytest.param({"fromNodes": {"selector": {"pool": "gpu"}}}, 6, id="nodes, all"),
    ],
)
def test_nodes_that_are_cordoned_in_a_full_pool_are_left_as_substitutes_become_ready(
    capacity: dict[str, Any], cordoned: int
) -> None:
    fleet = Fleet()
    hosts = Hosts(fleet, 6)
    pool = fleet.create_pool("gpu", capacity)
    side = six_busy(fleet)
    for node in fleet.cluster.of_kind("Node"):
        with_gpus(fleet, node["metadata"]["name"])
    assert takes_over(fleet, side, 6)
    pod_nodes(fleet).ready_after_s = 5.0
    going = [f"host-{number}" for number in range(cordoned)]

    hosts.cordon(*going)
    fleet.run(60)
    # No other node is there, so that most of them go on.
    assert takers(side) >= 4
    for number in range(6):
        hosts.add(f"host-{number + 10}")
        with_gpus(fleet, f"host-{number + 10}")
    serving: list[int] = []

    def left() -> bool:
        serving.append(takers(side))
        return not hosts.used() & set(going)

    assert fleet.run(200, until=left)
    assert min(serving) >= 4
    assert takes_over(fleet, side, 6)
    fleet.run(10)
    assert shares(fleet, pool) == {"video": (6, 6)}
    assert fleet.most_pods <= (12 if "fromNodes" in capacity else 6)
    assert fleet.lost == []


def takers(side: Side) -> int:
    return sum(not worker.draining for worker in side.workers.workers.values())


def with_gpus(fleet: Fleet, name: str) -> None:
    status = {"allocatable": {GPU: "2"}, "conditions": [NODE_READY]}
    fleet.cluster.edit(("Node", "", name), lambda node: node["status"].update(status))
    fleet.touch()
