"""Alerts name real series, are valid PromQL, and fire when they should."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

TARGET_LABELS = {"namespace", "pod", "queue"}
"""Set by the monitors of the chart."""
QUEUE = 'namespace="media",name="video"'
OTHER = 'namespace="media",name="other"'
POOL = 'namespace="media",pool="gpu"'
WORKER = 'namespace="media",queue="video",pod="video-1"'
FINE: dict[str, str] = {
    f'detection_operator_condition{{{QUEUE},type="Ready"}}': "1x120",
    f'detection_operator_condition{{{QUEUE},type="QueueReachable"}}': "1x120",
    f'detection_operator_condition{{{QUEUE},type="WithinBudget"}}': "1x120",
    f'detection_operator_condition{{{QUEUE},type="ScalingActive"}}': "1x120",
    f'detection_operator_condition{{{QUEUE},type="ConfigurationHealthy"}}': "1x120",
    f"detection_operator_oldest_message_age_seconds{{{QUEUE}}}": "20x120",
    f"detection_operator_objective_seconds{{{QUEUE}}}": "120x120",
    f"detection_operator_attainment_ratio{{{QUEUE}}}": "0.995x120",
    f"detection_operator_objective_ratio{{{QUEUE}}}": "0.99x120",
    f"detection_operator_desired_replicas{{{QUEUE}}}": "10x120",
    f"detection_operator_max_replicas{{{QUEUE}}}": "10x120",
    f"detection_operator_capacity_blocked{{{QUEUE}}}": "0x120",
    f"detection_operator_dead_letter_messages{{{QUEUE}}}": "3x120",
    f"detection_operator_silent_replicas{{{QUEUE}}}": "0x120",
    f"detection_operator_pool_capacity{{{POOL}}}": "16x120",
    f'detection_operator_pool_wanted{{{POOL},name="video"}}': "12x120",
    f'detection_operator_pool_granted{{{POOL},name="video"}}': "10x120",
    # It wants what it is not granted, and is in time anyway.
    f"detection_operator_oldest_message_age_seconds{{{OTHER}}}": "500x120",
    f"detection_operator_objective_seconds{{{OTHER}}}": "600x120",
    f'detection_operator_pool_condition{{{POOL},type="GuaranteesCovered"}}': "1x120",
    f'detection_operator_pool_condition{{{POOL},type="CapacityKnown"}}': "1x30 -1x9 1x80",
    # A hand-over takes as long as a job.
    f'detection_operator_pool_condition{{{POOL},type="WithinCapacity"}}': "1x20 0x40 1x60",
    'detection_operator_busy_terminated_total{by="other"}': "2x120",
    'detection_operator_leader{pod="a"}': "1x120",
    'detection_operator_leader{pod="b"}': "0x120",
    'detection_operator_queues{pod="a"}': "1x120",
    'detection_operator_queues{pod="b"}': "0x120",
    'detection_operator_last_reconcile_timestamp_seconds{pod="a"}': "0+60x120",
    'detection_operator_last_reconcile_timestamp_seconds{pod="b"}': "0x120",
    'detection_operator_reconciles_total{result="ok"}': "0+100x120",
    'detection_operator_reconciles_total{result="api_error"}': "0+1x120",
    'detection_operator_api_requests_total{verb="PATCH",code="200"}': "0+10x120",
    'detection_operator_api_requests_total{verb="PATCH",code="403"}': "1x120",
    f"detection_worker_last_poll_age_seconds{{{WORKER}}}": "20x120",
    f"detection_worker_in_flight{{{WORKER}}}": "4x120",
    f"detection_worker_draining{{{WORKER}}}": "0x120",
    f"detection_worker_ready{{{WORKER}}}": "1x120",
    f'detection_worker_messages_total{{{WORKER},outcome="deleted"}}': "0+60x120",
    f'detection_worker_messages_total{{{WORKER},outcome="kept"}}': "0x120",
    f"detection_worker_leases_lost_total{{{WORKER}}}": "1x120",
    (
        f'detection_worker_jobs_total{{{WORKER},kind="image",label="REAL",verdict="real"}}'
    ): "0+55x120",
    f'detection_worker_failures_total{{{WORKER},code="undecodable"}}': "0+5x120",
    f'detection_worker_callbacks_total{{{WORKER},result="delivered"}}': "0+59x120",
    f'detection_worker_callbacks_total{{{WORKER},result="callback_http"}}': "0+1x120",
    f'detection_worker_results_total{{{WORKER},destination="s3",result="ok"}}': "0+59x120",
    f'detection_worker_results_total{{{WORKER},destination="s3",result="found"}}': "0+9x120",
    (
        f'detection_worker_results_total{{{WORKER},destination="s3",result="result_not_stored"}}'
    ): "0+1x120",
    f'detection_worker_results_total{{{WORKER},destination="sns",result="ok"}}': "0+59x120",
    # One that fails again and again, and is due for a moment now and then.
    f"detection_operator_outbox_messages{{{QUEUE}}}": "1x120",
    f"detection_operator_outbox_due_messages{{{QUEUE}}}": "0x14 1 0x14 1 0x90",
    f"detection_worker_callback_circuits_open{{{WORKER}}}": "0x30 1x20 0x70",
    f'detection_worker_outbox_entries_total{{{WORKER},result="queued"}}': "0+2x120",
    f'detection_worker_outbox_entries_total{{{WORKER},result="delivered"}}': "0+2x120",
    f'detection_worker_outbox_entries_total{{{WORKER},result="retried"}}': "0+9x120",
    f'detection_worker_outbox_entries_total{{{WORKER},result="dead_lettered"}}': "3x120",
    f'detection_worker_outbox_entries_total{{{WORKER},result="kept"}}': "3x120",
    f'detection_worker_outbox_entries_total{{{WORKER},result="refused"}}': "3x120",
    f'detection_worker_cache_lookups_total{{{WORKER},result="hit"}}': "0+20x120",
    f'detection_worker_cache_lookups_total{{{WORKER},result="miss"}}': "0+39x120",
    f'detection_worker_cache_lookups_total{{{WORKER},result="error"}}': "0+1x120",
    f'detection_worker_cache_writes_total{{{WORKER},result="ok"}}': "0+38x120",
    f'detection_worker_cache_writes_total{{{WORKER},result="error"}}': "0+1x120",
}
"""Two hours of a queue at its maximum that meets its objective, one sample a minute."""


def condition(kind: str) -> dict[str, str]:
    return {f'detection_operator_condition{{{QUEUE},type="{kind}"}}': "1x20 0x100"}


def pool_condition(kind: str) -> dict[str, str]:
    return {f'detection_operator_pool_condition{{{POOL},type="{kind}"}}': "1x20 0x100"}


LATE = {f"detection_operator_oldest_message_age_seconds{{{QUEUE}}}": "20x20 500x100"}
CASES: dict[str, dict[str, str | None]] = {
    "DetectionQueueNotReady": {**condition("Ready")},
    "DetectionQueueUnreachable": {**condition("QueueReachable")},
    "DetectionQueueObjectiveMissedNow": {
        **LATE,
        f"detection_operator_max_replicas{{{QUEUE}}}": "20x120",
    },
    "DetectionQueueObjectiveMissed": {
        f"detection_operator_attainment_ratio{{{QUEUE}}}": "0.97x120"
    },
    "DetectionQueueAtMaximum": {**LATE},
    "DetectionQueueCapacityBlocked": {
        f"detection_operator_capacity_blocked{{{QUEUE}}}": "0x20 1x100"
    },
    "DetectionQueueDeadLettersGrowing": {
        f"detection_operator_dead_letter_messages{{{QUEUE}}}": "0+1x120"
    },
    "DetectionQueueOverBudget": {**condition("WithinBudget")},
    "DetectionQueueNotScaling": {**condition("ScalingActive")},
    "DetectionQueueMisconfigured": {**condition("ConfigurationHealthy")},
    "WorkerPoolStarved": {**LATE, f"detection_operator_max_replicas{{{QUEUE}}}": "20x120"},
    "WorkerPoolGuaranteesExceedCapacity": {**pool_condition("GuaranteesCovered")},
    "WorkerPoolCapacityUnknown": {**pool_condition("CapacityKnown")},
    "WorkerPoolOverCapacity": {**pool_condition("WithinCapacity")},
    "DetectionWorkersSilent": {f"detection_operator_silent_replicas{{{QUEUE}}}": "0x20 2x100"},
    "DetectionWorkerRemovedWhileBusy": {
        'detection_operator_busy_terminated_total{by="other"}': "0+1x120"
    },
    "DetectionOperatorWithoutLeader": {
        'detection_operator_leader{pod="a"}': "1x20 0x100",
    },
    "DetectionOperatorNotReconciling": {
        'detection_operator_last_reconcile_timestamp_seconds{pod="a"}': "0+60x20 1200x100"
    },
    "DetectionOperatorReconcilesFail": {
        'detection_operator_reconciles_total{result="api_error"}': "0+50x120"
    },
    "DetectionOperatorForbidden": {
        'detection_operator_api_requests_total{verb="PATCH",code="403"}': "0+1x120"
    },
    "DetectionWorkerStalled": {
        f"detection_worker_last_poll_age_seconds{{{WORKER}}}": "20x20 20+60x100",
        f"detection_worker_in_flight{{{WORKER}}}": "0x120",
    },
    "DetectionWorkerHung": {
        f'detection_worker_messages_total{{{WORKER},outcome="deleted"}}': "0+60x20 1200x100"
    },
    "DetectionWorkerNotReady": {f"detection_worker_ready{{{WORKER}}}": "1x20 0x100"},
    "DetectionWorkerLeasesLost": {f"detection_worker_leases_lost_total{{{WORKER}}}": "0+1x120"},
    "DetectionWorkerMessagesKept": {
        f'detection_worker_messages_total{{{WORKER},outcome="kept"}}': "0+1x120"
    },
    "DetectionWorkerFailuresHigh": {
        f'detection_worker_failures_total{{{WORKER},code="undecodable"}}': "0+50x120"
    },
    "DetectionWorkerCallbacksFail": {
        f'detection_worker_callbacks_total{{{WORKER},result="callback_http"}}': "0+20x120"
    },
    "DetectionWorkerResultsFail": {
        (
            f'detection_worker_results_total{{{WORKER},destination="sns",'
            'result="notification_failed"}'
        ): "0+20x120"
    },
    "DetectionOutboxNotDelivered": {
        f"detection_operator_outbox_messages{{{QUEUE}}}": "9x120",
        f"detection_operator_outbox_due_messages{{{QUEUE}}}": "8x120",
    },
    "DetectionCallbackReceiverDown": {
        f"detection_worker_callback_circuits_open{{{WORKER}}}": "0x20 2x100",
        f"detection_operator_outbox_messages{{{QUEUE}}}": "9x120",
        f"detection_operator_outbox_due_messages{{{QUEUE}}}": "8x120",
    },
    "DetectionOutboxDeadLetters": {
        f'detection_worker_outbox_entries_total{{{WORKER},result="dead_lettered"}}': "0+1x120"
    },
    "DetectionOutboxRefuses": {
        f'detection_worker_outbox_entries_total{{{WORKER},result="refused"}}': "0+1x120"
    },
    "DetectionCacheFails": {
        f'detection_worker_cache_writes_total{{{WORKER},result="denied"}}': "0+20x120"
    },
}
"""What differs from the fine queue when each alert fires; None takes a series away."""
ALSO = {
    "DetectionQueueAtMaximum": {"DetectionQueueObjectiveMissedNow", "WorkerPoolStarved"},
    "DetectionQueueObjectiveMissedNow": {"WorkerPoolStarved"},
    "WorkerPoolStarved": {"DetectionQueueObjectiveMissedNow"},
}
"""Alerts that rightly fire together with the one of the case."""


def alert_rules(chart: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((chart / "files" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions(chart: Path) -> Iterator[tuple[str, str]]:
    """Yield where each expression stands, and itself."""
    for rule in alert_rules(chart):
        yield rule["alert"], rule["expr"]


def test_every_expression_names_series_that_are_exported(
    chart: Path, series: Mapping[str, set[str]]
) -> None:
    unknown = {
        (where, name)
        for where, expr in expressions(chart)
        for name in re.findall(r"detection_\w+", expr)
        if name not in series
    }

    assert unknown == set()


def test_every_matcher_and_grouping_names_labels_that_exist(
    chart: Path, series: Mapping[str, set[str]]
) -> None:
    for where, expr in expressions(chart):
        allowed = set(TARGET_LABELS)
        for name, matchers in re.findall(r"(detection_\w+)(?:\{([^}]*)\})?", expr):
            labels = series[name] | TARGET_LABELS
            allowed |= labels
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= labels, (where, name)
        for grouping in re.findall(r"\b(?:by|on|ignoring) \(([^)]*)\)", expr):
            assert set(re.split(r",\s*", grouping)) <= allowed, (where, grouping)


def check(promtool: str, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [promtool, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_promtool_takes_every_alert(promtool: str, chart: Path) -> None:
    done = check(promtool, chart / "files", "check", "rules", "alerts.yaml")

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(alert_rules(chart))} rules found" in done.stdout


def test_promtool_takes_the_scrape_configuration(
    promtool: str, chart: Path, tmp_path: Path
) -> None:
    config = yaml.safe_load((chart / "examples" / "prometheus.yml").read_text())
    shutil.copy(chart / "files" / "alerts.yaml", tmp_path)
    for job in config["scrape_configs"]:
        # Debian builds Prometheus without the discovery of Kubernetes.
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
        job["static_configs"] = [{"targets": ["127.0.0.1:8080"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))

    done = check(promtool, tmp_path, "check", "config", "prometheus.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_prometheus_rule_holds_the_file_that_was_checked(
    render: Callable[..., list[dict[str, Any]]], chart: Path
) -> None:
    objects = render({"monitoring": {"prometheusRule": {"enabled": True}}})

    [rule] = [item for item in objects if item["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load((chart / "files" / "alerts.yaml").read_text())


def firing(promtool: str, chart: Path, folder: Path, changes: dict[str, str | None]) -> set[str]:
    """Return the alerts that fire after two hours of a fine queue with some changes."""
    series = {name: values for name, values in {**FINE, **changes}.items() if values is not None}
    rules = alert_rules(chart)
    expected = [
        {"expr": f'ALERTS{{alertname="{rule["alert"]}",alertstate="firing"}}', "eval_time": "119m"}
        for rule in rules
    ]
    unit = {
        "rule_files": [str(chart / "files" / "alerts.yaml")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": values} for name, values in series.items()
                ],
                "promql_expr_test": expected,
            }
        ],
    }
    (folder / "unit.yaml").write_text(yaml.safe_dump(unit))
    done = check(promtool, folder, "test", "rules", "unit.yaml")
    text = done.stdout + done.stderr
    # Nothing is expected, so each difference that promtool reports is an alert that fires.
    return {
        rule["alert"] for rule in rules if re.search(rf'alertname=\\?"{rule["alert"]}\\?"', text)
    }


def test_every_alert_has_a_case(chart: Path) -> None:
    assert {rule["alert"] for rule in alert_rules(chart)} == CASES.keys()


def test_nothing_fires_for_a_queue_that_is_fine(
    promtool: str, chart: Path, tmp_path: Path
) -> None:
    assert firing(promtool, chart, tmp_path, {}) == set()


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_for_its_case_alone(
    promtool: str, chart: Path, tmp_path: Path, alert: str
) -> None:
    assert firing(promtool, chart, tmp_path, CASES[alert]) == {alert} | ALSO.get(alert, set())


@pytest.mark.parametrize(
    "series",
    [
        'detection_worker_outbox_entries_total{%s,result="kept"}',
        'detection_worker_cache_lookups_total{%s,result="damaged"}',
        'detection_worker_results_total{%s,destination="s3",result="result_not_stored"}',
    ],
)
def test_alerts_on_what_was_never_seen_before_fire(
    promtool: str, chart: Path, tmp_path: Path, series: str
) -> None:
    """All series of the kind are of another result until the first failure."""
    changes: dict[str, str | None] = {series % WORKER: "0x90 0+30x30"}

    assert len(firing(promtool, chart, tmp_path, changes)) == 1


def test_no_operator_at_all_is_noticed(promtool: str, chart: Path, tmp_path: Path) -> None:
    gone: dict[str, str | None] = {name: None for name in FINE if "detection_operator" in name}

    assert firing(promtool, chart, tmp_path, gone) == {"DetectionOperatorWithoutLeader"}
