"""The board Workers: stages, resources, failures, callbacks, models and verdicts."""

from typing import Final

from grafana_foundation_sdk.builders import table as tables
from tools.dashboards.columns import Column, table
from tools.dashboards.frame import Row, board
from tools.dashboards.parts import (
    FEW_ARE_FINE,
    NONE_IS_FINE,
    PLAIN,
    About,
    Query,
    Steps,
    lines,
    number,
    small,
)
from tools.dashboards.promql import (
    WORKERS,
    grouped,
    or_none,
    quantile,
    rate,
    ratio,
    workers,
)
from tools.dashboards.worker_rows import failures, traffic

FAILURES: Final[Steps] = ((None, "text"), (0, "green"), (0.05, "orange"), (0.2, "red"))
"""The alert DetectionWorkerFailuresHigh fires above a fifth."""
CALLBACKS: Final[Steps] = ((None, "text"), (0, "green"), (0.02, "orange"), (0.1, "red"))
"""The alert DetectionWorkerCallbacksFail fires above a tenth."""
PODS: Final = ("cluster", "namespace", "pod")
MODEL: Final = ("kind", "model", "version")
JOBS: Final = rate("jobs_total")


def of_ours(expr: str) -> str:
    """Return series of another exporter for the pods of the chosen queues alone."""
    ours = grouped("max", workers("ready"), *PODS)
    return f"{expr} and on ({', '.join(PODS)}) {ours}"


def spread(expr: str) -> list[Query]:
    """Return the largest, mean and smallest of the pods."""
    kinds = {"max": "largest", "avg": "mean", "min": "smallest"}
    return [Query(grouped(function, expr), legend) for function, legend in kinds.items()]


def _now() -> Row:
    failed = or_none(rate("failures_total"), JOBS)
    callbacks = rate("callbacks_total")
    undelivered = or_none(rate("callbacks_total", extra='result!="delivered"'), callbacks)
    fakes = or_none(rate("jobs_total", extra='verdict="fake"'), JOBS)
    return Row(
        panels=[
            number(
                small(
                    title="Workers ready",
                    text="Workers whose models are loaded and whose queue answers.",
                    runbook="DetectionWorkerNotReady",
                ),
                Query(grouped("sum", workers("ready"))),
            ),
            number(
                small(
                    title="Completions",
                    text="Messages that workers finished and deleted.",
                    runbook="DetectionWorkerHung",
                ),
                Query(rate("messages_total", extra='outcome="deleted"')),
                unit="reqps",
            ),
            number(
                small(
                    title="Jobs that fail",
                    text="Failed jobs, of all jobs.",
                    runbook="DetectionWorkerFailuresHigh",
                ),
                Query(ratio(failed, f"({JOBS} + {failed})")),
                unit="percentunit",
                steps=FAILURES,
                decimals=1,
            ),
            number(
                small(
                    title="Job latency, p99",
                    text="From the receive of a message to the end of its job.",
                ),
                Query(quantile(0.99, "job_seconds")),
                unit="s",
            ),
            number(
                small(
                    title="Callbacks that fail",
                    text="Callbacks that were not delivered, of all callbacks.",
                    runbook="DetectionWorkerCallbacksFail",
                ),
                Query(ratio(undelivered, callbacks)),
                unit="percentunit",
                steps=CALLBACKS,
                decimals=1,
            ),
            number(
                small(
                    title="Receivers down",
                    text="Hosts that get no callbacks now because attempts failed in a row.",
                    runbook="DetectionCallbackReceiverDown",
                ),
                Query(grouped("max", workers("callback_circuits_open"))),
                steps=FEW_ARE_FINE,
            ),
            number(
                small(
                    title="Fake",
                    text="Verdict `fake`, of all verdicts.",
                ),
                Query(ratio(fakes, JOBS)),
                unit="percentunit",
                decimals=1,
            ),
            number(
                small(
                    title="Leases lost, 1 h",
                    text="Messages whose visibility timeout ran out at a worker.",
                    runbook="DetectionWorkerLeasesLost",
                ),
                Query(grouped("sum", f"increase({workers('leases_lost_total')}[1h])")),
                steps=NONE_IS_FINE,
                decimals=0,
            ),
        ]
    )


def _stages() -> Row:
    seconds, count = (rate(f"stage_seconds_{kind}", "stage") for kind in ("sum", "count"))
    units, passes = (rate(f"batch_units_{kind}") for kind in ("sum", "count"))
    return Row(
        title="Stages",
        panels=[
            lines(
                About(
                    title="Time in a stage",
                    text="Mean time that a job is worked on in a stage. The longest stage of one "
                    "job at a time bounds the throughput.",
                ),
                Query(ratio(seconds, count), "{{stage}}"),
                unit="s",
            ),
            lines(
                About(
                    title="Jobs in a stage",
                    text="Jobs that are worked on, and that wait in front of a stage (dashed). "
                    "The bottleneck is the stage with jobs before it and none behind.",
                ),
                Query(grouped("sum", workers("stage_busy"), "stage"), "{{stage}}"),
                Query(grouped("sum", workers("stage_waiting"), "stage"), "waiting for {{stage}}"),
                dashed="waiting.*",
            ),
            lines(
                About(
                    title="Job latency",
                    text="From the receive of a message to the end of its job, by media kind.",
                ),
                Query(quantile(0.5, "job_seconds", "kind"), "{{kind}} p50"),
                Query(quantile(0.99, "job_seconds", "kind"), "{{kind}} p99"),
                unit="s",
            ),
            lines(
                About(
                    title="Possible throughput",
                    text="Messages of one kind that the workers can finish a second if no other "
                    "kind comes.",
                ),
                Query(
                    grouped("sum", workers("sustainable_messages_per_second"), "kind"), "{{kind}}"
                ),
                unit="reqps",
            ),
            lines(
                About(
                    title="Seconds a message costs",
                    text="Time of the busiest stage that one message costs, by media kind.",
                ),
                Query(grouped("avg", workers("service_seconds"), "kind"), "{{kind}}"),
                unit="s",
            ),
            lines(
                About(
                    title="Batch size",
                    text="Units (pictures, frames, windows) in one forward pass, mean.",
                ),
                Query(ratio(units, passes), "units"),
            ),
        ],
    )


