"""The page from an empty account to the first verdict: its AWS commands on moto, as they stand.

The tests of this module share an account and run in order, as a reader does.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from detection_testing.moto import as_moto_reads_it, enforced

# Forty starts of the AWS CLI, a second of CPU each.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[3]
ACCOUNT = "123456789012"
REGION = "us-east-1"
QUEUE_ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT}:deepfake-queue"
BUCKET = f"deepfake-{ACCOUNT}-{REGION}"
STEPS = (
    "1. Queue and bucket",
    "2. Roles",
    "3. Images",
    "4. Cluster",
    "5. Nodes",
    "6. Prometheus and Grafana",
    "7. Operator and queue",
)
LATER = ("GPUs", "Time slicing and MIG", "A managed node group", "Argo CD", "Several tenants")
PLACEHOLDER = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")


@pytest.fixture(scope="module")
def account(shell: Any, page: Mapping[str, list[str]]) -> Any:
    """The account after the steps before the first verdict."""
    shell.run(*(code for step in STEPS for code in page[step]))
    return shell


def client(shell: Any, service: str, **keys: str) -> Any:
    given = keys or {"aws_access_key_id": "moto", "aws_secret_access_key": "moto"}
    return boto3.client(service, endpoint_url=shell.endpoint, region_name=REGION, **given)


def test_the_queue_has_its_dead_letter_queue_and_takes_events_of_this_bucket_alone(
    account: Any,
) -> None:
    sqs = client(account, "sqs")
    queue, dead = (
        sqs.get_queue_attributes(
            QueueUrl=f"{account.endpoint}/{ACCOUNT}/{name}", AttributeNames=["All"]
        )["Attributes"]
        for name in ("deepfake-queue", "deepfake-queue-dlq")
    )
    policy = json.loads(queue["Policy"])
    [allowed] = [s for s in policy["Statement"] if s["Effect"] == "Allow"]

    assert json.loads(queue["RedrivePolicy"]) == {
        "deadLetterTargetArn": f"{QUEUE_ARN}-dlq",
        "maxReceiveCount": 10,
    }
    assert int(dead["MessageRetentionPeriod"]) > int(queue["MessageRetentionPeriod"])
    assert allowed["Resource"] == QUEUE_ARN
    assert allowed["Condition"] == {
        "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{BUCKET}"},
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
    }


def test_the_bucket_is_private_and_tells_of_uploads_alone(account: Any) -> None:
    s3 = client(account, "s3")
    [told] = s3.get_bucket_notification_configuration(Bucket=BUCKET)["QueueConfigurations"]
    rules = told["Filter"]["Key"]["FilterRules"]
    block = s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]

    assert told["QueueArn"] == QUEUE_ARN
    assert [(rule["Name"].lower(), rule["Value"]) for rule in rules] == [("prefix", "uploads/")]
    assert set(block.values()) == {True}
    assert s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]


@pytest.mark.parametrize("role", ["operator", "worker"])
def test_a_role_is_trusted_to_one_service_account_of_the_cluster(account: Any, role: str) -> None:
    iam = client(account, "iam")
    trust = iam.get_role(RoleName=f"detection-{role}")["Role"]["AssumeRolePolicyDocument"]
    names = iam.list_role_policies(RoleName=f"detection-{role}")["PolicyNames"]
    policies = [
        iam.get_role_policy(RoleName=f"detection-{role}", PolicyName=name)["PolicyDocument"]
        for name in names
    ]
    [condition] = [statement["Condition"] for statement in trust["Statement"]]

    assert condition["StringEquals"] == {
        "aws:SourceAccount": ACCOUNT,
        "aws:RequestTag/kubernetes-namespace": "detection",
        "aws:RequestTag/kubernetes-service-account": f"detection-queue-{role}",
    }
    assert condition["ArnEquals"] == {
        "aws:SourceArn": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/detection"
    }
    assert PLACEHOLDER.findall(json.dumps([trust, policies])) == []


def test_the_policies_are_what_iam_policy_prints_for_the_settings_of_the_queue(
    account: Any,
) -> None:
    [queue] = [m for m in manifests(account) if m["kind"] == "DetectionQueue"]
    url = queue["spec"]["queue"]["url"]
    template = queue["spec"]["worker"]["template"]
    [bucket] = [e["value"] for e in template["env"] if e["name"] == "DETECTION_ALLOWED_BUCKETS"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "detection_worker", "iam-policy", "--queue-url", url),
            *("--dead-letter-queue-url", f"{url}-dlq", "--allowed-buckets", bucket),
            *("--results", template["results"]["url"], "--aws-region", REGION),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    iam = client(account, "iam")
    attached = [
        iam.get_role_policy(RoleName="detection-worker", PolicyName=name)["PolicyDocument"]
        for name in ("media", "results")
    ]

    def granted(policies: list[Any]) -> set[tuple[str, str]]:
        found = [s for policy in policies for s in policy["Statement"]]
        return {(a, r) for s in found for a in many(s["Action"]) for r in many(s["Resource"])}

    assert granted([json.loads(done.stdout)]) == granted(attached)


def many(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def manifests(shell: Any) -> list[dict[str, Any]]:
    """What kubectl was given."""
    return [item for item in yaml.safe_load_all(shell.read("manifests")) if item]


def test_both_repositories_exist_and_both_images_are_pushed_to_them(account: Any) -> None:
    found = client(account, "ecr").describe_repositories()["repositories"]
    pushed = [line.split()[-1] for line in account.read("calls").splitlines() if " push " in line]

    assert {r["repositoryName"] for r in found} == {"detection-operator", "detection-worker"}
    assert {r["imageTagMutability"] for r in found} == {"IMMUTABLE"}
    assert pushed == [
        f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/detection-{role}:0.1.0"
        for role in ("operator", "worker")
    ]
    assert account.read("password").strip()


def test_s3_is_reached_without_the_nat_gateway(account: Any) -> None:
    [endpoint] = client(account, "ec2").describe_vpc_endpoints()["VpcEndpoints"]

    assert endpoint["ServiceName"] == f"com.amazonaws.{REGION}.s3"
    assert endpoint["RouteTableIds"]


def test_nothing_that_is_applied_has_a_placeholder_left(account: Any) -> None:
    kinds = [item["kind"] for item in manifests(account)]
    filled = account.read("cluster.yaml") + account.read("values.yaml")

    assert kinds == ["EC2NodeClass", "NodePool", "NodePool", "DetectionQueue"]
    applied = re.sub(
        r"#.*|DETECTION_\w+|AWS_\w+|API_AND_CONFIG_MAP", "", account.read("manifests")
    )
    assert PLACEHOLDER.findall(applied) == []
    assert PLACEHOLDER.findall(re.sub(r"#.*|API_AND_CONFIG_MAP", "", filled)) == []
    assert "alias: al2023@v20261101" in account.read("manifests")


# -- the first verdict ----------------------------------------------------------------------------


def as_moto_calls_them(shell: Any) -> None:
    iam = client(shell, "iam")
    for name in iam.list_role_policies(RoleName="detection-worker")["PolicyNames"]:
        found = iam.get_role_policy(RoleName="detection-worker", PolicyName=name)["PolicyDocument"]
        found["Statement"] = [as_moto_reads_it(each) for each in found["Statement"]]
        iam.put_role_policy(
            RoleName="detection-worker", PolicyName=name, PolicyDocument=json.dumps(found)
        )


def work_as_the_role(shell: Any, tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    """Run a worker with the settings of the DetectionQueue and the keys of its role."""
    [queue] = [m for m in manifests(shell) if m["kind"] == "DetectionQueue"]
    template = queue["spec"]["worker"]["template"]
    role = f"arn:aws:iam::{ACCOUNT}:role/detection-worker"
    sts = client(shell, "sts")
    keys = sts.assume_role(RoleArn=role, RoleSessionName="worker")["Credentials"]
    environ = {
        **shell.environment,
        **{item["name"]: item["value"] for item in template["env"]},
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
        "QUEUE_URL": f"{shell.endpoint}/{ACCOUNT}/deepfake-queue",
        "DETECTION_RESULTS_URL": template["results"]["url"],
        "DETECTION_RESULTS_BUCKET_OWNER": template["results"]["bucketOwner"],
        "DETECTION_S3_CACHE_DIR": str(tmp_path),
        "DETECTION_DEVICE": "cpu",
        "DETECTION_EMF_NAMESPACE": "detection",
        "WAIT_TIME": "1",
    }
    with enforced(shell.endpoint):
        return subprocess.run(
            [sys.executable, "-m", "detection_worker", "consume", "--run-once"],
            env=environ, capture_output=True, text=True, timeout=540, check=False,
        )  # fmt: skip


def left(shell: Any, queue: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = client(shell, "sqs").get_queue_attributes(
        QueueUrl=f"{shell.endpoint}/{ACCOUNT}/{queue}", AttributeNames=names
    )
    return sum(int(value) for value in found["Attributes"].values())


def test_an_upload_becomes_a_verdict_under_the_permissions_of_the_worker_s_role(
    account: Any, page: Mapping[str, list[str]], tmp_path: Path
) -> None:
    """S3 tells the queue, a real worker with the role's keys takes it from there."""
    upload, pods, look = page["8. The first verdict"]
    as_moto_calls_them(account)
    account.run(upload, pods)
    assert left(account, "deepfake-queue") == 2, "S3's test event and the upload"

    worked = work_as_the_role(account, tmp_path)
    shown = account.run(look)

    assert worked.returncode == 0, worked.stderr
    result = json.loads(shown)
    assert result["status"] == "finished"
    assert result["verdict"] in {"real", "inconclusive", "fake"}
    assert result["original_message"]["s3"]["object"]["key"] == "uploads%2Fastronaut.jpg"
    assert [left(account, name) for name in ("deepfake-queue", "deepfake-queue-dlq")] == [0, 0]
    told = [json.loads(line) for line in worked.stdout.splitlines() if line.startswith('{"_aws"')]
    [outcome] = [line for line in told if line.get("detection_worker_jobs_total")]
    assert (outcome["QueueName"], outcome["verdict"]) == ("deepfake-queue", result["verdict"])


