"""State restored from the status after a restart of the operator. Pure.

A status holds little of the operator's state, but what must survive a restart: today's spending,
attainment, and the times that were measured while there were workers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from detection_operator.kube.objects import time_s
from detection_operator.kube.port import Object
from detection_operator.scaling.cold_start import ColdStart
from detection_operator.scaling.estimates import profile
from detection_operator.scaling.estimates import service_time as service
from detection_operator.scaling.estimates.learning import DAY_S
from detection_operator.scaling.estimates.profile import Profile
from detection_operator.scaling.estimates.service_time import Mix, ServiceTimes
from detection_operator.scaling.estimates.state import Attainment, EstimatorState
from detection_operator.scaling.memory import Memory
from detection_operator.spec.queue_spec import QueueSpec
from detection_operator.spec.status import AGREEMENTS

HOUR_S: Final = 3600
MILLIS: Final = 1000.0
PARTS: Final = ("launchMillis", "pullMillis", "startMillis")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """State found in a status.

    Attributes:
        memory: The decision's memory.
        cold_start: Measured cold start; None if the status has none.
        launch_s: Longest recent wait for a node; None if the status has none.
    """

    memory: Memory
    cold_start: ColdStart | None
    launch_s: float | None = None


def restored(queue: Object, spec: QueueSpec, now_s: float) -> Restored | None:
    """Return the state in the status of a DetectionQueue; None without a status.

    Args:
        queue: The DetectionQueue. Its status may be partial, old or written by another client.
        spec: Its parsed spec.
        now_s: The present, seconds since the epoch.
    """
    status = _mapping(queue.get("status"))
    if not status:
        return None
    learned = EstimatorState(
        day=int(now_s // DAY_S),
        replica_s=_replica_s(status, spec, now_s),
        attainment=_attainment(status, now_s),
        profile=_profile(status, now_s),
    )
    cold_start = None
    # Under another generation the times may be those of another image, or former defaults.
    if status.get("observedGeneration") == queue["metadata"].get("generation"):
        times = _mapping(status.get("service"))
        learned = replace(learned, service=_service(times, spec))
        cold_start = _cold_start(times, spec)
    # The time for a node depends on the cluster, not on the spec.
    launch_s = _number(_mapping(status.get("service")).get("launchMillis")) / MILLIS
    return Restored(
        memory=Memory(estimators=learned), cold_start=cold_start, launch_s=launch_s or None
    )


def _replica_s(status: Mapping[str, Any], spec: QueueSpec, now_s: float) -> float:
    """Return today's replica seconds, including the time without an operator."""
    at_s = time_s(_text(_mapping(status.get("plan")).get("computedAt")))
    if spec.budget is None or at_s is None or at_s > now_s:
        return 0.0
    midnight_s = now_s // DAY_S * DAY_S
    since_s = now_s - max(at_s, midnight_s)
    spent = 0.0
    if at_s >= midnight_s:
        today = _number(_mapping(status.get("cost")).get("today"))
        spent = today / float(spec.budget.replica_hour_cost) * HOUR_S
    waiting = _number(status.get("unschedulableReplicas"))
    return spent + since_s * max(0.0, _number(status.get("replicas")) - waiting)


def _profile(status: Mapping[str, Any], now_s: float) -> Profile:
    """Return the messages by the time of day; none if there are none that can be read."""
    kept = _mapping(status.get("forecast"))
    since_s = time_s(_text(kept.get("since")))
    seen_s = time_s(_text(_mapping(status.get("queue")).get("sampledAt")))
    if since_s is None or seen_s is None or not since_s <= seen_s <= now_s:
        return profile.UNKNOWN
    try:
        levels = profile.unpacked(kept.get("profile"))
    except ValueError:
        return profile.UNKNOWN
    day, week = (min(1.0, _number(kept.get(name, 100)) / 100) for name in AGREEMENTS)
    return profile.restored(
        levels, since_s=since_s, seen_s=seen_s, now_s=now_s, shares=(day, week)
    )


def _attainment(status: Mapping[str, Any], now_s: float) -> Attainment:
    slo = _mapping(status.get("slo"))
    messages = int(_number(slo.get("messages")))
    percent = min(100.0, _number(slo.get("attainmentPercent")))
    if not messages or "attainmentPercent" not in slo:
        return Attainment()
    late = min(messages, round(messages * (100.0 - percent) / 100.0))
    return Attainment(hours=((int(now_s // HOUR_S), messages, late),))


def _service(times: Mapping[str, Any], spec: QueueSpec) -> ServiceTimes | None:
    """Return the priors with the mean of the last measurements, until there are new ones."""
    samples = int(_number(times.get("samples")))
    mean_s = _number(times.get("meanMillis")) / MILLIS
    if not samples or not mean_s:
        return None
    p90_s = max(mean_s, _number(times.get("p90Millis")) / MILLIS)
    return replace(service.from_priors(spec.service_time.priors), mix=Mix(mean_s, p90_s, samples))


def _cold_start(times: Mapping[str, Any], spec: QueueSpec) -> ColdStart | None:
    parts = _mapping(times.get("coldStart"))
    if parts:
        launch_s, pull_s, start_s = (_number(parts.get(name)) / MILLIS for name in PARTS)
        return ColdStart(launch_s=launch_s, pull_s=pull_s, start_s=start_s)
    seconds = _number(times.get("coldStartMillis")) / MILLIS
    # An earlier version knew only the sum. Before the first measurement it is the spec's number.
    if not seconds or seconds == spec.service_time.cold_start_s:
        return None
    return ColdStart(launch_s=0.0, pull_s=0.0, start_s=seconds)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float:
    """Return a number, also one written as text; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0.0
    try:
        number = float(value)
    except ValueError:
        return 0.0
    return number if 0.0 <= number < float("inf") else 0.0
