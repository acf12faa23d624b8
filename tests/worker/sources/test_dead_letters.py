import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection_worker.sources.base import MessageAttribute, ReceivedMessage
from detection_worker.sources.dead_letters import (
    MAX_ATTRIBUTES,
    MAX_MESSAGE_BYTES,
    dead_letter_request,
)

SOURCE = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs"
DEAD = "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs-dead"


def message(
    *,
    body: str = "{}",
    attributes: dict[str, str | MessageAttribute] | None = None,
    group_id: str | None = None,
    trace_header: str | None = None,
) -> ReceivedMessage:
    return ReceivedMessage(
        message_id="m-1",
        receipt_handle="r-1",
        body=body,
        receive_count=3,
        sent_at_s=None,
        attributes={
            name: MessageAttribute(data_type="String", value=value)
            if isinstance(value, str)
            else value
            for name, value in (attributes or {}).items()
        },
        group_id=group_id,
        trace_header=trace_header,
    )


def values(request: dict[str, dict[str, dict[str, str]]]) -> dict[str, str]:
    return {name: each["StringValue"] for name, each in request["MessageAttributes"].items()}


def test_the_copy_carries_the_body_and_says_why_it_is_there() -> None:
    request = dead_letter_request(
        message(body="not json", attributes={"tenant": "a"}),
        queue_url=DEAD,
        source_url=SOURCE,
        code="bad_json",
        reason="no JSON",
    )

    assert request["QueueUrl"] == DEAD
    assert request["MessageBody"] == "not json"
    assert values(request) == {
        "DetectionErrorCode": "bad_json",
        "DetectionErrorReason": "no JSON",
        "DetectionMessageId": "m-1",
        "DetectionSourceQueue": SOURCE,
        "tenant": "a",
    }
    assert "MessageGroupId" not in request


def test_what_the_sender_attached_keeps_its_type() -> None:
    attached = {
        "picture": MessageAttribute(data_type="Binary.jpeg", value=b"\x00\xff"),
        "count": MessageAttribute(data_type="Number", value="42"),
        "price": MessageAttribute(data_type="Number.float", value="1.5"),
        "id": MessageAttribute(data_type="String.UUID", value="u-1"),
        "DetectionProfile": MessageAttribute(data_type="String", value="strict"),
    }

    request = dead_letter_request(
        message(attributes={**attached}), queue_url=DEAD, source_url=SOURCE, code="c", reason="r"
    )

    sent = request["MessageAttributes"]
    assert sent["picture"] == {"DataType": "Binary.jpeg", "BinaryValue": b"\x00\xff"}
    assert sent["count"] == {"DataType": "Number", "StringValue": "42"}
    assert sent["price"] == {"DataType": "Number.float", "StringValue": "1.5"}
    assert sent["id"] == {"DataType": "String.UUID", "StringValue": "u-1"}
    assert sent["DetectionProfile"] == {"DataType": "String", "StringValue": "strict"}


@pytest.mark.parametrize(
    ("attached", "theirs", "ours"),
    [
        (0, 0, 4),
        (6, 6, 4),
        (7, 7, 3),
        (8, 8, 2),
        (9, 8, 2),
        (10, 8, 2),
    ],
)
def test_ten_attributes_are_shared_with_the_sender(attached: int, theirs: int, ours: int) -> None:
    request = dead_letter_request(
        message(attributes={f"a{n}": "x" for n in range(attached)}),
        queue_url=DEAD,
        source_url=SOURCE,
        code="c",
        reason="r",
    )

    sent = values(request)
    assert len([name for name in sent if name.startswith("a")]) == theirs
    assert len(sent) == theirs + ours
    assert (sent["DetectionErrorCode"], sent["DetectionErrorReason"]) == ("c", "r")


def test_a_queue_that_takes_short_messages_gets_what_fits() -> None:
    full = message(body="x" * 1000, attributes={f"a{n}": "y" for n in range(10)})

    def sent(max_bytes: int) -> set[str]:
        request = dead_letter_request(
            full,
            queue_url=DEAD,
            source_url=SOURCE,
            code="c",
            reason="r" * 500,
            max_bytes=max_bytes,
        )
        return {name for name in request["MessageAttributes"] if name.startswith("Detection")}

    assert sent(4000) == {"DetectionErrorCode", "DetectionErrorReason"}
    assert sent(1200) == {"DetectionErrorCode", "DetectionMessageId"}
    assert sent(0) == set()


def test_a_tenant_of_a_fair_queue_stays_one() -> None:
    request = dead_letter_request(
        message(group_id="tenant-7"), queue_url=DEAD, source_url=SOURCE, code="c", reason="r"
    )

    assert request["MessageGroupId"] == "tenant-7"
    assert "MessageDeduplicationId" not in request


def test_reasons_of_an_earlier_death_give_way_to_the_new_one() -> None:
    request = dead_letter_request(
        message(attributes={"DetectionErrorCode": "timeout", "AWS.TraceId": "t"}),
        queue_url=DEAD,
        source_url=SOURCE,
        code="bad_json",
        reason="no JSON",
    )

    assert values(request)["DetectionErrorCode"] == "bad_json"
    assert "AWS.TraceId" not in values(request)


def test_a_fifo_queue_gets_group_and_deduplication_ids() -> None:
    request = dead_letter_request(
        message(group_id="g"),
        queue_url=DEAD + ".fifo",
        source_url=SOURCE,
        code="c",
        reason="r",
    )

    assert request["MessageGroupId"] == "g"
    assert request["MessageDeduplicationId"] == "m-1"


def test_the_trace_goes_on() -> None:
    request = dead_letter_request(
        message(trace_header="Root=1-2-3"), queue_url=DEAD, source_url=SOURCE, code="c", reason="r"
    )

    assert request["MessageSystemAttributes"] == {
        "AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-2-3"}
    }


@settings(max_examples=30, deadline=None)  # each example encodes a mebibyte
@given(
    body_bytes=st.integers(MAX_MESSAGE_BYTES - 2000, MAX_MESSAGE_BYTES),
    attributes=st.dictionaries(
        st.from_regex(r"[A-Za-z]{1,20}", fullmatch=True), st.text(min_size=1), max_size=10
    ),
    reason=st.text(max_size=2000),
)
def test_no_copy_breaks_the_limits_of_sqs(
    body_bytes: int, attributes: dict[str, str], reason: str
) -> None:
    attributes = {
        name: value.encode(errors="replace").decode() for name, value in attributes.items()
    }

    request = dead_letter_request(
        message(body="x" * body_bytes, attributes={**attributes}),
        queue_url=DEAD,
        source_url=SOURCE,
        code="code",
        reason=reason,
    )

    sent = values(request)
    size_bytes = body_bytes + sum(
        len(name.encode()) + len(value.encode()) + len("String") for name, value in sent.items()
    )
    assert size_bytes <= MAX_MESSAGE_BYTES
    assert len(sent) <= MAX_ATTRIBUTES
    assert all(sent.values())
    assert len(sent.get("DetectionErrorReason", "")) <= 512


@given(st.text(alphabet=st.characters(), max_size=600))
def test_a_reason_holds_only_characters_that_sqs_takes(reason: str) -> None:
    request = dead_letter_request(
        message(), queue_url=DEAD, source_url=SOURCE, code="c", reason=reason
    )

    for char in values(request).get("DetectionErrorReason", ""):
        point = ord(char)
        assert (
            point in (0x9, 0xA, 0xD)
            or 0x20 <= point <= 0xD7FF
            or 0xE000 <= point <= 0xFFFD
            or (0x10000 <= point <= 0x10FFFF)
        )
