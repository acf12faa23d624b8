"""The spec of a WorkerPool, and what a DetectionQueue says of its part in one."""

from typing import Any

import pytest

from detection_operator.spec.parse import parse_spec
from detection_operator.spec.scaling import PoolMembership
from detection_operator.spec.validation import InvalidSpec, manifest_value
from detection_operator.spec.worker_pool import PoolSpec, Sharing, parse_pool


def test_a_pool_needs_only_a_capacity() -> None:
    pool = parse_pool({"capacity": {"replicas": 16}})

    assert pool.capacity.replicas == 16
    assert pool.sharing is Sharing.PRIORITY
    assert manifest_value(pool) == {"capacity": {"replicas": 16}, "sharing": "Priority"}


def test_all_sources_of_a_capacity() -> None:
    def source(**given: Any) -> PoolSpec:
        return parse_pool({"capacity": given, "sharing": "Fair"})

    assert source(resource={"quantity": 0}).capacity.resource is not None
    quota = source(fromResourceQuota={"name": "gpus"}).capacity.from_resource_quota
    assert quota is not None
    assert quota.resource == "requests.nvidia.com/gpu"
    nodes = source(fromNodes={"selector": {"pool": "a10"}}).capacity.from_nodes
    assert nodes is not None
    assert (dict(nodes.selector), nodes.resource) == ({"pool": "a10"}, "nvidia.com/gpu")


@pytest.mark.parametrize(
    ("spec", "field", "why"),
    [
        pytest.param({}, "capacity", "is required", id="nothing"),
        pytest.param({"capacity": {}}, "capacity", "exactly one", id="no source"),
        pytest.param(
            {"capacity": {"replicas": 1, "fromNodes": {}}}, "capacity", "exactly one", id="two"
        ),
        pytest.param(
            {"capacity": {"replicas": -1}}, "capacity.replicas", "between", id="negative"
        ),
        pytest.param({"capacity": {"replicas": True}}, "capacity.replicas", "whole", id="a flag"),
        pytest.param(
            {"capacity": {"resource": {"quantity": "1500m"}}},
            "capacity.resource.quantity",
            "no whole number",
            id="a fraction",
        ),
        pytest.param(
            {"capacity": {"resource": {"name": "a b", "quantity": 1}}},
            "capacity.resource.name",
            "does not match",
            id="no resource",
        ),
        pytest.param(
            {"capacity": {"fromResourceQuota": {}}},
            "capacity.fromResourceQuota.name",
            "is required",
            id="a quota without a name",
        ),
        pytest.param(
            {"capacity": {"fromNodes": {"selector": {"a": 1}}}},
            "capacity.fromNodes.selector.a",
            "is not a string",
            id="a label that is a number",
        ),
        pytest.param(
            {"capacity": {"fromNodes": {"selector": {"matchLabels": {"a": "b"}}}}},
            "capacity.fromNodes.selector.matchLabels",
            "is not a string",
            id="a selector of Kubernetes",
        ),
        pytest.param(
            {"capacity": {"replicas": 1}, "sharing": "Lottery"}, "sharing", "none of", id="sharing"
        ),
        pytest.param({"capacity": {"replicas": 1}, "x": 1}, "x", "unknown", id="unknown"),
    ],
)
def test_what_is_wrong_is_refused_with_its_field(
    spec: dict[str, Any], field: str, why: str
) -> None:
    with pytest.raises(InvalidSpec, match=why) as refusal:
        parse_pool(spec)

    assert refusal.value.field == field


def test_a_queue_without_a_pool_is_in_none(minimal: dict[str, Any]) -> None:
    assert parse_spec(minimal).scaling.pool is None


def test_a_queue_may_name_its_pool_alone(minimal: dict[str, Any]) -> None:
    pool = parse_spec({**minimal, "scaling": {"pool": {"name": "gpu-a10"}}}).scaling.pool

    assert pool == PoolMembership(name="gpu-a10", priority=0, weight=1, guaranteed=0, borrow=True)


@pytest.mark.parametrize(
    ("scaling", "field"),
    [
        pytest.param({"pool": {}}, "scaling.pool.name", id="no name"),
        pytest.param({"pool": {"name": "A"}}, "scaling.pool.name", id="no name of a pool"),
        pytest.param({"pool": {"name": "a" * 64}}, "scaling.pool.name", id="a long name"),
        pytest.param({"pool": {"name": "a", "weight": 0}}, "scaling.pool.weight", id="no weight"),
        pytest.param(
            {"maxReplicas": 3, "pool": {"name": "a", "guaranteed": 4}},
            "scaling.pool.guaranteed",
            id="guaranteed above maxReplicas",
        ),
        pytest.param(
            {"pool": {"name": "a", "borrow": False}},
            "scaling.pool.guaranteed",
            id="nothing at all",
        ),
        pytest.param(
            {"minReplicas": 3, "pool": {"name": "a", "guaranteed": 2, "borrow": False}},
            "scaling.minReplicas",
            id="minReplicas that it can never have",
        ),
    ],
)
def test_a_wrong_part_in_a_pool_is_refused(
    minimal: dict[str, Any], scaling: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        parse_spec({**minimal, "scaling": scaling})

    assert refusal.value.field == field


def test_a_queue_that_does_not_borrow_needs_a_guarantee(minimal: dict[str, Any]) -> None:
    scaling = {"minReplicas": 2, "pool": {"name": "a", "guaranteed": 2, "borrow": False}}

    member = parse_spec({**minimal, "scaling": scaling}).scaling.pool

    assert member is not None
    assert not member.borrow
