"""The courses of made-up queues: arrivals, a backlog, workers that follow, and what goes wrong."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from detection_testing.monitoring.history import History

STEP_S = 60
SERVICE_S = 4.0
"""Seconds of work of a message."""
COLD_START_S = 240
CONDITIONS = (
    "Ready", "QueueReachable", "ScalingActive", "WithinBudget", "CapacityAvailable",
    "ConfigurationHealthy", "ObjectiveMet",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What becomes of a queue.

    Attributes:
        name: Its name.
        namespace: Its namespace.
        cluster: Value of the label ``cluster``; empty for none.
        load: Workers that its usual arrivals keep busy.
        burst: How many times as many messages come in the last hour.
        most: ``maxReplicas``.
        room: Workers that the cluster or the pool has room for.
        objective_s: ``queueWaitSeconds``.
        attained: Attainment before the burst, 0 to 1.
        poison: Part of the messages that go to the dead-letter queue.
        pool: Its WorkerPool; empty for none.
        cost: Price of a worker an hour; 0 without a budget.
        false: Conditions that are False in the last half hour.
        rolled: It had a roll-out in the last quarter of an hour.
    """

    name: str
    namespace: str = "media"
    cluster: str = ""
    load: float = 2
    burst: float = 1
    most: int = 12
    room: int = 100
    objective_s: float = 300
    attained: float = 0.999
    poison: float = 0
    pool: str = ""
    cost: float = 0
    false: tuple[str, ...] = ()
    rolled: bool = False

    @property
    def key(self) -> dict[str, str]:
        """Labels of its series from the operator."""
        return {"cluster": self.cluster, "namespace": self.namespace, "name": self.name}


@dataclass(slots=True, kw_only=True)
class Moment:
    """A queue at one time; counts of messages and workers, times in seconds."""

    at_s: float
    arrivals: float = 0
    completions: float = 0
    backlog: float = 0
    age_s: float = 0
    wanted: int = 0
    desired: int = 0
    ready: int = 0
    starting: int = 0
    stuck: int = 0
    busy: int = 0
    received: float = 0
    late: float = 0
    dead: float = 0


