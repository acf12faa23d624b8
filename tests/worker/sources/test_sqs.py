import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from detection_worker.aws_session import make_session
from detection_worker.settings import AwsSettings
from detection_worker.sources.base import (
    EntryFailure,
    MessageAttribute,
    QueueError,
    QueueFacts,
    ReceivedMessage,
    VisibilityChange,
)
from detection_worker.sources.sqs import SqsSource

CHANGE = VisibilityChange(message_id="m-1", receipt_handle="r-1", seconds=30)


def receive(source: SqsSource) -> list[ReceivedMessage]:
    return source.receive(max_messages=10, wait_s=1, visibility_s=30)


def test_a_delivery_brings_all_that_the_pipeline_asks_for(sqs: Any, source: SqsSource) -> None:
    sqs.answer(
        {
            "Messages": [
                {
                    "MessageId": "m-1",
                    "ReceiptHandle": "r-1",
                    "Body": "{}",
                    "Attributes": {
                        "ApproximateReceiveCount": "3",
                        "SentTimestamp": "1760000000500",
                        "MessageGroupId": "tenant",
                        "AWSTraceHeader": "Root=1",
                    },
                    "MessageAttributes": {
                        "a": {"DataType": "String", "StringValue": "x"},
                        "n": {"DataType": "Number", "StringValue": "7"},
                        "b": {"DataType": "Binary", "BinaryValue": "AAAA"},
                    },
                }
            ]
        }
    )

    messages = receive(source)

    assert messages == [
        ReceivedMessage(
            message_id="m-1",
            receipt_handle="r-1",
            body="{}",
            receive_count=3,
            sent_at_s=1760000000.5,
            attributes={
                "a": MessageAttribute(data_type="String", value="x"),
                "n": MessageAttribute(data_type="Number", value="7"),
                "b": MessageAttribute(data_type="Binary", value=b"\0\0\0"),
            },
            group_id="tenant",
            trace_header="Root=1",
        )
    ]
    action, payload, _ = sqs.requests[0]
    assert action == "ReceiveMessage"
    assert payload == {
        "QueueUrl": sqs.queue_url,
        "MaxNumberOfMessages": 10,
        "WaitTimeSeconds": 1,
        "VisibilityTimeout": 30,
        "MessageSystemAttributeNames": [
            "ApproximateReceiveCount",
            "SentTimestamp",
            "MessageGroupId",
            "AWSTraceHeader",
        ],
        "MessageAttributeNames": ["All"],
    }


def test_an_empty_poll_is_no_message(sqs: Any, source: SqsSource) -> None:
    assert receive(source) == []


def test_a_bare_delivery_is_the_first_one(sqs: Any, source: SqsSource) -> None:
    sqs.answer({"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": "b"}]})

    (message,) = receive(source)

    assert (message.receive_count, message.sent_at_s, message.attributes) == (1, None, {})


def test_one_call_deletes_ten_messages_even_with_equal_ids(sqs: Any, source: SqsSource) -> None:
    sqs.answer({"Successful": [{"Id": str(number)} for number in range(10)]})

    failures = source.delete([("m", f"r-{number}") for number in range(10)])

    assert failures == []
    ((action, payload, _),) = sqs.requests
    assert action == "DeleteMessageBatch"
    assert len({entry["Id"] for entry in payload["Entries"]}) == 10
    assert [entry["ReceiptHandle"] for entry in payload["Entries"]] == [
        f"r-{number}" for number in range(10)
    ]


def test_visibility_is_changed_in_one_call(sqs: Any, source: SqsSource) -> None:
    sqs.answer({"Successful": [{"Id": "0"}]})

    assert source.change_visibility([CHANGE]) == []
    assert sqs.requests[0][1]["Entries"] == [
        {"Id": "0", "ReceiptHandle": "r-1", "VisibilityTimeout": 30}
    ]


