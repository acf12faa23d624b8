"""The status of a DetectionQueue, from a plan and an observation."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from detection_operator.kube.objects import timestamp
from detection_operator.reconcile.observe.restore import PARTS
from detection_operator.reconcile.report.conditions import (
    NOT_APPLIED,
    Condition,
    Report,
    attainment_percent,
    conditions,
)
from detection_operator.scaling.estimates.profile import SLOT_S, UNKNOWN, packed
from detection_operator.spec.fields import SELECTOR_MAX
from detection_operator.spec.status import AGREEMENTS, MESSAGE_MAX
from detection_operator.spec.validation import InvalidSpec

WINDOW_S: Final = 86_400


def build_status(report: Report, previous: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole status; times of what did not change come from ``previous``."""
    seen, plan = report.seen, report.plan
    status: dict[str, Any] = {
        "observedGeneration": report.generation,
        "replicas": seen.existing,
        # A truncated selector would match other pods.
        "selector": report.selector if len(report.selector) <= SELECTOR_MAX else None,
        "desiredReplicas": plan.desired,
        "readyReplicas": seen.ready,
        "busyReplicas": seen.working,
        "drainingReplicas": seen.draining,
        "unschedulableReplicas": seen.unschedulable,
        "queue": _queue(report),
        "service": _service(report),
        "plan": _plan(report),
        "slo": _slo(report),
        "forecast": _forecast(report),
        "lastScaleTime": _last_scale_time(report, previous),
        "conditions": merged(conditions(report), report.generation, report.now_s, previous),
    }
    if report.spec.budget is not None:
        status["cost"] = _cost(report)
    return {name: value for name, value in status.items() if value is not None}


def invalid_status(
    error: InvalidSpec, previous: Mapping[str, Any], *, generation: int, now_s: float
) -> dict[str, Any]:
    """Return the status for an invalid spec; everything else stays as it was."""
    broken = Condition(type="Ready", status="False", reason="InvalidSpec", message=str(error))
    old = {item["type"]: item for item in previous.get("conditions", ())}
    kept = [item for name, item in old.items() if name != "Ready"]
    return {
        **previous,
        "observedGeneration": generation,
        "conditions": [*merged([broken], generation, now_s, previous), *kept],
    }


def merged(
    new: Sequence[Condition], generation: int, now_s: float, previous: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the conditions as status entries; the time moves only when the status does."""
    old = {item["type"]: item for item in previous.get("conditions", ())}
    merged: list[dict[str, Any]] = []
    for item in new:
        before = old.get(item.type)
        same = before is not None and before["status"] == item.status
        merged.append(
            {
                "type": item.type,
                "status": item.status,
                "observedGeneration": generation,
                "lastTransitionTime": before["lastTransitionTime"]
                if same and before
                else timestamp(now_s),
                "reason": item.reason,
                "message": item.message,
            }
        )
    return merged


def _queue(report: Report) -> dict[str, Any] | None:
    seen, estimates = report.seen, report.plan.estimates
    if seen.sampled_at_s is None:
        return None
    queue: dict[str, Any] = {
        "visible": seen.visible,
        "inFlight": seen.in_flight,
        "delayed": seen.delayed,
        "oldestAgeSeconds": int(estimates.age_s or 0),
        "sampledAt": timestamp(seen.sampled_at_s),
    }
    if seen.dead_letter is not None:
        queue["deadLetter"] = seen.dead_letter
    if report.outbox is not None:
        queue["outbox"] = report.outbox
    if estimates.arrivals_per_s is not None:
        queue["arrivalsPerMinute"] = round(estimates.arrivals_per_s * 60)
    return queue


def _service(report: Report) -> dict[str, Any]:
    estimates, launch_s = report.plan.estimates, report.seen.launch_s
    service: dict[str, Any] = {
        "meanMillis": round(estimates.service_s * 1000),
        "p90Millis": round(estimates.service_p90_s * 1000),
        "samples": estimates.service_samples,
        "coldStartMillis": round(estimates.cold_start_s * 1000),
    }
    parts = report.seen.cold_start
    if parts is not None:
        seconds = (parts.launch_s, parts.pull_s, parts.start_s)
        service["coldStart"] = {
            name: round(part_s * 1000) for name, part_s in zip(PARTS, seconds, strict=True)
        }
    return service if launch_s is None else service | {"launchMillis": round(launch_s * 1000)}


def _plan(report: Report) -> dict[str, Any]:
    plan = report.plan
    return {
        "computedAt": timestamp(report.now_s),
        "binding": plan.binding.value,
        "terms": [{"name": term.rule.value, "replicas": term.replicas} for term in plan.terms],
        "message": plan.message[:MESSAGE_MAX],
    }


def _slo(report: Report) -> dict[str, Any]:
    slo: dict[str, Any] = {"windowSeconds": WINDOW_S}
    if report.plan.estimates.received:
        slo["attainmentPercent"] = attainment_percent(report)
        slo["messages"] = report.plan.estimates.received
    return slo


def _forecast(report: Report) -> dict[str, Any] | None:
    """Return what is kept over restarts of the profile; nothing before messages came."""
    profile = report.plan.memory.estimators.profile
    if profile.since is None or profile.levels == UNKNOWN.levels:
        return None
    shares = {
        name: round(agreement.share * 100)
        for name, agreement in zip(AGREEMENTS, profile.agreements, strict=True)
        if agreement.either
    }
    return {
        "since": timestamp(profile.since * SLOT_S),
        **shares,
        "profile": packed(profile.levels),
    }


def _cost(report: Report) -> dict[str, str]:
    budget = report.spec.budget
    price = budget.replica_hour_cost * report.seen.paid if budget is not None else 0
    return {"perHour": f"{price:.2f}", "today": f"{report.plan.estimates.spent_today:.2f}"}


def is_applied(status: Mapping[str, Any]) -> bool:
    """Say whether the plan in a status is applied, not only computed."""
    conditions = status.get("conditions", ())
    return not any(
        item["type"] == "ScalingActive" and item["reason"] in NOT_APPLIED for item in conditions
    )


def asked_replicas(status: Mapping[str, Any]) -> int | None:
    """Return the replicas that a status asks for: a plan in mode Shadow changes none."""
    found: int | None = status.get("desiredReplicas" if is_applied(status) else "replicas")
    return found


def _last_scale_time(report: Report, previous: Mapping[str, Any]) -> str | None:
    applied = report.plan.apply and report.conflict is None
    if not applied or asked_replicas(previous) == report.plan.desired:
        last: str | None = previous.get("lastScaleTime")
        return last
    return timestamp(report.now_s)
