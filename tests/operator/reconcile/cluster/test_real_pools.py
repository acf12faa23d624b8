"""Pools on a real API server: its controllers, and its rules for statuses."""

import contextlib
import copy
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from detection_operator.crd.manifest import PLURAL, POOL_PLURAL
from detection_operator.errors import Rejected
from detection_operator.kube.port import Key
from detection_operator.kube.rest import Rest
from detection_testing.kubernetes.apiserver import ApiServer
from detection_testing.kubernetes.controllers import GPU
from detection_testing.scenes.api_scene import ApiScene
from detection_testing.scenes.fleet import Fleet, Side
from detection_testing.scenes.hosts import Hosts
from detection_testing.scenes.world import MINIMAL

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

CAPACITY = 4


@pytest.fixture
def fleet(api_server: ApiServer) -> Iterator[Fleet]:
    if not api_server.controllers:
        pytest.skip("NO CONTROLLERS: kube-controller-manager not found beside kube-apiserver")
    with (
        contextlib.closing(Rest(api_server.configuration())) as operator,
        contextlib.closing(Rest(api_server.configuration())) as admin,
    ):
        yield Fleet(cluster=ApiScene(operator, admin, f"pools-{uuid.uuid4().hex[:8]}"))


def spec(priority: int = 0, **scaling: Any) -> dict[str, Any]:
    made = copy.deepcopy(dict(MINIMAL))
    made["queue"] = {"pollIntervalSeconds": 1}
    made["scaling"] |= {"idle": {"policy": "Fixed", "fixedSeconds": 2}, **scaling}
    made["scaling"]["scaleDown"] = {"holdSeconds": 2, "maxPercent": 100}
    made["scaling"]["pool"] = {"name": "gpu", "priority": priority}
    return made


def contended(fleet: Fleet) -> tuple[Side, Side, Key]:
    pool = fleet.create_pool("gpu", {"replicas": CAPACITY})
    bulk = fleet.add("bulk", spec(), service_s=4.0)
    urgent = fleet.add("urgent", spec(100), service_s=4.0)
    bulk.queue.visible = 10_000
    assert fleet.run(60, until=lambda: len(bulk.workers.workers) == CAPACITY)
    fleet.run(3)
    return bulk, urgent, pool


def takes_over(fleet: Fleet, side: Side, count: int = CAPACITY) -> bool:
    return fleet.run(90, until=lambda: len(side.workers.workers) == count)


def delete(fleet: Fleet, key: Key, plural: str) -> None:
    assert isinstance(fleet.cluster, ApiScene)
    fleet.cluster.delete((key.kind, key.namespace, key.name))
    assert plural in {PLURAL, POOL_PLURAL}
    fleet.touch()


def test_an_urgent_queue_takes_over_and_the_status_fits_the_schema(fleet: Fleet) -> None:
    bulk, urgent, pool = contended(fleet)
    urgent.queue.visible = 500

    assert takes_over(fleet, urgent)

    assert fleet.most_pods == CAPACITY
    assert fleet.lost == []
    fleet.run(20)
    status = fleet.status(pool)
    assert (status["capacity"], status["granted"], status["held"]) == (4, 4, 4)
    assert {item["name"]: item["granted"] for item in status["queues"]} == {"bulk": 0, "urgent": 4}
    assert {item["status"] for item in status["conditions"]} == {"True"}
    assert fleet.condition(bulk.key, "PoolAvailable")["status"] == "True"


@pytest.mark.parametrize("after_s", [1, 4])
def test_an_operator_that_is_killed_in_the_middle_is_succeeded(fleet: Fleet, after_s: int) -> None:
    _, urgent, _ = contended(fleet)
    urgent.queue.visible = 500
    fleet.run(after_s)
    fleet.kill()
    fleet.run(2)
    fleet.start()

    assert takes_over(fleet, urgent)
    assert fleet.most_pods == CAPACITY
    assert fleet.lost == []


