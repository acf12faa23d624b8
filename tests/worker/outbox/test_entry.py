"""Entries as JSON: what is written is read again, and what cannot be read is told apart."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from detection_contract.error_codes import ErrorCode
from detection_contract.schemas import load_schema
from detection_worker.core.messages.outcome import Failure
from detection_worker.core.outbox.fate import START, Course
from detection_worker.outbox.base import PendingCallback
from detection_worker.outbox.entry import (
    INLINE_BYTES,
    DamagedEntry,
    Entry,
    NewerEntry,
    StoredBody,
    decode,
    encode,
    entry_of,
    sha256_of,
)

VALIDATOR = Draft202012Validator(load_schema("outbox-entry"))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
MOMENTS = st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1000)
GOOD: dict[str, Any] = {
    "version": 1,
    "request_id": "r",
    "message_id": "m",
    "webhook_id": "msg_m_0",
    "url": "https://receiver.example/cb",
    "attempts": 3,
    "first_tried_at": "2026-11-30T12:00:00.000Z",
    "not_before": None,
    "code": "callback_unreachable",
    "reason": "it answered 503",
    "body": "{}",
}
STORED = {"result_url": "s3://results/2026/r.json", "sha256": "0" * 64}
without_body = {name: value for name, value in GOOD.items() if name != "body"}


def callback(body: bytes, result_url: str | None = None) -> PendingCallback:
    return PendingCallback(
        url="https://receiver.example/cb",
        body=body,
        webhook_id="msg_m_0",
        request_id="r",
        message_id="m",
        result_url=result_url,
        code=ErrorCode.CALLBACK_UNREACHABLE,
        reason="it answered 503",
    )


def test_the_schema_is_valid_itself() -> None:
    Draft202012Validator.check_schema(load_schema("outbox-entry"))


@given(
    url=TEXT.filter(bool),
    request_id=TEXT.filter(bool),
    body=TEXT,
    attempts=st.integers(0, 1000),
    first_tried_s=st.none() | MOMENTS,
    not_before_s=st.none() | MOMENTS,
    code=st.sampled_from(ErrorCode),
    reason=TEXT,
    stored=st.booleans(),
)
def test_what_is_written_is_read_again(
    url: str,
    request_id: str,
    body: str,
    attempts: int,
    first_tried_s: float | None,
    not_before_s: float | None,
    code: ErrorCode,
    reason: str,
    stored: bool,  # noqa: FBT001 - an example's own
) -> None:
    entry = Entry(
        url=url,
        webhook_id="msg_m_0",
        request_id=request_id,
        message_id="m",
        content=(
            StoredBody(url="s3://results/a b", sha256=sha256_of(body.encode()))
            if stored
            else body.encode()
        ),
        course=Course(attempts=attempts, first_tried_s=first_tried_s),
        not_before_s=not_before_s,
        last=Failure(code=code, message=reason),
    )

    text = encode(entry)

    assert text.isascii()
    assert VALIDATOR.is_valid(json.loads(text))
    assert decode(text) == entry


def test_a_large_envelope_stays_in_the_store_if_there_is_one() -> None:
    large, url = b"x" * (INLINE_BYTES + 1), "s3://results/r.json"

    def content(body: bytes, result_url: str | None) -> bytes | StoredBody:
        return entry_of(callback(body, result_url), course=START, not_before_s=0.0).content

    assert content(large, url) == StoredBody(url=url, sha256=sha256_of(large))
    assert content(large[1:], url) == large[1:]
    assert content(large, None) == large


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"version": 0}, "version", id="version zero"),
        pytest.param({"version": True}, "version", id="version true"),
        pytest.param({"version": None}, "version", id="no version"),
        pytest.param({"url": ""}, "url is no text", id="empty URL"),
        pytest.param({"url": 7}, "url is no text", id="URL that is a number"),
        pytest.param({"webhook_id": "a.b"}, "cannot be signed", id="full stop in the id"),
        pytest.param({"webhook_id": "a\r\nX: y"}, "cannot be signed", id="header in the id"),
        pytest.param({"webhook_id": "x" * 257}, "cannot be signed", id="long id"),
        pytest.param({"request_id": None}, "request_id is no text", id="no request id"),
        pytest.param({"attempts": -1}, "attempts is no count", id="negative"),
        pytest.param({"attempts": 1.5}, "attempts is no count", id="fraction"),
        pytest.param({"attempts": True}, "attempts is no count", id="boolean"),
        pytest.param({"not_before": "soon"}, "not_before is no time", id="no time"),
        pytest.param({"not_before": 5}, "not_before is no time", id="number"),
        pytest.param({"first_tried_at": "2026-11-30T12:00:00"}, "no time zone", id="no zone"),
        pytest.param(
            {"first_tried_at": "0001-01-01T00:00:00+14:00"}, "no year", id="before all years"
        ),
        pytest.param({"not_before": "9999-12-31T23:59:59-14:00"}, "no year", id="after all years"),
        pytest.param({"body": None}, "body is no text", id="body null"),
        pytest.param({"body": {"label": "FAKE"}}, "body is no text", id="body object"),
        pytest.param(STORED, "neither a body", id="body and URL"),
    ],
)
def test_a_damaged_entry_is_told_with_what_is_wrong(changes: dict[str, Any], reason: str) -> None:
    fields = {**GOOD, **changes}

    with pytest.raises(DamagedEntry, match=reason):
        decode(json.dumps(fields))
    assert not VALIDATOR.is_valid(fields) or reason in ("no time zone", "no year")


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        pytest.param({}, "neither a body", id="nothing"),
        pytest.param({"result_url": "s3://results/r"}, "neither a body", id="no digest"),
        pytest.param({**STORED, "sha256": "ab"}, "no SHA-256", id="short digest"),
        pytest.param({**STORED, "result_url": "https://e.example/"}, "no s3:// URL", id="https"),
        pytest.param({**STORED, "result_url": "s3://r"}, "no s3:// URL", id="no key"),
    ],
)
def test_an_entry_names_its_envelope_exactly(where: dict[str, str], reason: str) -> None:
    with pytest.raises(DamagedEntry, match=reason):
        decode(json.dumps({**without_body, **where}))


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '{"version":1,"version":1}', "x" * 2**21])
def test_what_is_no_object_is_damaged(text: str) -> None:
    with pytest.raises(DamagedEntry):
        decode(text)


def test_fields_and_codes_of_later_versions_are_no_damage() -> None:
    entry = decode(json.dumps({**GOOD, "more": 1, "code": "a_code_of_tomorrow"}))

    assert entry.last == Failure(code=ErrorCode.CALLBACK_UNREACHABLE, message="it answered 503")
    with pytest.raises(NewerEntry):
        decode(json.dumps({"version": 2}))
