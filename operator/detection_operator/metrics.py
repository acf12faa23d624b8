"""The operator's Prometheus metrics. Label values are DetectionQueues, rules and fixed words."""

from collections.abc import Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from detection_contract.process.emf import Chosen
from detection_operator.scaling.observation import Observation
from detection_operator.scaling.plan import Plan
from detection_operator.scaling.pools.share import Allocation

PREFIX: Final = "detection_operator_"
_QUEUE: Final = ("namespace", "name")
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_GAUGES: Final = {
    "desired_replicas": "Replicas in the plan.",
    "replicas": "Replicas in the Deployments' specs.",
    "ready_replicas": "Workers that are ready to receive messages.",
    "starting_replicas": "Workers that are starting.",
    "busy_replicas": "Workers that hold a message.",
    "draining_replicas": "Workers that finish the messages they hold and receive no more.",
    "outdated_replicas": "Workers that a roll-out is replacing.",
    "departing_replicas": "Workers whose node is cordoned, interrupted or being removed.",
    "silent_replicas": "Ready workers whose control server does not answer.",
    "unschedulable_replicas": "Workers that are unschedulable.",
    "unready_replicas": "Workers that are scheduled but have not become ready for too long.",
    "image_pull_failed_replicas": "Workers whose image cannot be pulled.",
    "crash_looping_replicas": "Workers with a container that has restarted twice or more, and "
    "ended within the last ten minutes.",
    "max_replicas": "spec.scaling.maxReplicas.",
    "messages_visible": "Messages visible in the queue.",
    "messages_in_flight": "Messages in flight: received and not deleted.",
    "messages_delayed": "Delayed messages, not visible yet.",
    "dead_letter_messages": "Messages in the dead-letter queue.",
    "outbox_messages": "Callbacks in the outbox, due or delayed.",
    "outbox_due_messages": "Callbacks in the outbox that are due and that nothing has received.",
    "oldest_message_age_seconds": "Lower bound of the age of the oldest waiting message.",
    "arrivals_per_second": "Arrival rate, smoothed.",
    "service_seconds": "Mean processing time of a message.",
    "service_p90_seconds": "Estimated 90th percentile of the processing time.",
    "cold_start_seconds": "Time from a new pod to ready.",
    "cold_start_launch_seconds": "Launch of a node, as a part of the cold start.",
    "cold_start_pull_seconds": "Image pull, as a part of the cold start.",
    "cold_start_worker_seconds": "Start of the worker on its node, as a part of the cold start.",
    "work_seconds": "Backlog in worker seconds.",
    "objective_seconds": "spec.slo.queueWaitSeconds.",
    "objective_ratio": "spec.slo.objectivePercent as a ratio.",
    "attainment_ratio": "Ratio of the last 24 h's messages that started within the objective.",
    "poison_ratio": "Ratio of attempts that cannot succeed (poison messages).",
    "cost_per_hour": "Cost per hour of the current replicas, in the budget's currency.",
    "cost_today": "Cost since midnight UTC, in the budget's currency.",
    "budget_per_hour": "spec.budget.maxPerHour.",
    "budget_per_day": "spec.budget.maxPerDay.",
    "capacity_blocked": "1 while the cluster lacks capacity for more workers.",
}

_SENT: Final = (
    *("desired_replicas", "ready_replicas", "busy_replicas", "unschedulable_replicas"),
    *("messages_visible", "messages_in_flight", "dead_letter_messages", "outbox_messages"),
    *("oldest_message_age_seconds", "arrivals_per_second", "service_seconds"),
    *("attainment_ratio", "cost_per_hour", "capacity_blocked"),
)
EMF: Final = (
    *(Chosen(f"{PREFIX}{name}", _QUEUE) for name in _SENT),
    Chosen(f"{PREFIX}condition", (*_QUEUE, "type")),
    Chosen(f"{PREFIX}reconciles_total", ("result",)),
    Chosen(f"{PREFIX}busy_terminated_total"),
    Chosen(f"{PREFIX}leader"),
    Chosen(f"{PREFIX}queues"),
)
"""What CloudWatch gets: at most 30 metrics a DetectionQueue, because each costs."""


