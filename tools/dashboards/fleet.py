"""The board Fleet: which queue is late, misses its objective or costs too much."""

from typing import Final

from tools.dashboards.columns import Column, table
from tools.dashboards.frame import Row, board
from tools.dashboards.operator_row import operator_row
from tools.dashboards.parts import (
    CONDITION,
    FEW_ARE_FINE,
    MARGIN,
    NONE_IS_FINE,
    OBJECTIVE,
    About,
    Query,
    board_link,
    lines,
    number,
    small,
)
from tools.dashboards.promql import (
    OBJECT_NAMES,
    QUEUE_KEY,
    alerts,
    condition,
    grouped,
    pools,
    queues,
)
from tools.dashboards.shared import (
    AGE,
    ATTAINED,
    HELD_BACK,
    PROMISED,
    WAIT,
    WANTED,
    alert_table,
    workers_panel,
)

STATES: Final = {
    "4": ("Unreadable", "purple"),
    "3": ("Late", "red"),
    "2": ("Not ready", "orange"),
    "1": ("Missed in 24 h", "yellow"),
    "0": ("In time", "green"),
}


def _named(expr: str, why: str) -> str:
    return f'label_replace({expr}, "why", "{why}", "", "")'


def state() -> str:
    """Return the worst of what is known of each queue, as a number of ``STATES``.

    The label ``goto`` is what the link of the row puts into the variable ``cluster``: every
    cluster where the series have no such label.
    """
    parts = {
        "unreadable": f"4 * {condition('QueueReachable')}",
        "late": f"3 * ({AGE} > bool {WANTED})",
        "unready": f"2 * {condition('Ready')}",
        "missed": f"{ATTAINED} < bool {PROMISED}",
    }
    worst = " or ".join(_named(expr, why) for why, expr in parts.items())
    cluster = f'label_replace({worst}, "goto", "$1", "cluster", "(.+)")'
    every = f'label_replace({cluster}, "goto", "$$__all", "goto", "")'
    return grouped("max", every, *QUEUE_KEY, "goto")


def _to(name: str) -> dict[str, str]:
    return {
        "cluster": "${__data.fields.goto}",
        "namespace": "${__data.fields.Namespace}",
        "queue": f"${{__data.fields.{name}}}",
    }


def _summary() -> Row:
    firing = grouped("count", alerts())
    return Row(
        panels=[
            number(
                small(
                    title="Late now",
                    text="Queues whose oldest waiting message is older than the objective.",
                    runbook="DetectionQueueObjectiveMissedNow",
                ),
                Query(grouped("sum", f"{AGE} > bool {WANTED}")),
                steps=NONE_IS_FINE,
            ),
            number(
                small(
                    title="Missed in 24 h",
                    text="Queues that started fewer messages in time over 24 hours than promised.",
                    runbook="DetectionQueueObjectiveMissed",
                ),
                Query(grouped("sum", f"{ATTAINED} < bool {PROMISED}")),
                steps=NONE_IS_FINE,
            ),
            number(
                small(
                    title="Not ready",
                    text="Queues whose condition Ready is False: spec, queue or workers fail.",
                    runbook="DetectionQueueNotReady",
                ),
                Query(grouped("sum", condition("Ready"))),
                steps=NONE_IS_FINE,
            ),
            number(
                small(
                    title="Alerts",
                    text="Alerts of the chart that fire for these queues or the operator.",
                ),
                Query(f"{firing} or 0 * {grouped('count', queues('condition'))}"),
                steps=NONE_IS_FINE,
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
                    title="Workers",
                    text="Workers that are ready, and those that the plans ask for.",
                ),
                Query(grouped("sum", queues("ready_replicas")), "ready"),
                Query(grouped("sum", queues("desired_replicas")), "desired"),
            ),
            number(
                small(
                    title="Dead letters",
                    text="Messages in the dead-letter queues.",
                    runbook="DetectionQueueDeadLettersGrowing",
                ),
                Query(grouped("sum", queues("dead_letter_messages"))),
                steps=FEW_ARE_FINE,
            ),
            number(
                small(
                    title="Cost per hour",
                    text="Cost of the current replicas of queues with spec.budget, in its "
                    "currency.",
                ),
                Query(grouped("sum", queues("cost_per_hour"))),
                decimals=2,
            ),
        ]
    )


