"""Rows of the board Workers about what fails and what goes in and out."""

from tools.dashboards.frame import Row
from tools.dashboards.parts import About, Query, lines
from tools.dashboards.promql import grouped, increase, or_none, queues, rate, ratio
from tools.dashboards.shared import failures_by_code


def failures() -> Row:
    """Return the row of failures, callbacks and results."""
    return Row(
        title="Failures, callbacks and results",
        panels=[
            failures_by_code(),
            lines(
                About(
                    title="Settled messages",
                    text="Messages by outcome. Kept: it cannot succeed and stays in the queue.",
                    runbook="DetectionWorkerMessagesKept",
                ),
                Query(rate("messages_total", "outcome"), "{{outcome}}"),
                unit="reqps",
                stacked=True,
            ),
            lines(
                About(
                    title="Trouble of workers",
                    text="Leases that ran out, deliveries of a message that is here already, and "
                    "feeders that were started again.",
                    runbook="DetectionWorkerLeasesLost",
                ),
                Query(increase("leases_lost_total"), "leases lost"),
                Query(increase("redeliveries_adopted_total"), "redelivered"),
                Query(increase("feeder_restarts_total"), "feeder restarts"),
                axis=(0, 1),
            ),
            lines(
                About(
                    title="Callbacks",
                    text="Callbacks by how they ended.",
                    runbook="DetectionWorkerCallbacksFail",
                ),
                Query(rate("callbacks_total", "result"), "{{result}}"),
                unit="reqps",
                stacked=True,
            ),
            lines(
                About(
                    title="Outbox",
                    text="Callbacks that wait for a receiver, those of them that are due, and "
                    "what became of those that were taken out.",
                    runbook="DetectionOutboxNotDelivered",
                ),
                Query(grouped("sum", queues("outbox_messages")), "in the outbox"),
                Query(grouped("sum", queues("outbox_due_messages")), "due"),
                Query(increase("outbox_entries_total", "result"), "{{result}}"),
                Query(increase("callbacks_deferred_total", "reason"), "not tried: {{reason}}"),
            ),
            lines(
                About(
                    title="Results",
                    text="Results at the store and at destinations, by how that ended.",
                    runbook="DetectionWorkerResultsFail",
                ),
                Query(
                    rate("results_total", "destination", "result"), "{{destination}} {{result}}"
                ),
                unit="reqps",
                stacked=True,
            ),
        ],
    )


def traffic() -> Row:
    """Return the row of SQS, downloads and cache."""
    hits = or_none(
        rate("cache_lookups_total", extra='result=~"hit|memory"'), rate("cache_lookups_total")
    )
    return Row(
        title="SQS, downloads and cache",
        collapsed=True,
        panels=[
            lines(
                About(title="SQS requests", text="Calls by operation and result.", width=6),
                Query(
                    rate("sqs_requests_total", "operation", "result"), "{{operation}} {{result}}"
                ),
                unit="reqps",
            ),
            lines(
                About(title="Downloads", text="Media fetched from S3.", width=6),
                Query(rate("downloaded_bytes_total"), "bytes"),
                unit="Bps",
            ),
            lines(
                About(
                    title="Cache hits",
                    text="Lookups in the cache of scores that spared the inference.",
                    runbook="DetectionCacheFails",
                    width=6,
                ),
                Query(ratio(hits, rate("cache_lookups_total")), "hits"),
                unit="percentunit",
                axis=(0, 1),
            ),
            lines(
                About(
                    title="Cache",
                    text="Lookups and writes by result.",
                    runbook="DetectionCacheFails",
                    width=6,
                ),
                Query(rate("cache_lookups_total", "result"), "lookup {{result}}"),
                Query(rate("cache_writes_total", "result"), "write {{result}}"),
                unit="reqps",
            ),
        ],
    )
