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
    PLAIN,
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
    largest,
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
    "1": ("Missed 24 h", "yellow"),
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
                alarming=True,
            ),
            number(
                small(
                    title="Missed in 24 h",
                    text="Queues that started fewer messages in time over 24 hours than promised.",
                    runbook="DetectionQueueObjectiveMissed",
                ),
                Query(grouped("sum", f"{ATTAINED} < bool {PROMISED}")),
                steps=NONE_IS_FINE,
                alarming=True,
            ),
            number(
                small(
                    title="Not ready",
                    text="Queues whose condition Ready is False: spec, queue or workers fail.",
                    runbook="DetectionQueueNotReady",
                ),
                Query(grouped("sum", condition("Ready"))),
                steps=NONE_IS_FINE,
                alarming=True,
            ),
            number(
                small(
                    title="Alerts",
                    text="Alerts of the chart that fire for these queues or the operator.",
                ),
                Query(f"{firing} or 0 * {grouped('count', queues('condition'))}"),
                steps=NONE_IS_FINE,
                alarming=True,
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


def _columns() -> list[Column]:
    links = [
        board_link("Open queue", "queue", **_to("Queue")),
        board_link("Open workers", "workers", **_to("Queue")),
    ]
    held_back = {rule: (text, "orange") for rule, text in HELD_BACK.items()}
    return [
        Column(title="State", expr=state(), values=STATES, filled=True, centered=True, width=105),
        Column(title="goto", label="goto", hidden=True),
        Column(title="Cluster", label="cluster", width=70),
        Column(title="Namespace", label="namespace", width=100),
        Column(title="Queue", label="name", links=links),
        Column(title="Oldest", expr=AGE, unit="dthms", width=80),
        Column(title="Objective", expr=WANTED, unit="dthms", width=90),
        Column(
            title="Age / objective", expr=WAIT, unit="percentunit", steps=OBJECTIVE, gauge=2,
            decimals=0, width=130,
        ),
        Column(title="In time 24 h", expr=ATTAINED, unit="percentunit", decimals=2, width=105),
        Column(
            title="Margin", expr=f"{ATTAINED} - {PROMISED}", unit="percentunit",
            steps=MARGIN, decimals=2, width=75,
        ),
        Column(title="Waiting", expr=queues("messages_visible"), unit="short", width=80),
        Column(title="Ready", expr=queues("ready_replicas"), width=60),
        Column(title="Desired", expr=queues("desired_replicas"), width=70),
        Column(
            title="Set by", expr=queues("plan_binding", "term"), label="term", values=held_back,
            steps=PLAIN, width=110,
        ),
        Column(
            title="Dead", expr=queues("dead_letter_messages"), steps=FEW_ARE_FINE, width=60,
        ),
        Column(title="Cost/h", expr=queues("cost_per_hour"), decimals=2, width=70),
    ]  # fmt: skip


def _queues() -> Row:
    about = About(
        title="Queues",
        text="The worst first. A click on a queue opens its board. Margin: messages of the last "
        "24 hours that started in time, less what spec.slo promises. Set by: the rule that "
        "set the number of workers; orange where it gives fewer than the messages need. "
        "Dead: messages in the dead-letter queue. Costs are in the currency of spec.budget.",
        width=24,
        height=11,
    )
    order = ("State", "Age / objective")
    return Row(panels=[table(about, *_columns(), sort=order, empty="-")])


def _course() -> Row:
    late = lines(
        About(
            title="Age of the oldest message / objective",
            text="Ten queues that wait longest. Above 100 % messages are late.",
            runbook="DetectionQueueObjectiveMissedNow",
            width=12,
        ),
        Query(largest(WAIT), OBJECT_NAMES),
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
                stacked=True,
            ),
            lines(
                About(
                    title="Cost per hour",
                    text="Cost of the replicas of queues with spec.budget: the ten dearest.",
                    runbook="DetectionQueueOverBudget",
                ),
                Query(largest(queues("cost_per_hour")), OBJECT_NAMES),
                stacked=True,
            ),
        ]
    )


def _pools() -> Row:
    worst = grouped("min", pools("condition", "type"), "cluster", "namespace", "pool")
    short = f"({pools('wanted', 'name')} - {pools('granted', 'name')} > 0)"
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
                    "and hold. Wanted above capacity: some queue gets less than it wants. "
                    "Conditions: the worst of capacity known, guarantees covered, within "
                    "capacity.",
                    runbook="WorkerPoolStarved",
                    width=14,
                    height=6,
                ),
                Column(title="Cluster", label="cluster", width=90),
                Column(title="Namespace", label="namespace", width=110),
                Column(title="Pool", label="pool"),
                Column(title="Capacity", expr=pools("capacity"), width=80),
                *(
                    Column(title=name.capitalize(), expr=expr, width=80)
                    for name, expr in units.items()
                ),
                Column(title="Conditions", expr=worst, values=CONDITION, steps=PLAIN, width=100),
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
                    largest(short),
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
