"""What a real API server says of a WorkerPool: rules, defaults and status."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from detection_operator.crd.manifest import GROUP, POOL_KIND, POOL_PLURAL, VERSION
from detection_operator.errors import Rejected
from detection_operator.kube.rest import MERGE_PATCH, Rest
from detection_operator.spec.validation import InvalidSpec
from detection_operator.spec.worker_pool import parse_pool
from detection_testing.kubernetes.apiserver import ApiServer

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


class Pools:
    """WorkerPools of one namespace."""

    def __init__(self, admin: Rest) -> None:
        self.admin = admin
        self.namespace = f"pools-{uuid.uuid4().hex[:8]}"
        self.path = f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/{POOL_PLURAL}"
        admin.call(
            "POST",
            "/api/v1/namespaces",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}},
        )

    def create(self, spec: dict[str, Any], name: str = "gpu-a10") -> Any:
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": POOL_KIND,
            "metadata": {"name": name},
            "spec": spec,
        }
        return self.admin.call("POST", self.path, body)


@pytest.fixture
def pools(api_server: ApiServer) -> Iterator[Pools]:
    admin = Rest(api_server.configuration())
    yield Pools(admin)
    admin.close()


SOURCES: list[dict[str, Any]] = [
    {"replicas": 16},
    {"resource": {"name": "nvidia.com/mig-1g.5gb", "quantity": 0}},
    {"fromResourceQuota": {"name": "gpus"}},
    {"fromNodes": {"selector": {"karpenter.sh/nodepool": "a10"}, "tolerations": [{"key": "x"}]}},
]


def test_every_source_is_taken_and_defaults_are_the_operator_s(pools: Pools) -> None:
    for number, capacity in enumerate(SOURCES):
        made = pools.create({"capacity": capacity}, f"pool-{number}")

        assert parse_pool(made["spec"]) == parse_pool({"capacity": capacity})
        assert made["spec"]["sharing"] == "Priority"


REFUSED = [
    ({}, "spec.capacity: Required value"),
    ({"capacity": {}}, "exactly one of replicas, resource, fromResourceQuota and fromNodes"),
    ({"capacity": {"replicas": 1, "fromNodes": {}}}, "exactly one of"),
    ({"capacity": {"replicas": -1}}, "greater than or equal to 0"),
    ({"capacity": {"resource": {"quantity": "1500m"}}}, "must be of type integer"),
    ({"capacity": {"replicas": 1}, "sharing": "Lottery"}, "Unsupported value"),
    ({"capacity": {"fromNodes": {"selector": {"a": 1}}}}, "must be of type string"),
    (
        {"capacity": {"fromNodes": {"selector": {"matchLabels": {"a": "b"}}}}},
        "must be of type string",
    ),
]


@pytest.mark.parametrize(("spec", "message"), REFUSED)
def test_a_wrong_spec_is_refused_here_and_by_the_operator(
    pools: Pools, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(Rejected, match=message):
        pools.create(spec)
    with pytest.raises(InvalidSpec):
        parse_pool(spec)


def test_a_name_that_no_queue_could_name_is_refused(pools: Pools) -> None:
    with pytest.raises(Rejected, match="at most 63 characters"):
        pools.create({"capacity": {"replicas": 1}}, "p" * 64)


def test_the_status_holds_who_wants_and_has_what(pools: Pools) -> None:
    pools.create({"capacity": {"replicas": 16}})
    ready = {"type": "Ready", "status": "True", "reason": "Allocated", "message": "shared"}
    status = {
        "capacity": 16,
        "wanted": 30,
        "granted": 16,
        "held": 12,
        "members": 1,
        "message": "16 of 16 granted",
        "queues": [{"name": "urgent", "priority": 100, "wanted": 30, "granted": 16, "held": 12}],
        "conditions": [{**ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }
    pools.admin.call(
        "PATCH", f"{pools.path}/gpu-a10/status", {"status": status}, content_type=MERGE_PATCH
    )

    made = pools.admin.call("GET", f"{pools.path}/gpu-a10")
    assert made["status"] == status
