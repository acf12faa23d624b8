"""Alerts name real series, fire when they should, once each, and not otherwise."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

# One run of promtool answers for all cases.
pytestmark = pytest.mark.timeout(600)

RULES = Path(__file__).parents[3] / "charts" / "detection-queue" / "files" / "alerts.yaml"
QUEUE = 'namespace="media",name="video"'
OTHER = 'namespace="media",name="other"'
POOL = 'namespace="media",pool="gpu"'
WORKER = 'namespace="media",queue="video",pod="video-1"'
NEW_WORKER = 'namespace="media",queue="video",pod="video-2"'
FINE: dict[str, str] = {
    f'detection_operator_condition{{{QUEUE},type="Ready"}}': "1x120",
    f'detection_operator_condition{{{QUEUE},type="QueueReachable"}}': "1x120",
    f'detection_operator_condition{{{QUEUE},type="WithinBudget"}}': "1x120",
    f'detection_operator_condition{{{QUEUE},type="ScalingActive"}}': "1x120",
    f'detection_operator_condition{{{QUEUE},type="ConfigurationHealthy"}}': "1x120",
    f"detection_operator_oldest_message_age_seconds{{{QUEUE}}}": "20x120",
    f"detection_operator_messages_visible{{{QUEUE}}}": "40x120",
    f"detection_operator_busy_replicas{{{QUEUE}}}": "8x120",
    f"detection_operator_received_messages_total{{{QUEUE}}}": "0+60x120",
    f"detection_operator_late_messages_total{{{QUEUE}}}": "0+0.3x120",
    f"detection_operator_image_pull_failed_replicas{{{QUEUE}}}": "0x20 2x3 0x97",
    f"detection_operator_crash_looping_replicas{{{QUEUE}}}": "0x20 1x8 0x92",
    # At this pace 172 by midnight, but little is spent yet.
    f"detection_operator_cost_today{{{QUEUE}}}": "0+0.12x120",
    f"detection_operator_cost_per_hour{{{QUEUE}}}": "7.2x120",
    f"detection_operator_budget_per_day{{{QUEUE}}}": "100x120",
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
    'detection_operator_busy_terminated_total{by="operator"}': "0x120",
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
"""Two hours of a queue at its maximum that meets its objective, one sample a minute.

