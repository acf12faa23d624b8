import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_contract.aws.s3_urls import S3Location
from detection_contract.error_codes import ErrorCode
from detection_contract.messages import (
    DetectionRequest,
    InvalidMessage,
    create_test_message,
    parse_body,
    stable_request_id,
)

GUIDE_MESSAGE: dict[str, Any] = {
    "sqs_to_ml_url": "s3://bucket/path/to/file.ext",
    "callback_url": "https://api.example.com/callback",
    "request_id": "unique-request-id",
    "confidence_threshold": 0.5,
    "metadata": {
        "user_id": "12345",
        "upload_timestamp": "2025-01-01T00:00:00Z",
        "original_filename": "file.ext",
    },
}
URL = "s3://bucket/file.png"


def only_request(body: object) -> DetectionRequest:
    parsed = parse_body(json.dumps(body))
    assert parsed.kind == "plain"
    (request,) = parsed.requests
    return request


def fault(body: str) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        parse_body(body)
    return caught.value


def s3_record(**changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-west-2",
        "eventName": "ObjectCreated:Put",
        "s3": {
            "bucket": {"name": "uploads", "arn": "arn:aws:s3:::uploads"},
            "object": {"key": "red+flower%2B1.jpg", "size": 1024, "sequencer": "0055AED6DCD9"},
        },
    }
    return record | changes


def sns(message: object) -> dict[str, Any]:
    return {
        "Type": "Notification",
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:uploads",
        "Message": json.dumps(message),
        "MessageAttributes": {},
    }


EVENT_BRIDGE: dict[str, Any] = {
    "version": "0",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "region": "eu-central-1",
    "detail": {
        "bucket": {"name": "uploads"},
        "object": {"key": "red+flower%2B1.jpg", "size": 5, "version-id": "v1"},
        "reason": "PutObject",
    },
}


def test_the_message_of_the_guide_is_understood() -> None:
    request = only_request(GUIDE_MESSAGE)

    assert request == DetectionRequest(
        sqs_to_ml_url="s3://bucket/path/to/file.ext",
        location=S3Location(bucket="bucket", key="path/to/file.ext"),
        request_id="unique-request-id",
        callback_url="https://api.example.com/callback",
        confidence_threshold=0.5,
        metadata=GUIDE_MESSAGE["metadata"],
        original_message=GUIDE_MESSAGE,
        threshold_given=True,
    )


def test_only_the_url_is_required_and_unknown_fields_are_kept() -> None:
    body = {"sqs_to_ml_url": URL, "tenant": {"id": 7}, "request_id": None, "metadata": None}

    request = only_request(body)

    assert request.request_id is None
    assert request.callback_url is None
    assert request.metadata is None
    assert (request.confidence_threshold, request.threshold_given) == (0.5, False)
    assert request.original_message == body


def test_a_url_of_a_configured_endpoint_is_accepted() -> None:
    body = json.dumps({"sqs_to_ml_url": "http://minio:9000/bucket/k"})

    (request,) = parse_body(body, endpoint_hosts=frozenset({"minio:9000"})).requests

    assert request.location == S3Location(bucket="bucket", key="k")
    assert fault(body).code is ErrorCode.BAD_URL


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/cb",
        "HTTPS://API.Example.com",
        "https://10.0.0.1/cb?token=a%20b#x",
        "https://[2001:db8::1]:8443/cb",
        "https://xn--bcher-kva.example/",
        "http://callback_service.ns.svc.cluster.local./é",
        "https://api.example.com?x=1",
    ],
)
def test_a_callback_url_may_be(url: str) -> None:
    assert only_request({"sqs_to_ml_url": URL, "callback_url": url}).callback_url == url


