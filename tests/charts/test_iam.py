import importlib
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from detection_testing.moto import as_moto_reads_it

FOLDER = Path(__file__).parents[2] / "charts" / "detection-queue" / "files" / "iam"
OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"

QUEUE = "arn:aws:sqs:REGION:ACCOUNT_ID:QUEUE_NAME"
DEAD_LETTER_QUEUE = "arn:aws:sqs:REGION:ACCOUNT_ID:DEAD_LETTER_QUEUE_NAME"
OUTBOX = "arn:aws:sqs:REGION:ACCOUNT_ID:OUTBOX_QUEUE_NAME"
OUTBOX_DEAD_LETTERS = "arn:aws:sqs:REGION:ACCOUNT_ID:OUTBOX_DEAD_LETTER_QUEUE_NAME"
OUTBOX_GRANTS = {
    OUTBOX: {
        "sqs:SendMessage",
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
    },
    OUTBOX_DEAD_LETTERS: {"sqs:SendMessage"},
}
GRANTS = {
    "results-policy": {
        "arn:aws:s3:::RESULTS_BUCKET_NAME/RESULTS_PREFIX*": {"s3:PutObject", "s3:GetObject"},
        "arn:aws:s3:::RESULTS_BUCKET_NAME": {"s3:ListBucket"},
    },
    "notify-sns-policy": {"arn:aws:sns:REGION:ACCOUNT_ID:TOPIC_NAME": {"sns:Publish"}},
    "notify-sqs-policy": {
        "arn:aws:sqs:REGION:ACCOUNT_ID:DESTINATION_QUEUE_NAME": {"sqs:SendMessage"}
    },
    "notify-events-policy": {
        "arn:aws:events:REGION:ACCOUNT_ID:event-bus/EVENT_BUS_NAME": {"events:PutEvents"}
    },
    "cache-policy": {
        "arn:aws:s3:::CACHE_BUCKET_NAME/CACHE_PREFIX*": {"s3:PutObject", "s3:GetObject"},
        "arn:aws:s3:::CACHE_BUCKET_NAME": {"s3:ListBucket"},
    },
    "outbox-policy": OUTBOX_GRANTS,
    "kms-policy": {
        "arn:aws:kms:REGION:ACCOUNT_ID:key/KEY_ID": {"kms:GenerateDataKey", "kms:Decrypt"}
    },
    "deliver-policy": {
        **OUTBOX_GRANTS,
        "arn:aws:s3:::RESULTS_BUCKET_NAME/RESULTS_PREFIX*": {"s3:GetObject"},
        "arn:aws:s3:::RESULTS_BUCKET_NAME": {"s3:ListBucket"},
    },
    "worker-policy": {
        QUEUE: {
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:ChangeMessageVisibility",
            "sqs:GetQueueAttributes",
        },
        DEAD_LETTER_QUEUE: {"sqs:SendMessage"},
        "arn:aws:s3:::BUCKET_NAME/*": {"s3:GetObject", "s3:GetObjectVersion"},
        "arn:aws:s3:::BUCKET_NAME": {"s3:ListBucket"},
    },
    "operator-outbox-policy": {OUTBOX: {"sqs:GetQueueAttributes"}},
    "operator-policy": {
        QUEUE: {"sqs:GetQueueAttributes", "sqs:GetQueueUrl"},
        DEAD_LETTER_QUEUE: {"sqs:GetQueueAttributes", "sqs:GetQueueUrl"},
    },
}
TRUSTS = {
    "worker-trust-irsa": {"sts:AssumeRoleWithWebIdentity"},
    "deliver-trust-irsa": {"sts:AssumeRoleWithWebIdentity"},
    "operator-trust-irsa": {"sts:AssumeRoleWithWebIdentity"},
    "pod-identity-trust": {"sts:AssumeRole", "sts:TagSession"},
}
NOT_ACTIONS = (
    "s3:GetObjectMetadata",
    "s3:HeadObject",
    "sqs:ChangeMessageVisibilityBatch",
    "sqs:DeleteMessageBatch",
    "sqs:SendMessageBatch",
    "sns:PublishBatch",
)
"""Names of API calls that IAM does not know; the first is the original guide's."""
PLACEHOLDER = re.compile(r"(?<![A-Za-z])[A-Z]{2,}(?:_[A-Z]+)*(?![A-Za-z])")


