from fractions import Fraction
from typing import Any

import pytest

from detection_operator.scaling.pools.units import (
    InvalidQuantity,
    quantity,
    resource_of,
    units_each,
    whole_units,
)
from detection_operator.spec.worker_pool import PoolCapacity, parse_pool


def capacity(**source: Any) -> PoolCapacity:
    return parse_pool({"capacity": source}).capacity


GPUS = capacity(resource={"quantity": 16})


def limits(*quantities: Any) -> dict[str, Any]:
    return {"containers": [{"resources": {"limits": {"nvidia.com/gpu": q}}} for q in quantities]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (2, 2),
        ("2", 2),
        ("1500m", Fraction(3, 2)),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("1.", 1),
        (1.5, Fraction(3, 2)),
        ("64Gi", 64 * 1024**3),
        ("1k", 1000),
        ("2E", 2 * 10**18),
        ("2e3", 2000),
        ("2E-1", Fraction(1, 5)),
        ("-3", -3),
        ("+3", 3),
        ("7n", Fraction(7, 10**9)),
        ("7u", Fraction(7, 10**6)),
    ],
)
def test_quantities_are_read_exactly(text: Any, value: Any) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize("text", ["", "x", "1x", "1 Gi", "1KI", "--1", "1e", "None", "1e999", "½"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(InvalidQuantity, match="is no quantity"):
        quantity(text)


def test_capacity_is_rounded_down() -> None:
    assert [whole_units(text) for text in ("1500m", "16", "-1", "900m")] == [1, 16, 0, 0]


@pytest.mark.parametrize(
    ("pod", "each"),
    [
        pytest.param(limits(1), 1, id="one"),
        pytest.param(limits("2", 1), 3, id="containers add up"),
        pytest.param(limits("1500m"), 2, id="rounded up"),
        pytest.param(limits(0), 1, id="none of it counts as one"),
        pytest.param({}, 1, id="an empty pod"),
        pytest.param({"containers": [{}, {"resources": None}]}, 1, id="no resources"),
        pytest.param(
            {"containers": [{"resources": {"requests": {"nvidia.com/gpu": 2}}}]}, 2, id="requests"
        ),
        pytest.param({**limits(1), "initContainers": limits(4)["containers"]}, 4, id="init"),
        pytest.param(
            {
                **limits(1),
                "initContainers": [{**limits(2)["containers"][0], "restartPolicy": "Always"}],
            },
            3,
            id="a sidecar runs beside",
        ),
    ],
)
def test_a_replica_takes_what_its_pod_is_limited_to(pod: dict[str, Any], each: int) -> None:
    assert units_each(GPUS, pod) == each


def test_replicas_take_one_each_whatever_their_pods_need() -> None:
    assert units_each(capacity(replicas=3), limits(8)) == 1
    assert (
        units_each(capacity(fromResourceQuota={"name": "q", "resource": "pods"}), limits(8)) == 1
    )


def test_a_limit_that_is_no_quantity_is_refused() -> None:
    with pytest.raises(InvalidQuantity):
        units_each(GPUS, limits("many"))


@pytest.mark.parametrize(
    ("source", "resource"),
    [
        ({"replicas": 2}, None),
        ({"resource": {"name": "amd.com/gpu", "quantity": 1}}, "amd.com/gpu"),
        ({"fromNodes": {}}, "nvidia.com/gpu"),
        ({"fromResourceQuota": {"name": "q"}}, "nvidia.com/gpu"),
        ({"fromResourceQuota": {"name": "q", "resource": "limits.memory"}}, "memory"),
        ({"fromResourceQuota": {"name": "q", "resource": "cpu"}}, "cpu"),
        ({"fromResourceQuota": {"name": "q", "resource": "count/pods"}}, None),
    ],
)
def test_units_are_counted_in_the_resource_of_the_capacity(
    source: dict[str, Any], resource: str | None
) -> None:
    assert resource_of(capacity(**source)) == resource