BAD_FIELDS = [
    pytest.param({}, ErrorCode.MISSING_FIELD, "sqs_to_ml_url", id="nothing"),
    pytest.param({"sqs_to_ml_url": None}, ErrorCode.WRONG_TYPE, "sqs_to_ml_url", id="null URL"),
    pytest.param({"sqs_to_ml_url": 1}, ErrorCode.WRONG_TYPE, "not a number", id="number as URL"),
    pytest.param({"sqs_to_ml_url": ""}, ErrorCode.BAD_URL, "sqs_to_ml_url", id="empty URL"),
    pytest.param({"sqs_to_ml_url": "file:///etc"}, ErrorCode.BAD_URL, "file:///etc", id="file"),
    pytest.param({"confidence_threshold": "0.7"}, ErrorCode.WRONG_TYPE, "a string", id="0.7 text"),
    pytest.param({"confidence_threshold": True}, ErrorCode.WRONG_TYPE, "boolean", id="true"),
    pytest.param({"confidence_threshold": 1.01}, ErrorCode.THRESHOLD_OUT_OF_RANGE, "1", id="1.01"),
    pytest.param({"confidence_threshold": -1}, ErrorCode.THRESHOLD_OUT_OF_RANGE, "0", id="-1"),
    pytest.param(
        {"confidence_threshold": 10**400}, ErrorCode.THRESHOLD_OUT_OF_RANGE, "", id="big"
    ),
    pytest.param({"metadata": ["a"]}, ErrorCode.WRONG_TYPE, "metadata", id="metadata list"),
    pytest.param({"metadata": "a"}, ErrorCode.WRONG_TYPE, "metadata", id="metadata text"),
    pytest.param({"request_id": 5}, ErrorCode.WRONG_TYPE, "request_id", id="id number"),
    pytest.param({"request_id": ""}, ErrorCode.WRONG_TYPE, "request_id", id="id empty"),
    pytest.param({"request_id": " a"}, ErrorCode.WRONG_TYPE, "request_id", id="id space first"),
    pytest.param({"request_id": "a\nb"}, ErrorCode.WRONG_TYPE, "request_id", id="id line feed"),
    pytest.param(
        {"request_id": "a\u202eb"}, ErrorCode.WRONG_TYPE, "request_id", id="id reordered"
    ),
    pytest.param({"request_id": "a" * 257}, ErrorCode.WRONG_TYPE, "request_id", id="id long"),
    pytest.param({"callback_url": 5}, ErrorCode.WRONG_TYPE, "callback_url", id="callback number"),
    *(
        pytest.param(
            {"callback_url": url}, ErrorCode.BAD_CALLBACK_URL, "callback_url", id=url[:40]
        )
        for url in (
            "ftp://example.com/",
            "example.com/cb",
            "https://",
            "https:///cb",
            "https://user:secret@example.com/cb",
            "https://exa mple.com/",
            "https://example.com/a b",
            "https://example.com\\@evil.org/",
            "https://example.com/\x00",
            "https://example.com:0/",
            "https://example.com:65536/",
            "https://example.com:/",
            "https://[::1",
            "https://[::zz]/",
            "https://[1:2]/",
            "https://bücher.example/",
            "https://example.com/\n",
            "https://example.com/" + "a" * 2048,
        )
    ),
]


@pytest.mark.parametrize(("fields", "code", "text"), BAD_FIELDS)
def test_a_field_that_breaks_its_rule_is_named(
    fields: dict[str, Any], code: ErrorCode, text: str
) -> None:
    body = ({} if not fields else {"sqs_to_ml_url": URL}) | fields

    error = fault(json.dumps(body))

    assert error.code is code
    assert text in error.message
    assert error.original_message == body


BAD_JSON = [
    pytest.param("", id="empty"),
    pytest.param("hello", id="text"),
    pytest.param("[]", id="array"),
    pytest.param('"s3://bucket/key"', id="string"),
    pytest.param("null", id="null"),
    pytest.param('{"sqs_to_ml_url": "s3://b', id="cut off"),
    pytest.param(f'{{"sqs_to_ml_url": "{URL}", "confidence_threshold": NaN}}', id="NaN"),
    pytest.param(f'{{"sqs_to_ml_url": "{URL}", "metadata": {{"a": [Infinity]}}}}', id="Infinity"),
    pytest.param(f'{{"sqs_to_ml_url": "{URL}", "metadata": {{"a": -1e999}}}}', id="overflow"),
    pytest.param(f'{{"sqs_to_ml_url": "{URL}", "a": 1{"0" * 5000}}}', id="many digits"),
    pytest.param(f'{{"sqs_to_ml_url": "{URL}", "sqs_to_ml_url": "s3://x/y"}}', id="name twice"),
    pytest.param(f'{{"sqs_to_ml_url": "{URL}", "a": {{"b": 1, "b": 2}}}}', id="twice inside"),
    pytest.param('{"sqs_to_ml_url": "s3://bucket/\\ud800"}', id="half a surrogate pair"),
    pytest.param('{"sqs_to_ml_url": "s3://bucket/\ud800"}', id="raw surrogate"),
    pytest.param(f'{{"sqs_to_ml_url": "{URL}", "a": {"[" * 100000}{"]" * 100000}}}', id="deep"),
    pytest.param(f'{{"sqs_to_ml_url": "{URL}", "a": {"[" * 64}{"]" * 64}}}', id="65 levels"),
    pytest.param(f'{{"sqs_to_ml_url": "{URL}", "a": "{"é" * 600_000}"}}', id="over 1 MiB"),
    pytest.param(json.dumps(sns("x") | {"Message": "plain text"}), id="text by SNS"),
    pytest.param(json.dumps(sns("x") | {"Message": 5}), id="SNS without text"),
]


