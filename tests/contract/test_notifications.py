import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from detection_contract.error_codes import ErrorCode
from detection_contract.media_types import MediaKind
from detection_contract.messages import InvalidMessage, parse_body
from detection_contract.notifications import (
    MAX_ATTRIBUTES,
    MAX_BODY_BYTES,
    MAX_BYTES,
    notification_attributes,
    notification_body,
    notified_request,
    without_result,
)
from detection_contract.results import Opinion, encode_result, failed_result, finished_result
from detection_contract.schemas import load_schema

QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/123456789012/deepfake-queue"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
RESULT_SCHEMA = Resource.from_contents(load_schema("result"))
SCHEMA: Any = load_schema("notification")
VALIDATOR = Draft202012Validator(SCHEMA, registry=RESULT_SCHEMA @ Registry())
STORED = "s3://results/2026/11/30/req-1.json"


def finished(**changed: Any) -> Mapping[str, object]:
    values: dict[str, Any] = {
        "request_id": "req-1",
        "sqs_to_ml_url": "s3://bucket/clip.mp4",
        "file_path": "s3://bucket/clip.mp4",
        "local_path": "/tmp/clip.mp4",
        "file_type": MediaKind.VIDEO,
        "opinion": Opinion(
            verdict="fake",
            reason_code="above_threshold",
            reason="Looks manipulated.",
            label="FAKE",
            score=0.9,
            raw_score=0.8,
            confidence=0.9,
            margin=0.8,
        ),
        "threshold": 0.5,
        "is_s3_file": True,
        "queue_url": QUEUE_URL,
        "s3_file_info": None,
        "processed_at": NOW,
        "original_message": {"sqs_to_ml_url": "s3://bucket/clip.mp4"},
        "metadata": None,
        "model": {
            "name": "m",
            "version": "1",
            "sha256": "0" * 64,
            "grade": "demo",
            "calibrated": False,
            "thresholds": None,
        },
        "timings_ms": {"total": 1.0},
        "segments": [],
        "media": {},
    }
    return finished_result(**{**values, **changed})


def failed(**changed: Any) -> Mapping[str, object]:
    values: dict[str, Any] = {
        "request_id": "req-1",
        "processed_at": NOW,
        "code": ErrorCode.BAD_URL,
        "message": "sqs_to_ml_url: not an S3 URL",
        "queue_url": QUEUE_URL,
    }
    return failed_result(**{**values, **changed})


def body_of(result: Mapping[str, object], *, result_url: str | None = STORED) -> Any:
    text = notification_body(result, notification_id="msg_m_0", result_url=result_url)
    assert len(text.encode()) <= MAX_BODY_BYTES
    body = json.loads(text)
    VALIDATOR.validate(body)
    return body


def test_the_schema_is_valid_itself_and_accepts_its_examples() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["examples"]
    for example in SCHEMA["examples"]:
        VALIDATOR.validate(example)


def test_fields_that_both_have_are_described_alike() -> None:
    result: Any = load_schema("result")["properties"]
    copied = set(SCHEMA["properties"]) & set(result)

    assert copied >= {"request_id", "status", "label", "verdict", "processed_at", "error"}
    for name in ("status", "label", "verdict", "file_type"):
        assert SCHEMA["properties"][name]["enum"] == result[name]["enum"]
    assert list(SCHEMA["properties"]) == SCHEMA["required"]


def test_a_small_result_is_told_whole() -> None:
    result = finished()

    body = body_of(result)

    assert list(body) == SCHEMA["required"]
    assert body["result"] == result
    assert (body["truncated"], body["result_url"], body["id"]) == (False, STORED, "msg_m_0")
    assert body["label"] == "FAKE"
    assert body["error"] is None


@pytest.mark.parametrize("name", ["clip.mp4", "été.mp4", "a\x01b\ufffe.mp4", "\udcff.mp4"])
def test_a_result_that_is_encoded_already_makes_the_same_body(name: str) -> None:
    result = finished(file_path=f"s3://bucket/{name}", metadata={"n": [1, {}]})

    bodies = {
        notification_body(result, notification_id="i", result_url=None, encoded=encoded)
        for encoded in (None, encode_result(result))
    }

    [body] = bodies
    assert json.loads(body)["result"] == json.loads(encode_result(result))


def test_a_failure_is_told_with_its_reason() -> None:
    body = body_of(failed(), result_url=None)

    assert body["status"] == "failed"
    assert body["error"] == {"code": "bad_url", "message": "sqs_to_ml_url: not an S3 URL"}
    assert body["result"]["error"] == body["error"]


def large(number: int) -> list[dict[str, object]]:
    return [
        {"type": "window", "index": at, "start_s": 1.0, "end_s": 2.0, "score": 0.5}
        for at in range(number)
    ]


