from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
)

from detection_contract.aws.errors import plain_code
from detection_testing.aws.local_aws import LocalAws
from detection_testing.aws.services import LocalOptions
from detection_worker.aws_session import (
    client,
    explain_credentials,
    identity,
    is_credentials_error,
    make_session,
    needs_human,
)
from detection_worker.settings import AwsSettings


def answer(code: str, *, operation: str = "GetObject") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "m"}}, operation)


@pytest.mark.parametrize(
    ("error", "credentials", "person"),
    [
        pytest.param(NoCredentialsError(), True, True, id="none"),
        pytest.param(answer("InvalidAccessKeyId"), True, True, id="unknown key"),
        pytest.param(answer("SignatureDoesNotMatch"), True, True, id="wrong secret"),
        pytest.param(answer("UnrecognizedClientException"), True, True, id="unknown client"),
        pytest.param(answer("ExpiredToken"), True, False, id="expired, may be refreshed"),
        pytest.param(
            answer("AccessDenied", operation="AssumeRoleWithWebIdentity"),
            True,
            False,
            id="the role cannot be assumed",
        ),
        pytest.param(FileNotFoundError("token"), True, False, id="no token file"),
        pytest.param(answer("AccessDenied"), False, False, id="denied what was asked for"),
        pytest.param(
            EndpointConnectionError(endpoint_url="http://x"), False, False, id="no network"
        ),
        pytest.param(OSError(28, "No space left on device"), False, False, id="a full disk"),
        pytest.param(ValueError("bug"), False, False, id="a bug"),
    ],
)
def test_credential_errors_are_told_from_the_rest(
    *, error: Exception, credentials: bool, person: bool
) -> None:
    assert is_credentials_error(error) is credentials
    assert needs_human(error) is person


def test_a_person_reads_what_to_do_next() -> None:
    assert explain_credentials(NoCredentialsError()).startswith("AWS credentials not found!\n")
    assert explain_credentials(answer("ExpiredToken")).startswith(
        "AWS credentials do not work: ExpiredToken\n"
    )


@pytest.mark.parametrize(
    ("code", "plain"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", "NonExistentQueue"),
        ("com.amazonaws.sqs#QueueDoesNotExist", "QueueDoesNotExist"),
        ("com.amazon.coral.service#AccessDeniedException", "AccessDenied"),
        ("NoSuchKey", "NoSuchKey"),
        ("", ""),
    ],
)
def test_one_error_has_one_code_by_every_protocol(code: str, plain: str) -> None:
    assert plain_code(code) == plain


def test_the_caller_is_known_by_its_arn() -> None:
    with LocalAws.in_thread() as local:
        aws = AwsSettings(
            access_key_id=local.credentials.access_key_id,
            secret_access_key=local.credentials.secret_access_key,
            endpoint_url=local.endpoint_url,
        )

        assert identity(make_session(aws), aws).startswith("arn:aws:")


def test_one_client_outlives_its_credentials_and_reads_the_new_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("the first token")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/worker")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    # Under botocore's mandatory refresh of 10 minutes: every call fetches new credentials.
    options = LocalOptions(sts_expiry_s=60.0, web_identity_token_file=token)
    with LocalAws.in_thread(options) as local:
        monkeypatch.setenv("AWS_ENDPOINT_URL", local.endpoint_url)
        local.put_object("media", "k", b"x")
        aws = AwsSettings()
        with closing(client(make_session(aws), "s3", aws, read_timeout_s=5.0)) as s3:
            first = s3.get_object(Bucket="media", Key="k")["Body"].read()
            token.write_text("the second token")
            second = s3.get_object(Bucket="media", Key="k")["Body"].read()
            token.write_text("")
            with pytest.raises(ParamValidationError) as caught:
                s3.get_object(Bucket="media", Key="k")
        exchanges = local.stats()["requests"]["sts.AssumeRoleWithWebIdentity"]

    assert first == second == b"x"
    assert exchanges >= 2
    assert is_credentials_error(caught.value)


def test_clients_are_patient_and_persistent_as_told() -> None:
    aws = AwsSettings(access_key_id="AKID", secret_access_key="x", region="eu-west-1")

    with closing(
        client(make_session(aws), "sqs", aws, read_timeout_s=25.0, pool=7, attempts=2)
    ) as made:
        config = made.meta.config

    assert (config.read_timeout, config.connect_timeout) == (25.0, 5.0)
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}
    assert config.max_pool_connections == 7
    assert config.tcp_keepalive
    assert config.user_agent.startswith("detection-queue/")
    assert made.meta.region_name == "eu-west-1"


def test_an_upload_does_not_wait_for_leave_to_send_its_body() -> None:
    aws = AwsSettings(access_key_id="AKID", secret_access_key="x", endpoint_url="http://nowhere")
    sent: list[Any] = []

    def stop(request: Any, **_: object) -> None:
        sent.append(request)
        raise ConnectionAbortedError

    with closing(client(make_session(aws), "s3", aws, read_timeout_s=1.0, attempts=1)) as made:
        made.meta.events.register("before-send.s3", stop)
        with pytest.raises(ConnectionAbortedError):
            made.put_object(Bucket="bucket", Key="k", Body=b"{}")

    [request] = sent
    assert request.method == "PUT"
    assert "Expect" not in request.headers