def test_an_empty_batch_costs_no_call(sqs: Any, source: SqsSource) -> None:
    assert source.delete([]) == []
    assert source.change_visibility([]) == []
    assert sqs.requests == []


EXPIRED = "Value r for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
TOO_LONG = (
    "Value 43201 for parameter VisibilityTimeout is invalid. "
    "Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds]."
)


@pytest.mark.parametrize(
    ("failed", "code", "lost"),
    [
        pytest.param(
            {"Code": "ReceiptHandleIsInvalid"}, "ReceiptHandleIsInvalid", True, id="invalid"
        ),
        pytest.param(
            {"Code": "AWS.SimpleQueueService.MessageNotInflight"},
            "MessageNotInflight",
            True,
            id="not in flight",
        ),
        pytest.param(
            {"Code": "InvalidParameterValue", "Message": EXPIRED},
            "InvalidParameterValue",
            True,
            id="expired",
        ),
        pytest.param(
            {"Code": "InvalidParameterValue", "Message": TOO_LONG},
            "InvalidParameterValue",
            False,
            id="beyond twelve hours",
        ),
        pytest.param({"Code": "InternalError"}, "InternalError", False, id="internal"),
    ],
)
def test_a_failed_entry_says_whether_the_message_is_lost(
    *, failed: dict[str, Any], code: str, lost: bool, sqs: Any, source: SqsSource
) -> None:
    sqs.answer({"Successful": [{"Id": "0"}], "Failed": [{"Id": "1", **failed}]})

    failures = source.delete([("m-0", "r-0"), ("m-1", "r-1")])

    assert failures == [EntryFailure(message_id="m-1", code=code, lost=lost)]


def test_an_entry_without_an_answer_may_be_tried_again(sqs: Any, source: SqsSource) -> None:
    sqs.answer({"Successful": []})

    assert source.change_visibility([CHANGE]) == [
        EntryFailure(message_id="m-1", code="NoAnswer", lost=False)
    ]


@pytest.mark.parametrize(
    ("answer", "code", "text", "fatal"),
    [
        pytest.param(
            {
                "body": {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "m"},
                "query_code": "AWS.SimpleQueueService.NonExistentQueue",
            },
            "NonExistentQueue",
            "SQS queue does not exist: http",
            True,
            id="no queue",
        ),
        pytest.param(
            {"body": {"__type": "com.amazonaws.sqs#QueueDoesNotExist"}},
            "QueueDoesNotExist",
            "SQS queue does not exist: http",
            True,
            id="no queue, as an emulator says it",
        ),
        pytest.param(
            {"body": {"__type": "com.amazon.coral.service#AccessDeniedException"}},
            "AccessDenied",
            "Access to the SQS queue is denied",
            True,
            id="access denied",
        ),
        pytest.param(
            {"body": {"__type": "com.amazon.coral.service#UnrecognizedClientException"}},
            "UnrecognizedClient",
            "AWS credentials do not work: UnrecognizedClient",
            True,
            id="unknown key",
        ),
        pytest.param(
            {"body": {"__type": "com.amazon.coral.service#ExpiredTokenException"}},
            "ExpiredToken",
            "AWS credentials do not work: ExpiredToken",
            False,
            id="expired token",
        ),
        pytest.param(
            {"body": {"__type": "com.amazonaws.sqs#OverLimit"}, "status": 403},
            "OverLimit",
            "SQS answered OverLimit",
            False,
            id="too many in flight",
        ),
        pytest.param(
            {"body": {}, "status": 403},
            "403",
            "Access to the SQS queue is denied: http.*\nCheck the worker's role",
            True,
            id="a bare 403",
        ),
        pytest.param(
            {"body": {"__type": "com.amazonaws.sqs#KmsDisabled"}},
            "KmsDisabled",
            "Access to the SQS queue is denied: http.*\n.*key policy",
            True,
            id="a KMS key that is disabled",
        ),
        pytest.param(
            {"body": {"__type": "InvalidSignatureException", "message": "Signature expired: x"}},
            "InvalidSignature",
            "AWS credentials do not work: InvalidSignature\nThe clock of this machine",
            True,
            id="a clock that is late",
        ),
    ],
)
def test_a_failed_call_says_whether_a_person_must_act(
    *, answer: dict[str, Any], code: str, text: str, fatal: bool, sqs: Any, source: SqsSource
) -> None:
    sqs.answer(**{"status": 400, **answer})

    with pytest.raises(QueueError, match=text) as caught:
        receive(source)

    assert (caught.value.code, caught.value.fatal) == (code, fatal)
    assert len(sqs.requests) == 1