def _queues() -> Row:
    everything = table(
        About(
            title="Queues",
            text="The worst first. A click on a queue opens its board. Against objective: "
            "attainment of the last 24 hours less what spec.slo promises. Set by: the rule that "
            "decided the number of workers; orange where it gives fewer than the messages need.",
            width=24,
            height=12,
        ),
        Column(
            title="State",
            expr=state(),
            values=STATES,
            filled=True,
            steps=((None, "green"),),
            width=130,
        ),
        Column(title="goto", label="goto", hidden=True),
        Column(title="Cluster", label="cluster"),
        Column(title="Namespace", label="namespace"),
        Column(
            title="Queue",
            label="name",
            links=[
                board_link("Open queue", "queue", **_to("Queue")),
                board_link("Open workers", "workers", **_to("Queue")),
            ],
        ),
        Column(title="Oldest message", expr=AGE, unit="s", decimals=0),
        Column(title="Objective", expr=WANTED, unit="s", decimals=0),
        Column(
            title="Age to objective",
            expr=WAIT,
            unit="percentunit",
            steps=OBJECTIVE,
            gauge=2,
            decimals=0,
            width=170,
        ),
        Column(title="Attainment 24 h", expr=ATTAINED, unit="percentunit", decimals=2),
        Column(
            title="Against objective",
            expr=f"{ATTAINED} - {PROMISED}",
            unit="percentunit",
            steps=MARGIN,
            decimals=2,
        ),
        Column(title="Waiting", expr=queues("messages_visible"), unit="short"),
        Column(title="Ready", expr=queues("ready_replicas")),
        Column(title="Desired", expr=queues("desired_replicas")),
        Column(
            title="Set by",
            expr=queues("plan_binding", "term"),
            label="term",
            values={rule: (text, "orange") for rule, text in HELD_BACK.items()},
            steps=((None, "text"),),
        ),
        Column(title="Dead letters", expr=queues("dead_letter_messages"), steps=FEW_ARE_FINE),
        Column(title="Cost/h", expr=queues("cost_per_hour"), decimals=2),
        Column(title="Cost today", expr=queues("cost_today"), decimals=2),
        sort=("State", "Age to objective"),
        empty="-",
    )
    return Row(panels=[everything])


def _course() -> Row:
    late = lines(
        About(
            title="Age of the oldest message, of the objective",
            text="Ten queues that wait longest. Above 100 % messages are late.",
            runbook="DetectionQueueObjectiveMissedNow",
            width=12,
        ),
        Query(f"topk(10, {WAIT})", OBJECT_NAMES),
        unit="percentunit",
        steps=((None, "transparent"), (1, "red")),
        axis=(0, 1.2),
    )
    return Row(panels=[late, alert_table(12, 8)])


def _totals() -> Row:
    return Row(
        panels=[
            workers_panel(8),
            lines(
                About(
                    title="Messages",
                    text="Messages of all chosen queues: waiting, being worked on, not due yet.",
                ),
                Query(grouped("sum", queues("messages_visible")), "waiting"),
                Query(grouped("sum", queues("messages_in_flight")), "in flight"),
                Query(grouped("sum", queues("messages_delayed")), "delayed"),
            ),
            lines(
                About(
                    title="Cost per hour",
                    text="Cost of the replicas of queues with spec.budget: the ten dearest.",
                    runbook="DetectionQueueOverBudget",
                ),
                Query(f"topk(10, {queues('cost_per_hour')})", OBJECT_NAMES),
                stacked=True,
            ),
        ]
    )


def _pools() -> Row:
    conditions = ("CapacityKnown", "GuaranteesCovered", "WithinCapacity")
    each = [
        Column(
            title=kind,
            expr=pools("condition", extra=f'type="{kind}"'),
            values=CONDITION,
            steps=((None, "text"),),
        )
        for kind in conditions
    ]
    units = {
        name: grouped("sum", pools(name, "name"), "cluster", "namespace", "pool")
        for name in ("wanted", "granted", "held")
    }
    return Row(
        title="Pools",
        panels=[
            table(
                About(
                    title="Pools",
                    text="Units that each WorkerPool shares, and what its queues want, may have "
                    "and hold. Wanted above capacity: some queue gets less than it wants.",
                    runbook="WorkerPoolStarved",
                    width=14,
                    height=6,
                ),
                Column(title="Cluster", label="cluster"),
                Column(title="Namespace", label="namespace"),
                Column(title="Pool", label="pool"),
                Column(title="Capacity", expr=pools("capacity")),
                *(Column(title=name.capitalize(), expr=expr) for name, expr in units.items()),
                *each,
                sort=("Wanted",),
                empty="-",
            ),
            lines(
                About(
                    title="Short of pool units",
                    text="Units that queues want and are not granted: the ten that lack most.",
                    runbook="WorkerPoolStarved",
                    width=10,
                    height=6,
                ),
                Query(
                    f"topk(10, {pools('wanted', 'name')} - {pools('granted', 'name')} > 0)",
                    "{{namespace}}/{{name}} of {{pool}} {{cluster}}",
                ),
                stacked=True,
            ),
        ],
    )


def fleet() -> str:
    """Return the board Fleet."""
    about = "All queues at a glance: which is late, which misses its objective, what it costs."
    rows = [_summary(), _queues(), _course(), _totals(), _pools(), operator_row()]
    return board("fleet", "Detection queues: fleet", about, rows)
