"""The board Queue: is it late, why, and what is done about it."""

from typing import Final

from tools.dashboards.frame import Row, board
from tools.dashboards.parts import (
    CONDITION,
    FEW_ARE_FINE,
    MARGIN,
    OBJECTIVE,
    About,
    Query,
    lines,
    number,
    small,
    states,
)
from tools.dashboards.promql import (
    OBJECT_NAMES,
    QUEUES,
    grouped,
    largest,
    pools,
    quantile,
    queues,
    rate,
    ratio,
)
from tools.dashboards.shared import (
    AGE,
    ATTAINED,
    HELD_BACK,
    PROMISED,
    WAIT,
    WANTED,
    alert_table,
    failures_by_code,
    workers_panel,
)

BURN: Final = f"detection_queue:error_budget:burn_rate{{}}{{{{{QUEUES}}}}}"
"""Recorded by the chart's rules; the window is filled in."""


def _now() -> Row:
    work, ready = (grouped("sum", queues(name)) for name in ("work_seconds", "ready_replicas"))
    return Row(
        panels=[
            number(
                small(
                    title="Age / objective",
                    text="Age of the oldest message as a part of spec.slo.queueWaitSeconds: late "
                    "from 100 %. The worst of the chosen queues.",
                    runbook="DetectionQueueObjectiveMissedNow",
                ),
                Query(grouped("max", WAIT)),
                unit="percentunit",
                steps=OBJECTIVE,
                decimals=0,
            ),
            number(
                small(
                    title="Oldest message",
                    text="Lower bound of its age, and the objective.",
                ),
                Query(grouped("max", AGE), "age"),
                Query(grouped("min", WANTED), "objective"),
                unit="s",
                decimals=0,
            ),
            number(
                small(
                    title="Margin, 24 h",
                    text="Messages of the last 24 hours that started in time, less "
                    "spec.slo.objectivePercent. Red: below it. The worst of the chosen "
                    "queues.",
                    runbook="DetectionQueueObjectiveMissed",
                ),
                Query(grouped("min", f"{ATTAINED} - {PROMISED}")),
                unit="percentunit",
                steps=MARGIN,
                decimals=2,
            ),
            number(
                small(
                    title="Waiting",
                    text="Messages that wait to be received.",
                ),
                Query(grouped("sum", queues("messages_visible"))),
            ),
            number(
                small(
                    title="Time to clear",
                    text="Backlog in seconds of work over the workers that are ready: until what "
                    "waits is done, without new messages or workers.",
                ),
                Query(ratio(work, ready)),
                unit="s",
                decimals=0,
            ),
            number(
                small(
                    title="Workers",
                    text="Workers that are ready, and those that the plan asks for.",
                    runbook="DetectionQueueAtMaximum",
                ),
                Query(grouped("sum", queues("ready_replicas")), "ready"),
                Query(grouped("sum", queues("desired_replicas")), "desired"),
            ),
            number(
                small(
                    title="Dead letters",
                    text="Messages in the dead-letter queue.",
                    runbook="DetectionQueueDeadLettersGrowing",
                ),
                Query(grouped("sum", queues("dead_letter_messages"))),
                steps=FEW_ARE_FINE,
            ),
            number(
                small(
                    title="Cost",
                    text="Cost of the current replicas an hour, and since midnight UTC, in the "
                    "currency of spec.budget.",
                    runbook="DetectionQueueOverBudget",
                ),
                Query(grouped("sum", queues("cost_per_hour")), "per hour"),
                Query(grouped("sum", queues("cost_today")), "today"),
                decimals=2,
            ),
        ]
    )


