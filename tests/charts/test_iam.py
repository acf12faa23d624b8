import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "charts" / "detection-queue" / "files" / "iam"
OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"

QUEUE = "arn:aws:sqs:REGION:ACCOUNT_ID:QUEUE_NAME"
DEAD_LETTER_QUEUE = "arn:aws:sqs:REGION:ACCOUNT_ID:DEAD_LETTER_QUEUE_NAME"
GRANTS = {
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
    "operator-policy": {
        QUEUE: {"sqs:GetQueueAttributes", "sqs:GetQueueUrl"},
        DEAD_LETTER_QUEUE: {"sqs:GetQueueAttributes", "sqs:GetQueueUrl"},
    },
}
TRUSTS = {
    "worker-trust-irsa": {"sts:AssumeRoleWithWebIdentity"},
    "operator-trust-irsa": {"sts:AssumeRoleWithWebIdentity"},
    "pod-identity-trust": {"sts:AssumeRole", "sts:TagSession"},
}
NOT_ACTIONS = (
    "s3:GetObjectMetadata",
    "s3:HeadObject",
    "sqs:ChangeMessageVisibilityBatch",
    "sqs:DeleteMessageBatch",
    "sqs:SendMessageBatch",
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
        assert re.fullmatch(r"(?:sqs|s3|sts):[A-Za-z]+", action)
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


@pytest.mark.parametrize("name", ["worker-trust-irsa", "operator-trust-irsa"])
def test_a_web_identity_is_bound_to_subject_and_audience(name: str) -> None:
    [statement] = statements(name)
    role = name.partition("-")[0].upper()

    assert statement["Condition"]["StringEquals"] == {
        "OIDC_PROVIDER:aud": "sts.amazonaws.com",
        "OIDC_PROVIDER:sub": f"system:serviceaccount:NAMESPACE:{role}_SERVICE_ACCOUNT",
    }


def test_every_placeholder_is_explained() -> None:
    documents = "".join(path.read_text() for path in FOLDER.iterdir())
    explained = OPERATING.read_text()
    placeholders = set(PLACEHOLDER.findall(documents))

    assert {"ACCOUNT_ID", "REGION", "BUCKET_NAME", "NAMESPACE"} <= placeholders
    assert not [name for name in placeholders if f"`{name}`" not in explained]