@pytest.mark.parametrize("body", BAD_JSON)
def test_what_json_readers_read_differently_is_refused(body: str) -> None:
    assert fault(body).code is ErrorCode.BAD_JSON


def test_nesting_up_to_the_limit_is_accepted() -> None:
    body = f'{{"sqs_to_ml_url": "{URL}", "a": {"[" * 63}{"]" * 63}}}'

    assert parse_body(body).kind == "plain"


def test_valid_fields_are_rescued_from_an_invalid_message() -> None:
    body = GUIDE_MESSAGE | {"sqs_to_ml_url": "https://evil.org/x?X-Amz-Signature=0abc"}

    error = fault(json.dumps(body))

    assert error.request_id == "unique-request-id"
    assert error.callback_url == "https://api.example.com/callback"
    assert error.sqs_to_ml_url == body["sqs_to_ml_url"]
    assert "0abc" not in error.message


def test_invalid_fields_are_not_rescued() -> None:
    error = fault(json.dumps({"callback_url": "ftp://x", "request_id": 1, "sqs_to_ml_url": 2}))

    assert (error.callback_url, error.request_id, error.sqs_to_ml_url) == (None, None, None)


def test_the_record_of_an_s3_event_becomes_a_request() -> None:
    record = s3_record()

    parsed = parse_body(json.dumps({"Records": [record]}))

    assert parsed.kind == "s3_event"
    assert parsed.requests == (
        DetectionRequest(
            sqs_to_ml_url="s3://uploads/red flower+1.jpg",
            location=S3Location(bucket="uploads", key="red flower+1.jpg", region="us-west-2"),
            request_id=None,
            callback_url=None,
            confidence_threshold=0.5,
            metadata=None,
            original_message=record,
            threshold_given=False,
        ),
    )


def test_each_new_object_of_an_s3_event_becomes_a_request() -> None:
    versioned = s3_record(eventName="ObjectCreated:CompleteMultipartUpload")
    versioned["s3"] = {
        "bucket": {"name": "uploads"},
        "object": {"key": "%E6%BC%A2.mp4", "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko"},
    }
    removed = s3_record(eventName="ObjectRemoved:Delete")
    bare = {"s3": {"bucket": {"name": "uploads"}, "object": {"key": "a"}}}

    parsed = parse_body(json.dumps({"Records": [versioned, removed, bare]}))

    assert [request.location for request in parsed.requests] == [
        S3Location(
            bucket="uploads",
            key="漢.mp4",
            version_id="096fKKXTRTtl3on89fVO.nfljtsv6qko",
            region="us-west-2",
        ),
        S3Location(bucket="uploads", key="a"),
    ]
    assert parsed.requests[0].sqs_to_ml_url == "s3://uploads/漢.mp4"


def test_event_bridge_keys_are_taken_as_they_are() -> None:
    parsed = parse_body(json.dumps(EVENT_BRIDGE))

    (request,) = parsed.requests
    assert parsed.kind == "s3_event"
    assert request.location == S3Location(
        bucket="uploads", key="red+flower%2B1.jpg", version_id="v1", region="eu-central-1"
    )
    assert request.original_message == EVENT_BRIDGE["detail"]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        pytest.param(GUIDE_MESSAGE, "plain", id="plain message"),
        pytest.param({"Records": [s3_record()]}, "s3_event", id="S3 event"),
        pytest.param(EVENT_BRIDGE, "s3_event", id="EventBridge"),
        pytest.param(sns(EVENT_BRIDGE), "s3_event", id="another notification"),
        pytest.param({"Event": "s3:TestEvent", "Bucket": "b"}, "test_event", id="test event"),
    ],
)
def test_a_notification_of_sns_is_what_it_carries(message: dict[str, Any], kind: str) -> None:
    direct = parse_body(json.dumps(message))

    wrapped = parse_body(json.dumps(sns(message)))

    assert wrapped.kind == kind
    assert wrapped == direct


