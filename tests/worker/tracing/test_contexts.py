"""W3C Trace Context and X-Ray's header: what is read, written and ignored."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection_tracing.contexts import (
    Ids,
    carrier_of,
    carrier_of_xray,
    parse_traceparent,
    traceparent,
    xray_header,
)
from detection_worker.sources.base import MessageAttribute, ReceivedMessage
from detection_worker.sources.traced import origin_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"
XRAY = f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={SPAN};Sampled=1"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (GOOD, True),
        (GOOD[:-1] + "0", False),
        (f"cc-{GOOD[3:]}-more", True),
        (GOOD[:-2] + "ff", True),
    ],
)
def test_a_traceparent_is_read(text: str, *, sampled: bool) -> None:
    assert parse_traceparent(text) == Ids(int(TRACE, 16), int(SPAN, 16), sampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        GOOD.upper(),
        GOOD + "\n",
        GOOD + "-more",
        "ff" + GOOD[2:],
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-zz",
        f"00-{TRACE[1:]}-{SPAN}-01",
        "\u0660\u0660" + GOOD[2:],
    ],
)
def test_a_malformed_traceparent_is_ignored(text: str) -> None:
    assert parse_traceparent(text) is None
    assert carrier_of({"traceparent": text}) is None
    assert xray_header({"traceparent": text}) is None


@given(st.text() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"))
def test_what_is_read_is_written_the_same_and_anything_else_is_none(text: str) -> None:
    ids = parse_traceparent(text)
    if ids is not None:
        assert parse_traceparent(traceparent(ids)) == ids
        header = xray_header({"traceparent": text})
        assert header is not None
        assert carrier_of_xray(header) == {"traceparent": traceparent(ids)}


@given(st.text(max_size=200))
def test_any_xray_header_is_read_or_ignored(text: str) -> None:
    found = carrier_of_xray(text)
    assert found is None or parse_traceparent(found["traceparent"])


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (XRAY, GOOD),
        (f"Self=1-0-0; {XRAY};Lineage=a:0", GOOD),
        (XRAY.replace("Sampled=1", "Sampled=0"), GOOD[:-1] + "0"),
        (XRAY.replace(";Sampled=1", ""), GOOD),
        (XRAY.replace("Sampled=1", "Sampled=?"), GOOD),
    ],
)
def test_an_xray_header_is_read(header: str, expected: str) -> None:
    assert carrier_of_xray(header) == {"traceparent": expected}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Root=1-5759e988",
        XRAY.replace("Parent", "Other"),
        XRAY.replace("1-", "2-"),
        XRAY + "a" * 1024,
    ],
)
def test_a_malformed_xray_header_is_ignored(header: str) -> None:
    assert carrier_of_xray(header) is None


@pytest.mark.parametrize("state", ["", "a" * 513, "ü=1", "a=1\nERROR", "a=1\r\nX: 1", 5, None])
def test_a_bad_tracestate_is_dropped_alone(state: object) -> None:
    assert carrier_of({"traceparent": GOOD, "tracestate": state}) == {"traceparent": GOOD}


def message(
    body: str = "{}", *, trace_header: str | None = None, **attributes: str | bytes
) -> ReceivedMessage:
    return ReceivedMessage(
        message_id="m",
        receipt_handle="r",
        body=body,
        receive_count=1,
        sent_at_s=None,
        attributes={
            name: MessageAttribute(data_type="String", value=value)
            for name, value in attributes.items()
        },
        trace_header=trace_header,
    )


def wrapped(**attributes: object) -> str:
    return json.dumps({"Type": "Notification", "Message": "{}", "MessageAttributes": attributes})


OTHER = f"00-{'e' * 32}-{'f' * 16}-01"


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (message(), None),
        (message(traceparent=GOOD, trace_header="Root=bad"), GOOD),
        (message(traceparent=GOOD, trace_header=XRAY.replace("0af", "1af")), GOOD),
        (message(traceparent="bad", trace_header=XRAY), GOOD),
        (message(traceparent=GOOD.encode(), trace_header=XRAY), GOOD),
        (message(wrapped(traceparent={"Type": "String", "Value": GOOD})), GOOD),
        (message(wrapped(traceparent={"Type": "String", "Value": OTHER}), traceparent=GOOD), GOOD),
        (message(wrapped(traceparent=GOOD), trace_header=XRAY), GOOD),
        (message('{"traceparent" "MessageAttributes"', trace_header=XRAY), GOOD),
        (message('{"traceparent": 1, "MessageAttributes": []}'), None),
    ],
)
def test_the_sender_of_a_message_is_found_wherever_it_says_so(
    received: ReceivedMessage, expected: str | None
) -> None:
    found = origin_of(received)

    assert (found and found["traceparent"]) == expected