def statements(name: str) -> list[dict[str, Any]]:
    document = json.loads((FOLDER / f"{name}.json").read_text())
    assert document["Version"] == "2012-10-17"
    found: list[dict[str, Any]] = document["Statement"]
    return found


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def granted(name: str) -> dict[str, set[str]]:
    grants: dict[str, set[str]] = {}
    for statement in statements(name):
        for resource in as_list(statement["Resource"]):
            grants.setdefault(resource, set()).update(as_list(statement["Action"]))
    return grants


def test_every_policy_is_known_to_these_tests() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == GRANTS.keys() | TRUSTS.keys()


@pytest.mark.parametrize("name", GRANTS)
def test_a_role_may_do_what_it_needs_and_nothing_else(name: str) -> None:
    assert granted(name) == GRANTS[name]
    assert all(s["Effect"] == "Allow" and "Condition" not in s for s in statements(name))


@pytest.mark.parametrize("name", [*GRANTS, *TRUSTS])
def test_no_action_is_a_wildcard_or_a_name_that_iam_does_not_know(name: str) -> None:
    actions = [a for s in statements(name) for a in as_list(s["Action"])]

    assert actions
    for action in actions:
        assert re.fullmatch(r"(?:sqs|s3|sts|sns|events|kms):[A-Za-z]+", action)
        assert action not in NOT_ACTIONS


@pytest.mark.parametrize("name", TRUSTS)
def test_a_trust_policy_names_one_service_account(name: str) -> None:
    [statement] = statements(name)
    text = json.dumps(statement["Condition"])

    assert set(as_list(statement["Action"])) == TRUSTS[name]
    assert "*" not in json.dumps(statement)
    assert set(statement["Condition"]) <= {"StringEquals", "ArnEquals"}
    assert "NAMESPACE" in text
    assert "SERVICE_ACCOUNT" in text


@pytest.mark.parametrize(
    "name", ["worker-trust-irsa", "operator-trust-irsa", "deliver-trust-irsa"]
)
def test_a_web_identity_is_bound_to_subject_and_audience(name: str) -> None:
    [statement] = statements(name)
    role = name.partition("-")[0].upper()

    assert statement["Condition"]["StringEquals"] == {
        "OIDC_PROVIDER:aud": "sts.amazonaws.com",
        "OIDC_PROVIDER:sub": f"system:serviceaccount:NAMESPACE:{role}_SERVICE_ACCOUNT",
    }


def test_policies_of_one_role_can_be_put_into_one_document() -> None:
    """IAM wants each Sid once; ``deliver`` has a role of its own."""
    ours = [name for name in GRANTS if not name.startswith(("operator", "deliver"))]
    sids = [statement["Sid"] for name in ours for statement in statements(name)]

    assert len(sids) == len(set(sids))


def test_every_placeholder_is_explained() -> None:
    documents = "".join(path.read_text() for path in FOLDER.iterdir())
    explained = OPERATING.read_text()
    placeholders = set(PLACEHOLDER.findall(documents))

    assert {"ACCOUNT_ID", "REGION", "BUCKET_NAME", "NAMESPACE"} <= placeholders
    assert not [name for name in placeholders if f"`{name}`" not in explained]


# -- on moto, which enforces policies -----------------------------------------------------------

ACCOUNT = "123456789012"
REGION = "eu-west-1"
NAMES = {
    "ACCOUNT_ID": ACCOUNT,
    "REGION": REGION,
    "QUEUE_NAME": "work",
    "DEAD_LETTER_QUEUE_NAME": "work-dead",
    "BUCKET_NAME": "media",
    "RESULTS_BUCKET_NAME": "results",
    "RESULTS_PREFIX": "detection/",
    "TOPIC_NAME": "detected",
    "DESTINATION_QUEUE_NAME": "detected-queue",
    "EVENT_BUS_NAME": "detections",
    "CACHE_BUCKET_NAME": "scores",
    "CACHE_PREFIX": "cache/",
    "OUTBOX_QUEUE_NAME": "outbox",
    "OUTBOX_DEAD_LETTER_QUEUE_NAME": "outbox-dead",
}