class PoolMetrics:
    """Gauges of WorkerPools, in units of the pool.

    Args:
        registry: Registry of all of them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, doc: str, *labels: str) -> Gauge:
            return Gauge(
                f"{PREFIX}pool_{name}", doc, ("namespace", "pool", *labels), registry=registry
            )

        self._capacity = gauge("capacity", "Units that the pool shares.")
        self._condition = gauge(
            "condition", "Status of a pool's condition: 1 True, 0 False, -1 Unknown.", "type"
        )
        self._units = {
            "wanted": gauge("wanted", "Units that a queue wants of its pool.", "name"),
            "granted": gauge("granted", "Units that a queue may have of its pool.", "name"),
            "held": gauge("held", "Units that exist, draining ones included.", "name"),
        }
        self._names: dict[tuple[str, str], set[str]] = {}

    def show(
        self, namespace: str, pool: str, allocation: Allocation, status: Mapping[str, Any]
    ) -> None:
        """Set the gauges of a pool.

        Args:
            namespace: Namespace of the pool.
            pool: Name of the pool.
            allocation: Who may run what.
            status: The status that was made from it.
        """
        if allocation.pool.capacity is None:
            self._capacity.remove_by_labels({"namespace": namespace, "pool": pool})
        else:
            self._capacity.labels(namespace, pool).set(allocation.pool.capacity)
        names = set(allocation.demands)
        for gone in self._names.get((namespace, pool), set()) - names:
            for gauge in self._units.values():
                gauge.remove(namespace, pool, gone)
        self._names[namespace, pool] = names
        for name, demand in allocation.demands.items():
            counts = {
                "wanted": demand.limit,
                "granted": allocation.grants[name].share,
                "held": demand.held,
            }
            for which, count in counts.items():
                self._units[which].labels(namespace, pool, name).set(count * demand.units_each)
        _show_conditions(self._condition, (namespace, pool), status)

    def forget(self, namespace: str, pool: str) -> None:
        """Drop the series of a deleted pool."""
        self._names.pop((namespace, pool), None)
        for gauge in (self._capacity, self._condition, *self._units.values()):
            gauge.remove_by_labels({"namespace": namespace, "pool": pool})


class Metrics:
    """The operator's metrics in one registry.

    Attributes:
        registry: Registry of all of them.
        pools: Gauges of WorkerPools.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.pools = PoolMetrics(self.registry)
        self._queue = {name: self._gauge(name, doc, _QUEUE) for name, doc in _GAUGES.items()}
        self._term = self._gauge(
            "plan_term", "Replicas after each rule of the plan.", (*_QUEUE, "term")
        )
        self._binding = self._gauge(
            "plan_binding", "1 for the rule that set the number of replicas.", (*_QUEUE, "term")
        )
        self._condition = self._gauge(
            "condition", "Status of a condition: 1 True, 0 False, -1 Unknown.", (*_QUEUE, "type")
        )
        self._received = self._counter("received_messages", "First receives of workers.", _QUEUE)
        self._late = self._counter("late_messages", "Those later than the objective.", _QUEUE)
        self._received_before: dict[tuple[str, str], tuple[int, int]] = {}
        # What was set last: most of it is the same the next time, and setting it costs more
        # than comparing it.
        self._shown: dict[tuple[str, str], Mapping[str, float | None]] = {}
        self._terms: dict[tuple[str, str], Mapping[str, int]] = {}
        self._bindings: dict[tuple[str, str], str] = {}
        self._conditions: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self.decisions = self._counter("decisions", "Decisions by the binding rule.", ("binding",))
        self.reconciles = self._counter("reconciles", "Reconciles by result.", ("result",))
        self.reconcile_seconds = Histogram(
            f"{PREFIX}reconcile_seconds",
            "Duration of a reconcile.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.drains = self._counter("drains", "Drains by result.", ("result",))
        self.busy_terminated = self._counter(
            "busy_terminated",
            "Pods terminated while holding a message, by who removed them.",
            ("by",),
        )
        # Prometheus sees no increase in a series that begins with 1.
        for by in ("operator", "other"):
            self.busy_terminated.labels(by)
        self.sqs_requests = self._counter(
            "sqs_requests", "Requests to SQS by result code.", ("code",)
        )
        self.api_requests = self._counter(
            "api_requests",
            "Requests to the Kubernetes API by verb and status code.",
            ("verb", "code"),
        )
        self.api_writes = self._counter(
            "api_writes", "Writes to the Kubernetes API by kind.", ("kind",)
        )
        self.leader = self._gauge("leader", "1 while this process is the leader.", ())
        self.last_reconcile = self._gauge(
            "last_reconcile_timestamp_seconds", "Time of the last successful reconcile.", ()
        )
        self.depth = self._gauge(
            "work_queue_depth", "DetectionQueues waiting for a reconcile.", ()
        )
        self.queues = self._gauge("queues", "DetectionQueues in scope.", ())

    def _gauge(self, name: str, doc: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(PREFIX + name, doc, labels, registry=self.registry)

    def _counter(self, name: str, doc: str, labels: tuple[str, ...]) -> Counter:
        return Counter(PREFIX + name, doc, labels, registry=self.registry)

    def show(
        self,
        namespace: str,
        name: str,
        *,
        seen: Observation,
        plan: Plan,
        status: dict[str, Any],
        more: dict[str, float | None],
    ) -> None:
        """Set the gauges of a DetectionQueue from its newest decision.

        Args:
            namespace: Namespace of the DetectionQueue.
            name: Name of the DetectionQueue.
            seen: The observation.
            plan: The plan.
            status: The status that was made from them.
            more: Values of the gauges that follow from neither observation nor plan.
        """
        place = (namespace, name)
        values = {**_values(seen, plan), **more, **_costs(status)}
        shown = self._shown.get(place, {})
        for gauge in [each for each in values if values[each] != shown.get(each)]:
            value = values[gauge]
            if value is None:
                self._queue[gauge].remove(*place)
            else:
                self._queue[gauge].labels(*place).set(value)
        self._shown[place] = values
        self._count_received(place, (seen.received, seen.received_late))
        self._show_terms(place, {term.rule.value: term.replicas for term in plan.terms})
        self._show_binding(place, plan.binding.value)
        self.show_conditions(namespace, name, status)
        self.decisions.labels(plan.binding.value).inc()

    def show_conditions(self, namespace: str, name: str, status: dict[str, Any]) -> None:
        """Set the condition gauges, the only ones of a DetectionQueue with an invalid spec."""
        place = (namespace, name)
        found = [(item["type"], item["status"]) for item in status.get("conditions", ())]
        if found != self._conditions.get(place):
            _show_conditions(self._condition, place, status)
            self._conditions[place] = found

    def forget(self, namespace: str, name: str) -> None:
        """Drop the series of a deleted DetectionQueue."""
        place = (namespace, name)
        self._show_terms(place, {})
        for kept in (
            self._shown,
            self._terms,
            self._bindings,
            self._conditions,
            self._received_before,
        ):
            kept.pop(place, None)
        counters = (self._received, self._late)
        for series in (*self._queue.values(), self._binding, self._condition, *counters):
            series.remove_by_labels({"namespace": namespace, "name": name})

    def _count_received(self, place: tuple[str, str], totals: tuple[int, int]) -> None:
        """Add what was received since the last decision; totals that fell start over."""
        before = self._received_before.get(place, (0, 0))
        if totals[0] < before[0] or totals[1] < before[1]:
            before = (0, 0)
        for counter, now, then in zip((self._received, self._late), totals, before, strict=True):
            counter.labels(*place).inc(now - then)
        self._received_before[place] = totals

    def _show_binding(self, place: tuple[str, str], binding: str) -> None:
        shown = self._bindings.get(place)
        if binding == shown:
            return
        if shown is not None:
            self._binding.remove(*place, shown)
        self._binding.labels(*place, binding).set(1)
        self._bindings[place] = binding

    def _show_terms(self, place: tuple[str, str], terms: Mapping[str, int]) -> None:
        shown = self._terms.get(place, {})
        if terms == shown:
            return
        for term in shown.keys() - terms.keys():
            self._term.remove(*place, term)
        for term, replicas in terms.items():
            self._term.labels(*place, term).set(replicas)
        self._terms[place] = terms


def _show_conditions(gauge: Gauge, place: tuple[str, str], status: Mapping[str, Any]) -> None:
    for item in status.get("conditions", ()):
        value = {"True": 1, "False": 0}.get(item["status"], -1)
        gauge.labels(*place, item["type"]).set(value)


def _values(seen: Observation, plan: Plan) -> dict[str, float | None]:
    estimates = plan.estimates
    on_time, parts = estimates.received - estimates.received_late, seen.cold_start
    return {
        "desired_replicas": plan.desired,
        "replicas": seen.existing,
        "ready_replicas": seen.ready,
        "starting_replicas": seen.starting,
        "busy_replicas": seen.working,
        "draining_replicas": seen.draining,
        "outdated_replicas": seen.outdated,
        "departing_replicas": seen.departing,
        "silent_replicas": seen.silent,
        "unschedulable_replicas": seen.unschedulable,
        "unready_replicas": seen.unready,
        "messages_visible": seen.visible,
        "messages_in_flight": seen.in_flight,
        "messages_delayed": seen.delayed,
        "dead_letter_messages": seen.dead_letter,
        "oldest_message_age_seconds": estimates.age_s or 0.0,
        "arrivals_per_second": estimates.arrivals_per_s,
        "service_seconds": estimates.service_s,
        "service_p90_seconds": estimates.service_p90_s,
        "cold_start_seconds": estimates.cold_start_s,
        "cold_start_launch_seconds": parts.launch_s if parts else None,
        "cold_start_pull_seconds": parts.pull_s if parts else None,
        "cold_start_worker_seconds": parts.start_s if parts else None,
        "work_seconds": estimates.work_s,
        "attainment_ratio": on_time / estimates.received if estimates.received else None,
        "poison_ratio": estimates.poison_share,
        "capacity_blocked": estimates.blocked_since_s is not None,
    }


def _costs(status: dict[str, Any]) -> dict[str, float | None]:
    cost = status.get("cost", {})
    return {
        "cost_per_hour": float(cost["perHour"]) if "perHour" in cost else None,
        "cost_today": float(cost["today"]) if "today" in cost else None,
    }