def test_a_busy_sqs_is_asked_again(sqs: Any, source: SqsSource) -> None:
    sqs.answer({"__type": "com.amazon.coral.service#InternalFailure"}, status=500)
    sqs.answer({"Successful": [{"Id": "0"}]})

    assert source.delete([("m", "r")]) == []
    assert len(sqs.requests) == 2


def test_a_queue_that_cannot_be_reached_may_come_back(
    sqs: Any, make_source: Callable[..., SqsSource]
) -> None:
    source = make_source(aws=AwsSettings(endpoint_url="http://127.0.0.1:9"))

    with pytest.raises(QueueError, match="cannot be reached") as caught:
        receive(source)

    assert not caught.value.fatal


@pytest.mark.slow
def test_a_poll_outlasts_its_wait(sqs: Any, source: SqsSource) -> None:
    sqs.answer({"Messages": []}, delay_s=1.2)
    started_s = time.monotonic()

    assert receive(source) == []
    assert time.monotonic() - started_s >= 1.2
    assert len(sqs.requests) == 1


def test_facts_are_read_from_the_attributes(sqs: Any, source: SqsSource) -> None:
    sqs.answer(
        {
            "Attributes": {
                "VisibilityTimeout": "45",
                "RedrivePolicy": json.dumps(
                    {
                        "deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:dead",
                        "maxReceiveCount": 10,
                    }
                ),
                "ApproximateNumberOfMessages": "7",
                "ApproximateNumberOfMessagesNotVisible": "2",
                "ApproximateNumberOfMessagesDelayed": "1",
            }
        }
    )

    assert source.facts() == QueueFacts(
        visibility_timeout_s=45,
        max_receive_count=10,
        dead_letter_queue_url=f"{sqs.url}/123456789012/dead",
        visible=7,
        in_flight=2,
        delayed=1,
        fifo=False,
    )


@pytest.mark.parametrize("answer", [{}, {"message": "<html>Please log in</html>"}])
def test_an_answer_without_attributes_is_not_that_of_a_queue(
    sqs: Any, source: SqsSource, answer: dict[str, str]
) -> None:
    sqs.answer(answer)

    with pytest.raises(QueueError, match=r"SQS cannot be reached: NotSqs for http") as caught:
        source.facts()

    assert not caught.value.fatal


def test_a_queue_without_redrive_policy_has_no_dead_letter_queue(
    sqs: Any, make_source: Callable[..., SqsSource]
) -> None:
    source = make_source(f"{sqs.url}/123456789012/jobs.fifo")
    sqs.answer({"Attributes": {"VisibilityTimeout": "30"}})

    facts = source.facts()

    assert (facts.max_receive_count, facts.dead_letter_queue_url) == (None, None)
    assert facts.fifo


def test_a_dead_letter_is_sent_once_with_its_reason(sqs: Any, source: SqsSource) -> None:
    message = ReceivedMessage(
        message_id="m-1",
        receipt_handle="r",
        body="{}",
        receive_count=1,
        sent_at_s=None,
        attributes={},
    )

    source.dead_letter(message, queue_url=f"{sqs.url}/1/dead", code="bad_json", reason="why")

    ((action, payload, _),) = sqs.requests
    assert action == "SendMessage"
    assert payload["QueueUrl"] == f"{sqs.url}/1/dead"
    assert payload["MessageAttributes"]["DetectionErrorReason"]["StringValue"] == "why"