def test_notifications_within_notifications_are_followed_three_deep() -> None:
    wrapped: dict[str, Any] = GUIDE_MESSAGE
    for _ in range(3):
        wrapped = sns(wrapped)

    assert parse_body(json.dumps(wrapped)) == parse_body(json.dumps(GUIDE_MESSAGE))
    with pytest.raises(InvalidMessage, match="sqs_to_ml_url"):
        parse_body(json.dumps(sns(wrapped)))


def test_a_plain_message_may_have_fields_that_look_like_a_wrapping() -> None:
    request = only_request({"sqs_to_ml_url": URL, "Type": "Notification", "Records": []})

    assert request.sqs_to_ml_url == URL


def stored(key: str, size: int | None = 0, **changes: Any) -> dict[str, Any]:
    item = {"key": key} if size is None else {"key": key, "size": size}
    return s3_record(s3={"bucket": {"name": "uploads"}, "object": item}, **changes)


def cloud_trail(**detail: Any) -> dict[str, Any]:
    return EVENT_BRIDGE | {
        "detail-type": "AWS API Call via CloudTrail",
        "detail": {
            "eventSource": "s3.amazonaws.com",
            "eventName": "PutObject",
            "requestParameters": {"bucketName": "uploads", "key": "a.jpg"},
        }
        | detail,
    }


