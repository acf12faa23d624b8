"""Calls of SNS, SQS and EventBridge without botocore: sent as it sends them, and left to it."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.parsers import ResponseParserError

from detection_contract.aws.quick.operations import QuickOperation
from detection_testing.aws.faults import Fault
from detection_testing.aws.local_aws import LocalAws
from detection_worker.aws_session import client, make_session
from detection_worker.settings import AwsSettings

OF_ONE_REQUEST = {"amz-sdk-invocation-id", "amz-sdk-request", "authorization", "x-amz-date"}


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def headers_of(request: bytes) -> dict[str, str]:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    found = {name.lower(): value.strip() for name, _, value in pairs}
    return {name: value for name, value in found.items() if name not in OF_ONE_REQUEST}


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "sns": ("PublishBatch", {"TopicArn": "t", "PublishBatchRequestEntries": []}),
    "sqs": ("SendMessageBatch", {"QueueUrl": "http://h/1/q", "Entries": []}),
    "events": ("PutEvents", {"Entries": [{"Detail": "{}"}]}),
}
METHODS = {"sns": "publish_batch", "sqs": "send_message_batch", "events": "put_events"}
ANSWERS = {
    "sns": b"<PublishBatchResponse><PublishBatchResult/></PublishBatchResponse>",
    "sqs": b"{}",
    "events": b"{}",
}


@pytest.mark.parametrize("service", CALLS)
def test_a_request_is_what_botocores_was(
    service: str, server: Any, make_client: Callable[..., Any]
) -> None:
    made = make_client(service, server.port)
    operation, parameters = CALLS[service]
    quick = QuickOperation(_session(), made, operation)
    assert quick.post(b"x") is None
    assert server.requests == []
    for _ in range(2):
        server.answer(ok(ANSWERS[service]))
    getattr(made, METHODS[service])(**parameters)
    body = server.requests[0].partition(b"\r\n\r\n")[2]

    assert quick.post(body) is not None

    theirs, ours = server.requests
    assert ours.partition(b"\r\n\r\n")[2] == body
    assert headers_of(ours) == headers_of(theirs)
    assert ours.partition(b"\r\n")[0] == theirs.partition(b"\r\n")[0]
    assert b"authorization: AWS4-HMAC-SHA256 Credential=AKID/" in ours


def _session() -> Any:
    return make_session(AwsSettings(access_key_id="AKID", secret_access_key="secret"))


@pytest.fixture
def learned(server: Any, make_client: Callable[..., Any]) -> QuickOperation:
    """An operation of SQS that botocore has called once."""
    made = make_client("sqs", server.port, read_timeout_s=1.0)
    quick = QuickOperation(_session(), made, "SendMessageBatch")
    server.answer(ok(b"{}"))
    made.send_message_batch(**CALLS["sqs"][1])
    return quick


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param([b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"], id="an error"),
        pytest.param([b"HTTP/1.1 307 Go\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"], id="307"),
        pytest.param([None], id="no answer"),
        pytest.param([b"HTTP/1.1 200 OK\r\n"], id="half an answer"),
    ],
)
def test_what_is_no_plain_answer_is_left_to_botocore(
    answer: list[bytes | None], server: Any, learned: QuickOperation
) -> None:
    server.answer(*answer)
    assert learned.post(b"{}") is None

    server.answer(ok(b'{"Successful": [{"Id": "0"}]}'))
    told = learned.post(b"{}")
    assert told is not None
    assert told["Successful"] == [{"Id": "0"}]


def test_an_answer_that_cannot_be_read_is_botocores_error(
    server: Any, make_client: Callable[..., Any]
) -> None:
    made = make_client("sns", server.port)
    quick = QuickOperation(_session(), made, "PublishBatch")
    server.answer(ok(ANSWERS["sns"]))
    made.publish_batch(**CALLS["sns"][1])

    server.answer(ok(b"{}"))
    with pytest.raises(ResponseParserError):
        quick.post(b"Action=PublishBatch")


SIGNED = "AWS4-HMAC-SHA256 Credential=AKID/20261130/us-east-1/sqs/aws4_request, Signature=0"


@pytest.mark.parametrize(
    ("method", "url", "authorization"),
    [
        ("GET", "https://h/", SIGNED),
        ("POST", "https://h/?a=b", SIGNED),
        ("POST", "https://h/", ""),
        ("POST", "https://h/", SIGNED.replace("HMAC", "ECDSA-P256")),
        ("POST", "https://h/", "AWS4-HMAC-SHA256 Credential=AKID, Signature=0"),
    ],
)
def test_what_botocore_signs_otherwise_is_left_to_it(
    method: str, url: str, authorization: str, make_client: Callable[..., Any]
) -> None:
    quick = QuickOperation(_session(), make_client("sqs", 9), "SendMessageBatch")
    headers = {"Authorization": authorization.encode(), "Content-Type": "a/b"}
    quick._learn(SimpleNamespace(method=method, url=url, headers=headers))
    assert quick.post(b"{}") is None
    assert quick._way is None


@pytest.fixture
def queue(local_aws: LocalAws) -> Iterator[tuple[Any, QuickOperation, str]]:
    """A client of a strict queue, a quick call of it, and the queue's URL."""
    found = local_aws.credentials
    aws = AwsSettings(
        access_key_id=found.access_key_id,
        secret_access_key=found.secret_access_key,
        endpoint_url=local_aws.endpoint_url,
    )
    session = make_session(aws)
    url, _ = local_aws.create_queue("quick", dead_letter=False)
    with closing(client(session, "sqs", aws, read_timeout_s=5.0)) as made:
        yield made, QuickOperation(session, made, "SendMessageBatch"), url


def test_partial_failures_are_told_as_botocore_does(
    local_aws: LocalAws, queue: tuple[Any, QuickOperation, str]
) -> None:
    made, quick, url = queue
    entries = [{"Id": str(n), "MessageBody": f"m{n}"} for n in range(3)]
    request = {"QueueUrl": url, "Entries": entries}
    calls: list[Callable[[], Any]] = [
        lambda: made.send_message_batch(**request),
        lambda: quick.post(json.dumps(request).encode()),
    ]
    told = []
    for call in calls:
        local_aws.inject(Fault(operation="sqs.SendMessageBatch", kind="partial", count=1))
        told.append(call())
    theirs, ours = told
    assert ours["Failed"] == theirs["Failed"] != []
    assert [e["Id"] for e in ours["Successful"]] == [e["Id"] for e in theirs["Successful"]]