def _late() -> Row:
    return Row(
        title="Is it late?",
        panels=[
            lines(
                About(
                    title="Wait of messages",
                    text="Age of the oldest message, the waits that workers measured, and the "
                    "objective (dashed; the shortest of several queues).",
                    runbook="DetectionQueueObjectiveMissedNow",
                    width=12,
                ),
                Query(largest(AGE, 5), f"oldest {OBJECT_NAMES}"),
                Query(quantile(0.5, "queue_wait_seconds"), "p50 measured"),
                Query(quantile(0.99, "queue_wait_seconds"), "p99 measured"),
                Query(grouped("min", WANTED), "objective"),
                unit="s",
                limit="objective",
            ),
            lines(
                About(
                    title="Attainment over 24 h",
                    text="Messages that started in time, and the objective (dashed).",
                    runbook="DetectionQueueObjectiveMissed",
                    width=6,
                ),
                Query(f"bottomk(5, {ATTAINED})", OBJECT_NAMES),
                Query(grouped("max", PROMISED), "objective"),
                unit="percentunit",
                limit="objective",
                axis=(None, None),
            ),
            lines(
                About(
                    title="Burn rate of the objective",
                    text="Late messages over what the objective allows: at 1 its error budget "
                    "lasts as long as its period. From the chart's rules.",
                    runbook="DetectionQueueObjectiveBurnsFast",
                    width=6,
                ),
                Query(grouped("max", BURN.format("1h")), "1 hour"),
                Query(grouped("max", BURN.format("6h")), "6 hours"),
                steps=((None, "transparent"), (1, "red")),
                axis=(0, 2),
            ),
        ],
    )


def _why() -> Row:
    late, received = (
        grouped("sum", f"rate(detection_operator_{name}_messages_total{{{QUEUES}}}[5m])")
        for name in ("late", "received")
    )
    return Row(
        title="Why?",
        panels=[
            lines(
                About(
                    title="Arrivals and completions",
                    text="Arrivals above completions: the queue grows. Late: messages that had "
                    "waited longer than the objective when a worker received them.",
                ),
                Query(grouped("sum", queues("arrivals_per_second")), "arrivals"),
                Query(rate("messages_total", extra='outcome="deleted"'), "completions"),
                Query(f"{received} - {late}", "received in time"),
                Query(late, "received late"),
                colors={"received late": "red"},
                unit="reqps",
            ),
            states(
                About(
                    title="Rule that sets the number of workers",
                    text="Red rules give fewer workers than the messages need: the maximum, the "
                    "budget, missing capacity, the pool's share.",
                    runbook="DetectionQueueAtMaximum",
                ),
                Query(f"2 * {binding('=~')}", "{{term}}"),
                Query(binding("!~"), "{{term}}"),
                values={"1": ("need", "green"), "2": ("holds back", "red")},
            ),
            states(
                About(
                    title="Conditions",
                    text="Conditions of the DetectionQueue: red is False. The worst of the "
                    "chosen queues. `kubectl describe dq` has the reasons.",
                    runbook="DetectionQueueNotReady",
                ),
                Query(f"min by (type) (detection_operator_condition{{{QUEUES}}})", "{{type}}"),
                values=CONDITION,
            ),
            lines(
                About(
                    title="Missing capacity",
                    text="Workers without a node, and workers on a node that do not become "
                    "ready. Blocked: queues for which the cluster has no room.",
                    runbook="DetectionQueueCapacityBlocked",
                ),
                Query(grouped("sum", queues("unschedulable_replicas")), "unschedulable"),
                Query(grouped("sum", queues("unready_replicas")), "not getting ready"),
                Query(grouped("sum", queues("image_pull_failed_replicas")), "no image"),
                Query(grouped("sum", queues("crash_looping_replicas")), "crash loop"),
                Query(grouped("sum", queues("silent_replicas")), "silent"),
                Query(grouped("sum", queues("departing_replicas")), "on departing nodes"),
                Query(grouped("sum", queues("capacity_blocked")), "blocked"),
                axis=(0, 1),
            ),
            lines(
                About(
                    title="Share of the pool",
                    text="Units that the queue wants of its WorkerPool, may have, and holds.",
                    runbook="WorkerPoolStarved",
                ),
                *(
                    Query(
                        grouped("sum", pools(name, "name", extra='name=~"$queue"'), "pool"),
                        f"{name} {{{{pool}}}}",
                    )
                    for name in ("wanted", "granted", "held")
                ),
            ),
            lines(
                About(
                    title="Time of a message, and of a cold start",
                    text="What the plan believes: processing time of a message, and the time "
                    "from a new pod to ready with its parts.",
                ),
                Query(grouped("max", queues("service_seconds")), "message, mean"),
                Query(grouped("max", queues("service_p90_seconds")), "message, p90"),
                Query(grouped("max", queues("cold_start_seconds")), "cold start"),
                Query(grouped("max", queues("cold_start_launch_seconds")), "of it node"),
                Query(grouped("max", queues("cold_start_pull_seconds")), "of it image"),
                Query(grouped("max", queues("cold_start_worker_seconds")), "of it worker"),
                unit="s",
            ),
        ],
    )