def moments(story: Story, start_s: float, end_s: float) -> Iterator[Moment]:
    """Yield a queue minute by minute."""
    now, desired = Moment(at_s=start_s, ready=math.ceil(story.load)), []
    count = int((end_s - start_s) // STEP_S)
    for minute in range(count + 1):
        wave = 1 + 0.35 * math.sin(minute / 11 + len(story.name))
        factor = story.burst if minute > count - 25 else 1
        rate = story.load * wave * factor / SERVICE_S
        arrived = rate * STEP_S
        done = min(now.backlog + arrived, now.ready * STEP_S / SERVICE_S)
        backlog = now.backlog + arrived - done
        need = math.ceil(
            rate * SERVICE_S * 1.15 + backlog * SERVICE_S / max(story.objective_s, 60)
        )
        wanted = max(need, 1 if backlog else 0)
        if done:
            wanted = max(wanted, now.ready - 1)
        desired.append(min(wanted, story.most, story.room if story.pool else story.most))
        coming = desired[max(0, len(desired) - 1 - COLD_START_S // STEP_S)]
        ready = min(coming, desired[-1], story.room)
        stuck = max(0, desired[-1] - story.room)
        speed = max(now.ready, 0.25) / SERVICE_S
        age = backlog / speed if backlog > 1 else 6 * wave
        late = done if age > story.objective_s else done * (1 - story.attained)
        now = Moment(
            at_s=start_s + minute * STEP_S,
            arrivals=rate, completions=done / STEP_S, backlog=backlog, age_s=age,
            wanted=wanted, desired=desired[-1], ready=ready, stuck=stuck,
            starting=max(0, desired[-1] - ready - stuck),
            busy=min(ready, math.ceil((done + 1e-9) * SERVICE_S / STEP_S)) if ready else 0,
            received=now.received + done, late=now.late + late,
            dead=now.dead + done * story.poison,
        )  # fmt: skip
        yield now


def binding(story: Story, now: Moment) -> str:
    """Return the rule that set the number of workers."""
    if "ScalingActive" in story.false:
        return "Paused"
    if story.pool and now.wanted > story.room:
        return "Pool"
    if now.wanted > story.most:
        return "Max"
    if now.stuck:
        return "Capacity"
    return "Drain" if now.backlog > 40 else "Steady"


def record_queue(history: History, story: Story, course: list[Moment]) -> None:
    """Record what the operator exports of a queue."""
    end_s = course[-1].at_s
    for now in course:
        rolls = story.rolled and 480 < end_s - now.at_s < 840
        gauges = _gauges(story, now) | {"outdated_replicas": now.ready * rolls}
        for name, value in gauges.items():
            history.put(now.at_s, f"detection_operator_{name}", value, story.key)
        late = now.at_s > end_s - 1800
        for kind in CONDITIONS:
            false = late and kind in story.false
            if kind == "CapacityAvailable":
                false = false or now.stuck > 0
            if kind == "ObjectiveMet":
                false = false or now.age_s > story.objective_s
            labels = {**story.key, "type": kind}
            history.put(now.at_s, "detection_operator_condition", 0 if false else 1, labels)
        # No scrape tells Prometheus that a series ended: it shows it for five minutes more.
        rule = binding(story, course[-1] if now.at_s > end_s - 360 else now)
        plan = {"Steady": now.arrivals * SERVICE_S, "Drain": now.wanted, rule: now.desired}
        for term, replicas in plan.items():
            labels = {**story.key, "term": term}
            history.put(now.at_s, "detection_operator_plan_term", math.ceil(replicas), labels)
        history.put(now.at_s, "detection_operator_plan_binding", 1, {**story.key, "term": rule})
        history.add(
            now.at_s,
            "detection_operator_received_messages_total",
            now.completions * STEP_S,
            story.key,
        )
        slow = now.completions * STEP_S if now.age_s > story.objective_s else 0
        history.add(now.at_s, "detection_operator_late_messages_total", slow, story.key)
        burning = 100.0 * (now.age_s > story.objective_s)
        for window, part in (("1h", 0.4), ("6h", 0.07)):
            name = f"detection_queue:error_budget:burn_rate{window}"
            history.put(now.at_s, name, 0.2 + burning * part, story.key)
        if story.pool:
            _record_units(history, story, now)


def _record_units(history: History, story: Story, now: Moment) -> None:
    labels = {**story.key, "pool": story.pool}
    granted = min(now.wanted, story.room)
    units = {
        "wanted": min(now.wanted, story.most),
        "granted": granted,
        "held": now.ready + now.starting,
    }
    for name, value in units.items():
        history.put(now.at_s, f"detection_operator_pool_{name}", value, labels)


def _gauges(story: Story, now: Moment) -> dict[str, float]:
    before = 21 * 3600 * story.load / SERVICE_S
    missed = now.late + (1 - story.attained) * before
    attained = 1 - missed / (now.received + before)
    found = {
        "desired_replicas": now.desired,
        "replicas": now.desired,
        "ready_replicas": now.ready,
        "starting_replicas": now.starting,
        "busy_replicas": now.busy,
        "draining_replicas": 0,
        "departing_replicas": 0,
        "silent_replicas": 0,
        "unschedulable_replicas": now.stuck,
        "unready_replicas": 0,
        "image_pull_failed_replicas": 0,
        "crash_looping_replicas": 0,
        "max_replicas": story.most,
        "messages_visible": now.backlog,
        "messages_in_flight": now.busy * 2,
        "messages_delayed": 0,
        "dead_letter_messages": math.floor(now.dead),
        "outbox_messages": 0,
        "outbox_due_messages": 0,
        "oldest_message_age_seconds": now.age_s,
        "arrivals_per_second": now.arrivals,
        "service_seconds": SERVICE_S,
        "service_p90_seconds": 2 * SERVICE_S,
        "cold_start_seconds": COLD_START_S,
        "cold_start_launch_seconds": 95,
        "cold_start_pull_seconds": 110,
        "cold_start_worker_seconds": 35,
        "work_seconds": now.backlog * SERVICE_S,
        "objective_seconds": story.objective_s,
        "objective_ratio": 0.99,
        "attainment_ratio": attained,
        "poison_ratio": story.poison,
        "capacity_blocked": now.stuck > 0,
    }
    if story.cost:
        running = now.ready + now.starting
        found |= {
            "cost_per_hour": running * story.cost,
            "cost_today": running * story.cost * 9,
            "budget_per_hour": story.most * story.cost,
            "budget_per_day": story.most * story.cost * 14,
        }
    return found