def test_a_large_result_is_told_by_the_url_of_the_stored_one() -> None:
    body = body_of(finished(segments=large(5000)))

    assert (body["truncated"], body["result"], body["result_url"]) == (True, None, STORED)
    assert body["prediction_score"] == 0.9


def test_without_a_store_a_large_result_loses_its_long_parts_only() -> None:
    result = finished(segments=large(5000), metadata={"a": 1}, tracks=[])

    body = body_of(result, result_url=None)

    assert body["truncated"]
    gone: dict[str, object] = {
        "segments": [],
        "tracks": None,
        "original_message": None,
        "metadata": None,
    }
    assert body["result"] == {**result, **gone}


def test_the_url_of_a_bad_message_may_have_any_length() -> None:
    result = failed(sqs_to_ml_url="\x00\u0100" * 200_000, message="ü" * 300_000)

    body = body_of(result, result_url=None)

    assert body["truncated"]
    assert body["result"] is None
    assert len(body["sqs_to_ml_url"]) == len(body["error"]["message"]) == 2048


def test_the_short_form_for_queues_that_take_little() -> None:
    text = notification_body(finished(), notification_id="msg_m_0", result_url=STORED)

    short = json.loads(without_result(text))

    VALIDATOR.validate(short)
    assert short == {**json.loads(text), "truncated": True, "result": None}


texts = st.text(max_size=300) | st.text(st.characters(categories=["Cc", "Cs", "Cn"]), max_size=20)


@given(
    texts.filter(bool),
    st.none() | texts,
    texts,
    st.integers(0, 6000),
    st.sampled_from([STORED, None]),
)
def test_any_result_makes_a_body_that_every_service_takes(
    request_id: str, url: str | None, message: str, segments: int, result_url: str | None
) -> None:
    result = dict(failed(request_id=request_id, sqs_to_ml_url=url, message=message))
    result["segments"] = large(segments)

    text = notification_body(result, notification_id="msg_m_0", result_url=result_url)
    attributes = notification_attributes(result, queue_url=QUEUE_URL)

    for told in (text, *attributes.values()):
        assert told
        assert all(is_allowed(char) for char in told)
    assert len(attributes) <= MAX_ATTRIBUTES
    size = sum(len(t.encode()) for pair in attributes.items() for t in (*pair, "String"))
    assert len(text.encode()) + size <= MAX_BYTES
    assert json.loads(text)["request_id"] == request_id


def is_allowed(char: str) -> bool:
    """#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF."""
    code = ord(char)
    return (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or code >= 0x10000
    )


def test_attributes_of_a_finished_result() -> None:
    assert notification_attributes(finished(), queue_url=QUEUE_URL) == {
        "label": "FAKE",
        "verdict": "fake",
        "file_type": "video",
        "status": "finished",
        "request_id": "req-1",
        "queue": "deepfake-queue",
    }


def test_unknown_attributes_are_absent() -> None:
    assert notification_attributes(failed(), queue_url=None) == {
        "status": "failed",
        "request_id": "req-1",
    }


@pytest.mark.parametrize("url", [QUEUE_URL, f"{QUEUE_URL}/", "http://localhost:9324/queue/q.fifo"])
def test_the_queue_is_told_by_its_name(url: str) -> None:
    name = notification_attributes(failed(), queue_url=url)["queue"]

    assert name in ("deepfake-queue", "q.fifo")


def test_a_notification_is_recognised_and_no_request_is_taken_for_one() -> None:
    told = json.loads(notification_body(finished(), notification_id="i", result_url=None))

    assert notified_request(told) == "req-1"
    assert notified_request({"sqs_to_ml_url": "s3://b/a.png", "id": "1", "result": 1}) is None
    assert notified_request({"source": "detection-queue", "detail": "x"}) is None
    assert notified_request(finished()) is None


def wrapped(text: str) -> str:
    return json.dumps({"Type": "Notification", "Message": text})


def as_event(text: str) -> str:
    return json.dumps({"source": "detection-queue", "detail": json.loads(text)})


@pytest.mark.parametrize("wrap", [str, wrapped, as_event], ids=["SQS", "SNS", "EventBridge"])
def test_a_notification_that_reaches_the_work_queue_asks_for_nothing(wrap: Any) -> None:
    """It names the media, so it would otherwise be analysed, and told of, for ever."""
    text = notification_body(finished(), notification_id="msg_m_0", result_url=None)

    parsed = parse_body(wrap(text))

    assert parsed.requests == ()
    [skipped] = parsed.skipped
    assert "req-1" in skipped


def test_a_request_with_some_of_those_fields_is_still_one() -> None:
    request = {"sqs_to_ml_url": "s3://bucket/a.png", "id": "1", "schema_version": 1}

    assert len(parse_body(json.dumps(request)).requests) == 1
    with pytest.raises(InvalidMessage):
        parse_body(json.dumps({"schema_version": 1}))