def test_the_role_may_not_read_what_the_page_does_not_give_it(account: Any) -> None:
    s3 = client(account, "s3")
    s3.create_bucket(Bucket="another-team")
    s3.put_object(Bucket="another-team", Key="secret", Body=b"secret")
    role = f"arn:aws:iam::{ACCOUNT}:role/detection-worker"
    keys = client(account, "sts").assume_role(RoleArn=role, RoleSessionName="worker")[
        "Credentials"
    ]
    worker = client(
        account, "s3", aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"], aws_session_token=keys["SessionToken"],
    )  # fmt: skip

    with enforced(account.endpoint), pytest.raises(Exception, match="AccessDenied"):
        worker.get_object(Bucket="another-team", Key="secret")


# -- the rest -------------------------------------------------------------------------------------


def test_a_tenant_s_workers_may_use_the_tenant_s_queue_and_bucket_alone(
    account: Any, page: Mapping[str, list[str]]
) -> None:
    account.run(*(code for heading in LATER for code in page[heading]))
    iam = client(account, "iam")
    role = iam.get_role(RoleName="detection-worker-acme")["Role"]
    [trust] = role["AssumeRolePolicyDocument"]["Statement"]
    policies = [
        iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        for name, policy in (
            ("detection-worker-acme", "worker"),
            ("detection-worker-acme", "results"),
            ("detection-operator", "queue-acme"),
        )
    ]
    resources = {r for p in policies for s in p["Statement"] for r in many(s["Resource"])}

    bucket, queue = f"arn:aws:s3:::deepfake-acme-{ACCOUNT}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:acme"
    assert resources == {
        *(bucket, f"{bucket}/*", f"{bucket}/results/*"),
        *(f"{queue}-media", f"{queue}-media-dlq"),
    }
    assert trust["Condition"]["StringEquals"]["aws:RequestTag/kubernetes-namespace"] == "acme"
    [namespace] = [m for m in manifests(account) if m["kind"] == "Namespace"]
    assert namespace["metadata"]["name"] == "acme"