def filled(name: str, names: Mapping[str, str]) -> list[dict[str, Any]]:
    text = (FOLDER / f"{name}.json").read_text()
    text = PLACEHOLDER.sub(lambda found: names.get(found[0], found[0]), text)
    found: list[dict[str, Any]] = json.loads(text)["Statement"]
    return found


@dataclass(frozen=True, slots=True)
class Account:
    """What the policies are about, on moto."""

    names: Mapping[str, str]

    def url(self, queue: str) -> str:
        return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{queue}"

    def clients(self, *policies: str) -> Callable[[str], Any]:
        """Return clients by service of a new user with some of the policies."""
        iam = boto3.client("iam", region_name=REGION)
        user = f"user-{uuid.uuid4().hex[:8]}"
        iam.create_user(UserName=user)
        for name in policies:
            found = [as_moto_reads_it(item) for item in filled(name, self.names)]
            document = json.dumps({"Version": "2012-10-17", "Statement": found})
            iam.put_user_policy(UserName=user, PolicyName=name, PolicyDocument=document)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        return lambda service: boto3.client(
            service,
            region_name=REGION,
            aws_access_key_id=key["AccessKeyId"],
            aws_secret_access_key=key["SecretAccessKey"],
        )


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    moto = pytest.importorskip("moto", reason="NOT TESTED: IAM policies, because moto is missing")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "owner")
    with moto.mock_aws():
        sqs = boto3.client("sqs", region_name=REGION)
        for queue in ("work", "work-dead", "detected-queue", "outbox", "outbox-dead", "stranger"):
            sqs.create_queue(QueueName=queue)
        s3 = boto3.client("s3", region_name=REGION)
        for bucket in ("media", "results", "scores"):
            place = {"LocationConstraint": REGION}
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
            for key in ("detection/r.json", "cache/s", "elsewhere/x"):
                s3.put_object(Bucket=bucket, Key=key, Body=b"{}")
        sns = boto3.client("sns", region_name=REGION)
        sns.create_topic(Name="detected")
        boto3.client("events", region_name=REGION).create_event_bus(Name="detections")
        key = boto3.client("kms", region_name=REGION).create_key()["KeyMetadata"]["KeyId"]
        yield Account(names={**NAMES, "KEY_ID": key})