@pytest.mark.parametrize(
    ("event", "skipped"),
    [
        pytest.param(
            {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"},
            "the test event of bucket b",
            id="S3's test",
        ),
        pytest.param(
            sns({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}),
            "the test event of bucket b",
            id="S3's test by way of SNS",
        ),
        pytest.param(
            {"Records": [s3_record(eventName="ObjectRemoved:Delete")]},
            "the event ObjectRemoved:Delete of aws:s3 about uploads/red+flower%2B1.jpg",
            id="removal",
        ),
        pytest.param(
            {"Records": [s3_record(eventName="ObjectRestore:Completed")]},
            "the event ObjectRestore:Completed of aws:s3",
            id="restore",
        ),
        pytest.param(
            {"Records": [s3_record(eventName="LifecycleExpiration:Delete")]},
            "the event LifecycleExpiration:Delete of aws:s3",
            id="lifecycle",
        ),
        pytest.param(
            {"Records": [s3_record(eventName="ObjectTagging:Put")]},
            "the event ObjectTagging:Put of aws:s3",
            id="tagging",
        ),
        pytest.param(
            EVENT_BRIDGE | {"detail-type": "Object Deleted"},
            "the event Object Deleted of EventBridge about uploads/red+flower%2B1.jpg",
            id="EventBridge removal",
        ),
        pytest.param(
            EVENT_BRIDGE | {"detail-type": "Object Storage Class Changed", "detail": None},
            "the event Object Storage Class Changed of EventBridge",
            id="EventBridge without detail",
        ),
        pytest.param(
            cloud_trail(),
            "the CloudTrail record PutObject by way of EventBridge",
            id="CloudTrail by way of EventBridge",
        ),
        pytest.param(
            sns(cloud_trail(eventName="DeleteObject")),
            "the CloudTrail record DeleteObject by way of EventBridge",
            id="CloudTrail by way of EventBridge and SNS",
        ),
        pytest.param(
            {"Records": [{"eventSource": "s3.amazonaws.com", "eventName": "PutObject"}]},
            "the CloudTrail record PutObject of s3.amazonaws.com",
            id="CloudTrail's own records",
        ),
        pytest.param(
            {"Records": [stored("holiday/2026+photos/")]},
            "the folder marker s3://uploads/holiday/2026 photos/",
            id="Create folder",
        ),
        pytest.param(
            {"Records": [stored("holiday/", size=None)]},
            "the folder marker s3://uploads/holiday/",
            id="Create folder without a size",
        ),
        pytest.param(
            {"Records": [stored("logs_%24folder%24")]},
            "the folder marker s3://uploads/logs_$folder$",
            id="a folder of Hadoop",
        ),
        pytest.param(
            EVENT_BRIDGE
            | {"detail": {"bucket": {"name": "b-1"}, "object": {"key": "x/", "size": 0}}},
            "the folder marker s3://b-1/x/",
            id="Create folder by way of EventBridge",
        ),
        pytest.param(
            {"Records": [stored("inv/uploads/daily/2026-01-15T01-00Z/manifest.checksum", 33)]},
            "the manifest of an inventory s3://uploads/inv/uploads/daily/2026-01-15T01-00Z/",
            id="an inventory",
        ),
        pytest.param(
            {"Records": [stored("r/job-6f2d5e1c-0000-4000-8000-000000000000/manifest.json", 700)]},
            "the report of a batch operation s3://uploads/r/job-",
            id="a batch operation",
        ),
    ],
)
def test_what_is_no_new_file_is_skipped_and_named(event: dict[str, Any], skipped: str) -> None:
    parsed = parse_body(json.dumps(event))

    assert (parsed.kind, parsed.requests) == ("test_event", ())
    assert not parsed.of_event
    (what,) = parsed.skipped
    assert what.startswith(skipped)


@pytest.mark.parametrize(
    ("key", "size"),
    [
        pytest.param("a.jpg", 0, id="an empty file"),
        pytest.param("odd/", 5000, id="bytes under a name like a folder's"),
        pytest.param("_%24folder%24.png", 0, id="a name that only begins like a marker"),
        pytest.param("2026-01-15T01-00Z/manifest.jpg", 9, id="a picture called manifest"),
        pytest.param("manifest.json", 9, id="a sender's own manifest"),
    ],
)
def test_a_new_file_is_never_taken_for_a_marker(key: str, size: int) -> None:
    parsed = parse_body(json.dumps({"Records": [stored(key, size)]}))

    assert (len(parsed.requests), parsed.skipped) == (1, ())


def test_one_event_may_bring_files_and_other_things() -> None:
    records = [
        s3_record(eventName="ObjectRemoved:Delete"),
        stored("a.jpg", 7),
        stored("folder/"),
        stored("b.jpg", 7),
        {"eventSource": "aws:sns"},
        "nonsense",
    ]

    parsed = parse_body(json.dumps({"Records": records}))

    assert [r.location.key for r in parsed.requests] == ["a.jpg", "b.jpg"]
    assert parsed.skipped == (
        "the event ObjectRemoved:Delete of aws:s3 about uploads/red+flower%2B1.jpg",
        "the event unknown of aws:sns",
        "a record that is no object",
        "the folder marker s3://uploads/folder/",
    )


def test_what_is_skipped_cannot_write_lines_of_a_log() -> None:
    record = s3_record(eventName="ObjectRemoved:\n2026 INFO forged" + "x" * 500)

    (what,) = parse_body(json.dumps({"Records": [record]})).skipped

    assert "\n" not in what
    assert len(what) < 300


def record_with(*, bucket: object = None, item: object = None) -> dict[str, Any]:
    return s3_record(s3={"bucket": bucket or {"name": "uploads"}, "object": item or {"key": "k"}})


@pytest.mark.parametrize(
    ("event", "code", "text"),
    [
        pytest.param({"Records": []}, ErrorCode.MISSING_FIELD, "sqs_to_ml_url", id="no record"),
        pytest.param({"Records": [1]}, ErrorCode.MISSING_FIELD, "sqs_to_ml_url", id="no object"),
        pytest.param(
            {"Records": [s3_record(), {"eventSource": "aws:s3"}]},
            ErrorCode.MISSING_FIELD,
            "Records[1].s3",
            id="nothing of S3",
        ),
        pytest.param(
            {"Records": [s3_record(s3=[])]}, ErrorCode.WRONG_TYPE, "Records[0].s3", id="list"
        ),
        pytest.param(
            {"Records": [record_with(bucket={"arn": "a"})]},
            ErrorCode.MISSING_FIELD,
            "s3.bucket.name",
            id="no bucket name",
        ),
        pytest.param(
            {"Records": [record_with(item={"key": 5})]},
            ErrorCode.WRONG_TYPE,
            "s3.object.key",
            id="number as key",
        ),
        pytest.param(
            {"Records": [record_with(item={"key": "%ff"})]},
            ErrorCode.BAD_URL,
            "UTF-8",
            id="key not UTF-8",
        ),
        pytest.param(
            {"Records": [record_with(item={"key": "a%0Ab"})]},
            ErrorCode.BAD_URL,
            "control",
            id="control character in the key",
        ),
        pytest.param(
            {"Records": [record_with(bucket={"name": "Not A Bucket"})]},
            ErrorCode.BAD_URL,
            "bucket name",
            id="bad bucket",
        ),
        pytest.param(
            EVENT_BRIDGE | {"detail": {"bucket": {"name": "uploads"}}},
            ErrorCode.MISSING_FIELD,
            "detail.object",
            id="EventBridge without object",
        ),
    ],
)
def test_an_event_that_lacks_something_is_refused(
    event: dict[str, Any], code: ErrorCode, text: str
) -> None:
    error = fault(json.dumps(event))

    assert error.code is code
    assert text in error.message
    assert error.original_message == event


NAMES = [
    "Records",
    "Type",
    "Message",
    "Event",
    "source",
    "detail-type",
    "detail",
    "s3",
    "bucket",
    "object",
    "name",
    "key",
    "versionId",
    "eventName",
    "eventSource",
]
names = st.sampled_from([*GUIDE_MESSAGE, *NAMES])
words = st.sampled_from(
    [
        URL,
        "Notification",
        "aws.s3",
        "aws:s3",
        "Object Created",
        "ObjectCreated:Put",
        "uploads",
        "https://h.example/cb",
        "s3:TestEvent",
        '{"sqs_to_ml_url": "s3://bucket/k"}',
        "%ff",
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=12,
)


@given(st.one_of(st.text(max_size=60), values.map(json.dumps)))
def test_any_body_is_understood_or_refused_with_a_code(body: str) -> None:
    error: InvalidMessage | None = None
    try:
        parsed = parse_body(body)
    except InvalidMessage as invalid:
        error = invalid

    if error is not None:
        assert error.code in ErrorCode
        assert error.message
    else:
        assert bool(parsed.requests) == (parsed.kind != "test_event")


@given(st.floats(min_value=0, max_value=1) | st.sampled_from([0, 1]))
def test_any_threshold_between_0_and_1_is_kept(threshold: float) -> None:
    request = only_request({"sqs_to_ml_url": URL, "confidence_threshold": threshold})

    assert request.confidence_threshold == threshold
    assert isinstance(request.confidence_threshold, float)
    assert request.threshold_given


def test_a_message_is_made_as_in_the_guide() -> None:
    message = create_test_message(
        sqs_to_ml_url="s3://capstone-development/file.png",
        callback_url="https://api.example.com/callback",
        confidence_threshold=0.7,
    )

    request = only_request(message)
    assert request.sqs_to_ml_url == "s3://capstone-development/file.png"
    assert request.callback_url == "https://api.example.com/callback"
    assert request.confidence_threshold == 0.7
    assert uuid.UUID(request.request_id).version == 4
    assert list(message) == [name for name in GUIDE_MESSAGE if name in message]


def test_a_message_can_be_made_from_the_url_alone_or_from_everything() -> None:
    assert set(create_test_message(sqs_to_ml_url=URL)) == {
        "sqs_to_ml_url",
        "request_id",
        "confidence_threshold",
    }
    assert create_test_message(**GUIDE_MESSAGE) == GUIDE_MESSAGE


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        pytest.param({"sqs_to_ml_url": "nowhere"}, ErrorCode.BAD_URL, id="URL"),
        pytest.param({"callback_url": "nowhere"}, ErrorCode.BAD_CALLBACK_URL, id="callback"),
        pytest.param(
            {"confidence_threshold": 2}, ErrorCode.THRESHOLD_OUT_OF_RANGE, id="threshold"
        ),
        pytest.param({"confidence_threshold": float("nan")}, ErrorCode.BAD_JSON, id="NaN"),
        pytest.param({"metadata": {"a": object()}}, ErrorCode.WRONG_TYPE, id="not JSON"),
        pytest.param({"request_id": ""}, ErrorCode.WRONG_TYPE, id="empty id"),
    ],
)
def test_a_message_that_a_worker_would_refuse_is_not_made(
    fields: dict[str, Any], code: ErrorCode
) -> None:
    with pytest.raises(InvalidMessage) as caught:
        create_test_message(**({"sqs_to_ml_url": URL} | fields))

    assert caught.value.code is code


@given(message_id=st.text(), index=st.integers(min_value=0, max_value=10))
def test_a_derived_request_id_is_a_stable_uuid4(message_id: str, index: int) -> None:
    derived = stable_request_id(message_id, index)

    parsed = uuid.UUID(derived)
    assert (parsed.version, parsed.variant, str(parsed)) == (4, uuid.RFC_4122, derived)
    assert derived == stable_request_id(message_id, index)
    assert derived != stable_request_id(message_id, index + 1)


def test_a_derived_request_id_is_the_same_in_every_release() -> None:
    message_id = "059f36b4-87a3-44ab-83d2-661975830a7d"

    assert stable_request_id(message_id, 0) == "962cb100-10f7-45dd-bfd1-fe20328460ea"
