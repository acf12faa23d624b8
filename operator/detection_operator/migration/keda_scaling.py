"""Bounds, pace and schedules of a ScaledObject of KEDA as ``spec.scaling``."""

import datetime
import itertools
import zoneinfo
from typing import Any, Final

from cronsim import CronSim, CronSimError

from detection_contract.user_messages import counted
from detection_operator.migration.parts import Part, shown
from detection_operator.spec.fields import MAX_REPLICAS

MAX_DEFAULT: Final = 100
"""KEDA's maxReplicaCount where none is given."""
QUEUE_LENGTH_DEFAULT: Final = 5
HPA_S: Final = 15
"""An HPA asks for its metrics this often, and KEDA counts failures then."""
MINUTE_S: Final = 60
BEHAVIORS: Final = {
    "static": "Static",
    "currentReplicas": "Hold",
    "currentReplicasIfHigher": "AtLeast",
}
_SOME_TIME: Final = datetime.datetime(2026, 1, 1)  # noqa: DTZ001 - a wall clock anywhere
_STARTS: Final = 10
"""A schedule has one duration if as many of its starts have it."""


def bounds_of(spec: Part) -> dict[str, Any]:
    """Return minReplicas and maxReplicas."""
    most = spec.integer("maxReplicaCount", 1, MAX_REPLICAS) or MAX_DEFAULT
    fewest = spec.integer("minReplicaCount", 0, most) or 0
    idle = spec.integer("idleReplicaCount", 0, most)
    if idle is not None and idle < fewest:
        asked = counted(fewest, "replica")
        why = f"{asked} while messages wait, but fewer at rest, cannot be asked for"
        spec.note("minReplicaCount", f"{why}; idleReplicaCount is taken")
        fewest = idle
    return {"minReplicas": fewest, "maxReplicas": most}


def demand_of(trigger: Part) -> dict[str, Any]:
    """Return policy Backlog with the trigger's target, and when the first replica starts."""
    metadata = trigger.part("metadata")
    each = metadata.integer("queueLength", 1, 1_000_000) or QUEUE_LENGTH_DEFAULT
    active = metadata.integer("activationQueueLength", 0, 999_999)
    if metadata.flag("scaleOnInFlight") is False:
        metadata.note("scaleOnInFlight", "messages that workers hold always count")
    if metadata.flag("scaleOnDelayed"):
        metadata.note("scaleOnDelayed", "delayed messages count once they are visible")
    if trigger.text("metricType") not in (None, "AverageValue"):
        trigger.note("metricType", "the target is always one for each replica")
    found: dict[str, Any] = {"policy": "Backlog", "backlogPerReplica": each}
    if active:
        found["activation"] = {"minMessages": active + 1}
    return found


def idle_of(spec: Part, fewest: int) -> dict[str, Any]:
    """Return how long the last replica stays on an empty queue."""
    cooldown = spec.integer("cooldownPeriod", 0, 86_400)
    spec.unmapped("initialCooldownPeriod", "a new DetectionQueue has no wait of its own")
    if cooldown is None or fewest:
        return {}
    return {"idle": {"policy": "Fixed", "fixedSeconds": cooldown}}


def fallback_of(spec: Part, most: int) -> dict[str, Any]:
    """Return what runs while the queue cannot be read."""
    if spec.raw.get("fallback") is None:
        return {}
    fallback = spec.part("fallback")
    failures = fallback.integer("failureThreshold", 0, 5_000) or 0
    replicas = fallback.integer("replicas", 0, most) or 0
    behavior = fallback.text("behavior") or "static"
    found: dict[str, Any] = {"afterSeconds": (failures + 1) * HPA_S}
    if behavior not in BEHAVIORS:
        fallback.note("behavior", f"{shown(behavior)} has no counterpart; Hold is taken")
    found["behavior"] = BEHAVIORS.get(behavior, "Hold")
    if found["behavior"] != "Hold":
        found["replicas"] = replicas
    return {"fallback": found}


def pace_of(spec: Part) -> dict[str, Any]:
    """Return how fast replicas come and go, from the HPA's behavior."""
    advanced = spec.part("advanced")
    if advanced.flag("restoreToOriginalReplicaCount"):
        why = "a deleted DetectionQueue leaves the Deployment's replicas as they are"
        advanced.note("restoreToOriginalReplicaCount", why)
    advanced.unmapped("scalingModifiers", "replicas follow from the queue, not from formulas")
    hpa = advanced.part("horizontalPodAutoscalerConfig")
    hpa.unmapped("name", "there is no HorizontalPodAutoscaler")
    behavior = hpa.part("behavior")
    down, up = _down(behavior.part("scaleDown")), _up(behavior.part("scaleUp"))
    return ({"scaleDown": down} if down else {}) | ({"scaleUp": up} if up else {})


def _down(part: Part) -> dict[str, int]:
    found = {}
    hold = part.integer("stabilizationWindowSeconds", 0, 3600)
    if hold is not None:
        found["holdSeconds"] = hold
    percent = _per_minute(part, "Percent")
    if percent is not None:
        found["maxPercent"] = min(max(percent, 1), 100)
    return found


def _up(part: Part) -> dict[str, int]:
    if part.integer("stabilizationWindowSeconds", 0, 3600):
        part.note("stabilizationWindowSeconds", "replicas are added at once")
    pods = _per_minute(part, "Pods")
    return {} if pods is None else {"maxReplicasPerMinute": min(max(pods, 1), MAX_REPLICAS)}


def _per_minute(part: Part, kind: str) -> int | None:
    """Return the pace of the only policy, if it is of a kind that has a counterpart."""
    policies = part.items("policies")
    selected = part.text("selectPolicy")
    if selected == "Disabled":
        part.note("selectPolicy", "one direction cannot be switched off")
        return None
    found = [(p.text("type"), _pace(p)) for p in policies]
    if len(found) == 1 and found[0][0] == kind:
        return found[0][1]
    if found:
        part.note("policies", f"only a single policy of type {kind} has a counterpart")
    return None


def _pace(policy: Part) -> int | None:
    value = policy.integer("value", 1, MAX_REPLICAS)
    period_s = policy.integer("periodSeconds", 1, 1800)
    return None if value is None or period_s is None else value * MINUTE_S // period_s


def schedule_of(trigger: Part, name: str, most: int) -> dict[str, Any] | None:
    """Return a ``cron`` trigger as a schedule; None if it has no counterpart."""
    metadata = trigger.part("metadata")
    starts, ends = (" ".join((metadata.text(k) or "").split()) for k in ("start", "end"))
    zone = metadata.text("timezone") or "UTC"
    replicas = metadata.integer("desiredReplicas", 1, most)
    duration_s = _duration_s(starts, ends)
    if duration_s is None or replicas is None or not _is_zone(zone):
        trigger.note("metadata", "is no schedule with one duration; see scaling.schedules")
        return None
    return {
        "name": name,
        "cron": starts,
        "durationSeconds": duration_s,
        "timeZone": zone,
        "minReplicas": replicas,
    }


def _duration_s(starts: str, ends: str) -> int | None:
    """Return the seconds from each start to the next end, if they are always the same."""
    if max(len(starts), len(ends)) > 128 or starts.count(" ") != 4 or ends.count(" ") != 4:
        return None
    try:
        begun = list(itertools.islice(CronSim(starts, _SOME_TIME), _STARTS))
        lengths = {next(CronSim(ends, start)) - start for start in begun}
    except (CronSimError, StopIteration):
        return None
    if len(lengths) != 1:
        return None
    seconds = int(lengths.pop().total_seconds())
    return seconds if MINUTE_S <= seconds <= 604_800 else None


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
