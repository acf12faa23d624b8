"""The identity of a pod: web identity tokens for short-lived keys."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from detection_testing.aws.local_aws import LocalAws
from detection_testing.aws.services import LocalOptions

ROLE = "arn:aws:iam::123456789012:role/worker"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("token-1")
    return path


@pytest.fixture
def guarded(token_file: Path) -> Iterator[LocalAws]:
    options = LocalOptions(web_identity_token_file=token_file, sts_expiry_s=60)
    with LocalAws.in_thread(options) as aws:
        yield aws


@pytest.fixture
def sts(guarded: LocalAws) -> Iterator[Any]:
    client = boto3.client(
        "sts",
        endpoint_url=guarded.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=guarded.credentials.access_key_id,
        aws_secret_access_key=guarded.credentials.secret_access_key,
    )
    yield client
    client.close()


def assume(sts: Any, **changes: Any) -> Any:
    parameters = {
        "RoleArn": ROLE,
        "RoleSessionName": "pod",
        "WebIdentityToken": "token-1",
        **changes,
    }
    return sts.assume_role_with_web_identity(**parameters)["Credentials"]


def test_issued_keys_work_until_they_expire(guarded: LocalAws, sts: Any) -> None:
    url = guarded.create_queue("q").queue_url
    keys = assume(sts)
    client = boto3.client(
        "sqs",
        endpoint_url=guarded.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )

    client.send_message(QueueUrl=url, MessageBody="a")
    guarded.advance(61)
    with pytest.raises(ClientError) as caught:
        client.send_message(QueueUrl=url, MessageBody="b")
    client.close()

    assert caught.value.response["Error"]["Code"] == "ExpiredToken"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"WebIdentityToken": "token-2"}, "InvalidIdentityToken", id="not current"),
        pytest.param({"RoleArn": "arn:aws:iam::1:user/x" + "x" * 9}, "ValidationError", id="role"),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(
    sts: Any, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError) as caught:
        assume(sts, **changes)
    assert caught.value.response["Error"]["Code"] == code


def test_a_rotated_token_replaces_the_old_one(sts: Any, token_file: Path) -> None:
    token_file.write_text("token-2")

    assert assume(sts, WebIdentityToken="token-2")["AccessKeyId"].startswith("ASIA")
    with pytest.raises(ClientError, match="InvalidIdentityToken"):
        assume(sts)


def test_the_caller_is_told_its_identity(sts: Any) -> None:
    assert sts.get_caller_identity()["Account"] == "123456789012"


def test_boto3_s_own_chain_finds_the_keys_of_a_pod(
    guarded: LocalAws, token_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", guarded.endpoint_url)
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token_file))
    client = boto3.Session(region_name="us-east-1").client("sts")

    try:
        arn = client.get_caller_identity()["Arn"]
    finally:
        client.close()

    assert arn.startswith("arn:aws:sts::123456789012:assumed-role/worker/")
