"""docs/cloudwatch.md: its commands on moto, and what it says of metrics and logs."""

import fnmatch
import json
import re
from collections.abc import Callable, Mapping
from itertools import starmap
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from detection_contract.process.emf import Chosen
from detection_operator.metrics import EMF as OF_OPERATOR
from detection_operator.spec.conditions import CONDITIONS
from detection_worker.metrics import EMF as OF_WORKER
from detection_worker.metrics import Metrics

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "cloudwatch.md").read_text()
STEPS = (
    "Alarms on the queue",
    "Container Insights",
    "Metrics of workers and operator",
    "Alarms on them",
)


@pytest.fixture(scope="module")
def account(new_shell: Callable[[], Any], page: Mapping[str, list[str]]) -> Any:
    shell = new_shell()
    shell.run(*(code for step in STEPS for code in page[step]))
    return shell


@pytest.fixture(scope="module")
def alarms(account: Any) -> dict[str, dict[str, Any]]:
    keys = {"aws_access_key_id": "moto", "aws_secret_access_key": "moto"}
    client = boto3.client(
        "cloudwatch", endpoint_url=account.endpoint, region_name="us-east-1", **keys
    )
    found = client.describe_alarms()["MetricAlarms"]
    return {alarm["AlarmName"]: alarm for alarm in found}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_alarms_watch_the_queue_its_dead_letters_and_both_programs(
    alarms: dict[str, dict[str, Any]],
) -> None:
    watched = {
        name: (a.get("Namespace"), a.get("MetricName"), [d["Value"] for d in a["Dimensions"]])
        for name, a in alarms.items()
    }

    assert watched.pop("deepfake-queue-failures")[0] is None, "an expression"
    assert watched == {
        "deepfake-queue-late": ("AWS/SQS", "ApproximateAgeOfOldestMessage", ["deepfake-queue"]),
        "deepfake-queue-dlq-not-empty": (
            "AWS/SQS",
            "ApproximateNumberOfMessagesVisible",
            ["deepfake-queue-dlq"],
        ),
        "detection-operator-without-leader": ("detection", "detection_operator_leader", []),
    }
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == ["arn:aws:sns:us-east-1:123456789012:detection-alarms"]
        assert alarm["AlarmDescription"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_add_on_gets_fluent_bit_s_part_and_its_role_trusts_it(account: Any) -> None:
    keys = {"aws_access_key_id": "moto", "aws_secret_access_key": "moto"}
    iam = boto3.client("iam", endpoint_url=account.endpoint, region_name="us-east-1", **keys)
    role = iam.get_role(RoleName="detection-cloudwatch-agent")["Role"]
    [statement] = role["AssumeRolePolicyDocument"]["Statement"]
    tags = statement["Condition"]["StringEquals"]

    assert tags["aws:RequestTag/kubernetes-namespace"] == "amazon-cloudwatch"
    assert tags["aws:RequestTag/kubernetes-service-account"] == "cloudwatch-agent"
    sections = fluent_bit(account.read("addon.yaml"))
    assert sections["OUTPUT"]["log_format"] == "json/emf"
    assert sections["OUTPUT"]["region"] == "us-east-1"


def fluent_bit(values: str) -> dict[str, dict[str, str]]:
    """The sections of the configuration, by name."""
    files = yaml.safe_load(values)["containerLogs"]["fluentBit"]["config"]["extraFiles"]
    [text] = files.values()
    parts = re.split(r"^\[(\w+)\]$", text, flags=re.MULTILINE)[1:]
    return {
        name: dict(re.findall(r"^\s+(\S+)\s+(.+)$", body, re.MULTILINE))
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


def test_the_logs_of_every_container_are_read_and_nothing_but_emf_is_kept(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    text = (ROOT / "charts/detection-queue/examples/eks/cloudwatch-addon.yaml").read_text()
    sections = fluent_bit(text.replace("NAMESPACE", "detection"))
    patterns = sections["INPUT"]["Path"].split(",")
    outboxes = [{"name": "media", "queueURL": "https://sqs.us-east-1.amazonaws.com/1/o"}]
    rendered = render({"deliver": {"enabled": True, "outboxes": outboxes}})
    names = {
        container["name"]
        for item in rendered
        if item["kind"] == "Deployment"
        for container in item["spec"]["template"]["spec"]["containers"]
    }

    assert names == {"operator", "deliver"}
    for name in (*names, "worker"):
        path = f"/var/log/containers/pod-1_detection_{name}-0a1b.log"
        assert [p for p in patterns if fnmatch.fnmatch(path, p)], name
    key, _, pattern = sections["FILTER"]["Regex"].partition(" ")
    assert key == sections["OUTPUT"]["log_key"] == "log"
    line = Metrics()
    assert re.search(pattern, first_line(line))
    assert not re.search(pattern, '{"ts":"2026-01-01T00:00:00Z","level":"INFO"}')


def first_line(metrics: Metrics) -> str:
    from detection_contract.process.emf import Lines

    return Lines("n", OF_WORKER, {"QueueName": "q"}).make(metrics.registry.collect(), now_ms=1)[0]


def test_one_value_gives_every_program_its_namespace_beside_your_own_variables(
    render: Callable[..., list[dict[str, Any]]],
) -> None:
    url = "https://sqs.us-east-1.amazonaws.com/123456789012"
    own = [{"name": "MINE", "value": "1"}]
    objects = render(
        {
            "monitoring": {"cloudWatchNamespace": "detection"},
            "operator": {"env": own},
            "deliver": {
                "enabled": True, "env": own, "outboxes": [{"name": "o", "queueURL": f"{url}/o"}]
            },
            "queues": [
                {
                    "name": "q",
                    "spec": {"queue": {"url": f"{url}/q"}, "worker": {"template": {"env": own}}},
                }
            ],
        }
    )  # fmt: skip
    lists = [
        item["spec"]["template"]["spec"]["containers"][0]["env"]
        for item in objects
        if item["kind"] == "Deployment"
    ]
    lists += [
        item["spec"]["worker"]["template"]["env"]
        for item in objects
        if item["kind"] == "DetectionQueue"
    ]
    found = [
        {e["name"]: e["value"] for e in env if "EMF" in e["name"] or e["name"] == "MINE"}
        for env in lists
    ]

    worker, operator = "DETECTION_EMF_NAMESPACE", "DETECTION_OPERATOR_EMF_NAMESPACE"
    assert sorted(found, key=str) == [
        {worker: "detection", "MINE": "1"},
        {worker: "detection", "MINE": "1"},
        {operator: "detection", "MINE": "1"},
    ]
    assert "EMF_NAMESPACE" not in str(render({"operator": {"env": own}}))


# -- what the page says of metrics ----------------------------------------------------------------


def dimensions_told() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for names, dimensions in re.findall(r"^\| (`detection_.+?) \| (.+?) \|$", PAGE, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            found[name] = tuple(re.findall(r"`(\w+)`", dimensions))
    return found


def test_every_metric_is_listed_with_its_dimensions_and_no_other() -> None:
    def of(chosen: Chosen, *common: str) -> tuple[str, tuple[str, ...]]:
        return chosen.name, (*common, *chosen.by)

    worker = dict(starmap(of, ((each, "QueueName") for each in OF_WORKER)))
    assert dimensions_told() == worker | dict(map(of, OF_OPERATOR))


def test_a_queue_costs_at_most_thirty_metrics_of_either_program() -> None:
    schema = json.loads(
        (ROOT / "worker/detection_contract/schemas/result.schema.json").read_text()
    )
    verdicts = [v for v in schema["properties"]["verdict"]["enum"] if v]
    outcomes = {
        sample.labels["outcome"]
        for family in Metrics().registry.collect()
        if family.name == "detection_worker_messages"
        for sample in family.samples
    }
    counts = {("outcome",): len(outcomes), ("verdict",): len(verdicts), (): 1}
    of_queue = [c for c in OF_OPERATOR if c.by[:2] == ("namespace", "name")]
    each = {(): 1, ("type",): len(CONDITIONS)}

    assert len(outcomes) == 6
    assert sum(counts[chosen.by] for chosen in OF_WORKER) <= 30
    assert sum(each[chosen.by[2:]] for chosen in of_queue) <= 30


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_block_of_the_page_was_run(account: Any, page: Mapping[str, list[str]]) -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

    assert account.done == [code for step in STEPS for code in page[step]] == blocks
