"""Units of a pool: what one replica takes, and whole units from quantities of Kubernetes."""

import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Final

from detection_operator.spec.worker_pool import PoolCapacity

_QUANTITY: Final = re.compile(
    r"(?P<sign>[+-]?)(?P<digits>[0-9]+[.]?[0-9]*|[.][0-9]+)"
    r"(?:(?P<suffix>n|u|m|k|[MGTPE]|[KMGTPE]i)|[eE](?P<power>[+-]?[0-9]{1,2}))?"
)
_SUFFIXES: Final[Mapping[str, Fraction]] = {
    **{suffix: Fraction(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
    "m": Fraction(1, 1000),
    "u": Fraction(1, 1000**2),
    "n": Fraction(1, 1000**3),
}
_QUOTA_PREFIXES: Final = ("requests.", "limits.")


class InvalidQuantity(ValueError):  # noqa: N818 - says what it is
    """A value that Kubernetes takes for no quantity."""


def quantity(value: str | int | float) -> Fraction:
    """Return a quantity of Kubernetes, such as ``2``, ``"1500m"`` or ``"64Gi"``, exactly.

    Raises:
        InvalidQuantity: It is none.
    """
    found = _QUANTITY.fullmatch(str(value))
    if found is None:
        raise InvalidQuantity(f"{value!r} is no quantity")
    number = Fraction(found["digits"]) * (-1 if found["sign"] == "-" else 1)
    if found["power"] is not None:
        return number * Fraction(10) ** int(found["power"])
    return number * _SUFFIXES.get(found["suffix"] or "", Fraction(1))


def whole_units(value: str | int | float) -> int:
    """Return the whole units that a quantity holds: 1 of ``"1500m"``, 0 of a negative one.

    Raises:
        InvalidQuantity: It is none.
    """
    return max(0, math.floor(quantity(value)))


def resource_of(capacity: PoolCapacity) -> str | None:
    """Return the resource that units are counted in; None when they are replicas."""
    if capacity.resource is not None:
        return capacity.resource.name
    if capacity.from_nodes is not None:
        return capacity.from_nodes.resource
    if capacity.from_resource_quota is None:
        return None
    limited = capacity.from_resource_quota.resource
    prefix = next((item for item in _QUOTA_PREFIXES if limited.startswith(item)), "")
    bare = limited.removeprefix(prefix)
    return None if bare in {"pods", "count/pods"} else bare


def units_each(capacity: PoolCapacity, pod_spec: Mapping[str, Any]) -> int:
    """Return the units that one replica takes, at least 1.

    That is the sum of the limits of its containers, else of their requests, rounded up: two
    replicas of ``"1500m"`` take four units. A pod that names none of the resource counts as one,
    so that no pool is without bounds.

    Args:
        capacity: The pool's.
        pod_spec: ``spec`` of the pod template.

    Raises:
        InvalidQuantity: A limit is no quantity.
    """
    resource = resource_of(capacity)
    if resource is None:
        return 1
    sidecars = [
        item
        for item in pod_spec.get("initContainers") or ()
        if item.get("restartPolicy") == "Always"
    ]
    taken = _sum(resource, (*(pod_spec.get("containers") or ()), *sidecars))
    first = max(
        (_sum(resource, (item,)) for item in pod_spec.get("initContainers") or ()),
        default=Fraction(0),
    )
    return max(1, math.ceil(max(taken, first)))


def _sum(resource: str, containers: Iterable[Mapping[str, Any]]) -> Fraction:
    total = Fraction(0)
    for container in containers:
        resources = container.get("resources") or {}
        named = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
        total += quantity(named.get(resource) or 0)
    return total