def test_a_missing_dead_letter_queue_is_named(sqs: Any, source: SqsSource) -> None:
    sqs.answer({"__type": "com.amazonaws.sqs#QueueDoesNotExist"}, status=400)
    message = ReceivedMessage(
        message_id="m",
        receipt_handle="r",
        body="b",
        receive_count=1,
        sent_at_s=None,
        attributes={},
    )

    with pytest.raises(QueueError, match=r"does not exist: http.*/dead"):
        source.dead_letter(message, queue_url=f"{sqs.url}/1/dead", code="c", reason="r")


@pytest.mark.parametrize(
    ("queue_url", "endpoint", "region"),
    [
        pytest.param(
            "https://sqs.eu-west-1.amazonaws.com/1/q",
            "https://sqs.eu-west-1.amazonaws.com",
            "eu-west-1",
            id="regional",
        ),
        pytest.param(
            "https://eu-west-2.queue.amazonaws.com/1/q",
            "https://sqs.eu-west-2.amazonaws.com",
            "eu-west-2",
            id="legacy",
        ),
        pytest.param(
            "https://queue.amazonaws.com/1/q",
            "https://sqs.us-east-1.amazonaws.com",
            "us-east-1",
            id="legacy without region",
        ),
        pytest.param(
            "https://sqs.cn-north-1.amazonaws.com.cn/1/q",
            "https://sqs.cn-north-1.amazonaws.com.cn",
            "cn-north-1",
            id="china",
        ),
        pytest.param(
            "https://vpce-0a.sqs.eu-west-1.vpce.amazonaws.com/1/q",
            "https://vpce-0a.sqs.eu-west-1.vpce.amazonaws.com",
            "eu-west-1",
            id="a vpc endpoint",
        ),
        pytest.param(
            "https://sqs-fips.us-west-2.amazonaws.com/1/q",
            "https://sqs-fips.us-west-2.amazonaws.com",
            "us-west-2",
            id="FIPS",
        ),
        pytest.param(
            "https://sqs.eu-west-1.api.aws/1/q",
            "https://sqs.eu-west-1.api.aws",
            "eu-west-1",
            id="dual stack",
        ),
        pytest.param(
            "http://localhost:4566/000000000000/q",
            "http://localhost:4566",
            "us-east-1",
            id="an emulator",
        ),
    ],
)
def test_the_queue_url_names_endpoint_and_region(
    queue_url: str,
    endpoint: str,
    region: str,
    make_source: Callable[..., SqsSource],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)

    source = make_source(queue_url, aws=AwsSettings())

    assert source._control.meta.endpoint_url == endpoint
    assert source._control.meta.region_name == region


def test_an_endpoint_that_the_environment_names_is_kept(
    sqs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", sqs.url)
    aws = AwsSettings(access_key_id="AKID", secret_access_key="secret")
    source = SqsSource(make_session(aws), aws, "http://localhost:4566/1/q", wait_time_s=1)

    assert receive(source) == []
    assert len(sqs.requests) == 1
    source.close()


def test_a_queue_url_that_is_none_is_refused() -> None:
    aws = AwsSettings(access_key_id="AKID", secret_access_key="secret")

    with pytest.raises(QueueError, match="SQS queue does not exist: jobs") as caught:
        SqsSource(make_session(aws), aws, "jobs", wait_time_s=1)

    assert caught.value.fatal


def test_missing_credentials_need_a_person(sqs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    aws = AwsSettings(endpoint_url=sqs.url)
    source = SqsSource(make_session(aws), aws, sqs.queue_url, wait_time_s=1)

    with pytest.raises(QueueError, match="AWS credentials not found!") as caught:
        receive(source)

    assert caught.value.fatal
    source.close()
