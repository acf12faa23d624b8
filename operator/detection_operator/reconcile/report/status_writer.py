"""Tell: status, events on transitions, metrics. Writes only what is news."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from detection_operator.clock import Clock
from detection_operator.errors import NotFound
from detection_operator.kube.objects import key_of
from detection_operator.kube.port import Cluster, EventNote, Object
from detection_operator.metrics import Metrics
from detection_operator.reconcile.report import status as words
from detection_operator.reconcile.report.transitions import Event, transitions
from detection_operator.reconcile.state import QueueState
from detection_operator.spec.parse import InvalidSpec

STATUS_S: Final = 60.0
"""Numbers that move all the time are written this often; a condition or a plan at once."""
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
class Teller:
    """Writes the status of DetectionQueues.

    Attributes:
        cluster: To write to.
        clock: Of the process.
        metrics: To show decisions.
    """

    cluster: Cluster
    clock: Clock
    metrics: Metrics

    def tell(self, queue: Object, state: QueueState, report: words.Report) -> bool:
        """Show a decision; say whether the DetectionQueue is still there.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        current = words.build_status(report, _previous(queue, state))
        key, spec = key_of(queue), report.spec
        limits = {
            "max_replicas": float(spec.scaling.max_replicas),
            "objective_seconds": float(spec.slo.queue_wait_s),
            "objective_ratio": spec.slo.objective_percent / 100,
        }
        self.metrics.show(
            key.namespace,
            key.name,
            seen=report.seen,
            plan=report.plan,
            status=current,
            limits=limits,
        )
        if not self._write(queue, state, current):
            return False
        while state.scaled:
            self._post(queue, state.scaled[0].event(report.plan.message))
            state.scaled.pop(0)
        return True

    def refuse(self, queue: Object, state: QueueState, error: InvalidSpec) -> bool:
        """Say what is wrong with a spec, and whether the DetectionQueue is still there.

        Raises:
            ClusterError: The API server refused or did not answer.
        """
        current = words.invalid_status(
            error,
            _previous(queue, state),
            generation=int(queue["metadata"].get("generation", 0)),
            now_s=self.clock.wall_s(),
        )
        key = key_of(queue)
        self.metrics.show_conditions(key.namespace, key.name, current)
        return self._write(queue, state, current)

    def _write(self, queue: Object, state: QueueState, current: Mapping[str, Any]) -> bool:
        previous = _previous(queue, state)
        now_s = self.clock.monotonic_s()
        due = state.status_at_s is None or now_s - state.status_at_s >= STATUS_S
        if not is_news(previous, current) and not (due and is_different(previous, current)):
            return True
        try:
            self.cluster.apply_status(key_of(queue), current)
        except NotFound:
            return False
        state.status, state.status_at_s = current, now_s
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


def _previous(queue: Object, state: QueueState) -> Mapping[str, Any]:
    """Return the status as last written; a cache may still hold an older one."""
    if state.status is not None:
        return state.status
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
