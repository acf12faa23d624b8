"""Batches that fail in part, as a whole, or for good, by the answers of a scripted SQS."""

import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from detection_worker.settings import AwsSettings
from detection_worker.sources.base import QueueError
from detection_worker.sources.sqs_batches import BatchSender, Pacer, Refusal
from detection_worker.sources.sqs_clients import queue_client

ENTRIES = [{"MessageBody": str(number)} for number in range(3)]


@pytest.fixture
def sender(sqs: Any, session: boto3.Session) -> Callable[..., BatchSender]:
    """Make a sender that does not sleep; botocore's own retries are off."""

    def make(**options: Any) -> BatchSender:
        client = queue_client(
            session, AwsSettings(endpoint_url=sqs.url), sqs.queue_url, read_timeout_s=5, attempts=1
        )
        return BatchSender(client, sqs.queue_url, **{"sleep": lambda _: None, **options})

    return make


def ok(*indexes: int) -> dict[str, Any]:
    return {"Successful": [{"Id": str(i), "MessageId": f"m{i}"} for i in indexes]}


def failed(index: int, code: str, *, sender_fault: bool) -> dict[str, Any]:
    return {"Id": str(index), "Code": code, "SenderFault": sender_fault, "Message": "why"}


def asked(sqs: Any) -> list[list[str]]:
    return [[e["MessageBody"] for e in payload["Entries"]] for _, payload, _ in sqs.requests]


def test_only_entries_that_failed_for_now_are_sent_again(
    sqs: Any, sender: Callable[..., BatchSender]
) -> None:
    broken = failed(1, "InternalError", sender_fault=False)
    sqs.answer({**ok(0), "Failed": [broken, failed(2, "ThrottlingException", sender_fault=True)]})
    sqs.answer({**ok(2), "Failed": [failed(1, "InternalError", sender_fault=False)]})
    sqs.answer(ok(1))

    assert sender().send(ENTRIES) == ({0: "m0", 1: "m1", 2: "m2"}, [])
    assert asked(sqs) == [["0", "1", "2"], ["1", "2"], ["1"]]


def test_an_entry_that_the_answer_omits_is_sent_again(
    sqs: Any, sender: Callable[..., BatchSender]
) -> None:
    sqs.answer(ok(0, 2))
    sqs.answer(ok(1))

    assert sender().send(ENTRIES)[0].keys() == {0, 1, 2}


def test_an_entry_that_sqs_will_never_take_stops_no_other(
    sqs: Any, sender: Callable[..., BatchSender]
) -> None:
    refused = failed(1, "InvalidMessageContents", sender_fault=True)
    sqs.answer({**ok(0, 2), "Failed": [refused]})

    sent, refusals = sender().send(ENTRIES)

    assert sent == {0: "m0", 2: "m2"}
    assert refusals == [Refusal(1, "InvalidMessageContents: why")]


def error(sqs: Any, code: str, *, status: int = 400, query_code: str | None = None) -> None:
    sqs.answer(
        {"__type": f"com.amazonaws.sqs#{code}", "message": "why"},
        status=status,
        query_code=query_code,
    )


def test_a_batch_that_is_too_long_is_halved(sqs: Any, sender: Callable[..., BatchSender]) -> None:
    error(sqs, "BatchRequestTooLong")
    sqs.answer(ok(0))
    error(sqs, "BatchRequestTooLong")
    error(sqs, "BatchRequestTooLong")
    sqs.answer(ok(2))

    sent, refusals = sender().send(ENTRIES)

    assert asked(sqs) == [["0", "1", "2"], ["0"], ["1", "2"], ["1"], ["2"]]
    assert sent == {0: "m0", 2: "m2"}
    assert [r.index for r in refusals] == [1]
    assert "BatchRequestTooLong" in refusals[0].reason


def test_a_batch_that_is_refused_is_tried_one_by_one(
    sqs: Any, sender: Callable[..., BatchSender]
) -> None:
    error(sqs, "InvalidParameterValue")
    sqs.answer(ok(0))
    error(sqs, "InvalidParameterValue")
    sqs.answer(ok(2))

    sent, refusals = sender().send(ENTRIES)

    assert (sent, [r.index for r in refusals]) == ({0: "m0", 2: "m2"}, [1])


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        ("QueueDoesNotExist", 400, "SQS queue does not exist"),
        ("AccessDeniedException", 400, "Access to the SQS queue is denied"),
        ("ExpiredToken", 403, "AWS credentials do not work: ExpiredToken"),
    ],
)
def test_what_no_retry_helps_ends_at_once(
    sqs: Any, sender: Callable[..., BatchSender], code: str, status: int, text: str
) -> None:
    error(sqs, code, status=status)

    with pytest.raises(QueueError, match=text):
        sender().send(ENTRIES)
    assert len(sqs.requests) == 1


def test_throttling_is_waited_for_with_growing_pauses(
    sqs: Any, sender: Callable[..., BatchSender]
) -> None:
    for _ in range(8):
        error(sqs, "RequestThrottled", status=403)
    error(sqs, "ServiceUnavailable", status=503)
    sqs.answer(ok(0, 1, 2))
    pauses: list[float] = []

    assert len(sender(sleep=pauses.append).send(ENTRIES)[0]) == 3
    assert len(pauses) == 9
    assert 0.1 <= pauses[0] <= 0.2
    assert 10 <= pauses[-1] <= 20


def test_patience_ends(sqs: Any, sender: Callable[..., BatchSender]) -> None:
    for _ in range(9):
        error(sqs, "RequestThrottled", status=403)

    with pytest.raises(QueueError, match="SQS answered RequestThrottled"):
        sender(patience_s=1.0).send(ENTRIES)
    sqs.answers.clear()
    sqs.answer({})
    with pytest.raises(QueueError, match="SQS does not take messages"):
        sender(patience_s=0.1).send(ENTRIES)


def test_a_pacer_waits_for_what_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])

    def sleep(seconds: float) -> None:
        now_s[0] += seconds

    pacer = Pacer(4.0, sleep=sleep)
    times = []
    for count in (10, 10, 2, 10):
        pacer.wait_for(count)
        times.append(now_s[0])
    now_s[0] += 60  # an idle time earns nothing
    pacer.wait_for(10)
    pacer.wait_for(10)

    assert times == [100.0, 102.5, 105.0, 105.5]
    assert now_s[0] == pytest.approx(168.0)

    Pacer(None, sleep=sleep).wait_for(1_000_000)
    assert now_s[0] == pytest.approx(168.0)
