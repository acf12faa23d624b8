"""Quantities of resources: their text, and what a pod or a node has of one. Pure."""

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from detection_operator.kube.port import Object

_TEXT: Final = re.compile(r"([+-]?[0-9]+\.?[0-9]*|[+-]?\.[0-9]+)([a-zA-Z]*)([+-]?[0-9]+)?")
_SUFFIXES: Final = {
    "": Decimal(1),
    **{
        name: Decimal(10) ** power
        for name, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
    },
    **{f"{name}i": Decimal(1024) ** power for power, name in enumerate("KMGTPE", start=1)},
}
REQUESTS: Final = "requests."
LIMITS: Final = "limits."
PODS: Final = frozenset({"pods", "count/pods"})


def quantity(text: object) -> Decimal | None:
    """Return a quantity such as ``2``, ``500m``, ``1.5Gi`` or ``12e3``; None if it is none."""
    found = _TEXT.fullmatch(str(text))
    if found is None:
        return None
    number, suffix, exponent = found.groups()
    if suffix in {"e", "E"} and exponent:
        return Decimal(number) * Decimal(10) ** int(exponent)
    if suffix not in _SUFFIXES or exponent:
        return None
    return Decimal(number) * _SUFFIXES[suffix]


def whole(text: object) -> int:
    """Return the whole units in a quantity, at least 0; 0 for what is no quantity."""
    return max(0, math.floor(quantity(text) or 0))


def units_of_pod(spec: Object, resource: str) -> int:
    """Return the units of a resource that a pod takes, rounded up; 0 if it asks for none.

    As the scheduler counts: its containers together, or one that runs before them and needs more.

    Args:
        spec: Spec of the pod.
        resource: Name of the resource, also with ``requests.`` or ``limits.`` before it, as quotas
            have it. Without, a limit counts before a request.
    """
    if resource in PODS:
        return 1
    early = list(spec.get("initContainers") or ())
    sidecars = [item for item in early if item.get("restartPolicy") == "Always"]
    together = _sum([*(spec.get("containers") or ()), *sidecars], resource)
    first = max((_sum([item], resource) for item in early), default=Decimal(0))
    return math.ceil(max(together, first))


def bare(resource: str) -> str:
    """Return the name of a resource as containers and nodes have it."""
    return resource.removeprefix(REQUESTS).removeprefix(LIMITS)


def of_quota(resource: str) -> str:
    """Return the full name of what a quota limits: its ``cpu`` is ``requests.cpu``."""
    if resource in PODS or resource.startswith((REQUESTS, LIMITS)):
        return resource
    return f"{REQUESTS}{resource}"


def _sum(containers: Iterable[Mapping[str, Any]], resource: str) -> Decimal:
    return sum((_of_container(item, resource) for item in containers), Decimal(0))


def _of_container(container: Mapping[str, Any], resource: str) -> Decimal:
    parts = container.get("resources") or {}
    order = ("requests", "limits") if resource.startswith(REQUESTS) else ("limits", "requests")
    for name in order:
        value = quantity((parts.get(name) or {}).get(bare(resource)))
        if value is not None:
            return max(Decimal(0), value)
    return Decimal(0)