@contextmanager
def enforced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let moto check signatures and policies from here on."""
    settings = importlib.import_module("moto.settings")
    with monkeypatch.context() as change:
        change.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
        yield


Clients = Callable[[str], Any]


def object_calls(bucket: str, key: str) -> dict[str, Callable[[Account, Clients], Any]]:
    where = {"Bucket": bucket, "Key": key}
    return {
        "put": lambda _, c: c("s3").put_object(**where, Body=b"{}"),
        "get": lambda _, c: c("s3").get_object(**where),
    }


def queue_calls(name: str) -> dict[str, Callable[[Account, Clients], Any]]:
    def at(account: Account) -> dict[str, str]:
        return {"QueueUrl": account.url(name)}

    entry = [{"Id": "1", "MessageBody": "m"}]
    receipt = {"ReceiptHandle": "r"}
    return {
        "send": lambda a, c: c("sqs").send_message_batch(**at(a), Entries=entry),
        "send one": lambda a, c: c("sqs").send_message(**at(a), MessageBody="m", DelaySeconds=9),
        "receive": lambda a, c: c("sqs").receive_message(**at(a)),
        "attributes": lambda a, c: c("sqs").get_queue_attributes(**at(a)),
        "extend": lambda a, c: c("sqs").change_message_visibility_batch(
            **at(a), Entries=[{"Id": "1", **receipt, "VisibilityTimeout": 1}]
        ),
        "delete": lambda a, c: c("sqs").delete_message_batch(
            **at(a), Entries=[{"Id": "1", **receipt}]
        ),
    }


TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:detected"
EVENT = {"Source": "detection-queue", "DetailType": "Detection Finished", "Detail": "{}"}
CALLS: dict[str, dict[str, Callable[[Account, Clients], Any]]] = {
    "results-policy": object_calls("results", "detection/r.json"),
    "cache-policy": object_calls("scores", "cache/s"),
    "notify-sns-policy": {
        "publish": lambda _, c: c("sns").publish(TopicArn=TOPIC, Message="m"),
        "batch": lambda _, c: c("sns").publish_batch(
            TopicArn=TOPIC, PublishBatchRequestEntries=[{"Id": "1", "Message": "m"}]
        ),
    },
    "notify-sqs-policy": {
        name: call
        for name, call in queue_calls("detected-queue").items()
        if name in ("send", "send one")
    },
    "notify-events-policy": {
        "put": lambda _, c: c("events").put_events(
            Entries=[{**EVENT, "EventBusName": "detections"}]
        ),
    },
    "outbox-policy": queue_calls("outbox") | {"give up": queue_calls("outbox-dead")["send one"]},
    "kms-policy": {
        "encrypt": lambda a, c: c("kms").generate_data_key(
            KeyId=a.names["KEY_ID"], KeySpec="AES_256"
        ),
    },
}
"""What each feature calls."""
FOREIGN: dict[str, Callable[[Account, Clients], Any]] = {
    "another prefix": object_calls("results", "elsewhere/x")["put"],
    "results in the cache": object_calls("scores", "detection/r.json")["put"],
    "the media": object_calls("media", "elsewhere/x")["put"],
    "another queue": queue_calls("stranger")["send"],
    "messages of the work queue": queue_calls("work")["send"],
    "the outbox's dead letters": queue_calls("outbox-dead")["receive"],
    "a destination's messages": queue_calls("detected-queue")["receive"],
    "topics": lambda _, c: c("sns").delete_topic(TopicArn=TOPIC),
    "rules": lambda _, c: c("events").put_rule(Name="r", EventPattern="{}"),
    "keys": lambda a, c: c("kms").schedule_key_deletion(KeyId=a.names["KEY_ID"]),
    "deletion": lambda _, c: c("s3").delete_object(Bucket="results", Key="detection/r.json"),
}


def denied(call: Callable[[], Any]) -> bool:
    """Return whether IAM refuses a call; other errors come from behind its check."""
    try:
        call()
    except ClientError as error:
        # To JSON services moto answers with XML, all of which becomes the message.
        texts = error.response["Error"]
        return any("AccessDenied" in texts[part] for part in ("Code", "Message"))
    return False


@pytest.mark.parametrize("feature", CALLS)
def test_a_feature_works_with_its_own_policy_and_no_other_gives_it_away(
    account: Account, monkeypatch: pytest.MonkeyPatch, feature: str
) -> None:
    others = [name for name in CALLS if name != feature]
    having = account.clients("worker-policy", feature)
    lacking = account.clients("worker-policy", *others)

    with enforced(monkeypatch):
        for name, call in CALLS[feature].items():
            assert not denied(partial(call, account, having)), name
            assert denied(partial(call, account, lacking)), name


@pytest.mark.parametrize("what", FOREIGN)
def test_all_policies_together_allow_nothing_foreign(
    account: Account, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    clients = account.clients("worker-policy", *CALLS)

    with enforced(monkeypatch):
        assert denied(partial(FOREIGN[what], account, clients))


def test_deliver_sends_the_outbox_with_its_own_policy_alone(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = account.clients("deliver-policy")
    results = CALLS["results-policy"]

    with enforced(monkeypatch):
        for name, call in CALLS["outbox-policy"].items():
            assert not denied(partial(call, account, clients)), name
        assert not denied(partial(results["get"], account, clients))
        assert denied(partial(results["put"], account, clients))
        assert denied(partial(queue_calls("work")["receive"], account, clients))


@pytest.mark.parametrize(
    ("name", "action", "allowed", "other"),
    [
        ("notify-sns-policy", "sns:Publish", TOPIC, f"{TOPIC}-more"),
        (
            "notify-events-policy",
            "events:PutEvents",
            f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/detections",
            f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default",
        ),
        (
            "kms-policy",
            "kms:Decrypt",
            f"arn:aws:kms:{REGION}:{ACCOUNT}:key/K",
            f"arn:aws:kms:{REGION}:{ACCOUNT}:key/L",
        ),
    ],
)
def test_a_topic_a_bus_and_a_key_are_the_only_ones(
    name: str, action: str, allowed: str, other: str
) -> None:
    control = pytest.importorskip("moto.iam.access_control")
    document = json.dumps({"Statement": filled(name, {**NAMES, "KEY_ID": "K"})})
    policy = control.IAMPolicy(document)

    assert policy.is_action_permitted(action, allowed).name == "PERMITTED"
    assert policy.is_action_permitted(action, other).name == "NEUTRAL"