def test_a_capacity_that_is_cut_and_a_pool_that_is_deleted(fleet: Fleet) -> None:
    bulk, urgent, pool = contended(fleet)
    fleet.edit_queue(pool, lambda obj: obj["spec"]["capacity"].update(replicas=2))
    assert takes_over(fleet, bulk, 2)
    assert fleet.lost == []

    delete(fleet, pool, POOL_PLURAL)
    urgent.queue.visible = 500
    fleet.run(10)

    assert (len(bulk.workers.workers), len(urgent.workers.workers)) == (2, 1)
    assert fleet.condition(bulk.key, "PoolAvailable")["reason"] == "PoolNotFound"
    assert fleet.lost == []


def test_a_deleted_queue_leaves_its_share_to_others(fleet: Fleet) -> None:
    assert isinstance(fleet.cluster, ApiScene)
    bulk, urgent, pool = contended(fleet)
    bulk.queue.visible = 0
    delete(fleet, bulk.key, PLURAL)
    urgent.queue.visible = 500

    end_s = time.monotonic() + 60
    while len(urgent.workers.workers) < CAPACITY:
        # The garbage collector takes its own time.
        assert time.monotonic() < end_s, fleet.status(pool)
        fleet.cluster.activity += 1
        fleet.step()
        time.sleep(0.1)

    assert fleet.most_pods == CAPACITY


def test_cordoned_nodes_of_a_full_pool_are_left_as_substitutes_become_ready(fleet: Fleet) -> None:
    hosts = Hosts(fleet, 2 * CAPACITY)
    bulk, _, _ = contended(fleet)
    going = {f"host-{number}" for number in range(CAPACITY)}
    assert hosts.used() == going
    serving: list[int] = []

    def left() -> bool:
        serving.append(sum(not w.draining for w in bulk.workers.workers.values()))
        return not hosts.used() & going

    hosts.cordon(*sorted(going))

    assert fleet.run(90, until=left)
    assert takes_over(fleet, bulk)
    assert min(serving) >= CAPACITY - 1
    assert fleet.most_pods == CAPACITY
    assert fleet.lost == []


def limited(fleet: Fleet, gpus: int) -> Key:
    """Create a quota of GPUs, wait until it counts, and share it."""
    hard = {f"requests.{GPU}": str(gpus)}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}}
    fleet.cluster.create({**quota, "spec": {"hard": hard}})
    wait_for(lambda: fleet.cluster.of_kind("ResourceQuota")[0]["status"].get("hard") == hard)
    return fleet.create_pool("gpu", {"fromResourceQuota": {"name": "gpus"}})


def used(fleet: Fleet) -> int:
    quota = fleet.cluster.of_kind("ResourceQuota")[0]
    return int(quota["status"]["used"][f"requests.{GPU}"])