def binding(match: str) -> str:
    """Return the rules that set a number, one series each: ``=~`` those that hold back."""
    series = f'detection_operator_plan_binding{{{QUEUES}, term{match}"{"|".join(HELD_BACK)}"}}'
    return grouped("max", series, "term")


def _done() -> Row:
    hour = f"{queues('cost_per_hour')} / {queues('budget_per_hour')}"
    day = f"{queues('cost_today')} / {queues('budget_per_day')}"
    return Row(
        title="What is done about it?",
        panels=[
            workers_panel(8),
            lines(
                About(
                    title="The plan, rule by rule",
                    text="Replicas after each rule of the plan that spoke; the last one is what "
                    "is desired. Replicas: what the Deployments ask for.",
                ),
                Query(
                    grouped("sum", queues("plan_term", "term"), "term"),
                    "{{term}}",
                ),
                Query(grouped("sum", queues("replicas")), "replicas"),
                limit="replicas",
            ),
            lines(
                About(
                    title="Messages",
                    text="Messages that wait, that workers hold, and that are not due yet.",
                ),
                Query(grouped("sum", queues("messages_visible")), "waiting"),
                Query(grouped("sum", queues("messages_in_flight")), "in flight"),
                Query(grouped("sum", queues("messages_delayed")), "delayed"),
                stacked=True,
            ),
            alert_table(16, 7),
            lines(
                About(
                    title="Spent of the budget",
                    text="Cost of the current replicas of maxPerHour, and cost since midnight "
                    "UTC of maxPerDay. Empty without spec.budget.",
                    runbook="DetectionQueueOverBudget",
                    height=7,
                ),
                Query(largest(hour, 5), f"hour {OBJECT_NAMES}"),
                Query(largest(day, 5), f"day {OBJECT_NAMES}"),
                unit="percentunit",
                steps=((None, "transparent"), (1, "red")),
                axis=(0, 1),
            ),
        ],
    )


def _fails() -> Row:
    return Row(
        title="What fails?",
        panels=[
            failures_by_code(),
            lines(
                About(
                    title="Dead letters",
                    text="Messages in the dead-letter queue.",
                    runbook="DetectionQueueDeadLettersGrowing",
                ),
                Query(largest(queues("dead_letter_messages"), 5), OBJECT_NAMES),
                axis=(0, 1),
            ),
            lines(
                About(
                    title="Poison messages",
                    text="Part of the attempts that cannot succeed: their messages ask for no "
                    "workers.",
                ),
                Query(largest(queues("poison_ratio"), 5), OBJECT_NAMES),
                unit="percentunit",
                axis=(0, 0.1),
            ),
        ],
    )


def queue() -> str:
    """Return the board Queue."""
    about = (
        "Is the queue late, why, and what is done about it. Choose one queue, or compare several."
    )
    rows = [_now(), _late(), _why(), _done(), _fails()]
    return board("queue", "Detection queues: queue", about, rows)
