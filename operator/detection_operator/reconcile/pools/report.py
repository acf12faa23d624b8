"""The status of a WorkerPool: sums, each queue, and conditions. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from detection_operator.kube.objects import timestamp
from detection_operator.reconcile.pools.capacity import Capacity
from detection_operator.reconcile.report.conditions import Condition
from detection_operator.reconcile.report.status import merged
from detection_operator.scaling.pools.share import Allocation
from detection_operator.spec.pool_status import QUEUES_MAX
from detection_operator.spec.status import MESSAGE_MAX

NAMED: Final = 3
"""Queues that the message names."""
NEWS: Final = ("observedGeneration", "capacity", "granted", "members")
"""Fields of a status whose change is written at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReport:
    """Everything that the status of a pool is made from.

    Attributes:
        capacity: What there is to share.
        allocation: Who may run what.
        generation: Generation of the spec.
        now_s: The present, seconds since the epoch.
        invalid: Why the spec cannot be followed; None when it can.
    """

    capacity: Capacity
    allocation: Allocation
    generation: int
    now_s: float
    invalid: str | None = None


def pool_status(report: PoolReport, previous: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole status; times of what did not change come from ``previous``."""
    found = report.allocation
    status: dict[str, Any] = {
        "observedGeneration": report.generation,
        "computedAt": timestamp(report.now_s),
        "capacity": report.capacity.units,
        "wanted": found.wanted,
        "granted": found.granted,
        "held": found.held,
        "members": len(found.demands),
        "message": message(report)[:MESSAGE_MAX],
        "queues": _queues(found),
        "conditions": merged(conditions(report), report.generation, report.now_s, previous),
    }
    return {name: value for name, value in status.items() if value is not None}


def message(report: PoolReport) -> str:
    """Return who has what, in a sentence."""
    found, units = report.allocation, report.capacity.units
    total = "an unknown capacity" if units is None else f"{units}"
    granted = [
        (found.grants[key].share * demand.units_each, demand)
        for key, demand in found.demands.items()
    ]
    most = sorted((item for item in granted if item[0]), key=lambda item: (-item[0], item[1].key))
    parts = [f"{share} to '{demand.key}' (priority {demand.priority})" for share, demand in most]
    if len(parts) > NAMED:
        rest = sum(share for share, _ in most[NAMED:])
        parts = [*parts[:NAMED], f"{rest} to {len(most) - NAMED} more queues"]
    text = f"{found.granted} of {total} granted"
    if parts:
        text += f": {', '.join(parts)}"
    short = found.wanted - found.granted
    return f"{text}; {short} more wanted" if short > 0 else text


def conditions(report: PoolReport) -> list[Condition]:
    """Return the conditions, the most important first."""
    capacity = report.capacity
    known = _condition(
        "CapacityKnown",
        _known(capacity),
        capacity.reason,
        capacity.message,
    )
    return [_ready(report, known), known, _guarantees(report), _within(report)]


def _known(capacity: Capacity) -> str:
    if capacity.reason == "NotReadYet":
        return "Unknown"
    return "True" if capacity.units is not None else "False"


def _ready(report: PoolReport, known: Condition) -> Condition:
    if report.invalid is not None:
        return _condition("Ready", "False", "InvalidSpec", report.invalid)
    if known.status != "True":
        return Condition(
            type="Ready", status=known.status, reason=known.reason, message=known.message
        )
    return _condition("Ready", "True", "Allocated", message(report))


def _guarantees(report: PoolReport) -> Condition:
    name, units = "GuaranteesCovered", report.capacity.units
    promised = sum(
        max(demand.guaranteed, demand.fewest) * demand.units_each
        for demand in report.allocation.demands.values()
    )
    if units is None:
        return _condition(name, "Unknown", "CapacityUnknown", "the capacity is unknown")
    text = f"guarantees and minimums are {promised} of {units}"
    if promised > units:
        return _condition(name, "False", "Exceeded", f"{text}: not all can be kept")
    return _condition(name, "True", "Covered", text)


def _within(report: PoolReport) -> Condition:
    name, units, held = "WithinCapacity", report.capacity.units, report.allocation.held
    if units is None:
        return _condition(name, "Unknown", "CapacityUnknown", "the capacity is unknown")
    if held > units:
        text = f"{held} exist for a capacity of {units}: the surplus drains"
        return _condition(name, "False", "Reclaiming", text)
    return _condition(name, "True", "Within", f"{held} of {units} exist")


def _queues(found: Allocation) -> list[dict[str, Any]]:
    """Return an entry for each queue; of very many, those that have or want most."""
    ordered: Sequence[str] = list(found.demands)
    if len(ordered) > QUEUES_MAX:
        weight = {k: max(d.held, d.limit) * d.units_each for k, d in found.demands.items()}
        ordered = sorted(sorted(ordered, key=lambda key: (-weight[key], key))[:QUEUES_MAX])
    return [
        {
            "name": key,
            "priority": found.demands[key].priority,
            "unitsPerReplica": found.demands[key].units_each,
            "wanted": found.demands[key].limit,
            "granted": found.grants[key].share,
            "held": found.demands[key].held,
        }
        for key in ordered
    ]


def _condition(name: str, status: str, reason: str, text: str) -> Condition:
    return Condition(type=name, status=status, reason=reason, message=text[:MESSAGE_MAX])


def timeless(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return a status without the time at which it was computed."""
    return {name: value for name, value in status.items() if name != "computedAt"}


def news(status: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what of a status is shown at once: who may run what, and the conditions."""
    found = [
        (item["type"], item["status"], item["reason"]) for item in status.get("conditions", ())
    ]
    grants = [(item["name"], item.get("granted")) for item in status.get("queues", ())]
    return (*(status.get(name) for name in NEWS), grants, sorted(found))