def wait_for(found: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def with_gpu(made: dict[str, Any]) -> dict[str, Any]:
    made["worker"] = copy.deepcopy(made["worker"])
    made["worker"]["template"]["resources"] = {"limits": {GPU: 1}}
    return made


def notebook(name: str) -> dict[str, Any]:
    resources = {"limits": {GPU: "1"}}
    container = {"name": "notebook", "image": "notebook:1", "resources": resources}
    metadata, pod = {"name": name}, {"containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}


def test_a_quota_is_shared_with_pods_of_others(fleet: Fleet) -> None:
    assert isinstance(fleet.cluster, ApiScene)
    pool = limited(fleet, 4)
    fleet.cluster.create(notebook("theirs"))
    bulk = fleet.add("bulk", with_gpu(spec()), service_s=4.0)
    bulk.queue.visible = 10_000

    assert takes_over(fleet, bulk, 3)
    fleet.run(40)

    assert (fleet.status(pool)["capacity"], used(fleet), len(bulk.workers.workers)) == (3, 4, 3)
    assert "1 of them are used by others" in fleet.condition(pool, "CapacityKnown")["message"]
    assert fleet.condition(bulk.key, "PoolAvailable")["status"] == "True"

    fleet.cluster.delete(("Pod", fleet.cluster.namespace, "theirs"))
    fleet.run(1)
    wait_for(lambda: used(fleet) == 3)
    assert takes_over(fleet, bulk, 4)
    assert used(fleet) == 4


def test_a_quota_that_counts_what_is_gone_delays_a_hand_over_and_no_more(fleet: Fleet) -> None:
    pool = limited(fleet, CAPACITY)
    bulk = fleet.add("bulk", with_gpu(spec()), service_s=4.0)
    urgent = fleet.add("urgent", with_gpu(spec(100)), service_s=4.0)
    bulk.queue.visible = 10_000
    assert takes_over(fleet, bulk)
    fleet.run(20)
    urgent.queue.visible = 500

    assert takes_over(fleet, urgent)
    fleet.run(40)

    assert (fleet.status(pool)["capacity"], used(fleet)) == (CAPACITY, CAPACITY)
    assert fleet.lost == []


POLICIES = "/apis/admissionregistration.k8s.io/v1"


@contextlib.contextmanager
def limited_by_policy(fleet: Fleet, most: int) -> Iterator[None]:
    """Let no Deployment of the urgent queue be scaled above ``most``."""
    assert isinstance(fleet.cluster, ApiScene)
    admin, name = fleet.cluster.admin, fleet.cluster.namespace
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["deployments/scale"],
    }
    namespace = {"matchLabels": {"kubernetes.io/metadata.name": name}}
    policy = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": namespace},
        "validations": [
            {
                "expression": f"!object.metadata.name.startsWith('urgent') "
                f"|| object.spec.replicas <= {most}",
                "message": f"no more than {most} GPUs for this team",
            }
        ],
    }
    kinds = {
        "ValidatingAdmissionPolicy": policy,
        "ValidatingAdmissionPolicyBinding": {"policyName": name, "validationActions": ["Deny"]},
    }
    paths = [f"{POLICIES}/{plural}" for plural in map(plural_of, kinds)]
    for path, (kind, made) in zip(paths, kinds.items(), strict=True):
        body = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "spec": made}
        admin.call("POST", path, {**body, "metadata": {"name": name}})
    try:
        yield
    finally:
        for path in paths:
            admin.call("DELETE", f"{path}/{name}")


def plural_of(kind: str) -> str:
    return {"y": kind.lower()[:-1] + "ies", "g": kind.lower() + "s"}[kind[-1]]


def is_limited(fleet: Fleet, most: int) -> bool:
    """Say whether the policy counts already: the server reads it a moment later."""
    assert isinstance(fleet.cluster, ApiScene)
    (name,) = (d["metadata"]["name"] for d in urgent_deployments(fleet))
    path = f"/apis/apps/v1/namespaces/{fleet.cluster.namespace}/deployments/{name}/scale"
    scale = fleet.cluster.admin.call("GET", path)
    scale["spec"]["replicas"] = most + 1
    try:
        fleet.cluster.admin.call("PUT", path, scale, query={"dryRun": "All"})
    except Rejected:
        return True
    return False


def urgent_deployments(fleet: Fleet) -> list[dict[str, Any]]:
    found = fleet.cluster.of_kind("Deployment")
    return [item for item in found if item["metadata"]["name"].startswith("urgent")]


def test_replicas_that_an_admission_policy_refuses_go_to_others(fleet: Fleet) -> None:
    bulk, urgent, _ = contended(fleet)
    with limited_by_policy(fleet, 1):
        wait_for(lambda: is_limited(fleet, 1))
        urgent.queue.visible = 500

        assert takes_over(fleet, urgent, 1)
        assert takes_over(fleet, bulk, CAPACITY - 1)
        told = fleet.condition(urgent.key, "CapacityAvailable")
        assert (told["status"], told["reason"]) == ("False", "ScaleRefused")
        assert "no more than 1 GPUs for this team" in told["message"]
        assert fleet.errors == []

    assert fleet.run(400, until=lambda: len(urgent.workers.workers) == CAPACITY)
    assert fleet.most_pods == CAPACITY
    assert fleet.lost == []
