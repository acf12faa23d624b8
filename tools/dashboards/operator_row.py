"""The row about the operator itself."""

from tools.dashboards.frame import Row
from tools.dashboards.parts import About, Query, lines
from tools.dashboards.promql import operator_rate, operators


def operator_row() -> Row:
    """Return the row: does it lead, reconcile and get what it asks for."""
    removed = operators("busy_terminated_total")
    last = operators("last_reconcile_timestamp_seconds")
    buckets = operator_rate("reconcile_seconds_bucket", "le")
    return Row(
        title="Operator",
        collapsed=True,
        panels=[
            lines(
                About(
                    title="Reconciles",
                    text="Reconciles by result: only `ok` is one that went through.",
                    runbook="DetectionOperatorReconcilesFail",
                ),
                Query(
                    operator_rate("reconciles_total", "result"),
                    "{{result}}",
                ),
                unit="ops",
            ),
            lines(
                About(
                    title="Reconcile duration",
                    text="Duration of a reconcile, and the time since the last one.",
                    runbook="DetectionOperatorNotReconciling",
                ),
                Query(
                    f"histogram_quantile(0.5, {buckets}) >= 0",
                    "p50",
                ),
                Query(
                    f"histogram_quantile(0.99, {buckets}) >= 0",
                    "p99",
                ),
                Query(
                    f"time() - max by (cluster) ({last} > 0)",
                    "since the last {{cluster}}",
                ),
                unit="s",
            ),
            lines(
                About(
                    title="Leaders and queues",
                    text="One operator of each cluster leads. Waiting: queues due for a "
                    "reconcile.",
                    runbook="DetectionOperatorWithoutLeader",
                ),
                Query(f"sum by (cluster) ({operators('leader')})", "leaders {{cluster}}"),
                Query(f"max by (cluster) ({operators('queues')})", "queues {{cluster}}"),
                Query(
                    f"sum by (cluster) ({operators('work_queue_depth')})", "waiting {{cluster}}"
                ),
            ),
            lines(
                About(
                    title="Decisions", text="Decisions by the rule that set the number of workers."
                ),
                Query(
                    operator_rate("decisions_total", "binding"),
                    "{{binding}}",
                ),
                unit="ops",
            ),
            lines(
                About(
                    title="Drains and busy workers removed",
                    text="Drains by result, and pods that ended while they held a message.",
                    runbook="DetectionWorkerRemovedWhileBusy",
                ),
                Query(
                    f"sum by (result) (increase({operators('drains_total')}[$__rate_interval]))",
                    "drain {{result}}",
                ),
                Query(
                    f"sum by (by) (increase({removed}[$__rate_interval]))",
                    "removed busy by {{by}}",
                ),
            ),
            lines(
                About(
                    title="Requests of the operator",
                    text="Requests to the Kubernetes API and SQS by code, writes by kind.",
                    runbook="DetectionOperatorForbidden",
                ),
                Query(operator_rate("api_requests_total", "verb", "code"), "{{verb}} {{code}}"),
                Query(
                    operator_rate("api_writes_total", "kind"),
                    "write {{kind}}",
                ),
                Query(
                    operator_rate("sqs_requests_total", "code"),
                    "SQS {{code}}",
                ),
                unit="reqps",
            ),
        ],
    )
