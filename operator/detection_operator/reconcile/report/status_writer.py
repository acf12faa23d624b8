"""Status, events on transitions, metrics: writes only what changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from detection_operator.clock import Clock
from detection_operator.errors import NotFound
from detection_operator.kube.objects import key_of
from detection_operator.kube.port import Cluster, EventNote, Object
from detection_operator.metrics import Metrics
from detection_operator.reconcile.report.conditions import Report
from detection_operator.reconcile.report.reported import Reported
from detection_operator.reconcile.report.status import build_status, invalid_status
from detection_operator.reconcile.report.transitions import Event, transitions
from detection_operator.spec.queue_spec import Budget
from detection_operator.spec.validation import InvalidSpec

STATUS_S: Final = 60.0
"""Numbers that change constantly are written this often; a condition or plan at once."""
_NEWS: Final = (
    "observedGeneration",
    "selector",
    "replicas",
    "desiredReplicas",
    "readyReplicas",
    "drainingReplicas",
    "unschedulableReplicas",
)
_MOVING_TIMES: Final = {"queue": "sampledAt", "plan": "computedAt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusWriter:
    """Writes status, events and metrics of DetectionQueues, and only what changed.

    Attributes:
        cluster: Where status and events are written.
        clock: Wall and monotonic time.
        metrics: The operator's metrics.
    """

    cluster: Cluster
    clock: Clock
    metrics: Metrics

    def write(self, queue: Object, reported: Reported, report: Report) -> bool:
        """Publish a decision; say whether the DetectionQueue still exists.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        current = build_status(report, _previous(queue, reported))
        key, spec = key_of(queue), report.spec
        more = {
            "max_replicas": float(spec.scaling.max_replicas),
            "objective_seconds": float(spec.slo.queue_wait_s),
            "objective_ratio": spec.slo.objective_percent / 100,
            "image_pull_failed_replicas": float(report.without_image),
            "crash_looping_replicas": float(report.crash_looping),
            "outbox_messages": report.outbox,
            "outbox_due_messages": report.outbox_due,
            **_budget(spec.budget),
        }
        self.metrics.show(
            key.namespace,
            key.name,
            seen=report.seen,
            plan=report.plan,
            status=current,
            more=more,
        )
        if not self._write(queue, reported, current):
            return False
        while reported.scaled:
            self._post(queue, reported.scaled[0].event(report.plan.message))
            reported.scaled.pop(0)
        return True

    def write_invalid(self, queue: Object, reported: Reported, error: InvalidSpec) -> bool:
        """Publish what is wrong with a spec; say whether the DetectionQueue still exists.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        current = invalid_status(
            error,
            _previous(queue, reported),
            generation=int(queue["metadata"].get("generation", 0)),
            now_s=self.clock.wall_s(),
        )
        key = key_of(queue)
        self.metrics.show_conditions(key.namespace, key.name, current)
        return self._write(queue, reported, current)

    def _write(self, queue: Object, reported: Reported, current: Mapping[str, Any]) -> bool:
        previous = _previous(queue, reported)
        now_s = self.clock.monotonic_s()
        due = reported.status_at_s is None or now_s - reported.status_at_s >= STATUS_S
        if not is_news(previous, current) and not (due and is_different(previous, current)):
            return True
        try:
            self.cluster.apply_status(key_of(queue), current)
        except NotFound:
            return False
        reported.status, reported.status_at_s = current, now_s
        for event in transitions(previous, current):
            self._post(queue, event)
        return True

    def _post(self, queue: Object, event: Event) -> None:
        self.cluster.post_event(
            EventNote(
                about=queue,
                type=event.type,
                reason=event.reason,
                message=event.message,
                now_s=self.clock.wall_s(),
            )
        )


def is_news(previous: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    """Say whether a status differs in what must be shown at once: replicas, plan, conditions."""
    return _news(previous) != _news(current)


def is_different(previous: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    """Say whether a status differs in more than the time at which it was made."""
    return _timeless(previous) != _timeless(current)


def _previous(queue: Object, reported: Reported) -> Mapping[str, Any]:
    """Return the status as last written; the cache may still hold an older one."""
    if reported.status is not None:
        return reported.status
    found: Mapping[str, Any] = queue.get("status") or {}
    return found


def _news(status: Mapping[str, Any]) -> tuple[Any, ...]:
    conditions = [
        (item["type"], item["status"], item["reason"]) for item in status.get("conditions", ())
    ]
    binding = status.get("plan", {}).get("binding")
    return (*(status.get(name) for name in _NEWS), binding, sorted(conditions))


def _timeless(status: Mapping[str, Any]) -> dict[str, Any]:
    bare = dict(status)
    for part, name in _MOVING_TIMES.items():
        if part in bare:
            bare[part] = {key: value for key, value in bare[part].items() if key != name}
    return bare


def _budget(budget: Budget | None) -> dict[str, float | None]:
    limits = (None, None) if budget is None else (budget.max_per_hour, budget.max_per_day)
    return {
        name: None if limit is None else float(limit)
        for name, limit in zip(("budget_per_hour", "budget_per_day"), limits, strict=True)
    }