def test_irsa_s_trust_names_the_provider_of_the_cluster(
    account: Any, page: Mapping[str, list[str]]
) -> None:
    account.run(*page["IRSA instead of Pod Identity"])
    issuer = client(account, "eks").describe_cluster(name="detection")["cluster"]["identity"]
    provider = issuer["oidc"]["issuer"].removeprefix("https://")

    role = client(account, "iam").get_role(RoleName="detection-worker")["Role"]
    [statement] = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {
        "Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{provider}"
    }
    assert statement["Condition"]["StringEquals"] == {
        f"{provider}:aud": "sts.amazonaws.com",
        f"{provider}:sub": "system:serviceaccount:detection:detection-queue-worker",
    }


def test_removing_everything_leaves_nothing(account: Any, page: Mapping[str, list[str]]) -> None:
    account.run(*page["Remove everything"])

    assert "QueueUrls" not in client(account, "sqs").list_queues(QueueNamePrefix="deepfake-queue")
    assert BUCKET not in {b["Name"] for b in client(account, "s3").list_buckets()["Buckets"]}
    roles = {role["RoleName"] for role in client(account, "iam").list_roles()["Roles"]}
    assert not roles & {"detection-operator", "detection-worker"}
    assert client(account, "ecr").describe_repositories()["repositories"] == []
    assert client(account, "eks").list_clusters()["clusters"] == []


def test_every_block_of_the_page_was_run(account: Any, page: Mapping[str, list[str]]) -> None:
    text = (ROOT / "docs" / "eks.md").read_text()
    written = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)

    assert len(written) > 20
    assert [code for code in written[1:] if code not in account.done] == []
    assert written[:1] == page["Before you begin"]


def test_every_program_of_the_page_is_run_or_said_not_to_be(
    page: Mapping[str, list[str]], not_run: Mapping[str, str]
) -> None:
    """What a stand-in replaces is listed with its reason, and nothing else is."""
    text = "\n".join(code for found in page.values() for code in found)
    words = re.findall(r"(?:^|\$\(|\| |&& )\s*([a-z][\w-]*)(?= |$)", text, re.MULTILINE)
    here = {"aws", "bash", "export", "local", "for", "do", "done", "until", "sleep", "printf"}
    tools = {"sed", "tr", "sort", "tail", "awk", "cat", "true"}
    of_the_page = {"fill", "attribute", "tenant", "text"}

    assert set(words) - here - tools - of_the_page <= not_run.keys()
    assert all(name.split()[0] in words for name in not_run)