def _resources() -> Row:
    cpu = 'rate(container_cpu_usage_seconds_total{container!=""}[$__rate_interval])'
    memory = 'container_memory_working_set_bytes{container!=""}'
    gpu = 'label_replace(DCGM_FI_DEV_GPU_UTIL, "pod", "$1", "exported_pod", "(.+)")'
    gpu = f'label_replace({gpu}, "namespace", "$1", "exported_namespace", "(.+)")'
    return Row(
        title="Resources",
        panels=[
            lines(
                About(
                    title="CPU",
                    text="Cores that a pod uses. From cAdvisor of the kubelet; empty where "
                    "Prometheus does not scrape it.",
                ),
                *spread(of_ours(grouped("sum", cpu, *PODS))),
            ),
            lines(
                About(
                    title="Memory",
                    text="Working set of a pod. From cAdvisor of the kubelet; empty where "
                    "Prometheus does not scrape it.",
                ),
                *spread(of_ours(grouped("sum", memory, *PODS))),
                unit="bytes",
            ),
            lines(
                About(
                    title="GPU utilisation",
                    text="Utilisation of the GPU of a pod. From NVIDIA's dcgm-exporter; empty "
                    "without it. Low beside a backlog: the GPU waits for decoding or "
                    "downloads.",
                ),
                *spread(of_ours(grouped("avg", gpu, *PODS))),
                unit="percent",
                axis=(0, 100),
            ),
            _pods(),
        ],
    )


def _pods() -> tables.Panel:
    return table(
        About(
            title="Workers",
            text="Each worker: Draining ones receive nothing more. A worker with nothing in "
            "flight whose last poll is long ago has stalled.",
            runbook="DetectionWorkerStalled",
            width=24,
            height=7,
        ),
        Column(title="Cluster", label="cluster", width=100),
        Column(title="Namespace", label="namespace", width=140),
        Column(title="Queue", label="queue", width=180),
        Column(title="Pod", label="pod"),
        *(
            Column(
                title=title,
                expr=grouped("max", workers(name), "cluster", "namespace", "queue", "pod"),
                unit=unit,
                values=values,
                steps=PLAIN,
                width=110,
            )
            for title, name, unit, values in (
                ("Ready", "ready", "", {"1": ("yes", "green"), "0": ("no", "orange")}),
                ("Draining", "draining", "", {"1": ("yes", "blue"), "0": ("-", "text")}),
                ("In flight", "in_flight", "", None),
                ("Held work", "held_work_seconds", "s", None),
                ("Last poll", "last_poll_age_seconds", "s", None),
            )
        ),
        sort=("Last poll",),
        empty="-",
    )


def _mean_score(window: str) -> str:
    total, count = (
        grouped("sum", f"increase({workers(f'score_{part}')}[{window}])", *MODEL)
        for part in ("sum", "count")
    )
    return ratio(total, count)


def _results() -> Row:
    return Row(
        title="Verdicts and models",
        panels=[
            lines(
                About(
                    title="Verdicts",
                    text="Mix of verdicts: a shift without a reason in the media asks whether "
                    "the model still fits them.",
                    width=5,
                ),
                Query(rate("jobs_total", "verdict"), "{{verdict}}"),
                unit="reqps",
                share=True,
                colors={
                    "fake": "red",
                    "real": "green",
                    "inconclusive": "yellow",
                    "not_applicable": "#808080",
                },
            ),
            lines(
                About(
                    title="Scores of models",
                    text="Mean score, P(fake), that a model gave within an hour, and over the "
                    "last day (dashed). A mean that leaves its day asks why.",
                    width=6,
                ),
                Query(_mean_score("1h"), "{{model}} {{version}}"),
                Query(_mean_score("1d"), "day {{model}} {{version}}"),
                unit="percentunit",
                dashed="day.*",
                axis=(0, 1),
            ),
            lines(
                About(
                    title="Score drift",
                    text="How far the scores of an hour are from those of the week before: 0 "
                    "alike, 1 apart (Kolmogorov-Smirnov). From the chart's rules.",
                    runbook="DetectionWorkerScoreDrift",
                    width=5,
                ),
                Query(
                    grouped("max", f"detection_worker:score:distance1h_7d{{{WORKERS}}}", *MODEL),
                    "{{model}} {{version}}",
                ),
                steps=((None, "transparent"), (0.2, "red")),
                axis=(0, 0.5),
            ),
            table(
                About(
                    title="Models",
                    text="Models that are loaded, and how many workers have them. Two versions "
                    "of a kind: a roll-out is under way.",
                    width=8,
                ),
                Column(title="Kind", label="kind", width=65),
                Column(title="Model", label="name"),
                Column(title="Version", label="version", width=70),
                Column(title="Grade", label="grade", width=65),
                Column(
                    title="Workers",
                    expr=grouped(
                        "count", workers("model_info"), "kind", "name", "version", "grade"
                    ),
                    width=75,
                ),
            ),
        ],
    )


def board_workers() -> str:
    """Return the board Workers."""
    about = "What the workers of the chosen queues do: stages, resources, verdicts, failures."
    rows = [_now(), _stages(), _resources(), _results(), failures(), traffic()]
    return board("workers", "Detection queues: workers", about, rows)