Series of the operator without the label pod are those of two pods: the leader, and the one that
led before.
"""


def condition(kind: str) -> dict[str, str]:
    return {f'detection_operator_condition{{{QUEUE},type="{kind}"}}': "1x20 0x100"}


def pool_condition(kind: str) -> dict[str, str]:
    return {f'detection_operator_pool_condition{{{POOL},type="{kind}"}}': "1x20 0x100"}


WAITING = {f"detection_operator_oldest_message_age_seconds{{{QUEUE}}}": "20x20 500x100"}
CASES: dict[str, dict[str, str | None]] = {
    "DetectionQueueNotReady": {**condition("Ready")},
    "DetectionQueueUnreachable": {**condition("QueueReachable")},
    "DetectionQueueObjectiveBurnsFast": {
        f"detection_operator_late_messages_total{{{QUEUE}}}": "0+30x120"
    },
    "DetectionQueueObjectiveBurnsSlowly": {
        f"detection_operator_late_messages_total{{{QUEUE}}}": "0+2.4x120"
    },
    "DetectionQueueNothingReceived": {
        **WAITING,
        f"detection_operator_max_replicas{{{QUEUE}}}": "20x120",
        f"detection_operator_busy_replicas{{{QUEUE}}}": "8x20 0x100",
        f"detection_operator_received_messages_total{{{QUEUE}}}": "0+60x20 1200x100",
        f"detection_operator_late_messages_total{{{QUEUE}}}": "0x120",
    },
    "DetectionQueueObjectiveMissedNow": {
        **WAITING,
        f"detection_operator_max_replicas{{{QUEUE}}}": "20x120",
    },
    "DetectionQueueObjectiveMissed": {
        f"detection_operator_attainment_ratio{{{QUEUE}}}": "0.97x120"
    },
    "DetectionQueueAtMaximum": {**WAITING},
    "DetectionQueueCapacityBlocked": {
        f"detection_operator_capacity_blocked{{{QUEUE}}}": "0x20 1x100"
    },
    "DetectionQueueImagePullFails": {
        f"detection_operator_image_pull_failed_replicas{{{QUEUE}}}": "0x20 2x100"
    },
    "DetectionQueueWorkersCrashLoop": {
        f"detection_operator_crash_looping_replicas{{{QUEUE}}}": "0x20 1x100"
    },
    "DetectionQueueBudgetNear": {
        f"detection_operator_cost_today{{{QUEUE}}}": "80+0.12x120",
    },
    "DetectionQueueDeadLettersGrowing": {
        f"detection_operator_dead_letter_messages{{{QUEUE}}}": "0+1x120"
    },
    "DetectionQueueOverBudget": {
        **condition("WithinBudget"),
        f"detection_operator_cost_today{{{QUEUE}}}": "80+0.12x120",
    },
    "DetectionQueueNotScaling": {**condition("ScalingActive")},
    "DetectionQueueMisconfigured": {**condition("ConfigurationHealthy")},
    "WorkerPoolStarved": {**WAITING, f"detection_operator_max_replicas{{{QUEUE}}}": "20x120"},
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
    "DetectionQueueObjectiveBurnsFast": {"DetectionQueueObjectiveBurnsSlowly"},
    "DetectionQueueNothingReceived": {"DetectionQueueObjectiveMissedNow", "WorkerPoolStarved"},
    "DetectionQueueAtMaximum": {"DetectionQueueObjectiveMissedNow", "WorkerPoolStarved"},
    "DetectionQueueObjectiveMissedNow": {"WorkerPoolStarved"},
    "WorkerPoolStarved": {"DetectionQueueObjectiveMissedNow"},
}
"""Alerts that rightly fire together with the one of the case."""


def alert_rules(chart: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((chart / "files" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def check(promtool: str, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [promtool, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def of_both_pods(series: Mapping[str, str | None]) -> dict[str, str]:
    """Return series with values, those of the operator once for each of its pods."""
    found: dict[str, str] = {}
    for name, values in series.items():
        if values is None:
            continue
        if name.startswith("detection_operator_") and "pod=" not in name:
            for pod in "ab":
                found[name.replace("{", f'{{pod="{pod}",', 1)] = values
        else:
            found[name] = values
    return found


def firing(
    promtool: str,
    folder: Path,
    rules: Path,
    cases: Mapping[str, Mapping[str, str | None]],
    *,
    at: str = "115m",
    every: str = "5m",
) -> dict[str, list[dict[str, str]]]:
    """Return the labels of the alerts that fire at a time, for each case."""
    tests = [
        {
            "interval": "1m",
            "input_series": [
                {"series": name, "values": values} for name, values in of_both_pods(case).items()
            ],
            # Nothing is expected, so promtool tells what it finds; one matcher names the case.
            "promql_expr_test": [
                {"expr": f'ALERTS{{alertstate="firing",case!="{number}"}}', "eval_time": at}
            ],
        }
        for number, case in enumerate(cases.values())
    ]
    unit = {
        "rule_files": [str(rules)],
        # Without it promtool evaluates groups in any order: alerts would see old recordings.
        "group_eval_order": [
            group["name"] for group in yaml.safe_load(rules.read_text())["groups"]
        ],
        "evaluation_interval": every,
        "tests": tests,
    }
    (folder / "unit.yaml").write_text(yaml.safe_dump(unit))
    done = check(promtool, folder, "test", "rules", "unit.yaml")
    text = done.stdout + done.stderr
    told = re.findall(r'case!=\\"(\d+)\\".*\n.*\n\s*got:(.*)', text)
    assert done.returncode == bool(told), text
    names = list(cases)
    found: dict[str, list[dict[str, str]]] = {name: [] for name in names}
    for number, alerts in told:
        for labels in re.findall(r"\{([^}]*)\}", alerts):
            found[names[int(number)]].append(dict(re.findall(r'(\w+)="([^"]*)"', labels)))
    return found


def names_of(alerts: Iterable[Mapping[str, str]]) -> list[str]:
    return sorted(alert["alertname"] for alert in alerts)


def test_every_expression_names_series_and_labels_that_are_exported(
    query_problems: Callable[[str], list[str]],
) -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    found = {
        rule["expr"]: query_problems(rule["expr"]) for group in groups for rule in group["rules"]
    }

    assert {query: problems for query, problems in found.items() if problems} == {}


def test_promtool_takes_every_alert(promtool: str, chart: Path) -> None:
    done = check(promtool, chart / "files", "check", "rules", "alerts.yaml")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_promtool_takes_the_scrape_configuration(
    promtool: str, chart: Path, tmp_path: Path
) -> None:
    config = yaml.safe_load((chart / "examples" / "prometheus.yml").read_text())
    shutil.copy(RULES, tmp_path)
    for job in config["scrape_configs"]:
        # Debian builds Prometheus without the discovery of Kubernetes.
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
        job["static_configs"] = [{"targets": ["127.0.0.1:8080"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))

    done = check(promtool, tmp_path, "check", "config", "prometheus.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_prometheus_rule_holds_the_file_that_was_checked(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    objects = render({"monitoring": {"prometheusRule": {"enabled": True}}})

    [rule] = [item for item in objects if item["kind"] == "PrometheusRule"]
    assert rule["spec"] == yaml.safe_load(RULES.read_text())


def test_every_alert_has_a_case(chart: Path) -> None:
    names = {rule["alert"] for rule in alert_rules(chart)}

    assert names - {"DetectionWorkerScoreDrift"} == CASES.keys()


@pytest.fixture(scope="module")
def fired(
    promtool: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[dict[str, str]]]:
    """The alerts of each case, in one run."""
    gone: dict[str, str | None] = {name: None for name in FINE if "detection_operator" in name}
    others = {name: case for name, (case, _) in OTHER_CASES.items()}
    changes = {**CASES, **others, "fine": {}, "no operator": gone}
    cases = {name: {**FINE, **change} for name, change in changes.items()}
    return firing(promtool, tmp_path_factory.mktemp("cases"), RULES, cases)


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_for_its_case_alone_and_once(
    fired: dict[str, list[dict[str, str]]], alert: str
) -> None:
    assert names_of(fired[alert]) == sorted({alert} | ALSO.get(alert, set()))


def test_nothing_fires_for_a_queue_that_is_fine(fired: dict[str, list[dict[str, str]]]) -> None:
    assert fired["fine"] == []


def test_no_operator_at_all_is_noticed(fired: dict[str, list[dict[str, str]]]) -> None:
    assert names_of(fired["no operator"]) == ["DetectionOperatorWithoutLeader"]


OTHER_CASES: dict[str, tuple[dict[str, str | None], list[str]]] = {
    # All series of the kind are of another result until the first failure.
    "a callback kept that never was before": (
        {f'detection_worker_outbox_entries_total{{{WORKER},result="kept"}}': "0x90 0+30x30"},
        ["DetectionOutboxDeadLetters"],
    ),
    "damage that never was before": (
        {f'detection_worker_cache_lookups_total{{{WORKER},result="damaged"}}': "0x90 0+30x30"},
        ["DetectionCacheFails"],
    ),
    "results not stored that never were before": (
        {
            f"detection_worker_results_total{{{WORKER},"
            'destination="s3",result="result_not_stored"}': "0x90 0+30x30"
        },
        ["DetectionWorkerResultsFail"],
    ),
    "everything fails from the first job on": (
        {
            f"detection_worker_jobs_total{{{WORKER},"
            'kind="image",label="REAL",verdict="real"}': None
        },
        ["DetectionWorkerFailuresHigh"],
    ),
    "a queue that is paused on purpose": (
        {
            **CASES["DetectionQueueNothingReceived"],
            f'detection_operator_plan_binding{{{QUEUE},term="Paused"}}': "1x120",
        },
        ["DetectionQueueObjectiveMissedNow", "WorkerPoolStarved"],
    ),
    "a queue that is set to no workers": (
        {
            **CASES["DetectionQueueNothingReceived"],
            f'detection_operator_plan_binding{{{QUEUE},term="Manual"}}': "1x120",
            f"detection_operator_desired_replicas{{{QUEUE}}}": "0x120",
        },
        ["DetectionQueueObjectiveMissedNow", "WorkerPoolStarved"],
    ),
    "a queue whose fixed number of workers receives nothing": (
        {
            **CASES["DetectionQueueNothingReceived"],
            f'detection_operator_plan_binding{{{QUEUE},term="Manual"}}': "1x120",
        },
        [
            "DetectionQueueNothingReceived",
            "DetectionQueueObjectiveMissedNow",
            "WorkerPoolStarved",
        ],
    ),
    "all few messages of a quiet queue are late": (
        {
            f"detection_operator_received_messages_total{{{QUEUE}}}": "0x60 0+0.05x60",
            f"detection_operator_late_messages_total{{{QUEUE}}}": "0x60 0+0.05x60",
        },
        [],
    ),
    "a few that nobody receives": (
        {
            **WAITING,
            f"detection_operator_max_replicas{{{QUEUE}}}": "20x120",
            f"detection_operator_messages_visible{{{QUEUE}}}": "3x120",
            f"detection_operator_busy_replicas{{{QUEUE}}}": "0x120",
            f"detection_operator_received_messages_total{{{QUEUE}}}": "1200x120",
        },
        ["DetectionQueueObjectiveMissedNow", "WorkerPoolStarved"],
    ),
    "long jobs, and nothing received meanwhile": (
        {
            **WAITING,
            f"detection_operator_max_replicas{{{QUEUE}}}": "20x120",
            f"detection_operator_received_messages_total{{{QUEUE}}}": "1200x120",
        },
        ["DetectionQueueObjectiveMissedNow", "WorkerPoolStarved"],
    ),
    "a worker that has just begun its first message": (
        {
            f"detection_worker_in_flight{{{NEW_WORKER}}}": "_x100 1x20",
            f'detection_worker_messages_total{{{NEW_WORKER},outcome="deleted"}}': "_x100 0x20",
        },
        [],
    ),
    "a worker that only dead-letters": (
        {
            f'detection_worker_messages_total{{{WORKER},outcome="deleted"}}': "0x120",
            f'detection_worker_messages_total{{{WORKER},outcome="dead_lettered"}}': "0+1x120",
        },
        [],
    ),
    "queues of one name in two namespaces": (
        {
            'detection_operator_condition{namespace="one",name="video",type="Ready"}': "0x120",
            'detection_operator_condition{namespace="two",name="video",type="Ready"}': "1x120",
            'detection_operator_objective_ratio{namespace="one",name="video"}': "0.5x120",
        },
        ["DetectionQueueNotReady"],
    ),
    "a former leader that saw it otherwise": (
        {
            f'detection_operator_condition{{{QUEUE},type="Ready"}}': None,
            f'detection_operator_condition{{{QUEUE},type="Ready",pod="a"}}': "1x120",
            f'detection_operator_condition{{{QUEUE},type="Ready",pod="b"}}': "0x120",
        },
        [],
    ),
    "two installations, one without a leader": (
        {
            'detection_operator_leader{namespace="one",job="x",pod="c"}': "0x120",
            'detection_operator_leader{namespace="two",job="x",pod="c"}': "1x120",
        },
        ["DetectionOperatorWithoutLeader"],
    ),
    "no pools, no outbox, no cache, no budget": (
        {
            name: None
            for name in FINE
            if re.search("pool_|outbox|cache_|budget|cost|results_|circuits", name)
        },
        [],
    ),
    "no workers": ({name: None for name in FINE if name.startswith("detection_worker")}, []),
    "restarts of the operator and of workers": (
        {
            f"detection_operator_received_messages_total{{{QUEUE}}}": "0+60x90 0+60x29",
            f"detection_operator_late_messages_total{{{QUEUE}}}": "0+0.3x90 0+0.3x29",
            f"detection_worker_leases_lost_total{{{WORKER}}}": "1x90 0x30",
            'detection_operator_busy_terminated_total{by="other"}': "2x90 0x30",
            f'detection_worker_messages_total{{{WORKER},outcome="kept"}}': "0x120",
        },
        [],
    ),
}
"""What differs from the fine queue, and what fires."""


@pytest.mark.parametrize("case", OTHER_CASES)
def test_what_else_fires_and_what_does_not(
    fired: dict[str, list[dict[str, str]]], case: str
) -> None:
    assert names_of(fired[case]) == OTHER_CASES[case][1]
    assert {alert["namespace"] for alert in fired[case]} <= {"media", "one"}


def test_labels_are_those_of_the_queue_and_not_of_the_operator_s_pod(
    fired: dict[str, list[dict[str, str]]],
) -> None:
    [alert] = fired["DetectionQueueNotReady"]

    assert alert == {
        "__name__": "ALERTS",
        "alertname": "DetectionQueueNotReady",
        "alertstate": "firing",
        "namespace": "media",
        "name": "video",
        "severity": "warning",
    }


# -- days: burn rates, budgets, scores -----------------------------------------------------------

DAY = 24 * 60
NOW_MINUTES = 3 * DAY + 120
BURNS: dict[str, tuple[list[tuple[int, float]], list[str]]] = {
    "an hour at 20 times": ([(120, 200)], ["Fast"]),
    "six hours at 7 times": ([(480, 70)], ["Fast"]),
    "a day at 4 times": ([(1800, 40)], ["Slowly"]),
    "three days at 1.5 times": ([(3 * DAY + 60, 15)], ["Slowly"]),
    "three days at what is allowed": ([(3 * DAY + 60, 9)], []),
    "an hour at 20 times that is over": ([(60, 200), (40, 0)], []),
    "an hour at 10 times": ([(60, 100)], []),
}
"""Minutes and late messages of each minute, of 1,000: what happened last, before that none was
late. Then the alerts on burn rates."""


def rising(*last: tuple[int, float], begin: int = 0) -> str:
    """Return a counter at rest that at last rises by so much a minute for so many minutes."""
    values, total = [], 0.0
    rest = NOW_MINUTES + 1 - sum(minutes for minutes, _ in last) - begin
    for minutes, each in [(rest, 0.0), *last]:
        values.append(f"{total:g}+{each:g}x{minutes - 1}")
        total += each * minutes
    return " ".join([*([f"_x{begin}"] if begin else []), *values])


def burning(
    name: str, late: str, *, objective: float = 0.99, received: str = "", pod: str = "a"
) -> dict[str, str | None]:
    labels = f'namespace="media",name="{name}",pod="{pod}"'
    return {
        f"detection_operator_objective_ratio{{{labels}}}": f"{objective}x{NOW_MINUTES}",
        f"detection_operator_received_messages_total{{{labels}}}": (
            received or f"0+1000x{NOW_MINUTES}"
        ),
        f"detection_operator_late_messages_total{{{labels}}}": late,
    }


def test_burn_rates_fire_by_long_and_short_windows(promtool: str, tmp_path: Path) -> None:
    """Queues side by side: none fires for another."""
    series: dict[str, str | None] = {}
    for name, (late, _) in BURNS.items():
        series |= burning(name, rising(*late))
    series |= burning("loose and all are late", rising((120, 1000)), objective=0.5)
    series |= burning("loose and half are late", rising((120, 500)), objective=0.9)
    few = rising((3, 1), (20, 0))
    series |= burning("three messages", few, received=few)
    series |= burning("nothing came", rising(), received=rising())
    # The leader that counted until now is still scraped.
    until = f"0+1000x{NOW_MINUTES - 61} {1000 * (NOW_MINUTES - 61)}x60"
    series |= burning("another leads", rising((60, 200), (60, 0)), received=until)
    new = rising((59, 200), begin=NOW_MINUTES - 60)
    all_of_them = rising((59, 1000), begin=NOW_MINUTES - 60)
    series |= burning("another leads", new, received=all_of_them, pod="b")

    fired = firing(promtool, tmp_path, RULES, {"all": series}, at=f"{NOW_MINUTES}m", every="15m")[
        "all"
    ]

    found: dict[str, list[str]] = {}
    for alert in fired:
        _, burns, kind = alert["alertname"].partition("ObjectiveBurns")
        if burns:
            found.setdefault(alert["name"], []).append(kind)
    assert found == {
        **{name: kinds for name, (_, kinds) in BURNS.items() if kinds},
        "loose and all are late": ["Fast"],
        "another leads": ["Fast"],
    }


@pytest.mark.parametrize(
    ("at", "alerts"), [("12h", ["DetectionQueueBudgetNear"]), ("23h", [])], ids=["noon", "late"]
)
def test_a_budget_that_lasts_until_midnight_is_not_near(
    promtool: str, tmp_path: Path, at: str, alerts: list[str]
) -> None:
    series: dict[str, str | None] = {
        f"detection_operator_cost_today{{{QUEUE}}}": f"85x{DAY}",
        f"detection_operator_cost_per_hour{{{QUEUE}}}": f"3x{DAY}",
        f"detection_operator_budget_per_day{{{QUEUE}}}": f"100x{DAY}",
        "detection_operator_leader": f"1x{DAY}",
    }

    fired = firing(promtool, tmp_path, RULES, {at: series}, at=at, every="10m")

    assert names_of(fired[at]) == alerts


BOUNDS = ("0.1", "0.5", "0.9", "1.0", "+Inf")
USUAL = (0.7, 0.8, 0.9, 1, 1)
CHANGED = (0.4, 0.5, 0.7, 1, 1)


def scored(
    model: str, *shares: Sequence[float], each: float = 10, begin: int = 0, pod: str = "a"
) -> dict[str, str | None]:
    """Return the histogram of a model whose cumulative shares change eight hours ago."""
    labels = (
        f'namespace="media",queue="video",kind="image",model="{model}",version="1",pod="{pod}"'
    )
    length = NOW_MINUTES - 480 - begin
    return {
        f'detection_worker_score_bucket{{{labels},le="{le}"}}': rising(
            (length, first * each), (480, last * each), begin=begin
        )
        for le, first, last in zip(BOUNDS, shares[0], shares[-1], strict=True)
    }


def test_scores_that_differ_from_those_of_the_days_before_are_noticed(
    promtool: str, tmp_path: Path
) -> None:
    series = {
        **scored("same", USUAL),
        **scored("drifts", USUAL, CHANGED),
        **scored("little", USUAL, (0.6, 0.72, 0.85, 1, 1)),
        **scored("rare", USUAL, CHANGED, each=0.1),
        **scored("idle", USUAL, (0, 0, 0, 0, 0)),
        # Together they drift by half as much as the first of them does.
        **scored("two-pods", USUAL, CHANGED),
        **scored("two-pods", USUAL, pod="b"),
    }

    fired = firing(promtool, tmp_path, RULES, {"all": series}, at=f"{NOW_MINUTES}m", every="15m")[
        "all"
    ]

    [drifting] = [a for a in fired if a["alertname"] == "DetectionWorkerScoreDrift"]
    assert {name: drifting[name] for name in ("namespace", "queue", "model", "version")} == {
        "namespace": "media",
        "queue": "video",
        "model": "drifts",
        "version": "1",
    }
    assert "le" not in drifting


# -- values --------------------------------------------------------------------------------------


def rules_for(
    render: Callable[..., list[dict[str, Any]]], *, runbook_url: str = "", **values: Any
) -> dict[str, dict[str, Any]]:
    monitoring = {"prometheusRule": {"enabled": True, **values}, "runbookURL": runbook_url}
    objects = render({"monitoring": monitoring})
    [found] = [item for item in objects if item["kind"] == "PrometheusRule"]
    rules = [rule for group in found["spec"]["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules if "alert" in rule}


def test_an_alert_is_changed_by_name_and_the_others_stay(
    render: Callable[..., list[dict[str, Any]]], chart: Path
) -> None:
    default = {rule["alert"]: rule for rule in alert_rules(chart)}
    name = "DetectionWorkerCallbacksFail"
    before = default.pop(name)
    change = {
        "severity": "page",
        "for": "1h",
        "ratio": 0.35,
        "labels": {"tier": "one"},
        "annotations": {"summary": "Down."},
    }

    changed = rules_for(
        render, alerts={name: change, "DetectionQueueOverBudget": {"enabled": False}}
    )

    assert changed.pop(name) == {
        "alert": name,
        "expr": before["expr"].replace("0.1 # ratio", "0.35 # ratio"),
        "for": "1h",
        "labels": {"severity": "page", "tier": "one"},
        "annotations": {**before["annotations"], "summary": "Down."},
    }
    del default["DetectionQueueOverBudget"]
    assert changed == default


def test_every_alert_can_be_switched_off(
    render: Callable[..., list[dict[str, Any]]], chart: Path
) -> None:
    off = {rule["alert"]: {"enabled": False} for rule in alert_rules(chart)}

    assert rules_for(render, alerts=off) == {}


def test_labels_annotations_and_the_address_of_runbooks_are_those_of_the_values(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    changed = rules_for(
        render,
        alertLabels={"team": "media"},
        alertAnnotations={"channel": "#media"},
        runbook_url="https://git.example.com/docs/runbooks/",
    )

    for name, rule in changed.items():
        assert rule["labels"]["team"] == "media"
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["channel"] == "#media"
        url = rule["annotations"]["runbook_url"]
        assert url == f"https://git.example.com/docs/runbooks/{name}.md"


def thresholds(chart: Path) -> list[tuple[str, str]]:
    return [
        (rule["alert"], name)
        for rule in alert_rules(chart)
        for name in sorted(set(re.findall(r"[0-9.]+ # (\w+)$", rule["expr"], re.MULTILINE)))
    ]


def test_every_threshold_is_taken_from_the_values_and_stays_valid(
    promtool: str, render: Callable[..., list[dict[str, Any]]], chart: Path, tmp_path: Path
) -> None:
    values: dict[str, dict[str, float]] = {}
    for number, (alert, name) in enumerate(thresholds(chart)):
        values.setdefault(alert, {})[name] = 1_000_000 + number if number % 2 else 0.125

    changed = rules_for(render, alerts=values)

    groups = [{"name": "g", "rules": list(changed.values())}]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    done = check(promtool, tmp_path, "check", "rules", "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(thresholds(chart)) > 15
    for alert, name in thresholds(chart):
        written = re.findall(rf"([\d.e+]+) # {name}$", changed[alert]["expr"], re.MULTILINE)
        assert {float(number) for number in written} == {float(values[alert][name])}


def test_a_threshold_that_the_values_change_decides(
    promtool: str, render: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    name = "DetectionWorkerCallbacksFail"
    changed = rules_for(render, alerts={name: {"ratio": 0.9}})
    rules = tmp_path / "rules.yaml"
    groups = [{"name": "g", "rules": list(changed.values())}]
    rules.write_text(yaml.safe_dump({"groups": groups}))

    fired = firing(promtool, tmp_path, rules, {name: {**FINE, **CASES[name]}})

    assert fired[name] == []


@pytest.mark.parametrize(
    ("alerts", "named"),
    [
        ({"DetectionQueueNotRaedy": {"enabled": False}}, "DetectionQueueNotRaedy"),
        ({"DetectionQueueNotReady": {"ratio": 0.1}}, "ratio"),
        ({"DetectionWorkerCallbacksFail": {"ratio": "0.1"}}, "ratio"),
        ({"DetectionQueueNotReady": {"for": "soon"}}, "for"),
    ],
)
def test_helm_refuses_what_no_alert_has(
    run_helm: Callable[..., "subprocess.CompletedProcess[str]"],
    chart: Path,
    tmp_path: Path,
    alerts: dict[str, Any],
    named: str,
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"monitoring": {"prometheusRule": {"alerts": alerts}}}))

    done = run_helm("template", "x", str(chart), "--values", str(values), check=False)

    assert done.returncode != 0
    assert named in done.stderr
