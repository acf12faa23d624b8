"""Panels and expressions that more than one board has."""

from typing import Final

from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders import timeseries
from tools.dashboards.columns import Column, table
from tools.dashboards.parts import About, Query, lines, runbook
from tools.dashboards.promql import alerts, grouped, queues, rate

HELD_BACK: Final = {
    "Max": "maxReplicas",
    "Budget": "Budget",
    "Capacity": "No capacity",
    "Starts": "Pods do not start",
    "Pool": "Pool share",
    "ScaleUp": "Scale-up rate",
    "Fallback": "Fallback",
    "Manual": "Manual",
    "Paused": "Paused",
}
"""Rules that leave a queue with fewer workers than its messages need."""
AGE: Final = queues("oldest_message_age_seconds")
WANTED: Final = queues("objective_seconds")
ATTAINED: Final = queues("attainment_ratio")
PROMISED: Final = queues("objective_ratio")
WAIT: Final = f"{AGE} / {WANTED}"


def alert_table(width: int, height: int) -> tables.Panel:
    """Return the table of firing alerts, each with a link to its runbook."""
    named = f'label_join({alerts()}, "object", " ", "pool", "name", "queue")'
    expr = grouped("max", named, "alertname", "severity", "cluster", "namespace", "object")
    severities = {
        "critical": ("critical", "red"),
        "warning": ("warning", "orange"),
        "info": ("info", "blue"),
    }
    return table(
        About(
            title="Firing alerts",
            text="Alerts of the chart that fire now. A click opens the runbook where "
            "monitoring.runbookURL is set. Empty: none fires.",
            width=width,
            height=height,
        ),
        Column(
            title="Severity",
            label="severity",
            values=severities,
            filled=True,
            centered=True,
            width=80,
        ),
        Column(
            title="Alert",
            label="alertname",
            links=[runbook("${__value.raw}").title("Open runbook")],
        ),
        Column(title="Cluster", label="cluster", width=90),
        Column(title="Namespace", label="namespace", width=100),
        Column(title="Object", label="object", width=120),
        Column(title="value", expr=expr, hidden=True),
        sort=("Severity",),
        rising=True,
    )


def workers_panel(width: int) -> timeseries.Panel:
    """Return workers by what they do, against what is desired and allowed."""
    stacked = [
        Query(grouped("sum", queues("busy_replicas")), "busy"),
        Query(
            grouped("sum", f"{queues('ready_replicas')} - {queues('busy_replicas')} > 0"), "idle"
        ),
        Query(grouped("sum", queues("starting_replicas")), "starting"),
        Query(grouped("sum", queues("unschedulable_replicas")), "unschedulable"),
        Query(grouped("sum", queues("draining_replicas")), "draining"),
    ]
    return lines(
        About(
            title="Workers",
            text="Workers by what they do. Dashed: what the plans ask for and the maximum.",
            runbook="DetectionQueueAtMaximum",
            width=width,
        ),
        *stacked,
        Query(grouped("sum", queues("desired_replicas")), "desired"),
        Query(grouped("sum", queues("max_replicas")), "maximum"),
        stacked=True,
        limit="desired|maximum",
        colors={
            "busy": "blue",
            "idle": "green",
            "starting": "yellow",
            "unschedulable": "orange",
            "draining": "purple",
            "desired": "text",
        },
    )


def failures_by_code() -> timeseries.Panel:
    """Return the panel of failed jobs by error code."""
    return lines(
        About(
            title="Failures by code",
            text="Failed jobs by error code.",
            runbook="DetectionWorkerFailuresHigh",
        ),
        Query(rate("failures_total", "code"), "{{code}}"),
        unit="reqps",
        stacked=True,
    )
